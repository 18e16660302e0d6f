"""Rows of the index that are positions and places, not facts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RangeRow:
    """Where the archive holds some lines of a transcript."""

    file_key: str
    generation: int
    first_line: int
    line_count: int
    pack: str
    position: int
    seq: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """How far a transcript file is on record."""

    file_key: str
    path: str
    relative: str
    generation: int
    inode: int
    device: int
    position: int
    lines: int
    head_digest: str
    size: int
    mtime_ns: int
