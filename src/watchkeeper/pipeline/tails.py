"""What a running session has just written, read straight from its transcript where no daemon runs.

To put a few lines on record costs a command a quarter of a second, and nothing is lost while they wait. So where only
a little is new, and only in transcripts that are known, the quick commands look at those lines themselves: for the
order of the list, and whether a search must wait for them after all. Standard library and SQLite only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from watchkeeper.pipeline.freshness import Grown
from watchkeeper.sources.claude_code.samples import read_at, sample_digest
from watchkeeper.store.sqlite.reading import Reader

MOST_BYTES = 256 << 10
"""More than this in all is put on record first."""
MOST_FILES = 16
LONGEST_WAIT_MS = 5 * 60_000
"""How long a line may wait to be counted."""

_TITLES = frozenset({"summary", "custom-title", "ai-title"})


class Tails(NamedTuple):
    """Lines that are not on record yet.

    Attributes:
        bodies: The lines.
        last_at: By session the time of its latest line, in epoch milliseconds.
        since: The time of the earliest line, or before it.
    """

    bodies: list[dict[str, Any]]
    last_at: dict[str, int]
    since: int


def read_tails(reader: Reader, grown: Sequence[Grown], now_ms: int) -> Tails | None:
    """Return what transcripts hold beyond what is on record; ``None`` where it must be put on record first.

    That is so where it is much or has waited long, where a line cannot be read or is not simply one more of a session
    that is on record, where it names a session, and where a file was replaced.
    """
    if len(grown) > MOST_FILES or sum(item.size - item.position for item in grown) > MOST_BYTES:
        return None
    bodies: list[dict[str, Any]] = []
    since = now_ms
    for item in grown:
        found = _new_lines(reader, item)
        if found is None:
            return None
        bodies += found
        times = [at for at in map(_time, found) if at is not None]
        since = min(since, max(item.mtime_ns // 1_000_000, min(times, default=0)))
    last_at = _latest(bodies)
    if last_at is None or now_ms - since > LONGEST_WAIT_MS or not _on_record(reader, last_at):
        return None
    return Tails(bodies, {session: at for session, at in last_at.items() if at}, since)


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


def _new_lines(reader: Reader, item: Grown) -> list[dict[str, Any]] | None:
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
    return _decoded(data)


def _decoded(data: bytes) -> list[dict[str, Any]] | None:
    *lines, last = data.split(b"\n")
    bodies = [_object(line) for line in lines if line.strip()]
    if last.strip():
        # Still being written, unless it is whole.
        unfinished = _object(last)
        bodies += [] if unfinished is None else [unfinished]
    known = [body for body in bodies if body is not None]
    return known if len(known) == len(bodies) else None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _latest(bodies: Iterable[dict[str, Any]]) -> dict[str, int] | None:
    """Return by session the latest time of its lines, 0 where none has one; ``None`` for lines of another kind."""
    found: dict[str, int] = {}
    for body in bodies:
        if body.get("type") in _TITLES or "forkedFrom" in body:
            return None
        session = body.get("sessionId")
        if session is not None and not isinstance(session, str):
            return None
        if session:
            found[session] = max(found.get(session, 0), _time(body) or 0)
    return found


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
