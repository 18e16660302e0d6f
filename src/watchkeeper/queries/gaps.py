"""Finds the calls that a witness missed, and says why.

Nearly all calls were seen by all; the few that were not are fetched and classified by `events.gaps.call_gap`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from watchkeeper.events.entities import SEEN_HOOK_FAILURE, SEEN_HOOK_POST, SEEN_HOOK_PRE, SEEN_TRANSCRIPT
from watchkeeper.events.gaps import call_gap
from watchkeeper.store.sqlite.reading import Reader

_SUSPECT = f"(c.seen & {SEEN_HOOK_PRE}) = 0 OR (c.seen & {SEEN_HOOK_POST | SEEN_HOOK_FAILURE}) = 0 OR c.background = 1"
_UNWRITTEN = f"(c.seen & {SEEN_TRANSCRIPT}) = 0"


def first_hook_ever(reader: Reader) -> int | None:
    """Return the time of the first hook event on record; synthetic sessions do not count."""
    value = reader.value("SELECT min(hook_first_at) FROM sessions WHERE coalesce(synthetic, 0) = 0")
    return None if value is None else int(value)


def session_gap(session: dict[str, Any], first_hook: int | None) -> str | None:
    """Return the gap of a whole session: no hook event at all although calls were made."""
    if session["hook_first_at"] is not None:
        return None
    started = session["started_at"] or 0
    return "hook_not_installed" if first_hook is None or started < first_hook else "hooks_off"


def call_gaps(
    reader: Reader, session: dict[str, Any], now: int, first_hook: int | None
) -> Iterator[tuple[dict[str, Any], str, list[str]]]:
    """Yield the calls of a hooked session with a gap: the row, the class, the missing witnesses."""
    if session["hook_first_at"] is None:
        return
    # Where there is no transcript at all, none of its calls can be missing there.
    suspect = _SUSPECT if session["transcript_first_at"] is None else f"{_SUSPECT} OR {_UNWRITTEN}"
    rows = reader.rows(
        f"SELECT c.* FROM calls c WHERE c.session_id = ? AND ({suspect}) ORDER BY c.started_at, c.tool_use_id",
        (session["session_id"],),
    )
    for row in rows:
        gap = call_gap(row, session, now=now, first_hook_ever=first_hook)
        if gap is not None:
            yield row, *gap


def gap_count(reader: Reader, session: dict[str, Any], now: int) -> int:
    """Return how many gaps a session has; a session without any hook event counts as one."""
    if session["hook_first_at"] is None:
        return 1 if session.get("tool_calls") else 0
    return sum(1 for _ in call_gaps(reader, session, now, first_hook=None))
