"""Replaces given values in JSON lines, in every form in which JSON text may hold them.

A value is looked for as it is, as JSON writes it in a string (with and without escapes for what is not ASCII), as JSON
within JSON writes it, as an address writes it, and in Base64. The value in pieces is not found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from watchkeeper.redaction.engine import Redacted
from watchkeeper.redaction.learning import variants
from watchkeeper.sources.claude_code.lines import Skip, decode

RULE = "forgotten"
PLACEHOLDER = f"[REDACTED:{RULE}]"


class ExactValues:
    """Values that must go.

    Args:
        values: The values, none of them empty.
        rule: Names the placeholder.
    """

    def __init__(self, values: Iterable[bytes], rule: str = RULE) -> None:
        self._rule = rule
        self._placeholder = f"[REDACTED:{rule}]"
        self._values = [value for value in values if value]
        forms = sorted({form for value in self._values for form in forms_of(value)}, key=len, reverse=True)
        self._forms = forms
        self._pattern = re.compile(b"|".join(map(re.escape, forms)) or b"(?!)")
        texts = sorted({value.decode("utf-8", "replace") for value in self._values}, key=len, reverse=True)
        self._texts = re.compile("|".join(map(re.escape, texts)) or "(?!)")

    @property
    def forms(self) -> list[bytes]:
        """What is looked for, the longest first."""
        return self._forms

    def found_in(self, data: bytes) -> bool:
        """Tell whether any form of any value is there."""
        return any(form in data for form in self._forms)

    def redact(self, data: bytes) -> Redacted:
        """Return the lines with placeholders in place of the values; lines stay lines, and JSON stays JSON."""
        if not self.found_in(data):
            return Redacted(data, {})
        whole, count = self._pattern.subn(self._placeholder.encode(), data)
        if data.count(b"\n") == whole.count(b"\n"):
            before, after = data.split(b"\n"), whole.split(b"\n")
            lines = [self._line(old, new) for old, new in zip(before, after, strict=True)]
            whole = b"\n".join(lines)
        else:
            # The value itself holds a line end, as a key file does outside of JSON: the number of lines stays.
            whole = self._pattern.sub(self._same_lines, data)
        return Redacted(whole, {self._rule: count} if count else {})

    def _line(self, old: bytes, new: bytes) -> bytes:
        if old == new:
            return new
        ending = b"\r" if old.endswith(b"\r") else b""
        body = decode(old.removesuffix(b"\r"))
        if isinstance(body, Skip) or not isinstance(decode(new.removesuffix(b"\r")), Skip):
            return new
        # The value stood outside of a string, or took a part of the line's structure along.
        text = json.dumps(self._within(body), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace") + ending

    def _within(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._texts.sub(self._placeholder, value)
        if isinstance(value, list):
            return [self._within(item) for item in value]
        if isinstance(value, dict):
            return {self._within(name): self._within(item) for name, item in value.items()}
        if value is None or isinstance(value, bool):
            return value
        return self._placeholder if self._texts.search(str(value)) else value

    def _same_lines(self, found: re.Match[bytes]) -> bytes:
        return self._placeholder.encode() + b"\n" * found.group().count(b"\n")


def forms_of(value: bytes) -> set[bytes]:
    """Return the forms in which JSON text may hold a value."""
    forms = {value, *variants(value)}
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return forms
    once = {inner for plain in (False, True) for inner in _as_json(text, plain)}
    twice = {inner for form in once for plain in (False, True) for inner in _as_json(form, plain)}
    forms |= {form.encode() for form in once | twice}
    forms |= {quote(text, safe="").encode(), quote(text).encode()}
    return {form for form in forms if form}


def _as_json(text: str, plain: bool) -> set[str]:
    inner = json.dumps(text, ensure_ascii=plain)[1:-1]
    upper = re.sub(r"\\u[0-9a-f]{4}", lambda found: "\\u" + found.group()[2:].upper(), inner)
    return {inner, upper, inner.replace("/", "\\/")}
