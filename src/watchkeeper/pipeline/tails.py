"""What a running session has just written, read straight from its transcript where no daemon runs.

To put a few lines on record costs a command a quarter of a second, and nothing is lost while they wait. So where only
a little is new, and only in transcripts that are known, the quick commands look at those lines themselves: for the
order of the list, and whether a search must wait for them after all. Standard library and SQLite only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from watchkeeper.pipeline.freshness import Grown
from watchkeeper.sources.claude_code.samples import read_at, sample_digest
from watchkeeper.store.sqlite.reading import Reader

if TYPE_CHECKING:
    from watchkeeper.spool.frames import Frame

MOST_BYTES = 256 << 10
"""More than this in all is put on record first."""
MOST_FILES = 16
LONGEST_WAIT_MS = 5 * 60_000
"""How long a line may wait to be counted."""

_EVENT = 1
"""`FrameKind.EVENT`; decisions and events of other kinds are put on record first."""
_TITLES = frozenset({"summary", "custom-title", "ai-title"})
_WAITING_HOOKS = frozenset(
    {
        "PreToolUse",
        "PostToolUse",
        "PostToolUseFailure",
        "PermissionRequest",
        "UserPromptSubmit",
        "Notification",
        "SubagentStart",
        "SubagentStop",
        "Stop",
    }
)
"""Events in the course of a session; others begin, end or rename one."""


class Tail(NamedTuple):
    """A line or event that is not on record yet: its session, its time in epoch milliseconds, and what it says."""

    session: str | None
    at: int | None
    body: dict[str, Any]


class Tails(NamedTuple):
    """What is not on record yet.

    Attributes:
        bodies: The lines and events.
        last_at: By session the time of its latest one, in epoch milliseconds.
        since: The time of the earliest, or before it.
    """

    bodies: list[dict[str, Any]]
    last_at: dict[str, int]
    since: int


def read_tails(
    reader: Reader, grown: Sequence[Grown], now_ms: int, spool: Path | None = None
) -> Tails | None:
    """Return what transcripts and the spool hold beyond what is on record; ``None`` where that must be recorded first.

    That is so where it is much or has waited long, where a line cannot be read or is not simply one more of a session
    that is on record, where it names a session, and where a file was replaced.

    Args:
        reader: The index.
        grown: The transcripts that have grown.
        now_ms: The present time.
        spool: The spool, where hooks have left something.
    """
    if len(grown) > MOST_FILES or sum(item.size - item.position for item in grown) > MOST_BYTES:
        return None
    found: list[Tail] = []
    since = now_ms
    for item in grown:
        lines = _new_lines(reader, item)
        if lines is None:
            return None
        found += lines
        times = [line.at for line in lines if line.at is not None]
        since = min(since, max(item.mtime_ns // 1_000_000, min(times, default=0)))
    if spool is not None:
        events = _spooled(reader, spool)
        if events is None:
            return None
        found += events
        since = min(since, min((event.at for event in events if event.at), default=since))
    last_at: dict[str, int] = {}
    for tail in found:
        if tail.session:
            last_at[tail.session] = max(last_at.get(tail.session, 0), tail.at or 0)
    if now_ms - since > LONGEST_WAIT_MS or not _on_record(reader, last_at):
        return None
    known = {session: at for session, at in last_at.items() if at}
    return Tails([tail.body for tail in found], known, since)


def may_wait(reader: Reader, tails: Tails, words: Sequence[str], since_ms: int | None) -> bool:
    """Tell whether the index finds the same sessions without these lines.

    Args:
        reader: The index.
        tails: The lines.
        words: What is searched for.
        since_ms: Sessions without an event at or after this time are left out.
    """
    return not (_enter(reader, tails, since_ms) or (words and _hold_a_word(reader, tails, words)))


def _enter(reader: Reader, tails: Tails, since_ms: int | None) -> bool:
    """Tell whether a session has its first event of a stretch of time here."""
    if since_ms is None:
        return False
    query = (
        "SELECT 1 FROM sessions WHERE last_at < ? AND session_id IN (SELECT value FROM json_each(?)) LIMIT 1"
    )
    late = [session for session, at in tails.last_at.items() if at >= since_ms]
    return reader.value(query, (since_ms, json.dumps(late))) is not None


def _hold_a_word(reader: Reader, tails: Tails, given: Sequence[str]) -> bool:
    """Tell whether one of the search words stands in these lines, so that the index alone would not find it."""
    # A list does without them.
    from watchkeeper.queries.search_words import Words
    from watchkeeper.store.search_text import searchable

    words = Words(reader.connection, given)
    return any(
        any(True for _ in words.spans(text, word))
        for body in tails.bodies
        for text in searchable(body)
        for word in words.all
    )


def _new_lines(reader: Reader, item: Grown) -> list[Tail] | None:
    digest = reader.value("SELECT head_digest FROM files WHERE path = ?", (item.path,))
    try:
        descriptor = os.open(item.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        whole_line = not item.position or os.pread(descriptor, 1, item.position - 1) == b"\n"
        if not whole_line or sample_digest(descriptor, item.position) != digest:
            return None
        data = read_at(descriptor, item.position, item.size - item.position)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return _lines(data)


def _lines(data: bytes) -> list[Tail] | None:
    *ended, last = data.split(b"\n")
    bodies = [_object(line) for line in ended if line.strip()]
    if last.strip():
        # Still being written, unless it is whole.
        unfinished = _object(last)
        bodies += [] if unfinished is None else [unfinished]
    tails = [None if body is None else _line(body) for body in bodies]
    known = [tail for tail in tails if tail is not None]
    return known if len(known) == len(tails) else None


def _line(body: dict[str, Any]) -> Tail | None:
    session = body.get("sessionId")
    if body.get("type") in _TITLES or "forkedFrom" in body or not isinstance(session, str | None):
        return None
    return Tail(session, _time(body), body)


def _spooled(reader: Reader, spool: Path) -> list[Tail] | None:
    found: list[Tail | None] = []
    left = MOST_BYTES
    try:
        for name in sorted(os.listdir(spool)):  # noqa: PTH208 - the names are enough
            if name.isdigit():
                # Another user's folder.
                return None
            data = _unread(reader, spool / name, left) if name.endswith(".wks") else b""
            if data is None:
                return None
            left -= len(data)
            found += _events(data)
    except OSError:
        return None
    known = [event for event in found if event is not None]
    return known if len(known) == len(found) else None


def _unread(reader: Reader, segment: Path, most: int) -> bytes | None:
    from watchkeeper.spool.frames import SEGMENT_HEADER, decode_segment_header

    with segment.open("rb") as file:
        header = decode_segment_header(file.read(SEGMENT_HEADER.size))
        if header is None:
            return None
        position = reader.value("SELECT value FROM meta WHERE name = ?", (f"spool:{header[0].hex()}",))
        file.seek(position or SEGMENT_HEADER.size)
        data = file.read(most + 1)
    return data if len(data) <= most else None


def _events(data: bytes) -> Iterator[Tail | None]:
    from watchkeeper.spool.frames import decode_frames

    for item in decode_frames(data):
        yield None if item.frame is None else _event(item.frame)


def _event(frame: Frame) -> Tail | None:
    body = None if frame.truncated or frame.kind != _EVENT else _object(frame.payload)
    if body is None or body.get("hook_event_name") not in _WAITING_HOOKS:
        return None
    session = body.get("session_id")
    return Tail(session, frame.wall_ns // 1_000_000, body) if isinstance(session, str) and session else None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _on_record(reader: Reader, sessions: Iterable[str]) -> bool:
    wanted = list(sessions)
    count = reader.value(
        "SELECT count(*) FROM sessions WHERE cwd IS NOT NULL AND last_at IS NOT NULL"
        " AND session_id IN (SELECT value FROM json_each(?))",
        (json.dumps(wanted),),
    )
    return bool(count == len(wanted))


def _time(body: dict[str, Any]) -> int | None:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(body["timestamp"])
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
