"""One session from beginning to end: prompts, messages, calls, events, subagents, gaps and findings in order."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from watchkeeper.errors import UsageError
from watchkeeper.events.gaps import GAP_EXPLANATIONS, call_gap, session_is_over
from watchkeeper.queries.call_rows import CallRows
from watchkeeper.queries.forms import rfc3339, session_witnesses
from watchkeeper.queries.gaps import first_hook_ever, session_gap
from watchkeeper.store.sqlite.reading import Reader

Item = dict[str, Any]


def timeline(
    reader: Reader,
    session_id: str,
    *,
    cursor: str | None = None,
    limit: int = 1000,
    now_ms: int | None = None,
) -> dict[str, Any]:
    """Return a page of a session's timeline, oldest first.

    Args:
        reader: The index.
        session_id: The whole id.
        cursor: The ``next`` of the page before.
        limit: Items on the page.
        now_ms: The present time; the clock's when absent.

    Raises:
        UsageError: The cursor is not one of ours.
    """
    items = sorted(all_items(reader, session_id, now_ms), key=_place)
    start = 0
    if cursor:
        place = _parse_cursor(cursor)
        start = next((index for index, item in enumerate(items) if _place(item) > place), len(items))
    page = items[start : start + limit]
    more = start + limit < len(items)
    following = "{}:{}:{}".format(*_place(page[-1])) if more and page else None
    return {"items": page, "total": len(items), "next": following}


def timeline_items_for(
    reader: Reader,
    session_id: str,
    tool_use_ids: Sequence[str],
    since_ms: int | None = None,
    now_ms: int | None = None,
) -> list[Item]:
    """Return the items of the given calls and every other item at or after `since_ms`, oldest first.

    Only these and their neighbourhood are read, so that a long session costs no more than a short one.
    """
    now = int(time.time() * 1000) if now_ms is None else now_ms
    session = reader.row("SELECT * FROM sessions WHERE session_id = ?", (session_id,))
    if session is None:
        return []
    since = now + 1 if since_ms is None else since_ms
    wanted = set(tool_use_ids)
    calls = _calls(reader, session, now, _neighbourhood(reader, session_id, wanted, since))
    items = [
        *_items_but_calls(reader, session_id, since),
        *(item for item in calls if item["key"].partition(":")[2] in wanted or item["order"] >= since),
    ]
    return sorted(items, key=_place)


def all_items(reader: Reader, session_id: str, now_ms: int | None = None) -> Iterator[Item]:
    """Yield every item of a session's timeline, in no order."""
    now = int(time.time() * 1000) if now_ms is None else now_ms
    session = reader.row("SELECT * FROM sessions WHERE session_id = ?", (session_id,))
    if session is None:
        return
    yield from _items_but_calls(reader, session_id, 0)
    yield from _calls(reader, session, now, None)


NEIGHBOURS = 100
"""Calls before the earliest wanted one that are read too, to know previous tools and overlaps."""


def _neighbourhood(reader: Reader, session_id: str, wanted: set[str], since: int) -> int | None:
    """Return the time from which calls must be read to show the wanted ones as in the whole timeline."""
    marks = ", ".join("?" for _ in wanted)
    earliest = reader.value(
        f"SELECT min(started_at) FROM calls WHERE session_id = ? AND tool_use_id IN ({marks})",
        (session_id, *wanted),
    )
    start = since if earliest is None else min(since, earliest)
    before = reader.value(
        "SELECT started_at FROM calls WHERE session_id = ? AND started_at < ?"
        " ORDER BY started_at DESC LIMIT 1 OFFSET ?",
        (session_id, start, NEIGHBOURS),
    )
    return None if before is None else int(before)


def _items_but_calls(reader: Reader, session_id: str, since: int) -> Iterator[Item]:
    yield from _prompts(reader, session_id, since)
    yield from _messages(reader, session_id, since)
    yield from _events(reader, session_id, since)
    yield from _subagents(reader, session_id, since)
    yield from _findings(reader, session_id, since)


def _item(
    kind: str,
    key: str,
    at: int | None,
    name: str,
    *,
    agent_id: str | None = None,
    text: str | None = None,
    call: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
) -> Item:
    return {
        "key": f"{kind}:{key}",
        "at": rfc3339(at),
        "order": at or 0,
        "kind": kind,
        "agent_id": agent_id,
        "name": name,
        "text": text,
        "call": call,
        "data": data or {},
    }


def _since(reader: Reader, table: str, session_id: str, since: int) -> Iterator[dict[str, Any]]:
    if since <= 0:
        return reader.rows(f"SELECT * FROM {table} WHERE session_id = ?", (session_id,))
    return reader.rows(f"SELECT * FROM {table} WHERE session_id = ? AND at >= ?", (session_id, since))


