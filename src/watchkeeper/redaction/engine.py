"""Takes secrets out of the bytes of JSON lines.

Scanning is two steps. A few gates run over the whole input in C; each looks for literal texts that start a
secret (anchors). Only where an anchor stands is a rule's own pattern tried. Anchors that end in the same
punctuation share one gate that searches for that byte and looks back, since a regular expression that
starts with a literal is scanned some twenty times faster than an alternation. Adding such an anchor costs
next to nothing, any other a scan.

Time is linear in the input: a pattern fails after a bounded number of bytes or after one run of characters
that no other candidate of its rule starts in, and a candidate inside a match of the same rule is not tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from watchkeeper.redaction.rule import Rule
from watchkeeper.redaction.rules import RULES

_ROUNDS = 8


@dataclass(frozen=True)
class Redacted:
    """What is left of some bytes, and how many secrets of each kind went.

    Args:
        data: The bytes with placeholders; the same object as the input when nothing was found.
        hits: Number of replacements by rule name; empty when nothing was found.
    """

    data: bytes
    hits: dict[str, int]


@dataclass(frozen=True)
class _Matcher:
    order: int
    match: re.Pattern[bytes]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class _Gate:
    """A scan: its expression, and for each of its groups the anchor's length and the rules to try there."""

    scan: re.Pattern[bytes]
    lowered: bool
    targets: tuple[tuple[int, tuple[_Matcher, ...]], ...]


_Span = tuple[int, int, int]


class Redactor:
    """Replaces every secret by ``[REDACTED:<rule>]``.

    The result depends on each line alone, has as many lines as the input, is valid JSON where the input is,
    and is left unchanged by a second pass.

    Args:
        rules: The rules in order of priority.
    """

    def __init__(self, rules: Iterable[Rule] = RULES) -> None:
        self._rules = tuple(rules)
        self._placeholders = [f"[REDACTED:{rule.name}]".encode() for rule in self._rules]
        self._gates = _build_gates(self._rules)

    def redact(self, data: bytes) -> Redacted:
        """Return ``data``, one event or many lines of JSON, without its secrets."""
        spans = self._find(data)
        if not spans:
            return Redacted(data, {})
        hits: dict[str, int] = {}
        pieces: list[bytes] = []
        done = 0
        for first, last, inside in _by_line(data, spans):
            pieces.append(data[done:first])
            pieces.append(self._settle(data[first:last], inside, hits))
            done = last
        pieces.append(data[done:])
        return Redacted(b"".join(pieces), hits)

    def _settle(self, line: bytes, spans: list[_Span], hits: dict[str, int]) -> bytes:
        """Replace until nothing new shows: taking one secret out can lay bare another beside it."""
        for _ in range(_ROUNDS):
            line = self._replace(line, spans, hits)
            spans = self._find(line)
            if not spans:
                break
        return line

    def _replace(self, line: bytes, spans: list[_Span], hits: dict[str, int]) -> bytes:
        pieces: list[bytes] = []
        done = 0
        for start, end, order in spans:
            name = self._rules[order].name
            hits[name] = hits.get(name, 0) + 1
            pieces += (line[done:start], self._placeholders[order])
            done = end
        pieces.append(line[done:])
        return b"".join(pieces)

    def _find(self, data: bytes) -> list[_Span]:
        lowered = data.lower()
        found: list[_Span] = []
        for gate in self._gates:
            resume: dict[int, int] = {}
            for hit in gate.scan.finditer(lowered if gate.lowered else data):
                back, matchers = gate.targets[(hit.lastindex or 1) - 1]
                at = hit.start() - back
                for matcher in matchers:
                    if at >= resume.get(matcher.order, 0):
                        span = _try(matcher, data, at)
                        if span is not None:
                            found.append(span)
                            resume[matcher.order] = span[1]
        return _merge(found)


