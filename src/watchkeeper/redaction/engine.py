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
from functools import cache, cached_property
from hashlib import blake2b
from importlib.util import find_spec
from typing import TYPE_CHECKING

from watchkeeper.redaction.assignments import DENSE_KIND, REST_OF_STRING, Candidate, candidates, weigh
from watchkeeper.redaction.gates import Gate, build_gates, cuts_escape, starts_word
from watchkeeper.redaction.rule import Rule
from watchkeeper.redaction.rules import RULES

if TYPE_CHECKING:
    from watchkeeper.redaction.screens import Screen
    from watchkeeper.settings import Settings

_ROUNDS = 8
_WEIGHED = 512
_WEIGHED_WITHIN = 64 << 10
"""At most so many finds of one line are weighed within so many bytes."""
DENSE = "dense-text"
"""Counted where so much of a text looks like secrets that the rest of it went whole."""
LEARNT = "learnt-secret"
_SCREENED = 256
"""Shorter texts are scanned without a screen."""
_UNSCREENED = {"hyperscan": 16 << 20, "re2": 2 << 20, "re": 0}
"""As many bytes are scanned before a screen is made, which takes longer than scanning them."""
MODES = ("redact", "hash", "metadata")
REVISION = 4
"""Raised whenever code, not a rule, changes what is found."""


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
        mode: ``redact``; ``hash``, where a placeholder ends in eight digits that are the same for the same
            secret, ``[REDACTED:<rule>:<digits>]``; or ``metadata``, where besides no content stays at all.
        key: Secret bytes for ``hash``, without which the digits say nothing.
        allow: Regular expressions; what one of them finds a match in stays.
        engine: ``hyperscan``, ``re2``, ``re``, or ``auto`` for the fastest that is installed. It decides how
            fast lines without secrets are passed over, and never what is found.

    Raises:
        ValueError: The mode is unknown, or has no key.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = RULES,
        *,
        mode: str = "redact",
        key: bytes = b"",
        allow: Iterable[str] = (),
        engine: str = "auto",
    ) -> None:
        if mode not in MODES or (mode == "hash" and not key):
            raise ValueError(f"redaction mode {mode!r} is unknown or has no key")
        self.mode = mode
        self._engine = _chosen() if engine == "auto" else engine
        self._screen: Screen | None = None
        self._unscreened = _UNSCREENED[self._engine] if engine == "auto" else 0
        self._key = key
        self._allow = [re.compile(pattern.encode()) for pattern in allow]
        self._learnt: dict[bytes, None] = {}
        self._needles: list[tuple[re.Pattern[bytes], dict[int, int]]] = []
        self._rules = tuple(rules)
        self._names = [*(rule.name for rule in self._rules), LEARNT, DENSE]
        self._order = {name: order for order, name in enumerate(self._names)}
        self._placeholders = [f"[REDACTED:{name}]".encode() for name in self._names]
        self._gates = build_gates(self._rules)
        self._services = [
            (order, re.compile(rule.names), re.compile(rule.value))
            for order, rule in enumerate(self._rules)
            if rule.names
        ]
        self._by_name: dict[bytes, list[tuple[int, re.Pattern[bytes]]]] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> Redactor:
        """Return the redactor that the settings ask for.

        Raises:
            ConfigError: A setting or the user's file of rules cannot be used; the place is named.
        """
        from watchkeeper.redaction.configuration import configured

        return configured(settings)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force, in order of priority."""
        return self._rules

    @cached_property
    def version(self) -> str:
        """A digest of everything that decides about the result, apart from what was learnt."""
        told = [
            (rule.name, rule.anchors, rule.body, rule.lead, rule.scans, rule.lowered, rule.names, rule.value)
            for rule in self._rules
        ]
        key = blake2b(self._key, digest_size=8).hexdigest() if self.mode == "hash" else ""
        allow = [pattern.pattern for pattern in self._allow]
        return blake2b(repr((REVISION, self.mode, key, allow, told)).encode(), digest_size=12).hexdigest()

    def learn(self, values: Iterable[bytes], *, certain: bool = False) -> int:
        """Look for these secrets from now on, in every form of `learning.variants`; return how many are new.

        Values that are short or common are not learnt, see `learning.worth_learning`, unless it is certain that they
        are secrets.
        """
        from watchkeeper.redaction.learning import needles, worth_learning

        new = [
            value
            for value in dict.fromkeys(values)
            if value not in self._learnt and (certain or worth_learning(value))
        ]
        if new:
            self._learnt.update(dict.fromkeys(new))
            self._needles = needles(self._learnt)
        return len(new)

    def learnt(self) -> list[bytes]:
        """Return what was learnt, as it is: not to be stored in clear."""
        return list(self._learnt)

    def find(self, data: bytes) -> list[tuple[int, int, str]]:
        """Return the secrets of some text as (start, end, rule), in order, without changing anything."""
        return [(start, end, self._names[order]) for start, end, order in self._find(data)]

    def redact(self, data: bytes) -> Redacted:
        """Return ``data``, one event or many lines of JSON, without its secrets."""
        redacted = self._redact(data)
        if self.mode != "metadata":
            return redacted
        from watchkeeper.redaction.metadata import strip_line

        lines = [strip_line(line) for line in redacted.data.split(b"\n")]
        return Redacted(b"\n".join(lines), redacted.hits)

    def redact_text(self, text: str) -> str:
        """Return a text that is no JSON, such as the value of a variable, without its secrets."""
        return self._redact(text.encode("utf-8", "surrogatepass")).data.decode("utf-8", "surrogatepass")

    def _redact(self, data: bytes) -> Redacted:
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
            pieces += (line[done:start], self._placeholder(order, line[start:end]))
            done = end
        pieces.append(line[done:])
        return b"".join(pieces)

    def _placeholder(self, order: int, secret: bytes) -> bytes:
        if self.mode != "hash":
            return self._placeholders[order]
        digits = blake2b(secret, key=self._key[:64], digest_size=4).hexdigest()
        return b"%s:%s]" % (self._placeholders[order][:-1], digits.encode())

    def _find(self, data: bytes) -> list[_Span]:
        lines = self._screened(data)
        if lines is None:
            found = self._scan(data)
        else:
            found = [
                (start + first, end + first, order)
                for first, last in lines
                for start, end, order in self._scan(data[first:last])
            ]
        for scan, back in self._needles:
            for hit in scan.finditer(data):
                start = hit.start() - back[hit.lastindex or 1]
                if not cuts_escape(data, start):
                    found.append((start, hit.end(), self._order[LEARNT]))
        if self._allow:
            found = [span for span in found if not self._allowed(data[span[0] : span[1]])]
        return _merge(found)

    def _screened(self, data: bytes) -> list[tuple[int, int]] | None:
        """Return the lines that may hold a secret; None: look at all."""
        if self._engine == "re" or len(data) < _SCREENED:
            return None
        if self._screen is None:
            self._unscreened -= len(data)
            if self._unscreened > 0:
                return None
            from watchkeeper.redaction.screens import screen_for

            self._screen = screen_for(self._engine, self._rules)
        return None if self._screen is None else self._screen(data)

    def _scan(self, data: bytes) -> list[_Span]:
        lowered = data.lower()
        found: list[_Span] = []
        for gate in self._gates:
            _collect(gate, data, lowered, found)
        possible = candidates(lowered)
        if possible:
            self._weigh(data, possible, found)
        return found

    def _allowed(self, value: bytes) -> bool:
        return any(pattern.search(value) for pattern in self._allow)

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


@cache
def _chosen() -> str:
    return next(name for name in ("hyperscan", "re2", "re") if name == "re" or find_spec(name) is not None)


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
