"""Splits transcript bytes into lines and decodes them, also the ones that strict parsers refuse.

Nearly all lines are decoded by msgspec. What it refuses is read again tolerantly: byte order marks, NUL
padding, invalid UTF-8, lone surrogates, control characters, NaN, numbers out of range and nesting beyond
any sense are mended where they stand, so that the rest of the line is kept. Only what is no JSON object is
skipped, with the reason.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
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


def _decode_tolerantly(line: bytes) -> Any:
    bare = line.strip(_PADDING).removeprefix(_BYTE_ORDER_MARK).strip(_PADDING)
    if not bare:
        return Skip("blank")
    text = _ESCAPE.sub(_mend_escape, bare.decode("utf-8", "replace"))
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
    return json.loads(
        text, strict=False, parse_constant=lambda _: None, parse_float=_parse_float, parse_int=_parse_int
    )


def _parse_float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _parse_int(digits: str) -> int | float | None:
    # What does not fit into 64 bits is a float: no store takes it as it is.
    value = _parse_float(digits)
    return int(digits) if value is not None and abs(value) < 2**63 else value


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
