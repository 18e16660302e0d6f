"""Rows of the index that are positions and places, not facts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RangeRow:
    """Where the archive holds some lines of a transcript.

    Attributes:
        pack: Empty where it holds none: the line was too long, or the content was taken out again.
        digest: Digest of the content, by which it is found when the place fits no more; empty for none.
        raw_digest: Digest of the bytes as they came in the sealed archive; empty for none.
    """

    file_key: str
    generation: int
    first_line: int
    line_count: int
    pack: str
    position: int
    seq: int
    digest: str = ""
    raw_digest: str = ""


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


@dataclass(frozen=True, slots=True)
class TextRow:
    """What one session says at one place, as it is given to the full-text index.

    Attributes:
        place: Key of the transcript file, or the source of a hook event.
        generation: Of the file; 0 for a hook event.
        first_line: Of the archived range; 0 for a hook event.
        session_id: The session that it is found under.
        agent_id: The subagent whose text it is; none for the main one or several.
        by_hook: Whether a hook said it, and not the transcript.
        first_at: Earliest time of its lines in epoch milliseconds.
        last_at: Latest time of its lines.
        text: The texts; empty where there is nothing to search for.
    """

    place: str
    generation: int
    first_line: int
    session_id: str
    agent_id: str | None
    by_hook: bool
    first_at: int | None
    last_at: int | None
    text: str