def _prompts(reader: Reader, session_id: str, since: int) -> Iterator[Item]:
    for row in _since(reader, "prompts", session_id, since):
        names = ("prompt_id", "origin", "slash_command", "slash_arguments", "framework_command", "persona")
        data = {name: row[name] for name in names if row[name] is not None}
        data["witnesses"] = session_witnesses(row["seen"])
        yield _item(
            "prompt", row["prompt_key"], row["at"], row["origin"] or "prompt", text=row["text"], data=data
        )


def _messages(reader: Reader, session_id: str, since: int) -> Iterator[Item]:
    for row in _since(reader, "messages", session_id, since):
        yield _item(
            "message",
            row["message_key"],
            row["at"],
            row["kind"],
            agent_id=row["agent_id"],
            text=row["text"],
            data={"role": row["role"], "message_id": row["message_id"]},
        )


def _events(reader: Reader, session_id: str, since: int) -> Iterator[Item]:
    for row in _since(reader, "events", session_id, since):
        data = json.loads(row["data"]) if row["data"] else {}
        data |= {"witnesses": session_witnesses(row["seen"]), "known": bool(row["known"])}
        yield _item(
            "event",
            row["event_key"],
            row["at"],
            row["name"],
            agent_id=row["agent_id"],
            text=row["text"],
            data=data,
        )


def _subagents(reader: Reader, session_id: str, since: int) -> Iterator[Item]:
    for row in reader.rows("SELECT * FROM subagents WHERE session_id = ?", (session_id,)):
        ended = row["ended_at"] or row["last_at"]
        if (row["started_at"] or ended or 0) < since:
            continue
        data = {
            "agent_type": row["agent_type"],
            "parent_tool_use_id": row["parent_tool_use_id"],
            "parent_agent_id": row["parent_agent_id"],
            "ended_at": rfc3339(ended),
            "model": row["model"],
            "last_message": row["last_message"],
        }
        name = row["agent_type"] or "subagent"
        yield _item(
            "subagent",
            row["agent_id"],
            row["started_at"] or ended,
            name,
            agent_id=row["agent_id"],
            text=row["description"],
            data=data,
        )


def _findings(reader: Reader, session_id: str, since: int) -> Iterator[Item]:
    for row in _since(reader, "findings", session_id, since):
        data = {"severity": row["severity"], "tool_use_id": row["tool_use_id"]}
        yield _item("finding", row["finding_key"], row["at"], row["rule"], text=row["what"], data=data)


def _calls(reader: Reader, session: dict[str, Any], now: int, from_ms: int | None) -> Iterator[Item]:
    first_hook = first_hook_ever(reader)
    rows = CallRows(reader, session["session_id"], from_ms)
    hooked = session["hook_first_at"] is not None
    over = session_is_over(session, now)
    for row in rows:
        gap = call_gap(row, session, now=now, first_hook_ever=first_hook) if hooked else None
        view = rows.view(row, gap[0] if gap else None, over=over)
        yield _item(
            "call",
            row["tool_use_id"],
            row["started_at"],
            row["tool"] or "unknown tool",
            agent_id=row["agent_id"],
            text=row["subject"],
            call=view,
        )
        if gap:
            yield _gap_item(
                row["tool_use_id"], row["started_at"], gap[0], gap[1], row["agent_id"], row["tool"]
            )
    if not hooked and len(rows):
        kind = session_gap(session, first_hook)
        if kind:
            yield _gap_item("session", session["started_at"], kind, ["hook"], None, None)


def _gap_item(
    key: str, at: int | None, kind: str, missing: list[str], agent_id: str | None, tool: str | None
) -> Item:
    data = {"missing": missing, "tool": tool}
    return _item("gap", key, at, kind, agent_id=agent_id, text=GAP_EXPLANATIONS[kind], data=data)


_KIND_ORDER = {"subagent": 0, "prompt": 1, "message": 2, "call": 3, "gap": 4, "event": 5, "finding": 6}


def _place(item: Item) -> tuple[int, int, str]:
    return item["order"], _KIND_ORDER[item["kind"]], item["key"]


def _parse_cursor(cursor: str) -> tuple[int, int, str]:
    at, _, rest = cursor.partition(":")
    kind, _, key = rest.partition(":")
    if not at.isdigit() or not kind.isdigit():
        raise UsageError(
            "the cursor is not one of ours", hint="Take `next` of the page before.", place="cursor"
        )
    return int(at), int(kind), key