def _try(matcher: _Matcher, data: bytes, at: int) -> _Span | None:
    match = matcher.match.match(data, at)
    if match is None:
        return None
    start, end = next(match.span(group) for group in matcher.groups if match.start(group) >= 0)
    # An odd run of backslashes means that the first byte is the letter of an escape, as in "\npm_...".
    before = start
    while before and data[before - 1] == 0x5C:
        before -= 1
    return None if (start - before) % 2 else (start, end, matcher.order)


def _merge(found: list[_Span]) -> list[_Span]:
    merged: list[_Span] = []
    for start, end, order in sorted(found):
        if merged and start < merged[-1][1]:
            first, last, other = merged[-1]
            merged[-1] = (first, max(last, end), min(order, other))
        else:
            merged.append((start, end, order))
    return merged


def _by_line(data: bytes, spans: list[_Span]) -> Iterable[tuple[int, int, list[_Span]]]:
    """Yield (start, end, spans relative to start) for each line with spans; none crosses lines."""
    position = 0
    while position < len(spans):
        first = data.rfind(b"\n", 0, spans[position][0]) + 1
        last = data.find(b"\n", first)
        last = len(data) if last < 0 else last
        inside: list[_Span] = []
        while position < len(spans) and spans[position][0] < last:
            start, end, order = spans[position]
            inside.append((start - first, end - first, order))
            position += 1
        yield first, last, inside


_Targets = list[tuple[bytes, tuple[_Matcher, ...]]]


def _build_gates(rules: tuple[Rule, ...]) -> tuple[_Gate, ...]:
    grouped: dict[tuple[bool, bytes, bytes], list[_Matcher]] = {}
    for order, rule in enumerate(rules):
        pattern = re.compile(rule.pattern)
        matcher = _Matcher(order, pattern, tuple(pattern.groupindex))
        for anchor in rule.anchors:
            grouped.setdefault((rule.ignore_case, anchor, rule.gate), []).append(matcher)
    backward: dict[bytes, _Targets] = {}
    forward: dict[bytes, _Targets] = {}
    gates: list[_Gate] = []
    for (lowered, anchor, follow), matchers in grouped.items():
        target = (anchor, tuple(matchers))
        if not lowered and not follow and anchor[-1:] in (b"-", b"_", b"."):
            backward.setdefault(anchor[-1:], []).append(target)
        elif not lowered and not follow and anchor[:1].isupper():
            forward.setdefault(anchor[:1], []).append(target)
        else:
            gates.append(_Gate(re.compile(re.escape(anchor) + follow), lowered, ((0, target[1]),)))
    gates.extend(_backward_gate(byte, targets) for byte, targets in backward.items())
    gates.extend(_forward_gate(byte, targets) for byte, targets in forward.items())
    return tuple(gates)


def _forward_gate(byte: bytes, targets: _Targets) -> _Gate:
    ordered = sorted(targets, key=lambda target: (-len(target[0]), target[0]))
    rest = b"|".join(re.escape(anchor[1:]) + b"()" for anchor, _ in ordered)
    return _Gate(
        re.compile(byte + b"(?:" + rest + b")"), False, tuple((0, matchers) for _, matchers in ordered)
    )


def _backward_gate(byte: bytes, targets: _Targets) -> _Gate:
    # The longest first: where one anchor ends like another, its rules are the ones meant. One look back for
    # each width, since inside it an alternative is refused by its first byte.
    ordered = sorted(targets, key=lambda target: (-len(target[0]), target[0]))
    widths: dict[int, list[bytes]] = {}
    for anchor, _ in ordered:
        widths.setdefault(len(anchor), []).append(re.escape(anchor) + b"()")
    tests = b"|".join(b"(?<=" + b"|".join(anchors) + b")" for anchors in widths.values())
    before = [re.escape(bytes(sorted({anchor[place] for anchor, _ in ordered}))) for place in (-3, -2)]
    near = b"(?<=[" + before[0] + b"][" + before[1] + b"]" + re.escape(byte) + b")"
    scan = re.compile(re.escape(byte) + near + b"(?=[A-Za-z0-9+/_-]{6})(?:" + tests + b")")
    return _Gate(scan, False, tuple((len(anchor) - 1, matchers) for anchor, matchers in ordered))
