"""How a rule for a prefixed token is written down, with examples made from its format."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice

from watchkeeper.redaction.rule import FILLER, HEXADECIMAL, Rule

UUID = rb"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
A_UUID = b"3f9a1c07-e5b8-4d26-a0c9-f17b52e8d463"


def _of(alphabet: bytes, size: int) -> bytes:
    return bytes(islice(cycle(alphabet), size))


def mixed(size: int) -> bytes:
    """Return some letters of both cases with digits."""
    return _of(FILLER, size)


def hexa(size: int) -> bytes:
    """Return some hexadecimal digits."""
    return _of(HEXADECIMAL, size)


def lower(size: int) -> bytes:
    """Return some small letters with digits."""
    return _of(b"k7q2mz9x4p1tv8wn3bcy6hjd5fsg", size)


def upper(size: int) -> bytes:
    """Return some capitals with digits."""
    return _of(b"K7Q2MZ9X4P1TV8WN3BCY6HJD5FSG", size)


def digits(size: int) -> bytes:
    """Return some digits."""
    return _of(b"4829103756", size)


def token(
    name: str,
    anchors: str,
    body: bytes,
    example: bytes,
    negative: bytes = b"",
    *,
    lead: tuple[bytes, int] = (b"", 0),
    weigh: Callable[[bytes], bool] | None = None,
) -> Rule:
    """Return the rule for a token that is known by its prefix.

    Args:
        name: The rule's name.
        anchors: Prefixes, separated by blanks.
        body: Regular expression for what follows a prefix.
        example: What follows the first prefix in a valid token; with a lead, the whole token.
        negative: Text that resembles a token and is none; without it, a token that is cut short.
        lead: Expression of fixed width, and that width, for what stands before the prefix and goes with it.
        weigh: Says whether something of this form is a secret.
    """
    prefixes = tuple(anchor.encode() for anchor in anchors.split())
    whole = example if lead[1] else prefixes[0] + example
    short = negative or b"see " + prefixes[0] + b"... or " + prefixes[0] + b"EXAMPLE"
    return Rule(
        name=name,
        anchors=prefixes,
        body=body,
        lead=lead,
        weigh=weigh,
        positive=b'{"stdout":"line\\n' + whole + b'\\nline"}',
        secret=whole,
        negative=b'{"stdout":"' + short + b'"}',
    )
