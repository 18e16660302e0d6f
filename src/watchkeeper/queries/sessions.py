"""Which sessions are on record, and one of them in short.

``wk sessions`` must be quick from a cold start, so nothing here imports more than SQLite.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from watchkeeper.errors import NotFoundError, UsageError
from watchkeeper.events.entities import SEEN_HOOK, SEEN_TRANSCRIPT
from watchkeeper.events.gaps import session_is_over
from watchkeeper.queries.folders import folder_now, moved_into
from watchkeeper.queries.forms import (
    dollars,
    project_name,
    rfc3339,
    session_witnesses,
    words,
)
from watchkeeper.queries.gaps import gap_count
from watchkeeper.queries.resuming import resume_anywhere, resume_here
from watchkeeper.settings import Places
from watchkeeper.store.sqlite.reading import Reader

LISTED = """coalesce(s.synthetic, 0) = 0 AND (s.last_at IS NOT NULL
  OR EXISTS (SELECT 1 FROM prompts p WHERE p.session_id = s.session_id)
  OR EXISTS (SELECT 1 FROM calls c WHERE c.session_id = s.session_id)
  OR EXISTS (SELECT 1 FROM requests r WHERE r.session_id = s.session_id))"""
"""Sessions with a time, or with content although none of their lines has one; not those with a mere title."""

_COUNTS = f"""
  (SELECT count(*) FROM prompts p WHERE p.session_id = s.session_id
     AND coalesce(p.text, '') NOT LIKE '<task-notification>%') AS prompts,
  (SELECT count(*) FROM subagents a WHERE a.session_id = s.session_id) AS subagents,
  c.tool_calls, c.failures, c.by_hook, c.by_transcript, c.by_all, r.priced_micros, r.priced_basis
FROM sessions s LEFT JOIN (
  SELECT session_id, count(*) AS tool_calls, sum(failed) AS failures,
         sum((seen & {SEEN_HOOK}) != 0) AS by_hook,
         sum((seen & {SEEN_TRANSCRIPT}) != 0) AS by_transcript,
         sum((seen & {SEEN_HOOK}) != 0 AND ((seen & {SEEN_TRANSCRIPT}) != 0 OR started_at > :lag)) AS by_all
  FROM calls WHERE session_id IN (SELECT session_id FROM picked) GROUP BY session_id
) c ON c.session_id = s.session_id LEFT JOIN (
  SELECT session_id, sum(cost_micros) AS priced_micros, min(cost_basis) AS priced_basis
  -- Without the plus the index that usage is summed from would be walked from end to end.
  FROM requests WHERE session_id IN (SELECT session_id FROM picked) AND +counted = 1 GROUP BY session_id
) r ON r.session_id = s.session_id
"""


def list_sessions(
    reader: Reader,
    *,
    words: Sequence[str] = (),
    project: str | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
    limit: int = 10,
    cursor: str | None = None,
    now_ms: int | None = None,
    newer: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return sessions by their latest event, newest first.

    Args:
        reader: The index.
        words: Each must occur somewhere in the session; the answer is that of `search.search_sessions`.
        project: Part of the project's path.
        since_ms: Only sessions with an event at or after this time.
        until_ms: Only sessions that began before this time.
        limit: Sessions on the page.
        cursor: The ``next`` of the page before.
        now_ms: The present time; the clock's when absent.
        newer: By session the time of an event that is not on record yet. Sessions that `since_ms` leaves out for want
            of it stay out.

    Raises:
        UsageError: The cursor is not one of ours.
    """
    if words:
        from watchkeeper.queries.search import search_sessions

        return search_sessions(
            reader,
            words=words,
            project=project,
            since_ms=since_ms,
            until_ms=until_ms,
            limit=limit,
            cursor=cursor,
            now_ms=now_ms,
            newer=newer,
        )
    condition, bindings = listed_condition(reader.places, project, since_ms, until_ms)
    return page_of_sessions(reader, condition, bindings, limit, cursor, now_ms, newer)


