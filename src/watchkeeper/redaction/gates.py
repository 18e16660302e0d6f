"""The scans that find prefixed tokens and whole expressions, built from the rules for Python's ``re``.

A regular expression that starts with a literal is scanned some twenty times faster than an alternation. So
prefixes that share their last punctuation mark, or their first capital, share one gate: it searches for that
one byte and looks around it. A prefix more costs next to nothing, a gate more costs a scan. Everything a
rule asks for is in the gate's expression: text that merely begins like a secret is refused without a step in
Python, however often it is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from watchkeeper.redaction.rule import TAIL, Rule

_PUNCTUATION = b"-_."


@dataclass(frozen=True)
class Target:
    """What a group of a gate stands for: the rule's place, and how far before the match its secret starts."""

    order: int
    back: int
    weigh: Callable[[bytes], bool] | None
    led: bool = False
    short: bool = False


@dataclass(frozen=True)
class Gate:
    """One scan; group N is the secret, or its end, of target N - 1."""

    scan: re.Pattern[bytes]
    lowered: bool
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class _Prefix:
    anchor: bytes
    pivot: int
    body: bytes
    lead: bytes
    least: int
    target: Target


def build_gates(rules: Iterable[Rule]) -> tuple[Gate, ...]:
    """Return the gates for all rules that give prefixes or scans, in their order of priority.

    Raises:
        ValueError: A scan has no group, or several.
    """
    grouped: dict[bytes, list[_Prefix]] = {}
    expressions: dict[tuple[bytes, bool], list[tuple[bytes, Target]]] = {}
    for order, rule in enumerate(rules):
        for literal, rest in rule.scans:
            if re.compile(rest).groups != 1:
                raise ValueError(f"{rule.name}: a scan has exactly one group")
            target = Target(order, -1, rule.weigh)
            expressions.setdefault((literal, rule.lowered), []).append((rest, target))
        for anchor in rule.anchors:
            pivot = _pivot(anchor)
            byte = anchor if pivot is None else anchor[pivot : pivot + 1]
            last = len(anchor) - 1 if pivot is None else pivot
            target = Target(
                order,
                (pivot or 0) + rule.lead[1],
                rule.weigh,
                bool(rule.lead[1]),
                len(anchor) < 4 and anchor != b"sk-",
            )
            grouped.setdefault(byte, []).append(
                _Prefix(anchor, last, rule.body, rule.lead[0], rule.least, target)
            )
    scans = (
        Gate(
            re.compile(re.escape(literal) + _either(rest for rest, _ in parts)),
            lowered,
            tuple(target for _, target in parts),
        )
        for (literal, lowered), parts in expressions.items()
    )
    return (*(_gate(byte, prefixes) for byte, prefixes in grouped.items()), *scans)


def cuts_escape(data: bytes, start: int) -> bool:
    """Say whether the byte at ``start`` is the letter of an escape: it follows an odd run of backslashes."""
    run = start
    while run and data[run - 1] == 0x5C:
        run -= 1
    return (start - run) % 2 == 1


def starts_word(data: bytes, start: int, short: bool = False) -> bool:
    r"""Say whether a token at ``start`` is the beginning of a word.

    The letter before may belong to an escape of JSON or of a URL, or to a terminal's colour. An odd run of
    backslashes means that the first byte is itself the letter of an escape, as in ``\npm_...``.
    """
    if start == 0:
        return True
    before = data[start - 1]
    if before == 0x5C:
        return not cuts_escape(data, start)
    if short and before in b"-_+/":
        return False
    return (
        not chr(before).isalnum()
        or before > 0x7F
        or _ESCAPE.search(data, max(0, start - 6), start) is not None
    )


_ESCAPE = re.compile(rb"(?:\\[bfnrt]|\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2}|\[[0-9]{1,2}m)\Z")


def _pivot(anchor: bytes) -> int | None:
    """Return the place of the byte to search for; None for an anchor that is searched for as a whole."""
    if anchor[-1:] in (b"-", b"_", b"."):
        return len(anchor) - 1
    return next((anchor.index(byte) for byte in _PIVOTS if byte in anchor), None)


_PIVOTS = tuple(bytes([byte]) for byte in b"~$JEAGSZDFHIKLMNOPQRTUVWXYCB")
"""Bytes to search for, chosen so that few of them serve all prefixes."""


def _gate(byte: bytes, prefixes: list[_Prefix]) -> Gate:
    # The longest first: where one prefix ends like another, its rule is the one meant.
    prefixes = sorted(prefixes, key=lambda prefix: (-len(prefix.anchor), prefix.anchor))
    targets: list[Target] = []
    if byte in (b"-", b"_", b"."):
        before = [re.escape(bytes(sorted({prefix.anchor[at] for prefix in prefixes}))) for at in (-3, -2)]
        near = b"(?<=[" + before[0] + b"][" + before[1] + b"]" + re.escape(byte) + b")"
        scan = (
            near
            + rb"(?=[A-Za-z0-9+/_.%=-]{"
            + str(min(prefix.least for prefix in prefixes)).encode()
            + rb"})"
        )
        families: dict[bytes, list[_Prefix]] = {}
        for prefix in prefixes:
            families.setdefault(prefix.anchor[-2:], []).append(prefix)
        scan += _either(
            rb"(?<=" + re.escape(end) + rb")" + _alternatives(family, targets)
            for end, family in families.items()
        )
    elif len(byte) == 1:
        # A run of the byte itself, as images have it in Base64, must not try every prefix at each place.
        left = bytes(sorted({prefix.anchor[prefix.pivot - 1] for prefix in prefixes if prefix.pivot}))
        right = bytes(sorted({prefix.anchor[1] for prefix in prefixes if not prefix.pivot}))
        nearby = [b"(?<=[" + re.escape(left) + b"]" + re.escape(byte) + b")"] if left else []
        nearby += [b"(?=[" + re.escape(right) + b"])"] if right else []
        scan = _either(nearby) + _alternatives(prefixes, targets)
    else:
        scan = _alternatives(prefixes, targets)
    return Gate(re.compile(re.escape(byte) + scan), False, tuple(targets))


def _alternatives(prefixes: list[_Prefix], targets: list[Target]) -> bytes:
    """Return the expression that follows the pivot, and add the targets of its groups."""
    parts = []
    for prefix in prefixes:
        seen, rest = prefix.anchor[: prefix.pivot + 1], prefix.anchor[prefix.pivot + 1 :]
        behind = rb"(?<=" + prefix.lead + re.escape(seen) + rb")" if prefix.lead or len(seen) > 1 else b""
        parts.append(behind + re.escape(rest) + rb"(" + prefix.body + TAIL + rb")")
        targets.append(prefix.target)
    return _either(parts)


def _either(parts: Iterable[bytes]) -> bytes:
    return rb"(?:" + rb"|".join(parts) + rb")"
