"""Splits transcript bytes into lines and decodes them, also the ones that strict parsers refuse.

Nearly all lines are decoded by msgspec. What it refuses is read again tolerantly: byte order marks, NUL
padding, invalid UTF-8, lone surrogates, control characters, NaN, numbers out of range and nesting beyond
any sense are mended where they stand, so that the rest of the line is kept. Only what is no JSON object is
skipped, with the reason.

A line can hold several objects: a client that appends to a file whose last line has no line end, or breaks off, writes
its first line right behind it. `decode_objects` gives each of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

MAXIMUM_DEPTH = 200
_PADDING = b"\x00 \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_RECORD_START = re.compile(r'\{\s*"(?:type|parentUuid|logicalParentUuid|sessionId|isSidechain|uuid)"\s*:')
_MOST_PIECES = 200
_decode_strictly = msgspec.json.Decoder().decode
_pack = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class Skip:
    """A line that holds no object; the reason is ``blank`` where nothing was lost by it."""

    reason: str


def split_lines(data: bytes, first_line: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of ``data`` with their numbers, without line ends (LF or CRLF).

    Args:
        data: Lines; the last one may lack its line end.
        first_line: The number of the first.
    """
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, first_line):
        yield number, line[:-1] if line.endswith(b"\r") else line


def decode(line: bytes) -> dict[str, Any] | Skip:
    """Return the object on one line, mended where need be, or why there is none."""
    try:
        value = _decode_strictly(line)
        # Whole numbers come out of any length; those that nothing can store are refused here.
        _pack(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        value = _decode_tolerantly(line)
    if isinstance(value, dict | Skip):
        return value
    return Skip(f"not an object but a JSON {_kind(value)}")


def decode_objects(line: bytes) -> list[dict[str, Any] | Skip]:
    """Return every object on one line in order, and for what is none the reason; at least one item.

    After a record that breaks off the next one is looked for by what every line of a session carries at its top, so
    that an object nested in the broken one is never taken for a record.
    """
    first = decode(line)
    if isinstance(first, dict) or first.reason == "blank":
        return [first]
    found = _pieces(_mended(line))
    return found if any(isinstance(item, dict) for item in found) else [first]


def _pieces(text: str) -> list[dict[str, Any] | Skip]:
    found: list[dict[str, Any] | Skip] = []
    place = 0
    while place < len(text):
        value, end = _value_at(text, place)
        if end == place:
            found.append(Skip("a record that breaks off, with others behind it on the line"))
            value, end = _next_record(text, place + 1)
            if value is None:
                break
        found.append(value if isinstance(value, dict) else Skip(f"not an object but a JSON {_kind(value)}"))
        place = end + len(text[end : end + 64]) - len(text[end : end + 64].lstrip("\x00 \t\r"))
    return found


def _value_at(text: str, place: int) -> tuple[Any, int]:
    """Return the JSON value at a place and where it ends; the place itself where none begins."""
    try:
        return _scanner.raw_decode(text, place)
    except (json.JSONDecodeError, RecursionError):
        return None, place


def _next_record(text: str, place: int) -> tuple[dict[str, Any] | None, int]:
    for match in islice(_RECORD_START.finditer(text, place), _MOST_PIECES):
        value, end = _value_at(text, match.start())
        if _is_record(value):
            return value, end
    return None, len(text)


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), str) for name in ("type", "sessionId"))


def _mended(line: bytes) -> str:
    bare = line.strip(_PADDING).removeprefix(_BYTE_ORDER_MARK).strip(_PADDING)
    return _ESCAPE.sub(_mend_escape, bare.decode("utf-8", "replace"))


def _decode_tolerantly(line: bytes) -> Any:
    text = _mended(line)
    if not text:
        return Skip("blank")
    try:
        try:
            return _parse(text)
        except RecursionError:
            return _parse(_without_depth(text))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return Skip("several JSON values on one line")
        return Skip(f"not JSON: {error.msg} at character {error.pos + 1} of {len(text)}")


def _parse(text: str) -> Any:
    return _scanner.decode(text)


def _parse_float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _parse_int(digits: str) -> int | float | None:
    # What does not fit into 64 bits is a float: no store takes it as it is.
    value = _parse_float(digits)
    return int(digits) if value is not None and abs(value) < 2**63 else value


_scanner = json.JSONDecoder(
    strict=False, parse_constant=lambda _: None, parse_float=_parse_float, parse_int=_parse_int
)


def _mend_escape(match: re.Match[str]) -> str:
    return "\\ufffd" if match.group(1) else match.group()


def _without_depth(text: str) -> str:
    """Return the JSON text with everything that is nested too deep replaced by null."""
    kept: list[str] = []
    depth = done = 0
    for match in _STRUCTURE.finditer(text):
        mark = match.group()
        if mark in ("[", "{"):
            depth += 1
            if depth == MAXIMUM_DEPTH + 1:
                kept += (text[done : match.start()], "null")
        elif mark in ("]", "}"):
            if depth == MAXIMUM_DEPTH + 1:
                done = match.end()
            depth -= 1
    if depth > MAXIMUM_DEPTH:
        return "".join(kept)
    kept.append(text[done:])
    return "".join(kept)


def _kind(value: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
