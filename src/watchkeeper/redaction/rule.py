"""What a rule of redaction is, and the pieces of pattern that rules share.

Each rule reads the bytes of JSON text, not decoded strings, so that a line never has to be parsed and
written anew. A value therefore ends before a quote, a backslash, white space or a control character, and
can never run past the end of its JSON string. The formats are those their issuers publish; every rule
carries text that it must hit and text that it must leave alone, and the tests run both.

A rule is one of three kinds, told apart by what it gives:

- ``anchors`` and ``body``: a token that is known by its prefix, and goes with it.
- ``scans``: whole expressions, each a literal text and what follows it, whose only group goes.
- ``names`` and ``value``: the service behind the value of a name such as ``DATADOG_API_KEY``. What counts as
  such a name, and what as a value worth hiding, is one matter for all of them: see `assignments`.

The order is the priority: where two rules hit overlapping bytes, the first one names the placeholder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

TAIL = rb"[A-Za-z0-9_-]*+"  # the whole word goes: no rest of it may start a match
# A quotation mark that does not end the JSON string: behind an odd number of backslashes, or a single one.
INNER_QUOTE = rb"(?:(?:\\\\)*+\\[\"']|')"
SIGN = rb"[ \t]{0,4}(?::=|=>|[:=]|\\u003[dD])[ \t]{0,4}"
# From a name to its value: as a member of a JSON object, or within a string with the value quoted or bare.
MEMBER = rb"\"[ \t]{0,2}:[ \t]{0,2}\""
ASSIGNED = rb"(?:" + MEMBER + rb"|" + INNER_QUOTE + rb"?" + SIGN + INNER_QUOTE + rb"?)"
BLANK = rb"(?:[ \t]|\\++[nrt])"  # white space within a JSON string
NOT_A_VALUE = rb"(?!\[redacted:|\[REDACTED:|[ $<{(*]|%[({]|\\)"
FILLER = b"R7kQ2mZx9LpT4vWn8BcY3hJd6FsG1aUe5XoNiKqMtHrVwDyPbCzEgSjAfLuI0O"
HEXADECIMAL = b"3f9a1c07e5b84d26a0c9f17b52e8d4630b7d51a29e4cf8865a13d0972be4c6f8"


@dataclass(frozen=True)
class Rule:
    """One kind of secret.

    Args:
        name: Shown in the placeholder and counted; lower case with hyphens.
        positive: JSON text with one secret of this kind.
        secret: What must be gone from ``positive``.
        negative: JSON text that resembles it and must stay as it is.
        anchors: Prefixes that start a token of this kind.
        body: Regular expression without groups for what follows a prefix.
        least: Characters of a token that follow a prefix at least.
        lead: Expression of fixed width, and that width, for what stands before a prefix and goes with it.
        scans: Pairs of a literal text and the regular expression that follows it; its only group is what goes.
            It must need only bounded time to fail.
        lowered: The scans are in lower case and stand for any case.
        weigh: Says whether bytes that were found are a secret; for formats that are loose.
        names: Regular expression for names, in lower case, that belong to this kind.
        value: Regular expression that the whole value of such a name must match.
    """

    name: str
    positive: bytes
    secret: bytes
    negative: bytes
    anchors: tuple[bytes, ...] = ()
    body: bytes = b""
    least: int = 12
    lead: tuple[bytes, int] = (b"", 0)
    scans: tuple[tuple[bytes, bytes], ...] = ()
    lowered: bool = False
    weigh: Callable[[bytes], bool] | None = None
    names: bytes = b""
    value: bytes = b""
