"""Engines that say which lines may hold a secret, so that the scans of ``re`` run over those alone.

A screen is one set of expressions that everything found begins with, so that it never overlooks a line; what
is found, and so what is recorded, does not depend on the engine. Hyperscan looks for all of them at once;
RE2 builds one automaton; without either every line is scanned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from watchkeeper.redaction.assignments import KEY_WORDS
from watchkeeper.redaction.rule import Rule

Screen = Callable[[bytes], list[tuple[int, int]] | None]
"""Returns the lines of some text that may hold a secret, as (start, end) in order; None: look at all."""

_MANY = 4096
_NAME = rb"[a-zA-Z0-9_-]{0,40}"
_THEN = rb"(?:\\*[\"']?[ \t]{0,4}(?:[:=>]|\\u003)|[\\\"', nrt]{1,40}value| {1,2}')"


def screen_for(engine: str, rules: Iterable[Rule]) -> Screen | None:
    """Return the screen of an engine; None for ``re``, which needs none.

    Raises:
        ImportError: The engine's package is not installed.
    """
    if engine == "re":
        return None
    expressions = _expressions(rules)
    return _hyperscan(expressions) if engine == "hyperscan" else _re2(expressions)


def _expressions(rules: Iterable[Rule]) -> list[tuple[bytes, bool]]:
    """Return (expression, any case) for everything that a find can begin with."""
    found: dict[tuple[bytes, bool], None] = {}
    for rule in rules:
        for anchor in rule.anchors:
            found[re.escape(anchor) + (b"" if rule.lead[1] else _widened(rule.body)), False] = None
        for literal, rest in rule.scans:
            found[re.escape(literal) + _widened(rest), rule.lowered] = None
    words = "|".join(KEY_WORDS).encode()
    for expression in (
        rb"pass" + _NAME + _THEN,
        rb"secret" + _NAME + _THEN,
        rb"token(?:[a-rt-z0-9_-]" + _NAME + rb")?" + _THEN,
        rb"(?:" + words + rb")[_-]?key" + _NAME + _THEN,
        rb"pwd" + _THEN,
        rb"--[a-z-]{0,60}(?:pass|token|secret|key)[a-z-]{0,12} ",
        rb" -(?:u|-user)[ =]{0,2}[\\\"']{0,16}[a-z0-9_.@+\\%-]{1,64}:",
        rb" -[paw][ ]{0,2}[\\\"']{0,16}[^\s$<(*=,;:)-]",
    ):
        found[expression, True] = None
    return list(found)


_LOOKS = re.compile(rb"\(\?<?[=!](?:[^()\[\]\\]|\\.|\[\^?\]?(?:[^\]\\]|\\.)*\])*\)")
_UPPER_BOUND = re.compile(rb"\{(\d+),\d{2,}\}")


def _widened(expression: bytes) -> bytes:
    """Return an expression without what only ``re`` can do, which matches wherever the given one does; else nothing."""
    wide = _LOOKS.sub(b"", expression)
    for only_here, everywhere in ((b"++", b"+"), (b"*+", b"*"), (b"}+", b"}")):
        wide = wide.replace(only_here, everywhere)
    wide = _UPPER_BOUND.sub(rb"{\1,}", wide)
    if b"(?=" in wide or b"(?!" in wide or b"(?<" in wide:
        return b""
    try:
        empty = re.compile(wide).fullmatch(b"") is not None
    except re.error:
        return b""
    return b"" if empty else wide


def _hyperscan(expressions: list[tuple[bytes, bool]]) -> Screen:
    hyperscan: Any = import_module("hyperscan")
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[expression for expression, _ in expressions],
        ids=list(range(len(expressions))),
        flags=[hyperscan.HS_FLAG_CASELESS if any_case else 0 for _, any_case in expressions],
    )

    def screen(data: bytes) -> list[tuple[int, int]] | None:
        ends: list[int] = []

        def seen(_id: int, _start: int, end: int, _flags: int, _context: Any) -> bool | None:
            ends.append(end)
            return len(ends) > _MANY or None

        try:
            database.scan(data, match_event_handler=seen)
        except hyperscan.ScanTerminated:
            return None
        return _lines(data, ends)

    return screen


def _re2(expressions: list[tuple[bytes, bool]]) -> Screen:
    re2: Any = import_module("re2")
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    options.never_capture = True
    either = b"|".join(
        (b"(?i:" + expression + b")" if any_case else b"(?:" + expression + b")")
        for expression, any_case in expressions
    )
    search = re2.compile(either, options).search

    def screen(data: bytes) -> list[tuple[int, int]] | None:
        lines: list[tuple[int, int]] = []
        position = 0
        while True:
            hit = search(data, position)
            if hit is None:
                return lines
            start, end = _line_at(data, hit.end() - 1)
            lines.append((start, end))
            if len(lines) > _MANY:
                return None
            position = end + 1
            if position > len(data):
                return lines

    return screen


def _lines(data: bytes, ends: list[int]) -> list[tuple[int, int]]:
    lines: list[tuple[int, int]] = []
    until = -1
    for end in sorted(ends):
        if end - 1 > until or not lines:
            start, until = _line_at(data, end - 1)
            lines.append((start, until))
    return lines


def _line_at(data: bytes, place: int) -> tuple[int, int]:
    end = data.find(b"\n", place)
    return data.rfind(b"\n", 0, place) + 1, len(data) if end < 0 else end
