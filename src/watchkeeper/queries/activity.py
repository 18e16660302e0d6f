"""The activity log: one line per tool call, in the form that log readers of this field know.

Each line is a JSON object with ``timestamp`` (RFC 3339, UTC), ``session_id``, ``tool``, ``file`` (path, or null),
``project``, ``tokens`` (estimated from the sizes of input and result; null where neither is known) and more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from watchkeeper.queries.forms import project_name, rfc3339
from watchkeeper.queries.stretches import Stretch
from watchkeeper.queries.token_estimates import estimated_tokens, kind_of_path
from watchkeeper.store.sqlite.reading import Reader

_TEXTS_BESIDE_FILES = frozenset({"Bash", "WebFetch", "WebSearch", "Task", "Agent"})


def activity(reader: Reader, stretch: Stretch, session_id: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the tool calls of a stretch, oldest first; calls without a time are left out, since they have no day.

    Args:
        reader: The index.
        stretch: When, and which projects.
        session_id: Only this session.
    """
    condition, bindings = stretch.where("c.started_at", "c.session_id"), stretch.bindings
    if session_id is not None:
        condition += " AND c.session_id = :session"
        bindings["session"] = session_id
    rows = reader.rows(
        "SELECT c.tool_use_id, c.session_id, c.agent_id, c.tool, c.subject, c.started_at, c.duration_ms, c.outcome,"
        " c.input_size, c.result_size, f.path, r.model, coalesce(s.project_path, s.cwd) AS project_path"
        " FROM calls c LEFT JOIN file_operations f ON f.tool_use_id = c.tool_use_id"
        " LEFT JOIN sessions s ON s.session_id = c.session_id LEFT JOIN requests r ON r.request_key = c.message_id"
        f" WHERE c.started_at IS NOT NULL AND {condition} ORDER BY c.started_at, c.tool_use_id",
        bindings,
    )
    for row in rows:
        sizes = (row["input_size"], row["result_size"])
        kind = "prose" if row["tool"] in _TEXTS_BESIDE_FILES else kind_of_path(row["path"])
        known = any(size is not None for size in sizes)
        yield {
            "timestamp": rfc3339(row["started_at"]),
            "session_id": row["session_id"],
            "tool": row["tool"],
            "file": row["path"],
            "project": project_name(row["project_path"]),
            "tokens": sum(estimated_tokens(size, kind, row["model"]) for size in sizes) if known else None,
            "tokens_basis": "estimated" if known else None,
            "subject": None if row["subject"] == row["path"] else row["subject"],
            "outcome": row["outcome"],
            "duration_ms": row["duration_ms"],
            "agent_id": row["agent_id"],
            "tool_use_id": row["tool_use_id"],
        }


def day_of(line: dict[str, Any]) -> str:
    """Return the local day that a line belongs to, as ``2026-11-01``."""
    from datetime import datetime

    moment = datetime.fromisoformat(line["timestamp"]).timestamp()
    return time.strftime("%Y-%m-%d", time.localtime(moment))
