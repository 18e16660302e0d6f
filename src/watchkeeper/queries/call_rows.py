"""The calls of one session in order, each with its neighbours, its permission, and its published form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from watchkeeper.events.gaps import permission
from watchkeeper.queries.forms import call_witnesses, rfc3339
from watchkeeper.store.sqlite.reading import Reader

Row = dict[str, Any]


class CallRows:
    """The calls of a session, all or from a time on. Neighbours are those of the same agent, by start."""

    def __init__(self, reader: Reader, session_id: str | None, from_ms: int | None = None) -> None:
        query = "SELECT * FROM {} WHERE session_id IS ?"
        calls = query.format("calls")
        if from_ms is not None:
            calls += " AND started_at >= ?"
        self._rows = list(
            reader.rows(
                calls + " ORDER BY started_at, tool_use_id",
                (session_id,) if from_ms is None else (session_id, from_ms),
            )
        )
        self._requests: dict[str | None, list[Row]] = {}
        for request in reader.rows(query.format("permissions"), (session_id,)):
            self._requests.setdefault(request["signature"], []).append(request)
        self._chain = _chain(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def view(self, row: Row, gap: str | None, *, over: bool) -> Row:
        """Return a call in the published form (`models.CallRow`).

        Args:
            row: A row of table ``calls``.
            gap: The class of its gap in coverage, or ``None``.
            over: The session has ended, so that nothing of it can be running.
        """
        previous, following, parallel = self._chain[row["tool_use_id"]]
        decision, source = permission(row, self._requests.get(row["signature"], ()))
        return {
            "tool_use_id": row["tool_use_id"],
            "session_id": row["session_id"],
            "prompt_id": row["prompt_id"],
            "agent_id": row["agent_id"],
            "tool": row["tool"],
            "mcp_server": row["mcp_server"],
            "subject": row["subject"],
            "started_at": rfc3339(row["started_at"]),
            "ended_at": rfc3339(row["ended_at"]),
            "duration_ms": row["duration_ms"],
            "duration_basis": row["duration_basis"],
            "outcome": "unknown" if over and row["outcome"] == "running" else row["outcome"],
            "outcome_by": row["outcome_by"],
            "permission": decision,
            "permission_source": source,
            "permission_mode": row["permission_mode"],
            "witnesses": call_witnesses(row["seen"]),
            "gap": gap,
            "lines_added": row["lines_added"],
            "lines_removed": row["lines_removed"],
            "error": row["error"],
            "exit_code": row["exit_code"],
            "background": bool(row["background"]),
            "message_id": row["message_id"],
            "previous_tool": previous,
            "next_tool": following,
            "parallel": parallel,
        }


def _chain(rows: list[Row]) -> dict[str, tuple[str | None, str | None, bool]]:
    """Return previous tool, next tool and whether it overlapped another call, by call."""
    lanes: dict[str | None, list[Row]] = {}
    for row in rows:
        lanes.setdefault(row["agent_id"], []).append(row)
    found = {}
    for lane in lanes.values():
        overlapping = _overlapping(lane)
        for place, row in enumerate(lane):
            before = lane[place - 1]["tool"] if place else None
            after = lane[place + 1]["tool"] if place + 1 < len(lane) else None
            found[row["tool_use_id"]] = (before, after, row["tool_use_id"] in overlapping)
    return found


def _overlapping(lane: list[Row]) -> set[str]:
    """Return the calls that another call of the same agent overlaps in time, or that one answer asked for together."""
    found: set[str] = set()
    reach: Row | None = None
    for row in lane:
        if reach is not None and reach["ended_at"] is not None and row["started_at"] is not None:
            together = row["message_id"] is not None and row["message_id"] == reach["message_id"]
            if row["started_at"] < reach["ended_at"] or together:
                found |= {row["tool_use_id"], reach["tool_use_id"]}
        if reach is None or (row["ended_at"] or 0) >= (reach["ended_at"] or 0):
            reach = row
    return found
