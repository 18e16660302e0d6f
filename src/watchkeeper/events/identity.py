"""Identities and small canonical forms that every source uses in the same way."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_canonical = msgspec.json.Encoder(order="deterministic").encode

SUBJECT_LENGTH = 300
ERROR_LENGTH = 500
LARGEST_NUMBER = 2**53

_CORE_FIELDS: dict[str, tuple[str, ...]] = {
    "Bash": ("command",),
    "Read": ("file_path", "offset", "limit"),
    "Write": ("file_path", "content"),
    "Edit": ("file_path", "old_string", "new_string"),
    "MultiEdit": ("file_path", "edits"),
    "NotebookEdit": ("notebook_path", "new_source", "cell_id"),
    "Glob": ("pattern", "path"),
    "Grep": ("pattern", "path", "glob"),
    "WebFetch": ("url",),
    "WebSearch": ("query",),
    "Agent": ("prompt",),
    "Task": ("prompt",),
}

_SUBJECT_FIELDS = (
    "file_path",
    "notebook_path",
    "command",
    "pattern",
    "url",
    "query",
    "description",
    "skill",
    "subject",
    "prompt",
    "path",
)


def signature(tool: str | None, arguments: Any) -> str | None:
    """Return a short digest of what counts in a tool's input.

    Witnesses write the same input with other defaults, so for known tools only the fields that decide what happens
    are compared; for others the whole input.
    """
    if not isinstance(arguments, dict):
        return None
    names = _CORE_FIELDS.get(tool or "")
    core = (
        arguments
        if names is None
        else {name: arguments[name] for name in names if arguments.get(name) is not None}
    )
    return hashlib.blake2b(_canonical([tool, core]), digest_size=8).hexdigest()


def subject(arguments: Any) -> str | None:
    """Return in one line what a call is about, or ``None``."""
    if not isinstance(arguments, dict):
        return None
    for name in _SUBJECT_FIELDS:
        value = arguments.get(name)
        if isinstance(value, str) and value:
            return shorten(value, SUBJECT_LENGTH)
    for value in arguments.values():
        if isinstance(value, str) and value:
            return shorten(value, SUBJECT_LENGTH)
    return None


def shorten(text: str, length: int) -> str:
    """Return at most `length` characters; a cut is marked by an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def whole_number(value: Any) -> int | None:
    """Return a JSON number as an integer, or ``None`` for anything else and for what no count can be.

    Beyond 2**53 a JSON number is not exact, and no store keeps integers of any length.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value) if -LARGEST_NUMBER <= value <= LARGEST_NUMBER else None


def ref(source: str, path: list[str | int], value: Any) -> list[Any] | None:
    """Return the reference to a payload inside an observation, or ``None`` for no payload."""
    if value is None:
        return None
    size = len(value) if isinstance(value, str) else len(_canonical(value))
    return [source, path, size]
