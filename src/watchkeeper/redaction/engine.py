"""Takes secrets out of the bytes of JSON lines.

Two kinds of scan run over the whole input in C: the gates of prefixed tokens and fixed expressions (`gates`),
and those of telling names that are given a value (`assignments`), whose finds are then weighed one by one.

Time is linear in the input. No expression backtracks over more than a bounded number of bytes, or over one
run of characters that nothing else starts in; and of one line no more than a bounded number of finds is
weighed. A line with more is no text that anybody reads: the rest of each string in it goes whole.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from watchkeeper.redaction.assignments import DENSE_KIND, REST_OF_STRING, Candidate, candidates, weigh
from watchkeeper.redaction.gates import Gate, build_gates, starts_word
from watchkeeper.redaction.rule import Rule
from watchkeeper.redaction.rules import RULES

_ROUNDS = 8
_WEIGHED = 512
_WEIGHED_WITHIN = 64 << 10
"""At most so many finds of one line are weighed within so many bytes."""
DENSE = "dense-text"


@dataclass(frozen=True)
class Redacted:
    """What is left of some bytes, and how many secrets of each kind went.

    Args:
        data: The bytes with placeholders; the same object as the input when nothing was found.
        hits: Number of replacements by rule name; empty when nothing was found.
    """

    data: bytes
    hits: dict[str, int]


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
        self._names = [*(rule.name for rule in self._rules), DENSE]
        self._order = {name: order for order, name in enumerate(self._names)}
        self._placeholders = [f"[REDACTED:{name}]".encode() for name in self._names]
        self._gates = build_gates(self._rules)
        self._services = [
            (order, re.compile(rule.names), re.compile(rule.value))
            for order, rule in enumerate(self._rules)
            if rule.names
        ]
        self._by_name: dict[bytes, list[tuple[int, re.Pattern[bytes]]]] = {}

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
            name = self._names[order]
            hits[name] = hits.get(name, 0) + 1
            pieces += (line[done:start], self._placeholders[order])
            done = end
        pieces.append(line[done:])
        return b"".join(pieces)

    def _find(self, data: bytes) -> list[_Span]:
        lowered = data.lower()
        found: list[_Span] = []
        for gate in self._gates:
            _collect(gate, data, lowered, found)
        possible = candidates(lowered)
        if possible:
            self._weigh(data, possible, found)
        return _merge(found)

    def _weigh(self, data: bytes, possible: list[Candidate], found: list[_Span]) -> None:
        """Add the secrets among the candidates of all lines."""
        line_end = resume = -1
        recent: deque[int] = deque(maxlen=_WEIGHED)
        for candidate in possible:
            start = candidate[0]
            if candidate[3] == DENSE_KIND and candidate[1] > resume:
                found.append((max(start, resume), candidate[1], self._order[DENSE]))
                resume = candidate[1]
                continue
            if start < resume:
                continue
            if start >= line_end:
                line_end = data.find(b"\n", start)
                line_end = len(data) if line_end < 0 else line_end
                recent.clear()
            if len(recent) == _WEIGHED and start - recent[0] < _WEIGHED_WITHIN:
                rest = REST_OF_STRING.match(data, start)
                resume = rest.end() if rest is not None else start
                found.append((start, resume, self._order[DENSE]))
                continue
            recent.append(start)
            secret = weigh(data, candidate)
            if secret is not None:
                order = self._kind(secret.name.lower(), data[secret.start : secret.end], secret.kind)
                if order is not None:
                    found.append((secret.start, secret.end, order))
                    resume = secret.end

    def _kind(self, name: bytes, value: bytes, form: str) -> int | None:
        """Return the place of the rule that a named secret falls under; None when that rule is off."""
        known = self._by_name.get(name)
        if known is None:
            known = [(order, shape) for order, names, shape in self._services if names.search(name)]
            if len(self._by_name) < 4096:
                self._by_name[name] = known
        for order, shape in known:
            if shape.fullmatch(value):
                return order
        return self._order.get(form)


def _collect(gate: Gate, data: bytes, lowered: bytes, found: list[_Span]) -> None:
    targets = gate.targets
    if targets[0].back < 0:
        for hit in gate.scan.finditer(lowered if gate.lowered else data):
            group = hit.lastindex or 1
            target = targets[group - 1]
            start, end = hit.span(group)
            if target.weigh is None or target.weigh(data[start:end]):
                found.append((start, end, target.order))
        return
    for hit in gate.scan.finditer(data):
        target = targets[(hit.lastindex or 1) - 1]
        start = hit.start() - target.back
        if (target.led or starts_word(data, start, target.short)) and (
            target.weigh is None or target.weigh(data[start : hit.end()])
        ):
            found.append((start, hit.end(), target.order))


def _merge(found: list[_Span]) -> list[_Span]:
    found.sort()
    merged: list[_Span] = []
    until = -1
    for span in found:
        if span[0] < until:
            first, last, other = merged[-1]
            merged[-1] = (first, max(last, span[1]), min(span[2], other))
            until = merged[-1][1]
        else:
            merged.append(span)
            until = span[1]
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