def page_of_sessions(
    reader: Reader,
    condition: str,
    bindings: dict[str, Any],
    limit: int,
    cursor: str | None,
    now_ms: int | None,
    newer: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return one page of the sessions ``s`` that meet a condition, newest first, and how many meet it in all.

    Raises:
        UsageError: The cursor is not one of ours.
    """
    now = int(time.time() * 1000) if now_ms is None else now_ms
    total = reader.value(f"SELECT count(*) FROM sessions s WHERE {condition}", bindings)
    if cursor:
        condition += " AND (coalesce(s.last_at, 0), s.session_id) < (:cursor_at, :cursor_id)"
        bindings |= _parse_cursor(cursor)
    bindings |= {"limit": limit + 1, "lag": now - 60_000}
    picked = _newest(condition)
    if newer:
        picked = f"SELECT * FROM ({picked}) UNION {_among(condition)}"
        bindings["newer"] = _json_of(newer)
    rows = list(
        reader.rows(
            f"WITH picked AS ({picked}) SELECT s.*, {_COUNTS} WHERE s.session_id IN (SELECT session_id FROM picked)"
            " ORDER BY s.last_at DESC, s.session_id DESC",
            bindings,
        )
    )
    if newer:
        rows = _in_order(rows, newer)
    more = len(rows) > limit
    page = rows[:limit]
    following = f"{page[-1]['last_at'] or 0}:{page[-1]['session_id']}" if more and page else None
    return {"sessions": [session_view(reader, row, now) for row in page], "total": total, "next": following}


def _newest(condition: str) -> str:
    order = "ORDER BY s.last_at DESC, s.session_id DESC LIMIT :limit"
    return f"SELECT s.session_id FROM sessions s WHERE {condition} {order}"


def _among(condition: str) -> str:
    given = "s.session_id IN (SELECT value FROM json_each(:newer))"
    return f"SELECT s.session_id FROM sessions s WHERE {condition} AND {given}"


def _json_of(sessions: Iterable[str]) -> str:
    import json

    return json.dumps(list(sessions))


def _in_order(rows: list[dict[str, Any]], newer: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the rows with their latest times, the newest first."""
    for row in rows:
        row["last_at"] = max(row["last_at"] or 0, newer.get(row["session_id"], 0)) or None
    return sorted(rows, key=lambda row: (row["last_at"] or 0, row["session_id"]), reverse=True)


def sessions_by_id(reader: Reader, ids: Sequence[str], now_ms: int | None = None) -> list[dict[str, Any]]:
    """Return the rows of the given sessions, in list form; unlisted ones are left out."""
    now = int(time.time() * 1000) if now_ms is None else now_ms
    found = []
    for session_id in ids:
        row = reader.row(
            "WITH picked AS (SELECT :id AS session_id)"
            f" SELECT s.*, {_COUNTS} WHERE s.session_id = :id AND {LISTED}",
            {"id": session_id, "lag": now - 60_000},
        )
        if row is not None:
            found.append(session_view(reader, row, now))
    return found


def get_session(reader: Reader, session_id: str, now_ms: int | None = None) -> dict[str, Any]:
    """Return one session with its subagents.

    Args:
        reader: The index.
        session_id: The id, or a beginning of it that fits only one session.
        now_ms: The present time; the clock's when absent.

    Raises:
        NotFoundError: No session has this id.
        UsageError: Several sessions begin so.
    """
    full = resolve_session(reader, session_id)
    found = sessions_by_id(reader, [full], now_ms)
    if not found:
        raise NotFoundError(f"session {session_id} is not on record", hint="Run `wk sessions` for the list.")
    return {"session": found[0], "agents": list(_agents(reader, full))}


def content_gone(reader: Reader, session_id: str) -> dict[str, Any] | None:
    """Return ``{"reason", "at"}`` where what a session's transcripts held was dropped; figures are still there.

    ``reason`` is ``age`` (beyond retention) or ``size`` (for want of room). What came later is there again.
    """
    mark = reader.value("SELECT value FROM meta WHERE name = ?", (f"retired:{session_id}",))
    if mark is None:
        return None
    reason, _, at = str(mark).partition(":")
    return {"reason": reason, "at": rfc3339(int(at))}


def resolve_session(reader: Reader, prefix: str) -> str:
    """Return the whole id of the one session that begins with `prefix`.

    Raises:
        NotFoundError: No session begins so.
        UsageError: Several do.
    """
    rows = list(
        reader.rows(
            "SELECT session_id FROM sessions s WHERE session_id >= :low AND session_id < :high"
            f" AND {LISTED} LIMIT 3",
            {"low": prefix, "high": prefix + "\U0010ffff"},
        )
    )
    exact = [row["session_id"] for row in rows if row["session_id"] == prefix]
    if exact:
        return str(exact[0])
    if not rows or not prefix:
        raise NotFoundError(f"session {prefix} is not on record", hint="Run `wk sessions` for the list.")
    if len(rows) > 1:
        raise UsageError(f"several sessions begin with {prefix}", hint="Give more of the id.")
    return str(rows[0]["session_id"])


def session_view(reader: Reader, row: dict[str, Any], now: int) -> dict[str, Any]:
    """Return a session's row in the published form (`models.SessionRow`)."""
    moved = folder_now(reader.places, row["session_id"])
    path = moved or row["project_path"] or row["cwd"]
    ended = (
        row["ended_at"] if row["ended_at"] is not None and row["ended_at"] >= (row["last_at"] or 0) else None
    )
    return {
        "session_id": row["session_id"],
        "project": project_name(path),
        "cwd": moved or row["cwd"],
        "title": _title(row),
        "started_at": rfc3339(row["started_at"]),
        "last_at": rfc3339(row["last_at"]),
        "ended_at": rfc3339(ended),
        "live": not session_is_over(row, now),
        "prompts": row["prompts"],
        "tool_calls": row["tool_calls"] or 0,
        "failures": row["failures"] or 0,
        "subagents": row["subagents"],
        **_cost(row),
        "models": words(row["models"]),
        "git_branch": row["git_branch"],
        "user": row["user_name"],
        "host": row["host"],
        "run_id": row["run_id"],
        "version": max(words(row["versions"]), key=_version_key, default=None),
        "permission_modes": words(row["permission_modes"]),
        "witnesses": session_witnesses(row["seen"]),
        "coverage": _coverage(reader, row, now),
        "resume": resume_here(row["session_id"]),
        "resume_anywhere": resume_anywhere(row["session_id"], path),
    }


def _cost(row: dict[str, Any]) -> dict[str, Any]:
    """Return what the session's requests add up to, as `queries.usage` does, and the client's own total beside it.

    ``computed`` is the basis as soon as one request's cost is. Where no request has a price, the client's total stands.
    """
    client, priced = row["cost_micros"], row["priced_micros"]
    if priced is None:
        return {
            "cost_usd": dollars(client),
            "cost_basis": None if client is None else "reported",
            "client_cost_usd": dollars(client),
        }
    return {
        "cost_usd": dollars(priced),
        "cost_basis": row["priced_basis"],
        "client_cost_usd": dollars(client),
    }


def _title(row: dict[str, Any]) -> str | None:
    given = row["title_custom"] or row["title_ai"] or row["title_summary"] or row["first_prompt"]
    if not given and row["forked_from"]:
        # What a fork was copied with counts for its origin alone.
        given = f"fork of {row['forked_from'][:8]}"
    return " ".join(given.split()) if given else None


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


def _coverage(reader: Reader, row: dict[str, Any], now: int) -> dict[str, Any]:
    calls = row["tool_calls"] or 0
    hooked, written = row["hook_first_at"] is not None, row["transcript_first_at"] is not None
    alone = row["by_hook"] if hooked else row["by_transcript"]
    whole = (row["by_all"] if hooked and written else alone) or 0
    return {
        "tool_calls": calls,
        "by_witness": {
            "hook": (row["by_hook"] or 0) if hooked else None,
            "transcript": (row["by_transcript"] or 0) if written else None,
            "otel": None,
            "proxy": None,
        },
        "complete": round(whole / calls, 4) if calls else None,
        "gaps": gap_count(reader, row, now),
    }


def _agents(reader: Reader, session_id: str) -> Sequence[dict[str, Any]]:
    rows = reader.rows(
        "SELECT a.*, (SELECT count(*) FROM calls c WHERE c.session_id = a.session_id AND c.agent_id = a.agent_id)"
        " AS tool_calls FROM subagents a WHERE a.session_id = ? ORDER BY a.started_at, a.agent_id",
        (session_id,),
    )
    return [
        {
            "agent_id": row["agent_id"],
            "agent_type": row["agent_type"],
            "description": row["description"],
            "parent_tool_use_id": row["parent_tool_use_id"],
            "parent_agent_id": row["parent_agent_id"],
            "started_at": rfc3339(row["started_at"]),
            "ended_at": rfc3339(row["ended_at"] or row["last_at"]),
            "tool_calls": row["tool_calls"],
            "model": row["model"],
        }
        for row in rows
    ]


def listed_condition(
    places: Places, project: str | None, since_ms: int | None, until_ms: int | None
) -> tuple[str, dict[str, Any]]:
    """Return the SQL condition on ``sessions s`` for what a list shows, and its bindings."""
    parts, bindings = [LISTED], dict[str, Any]()
    if project:
        of_project = "instr(lower(coalesce(s.project_path, s.cwd, '')), :project) > 0"
        bindings["project"] = project.lower()
        moved = moved_into(places, project)
        if moved:
            of_project = f"({of_project} OR s.session_id IN (SELECT value FROM json_each(:moved)))"
            bindings["moved"] = _json_of(moved)
        parts.append(of_project)
    if since_ms is not None:
        parts.append("s.last_at >= :since")
        bindings["since"] = since_ms
    if until_ms is not None:
        parts.append("s.started_at < :until")
        bindings["until"] = until_ms
    return " AND ".join(parts), bindings


def _parse_cursor(cursor: str) -> dict[str, Any]:
    at, _, session_id = cursor.partition(":")
    if not at.lstrip("-").isdigit() or not session_id:
        raise UsageError(
            "the cursor is not one of ours", hint="Take `next` of the page before.", place="cursor"
        )
    return {"cursor_at": int(at), "cursor_id": session_id}
