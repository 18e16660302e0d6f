"""The activity log: one line per tool call, in the form that log readers of this field know.

Each line is a JSON object with ``timestamp`` (RFC 3339, UTC), ``session_id``, ``tool``, ``file`` (path, or null),
``project``, ``tokens`` (estimated from the sizes of input and result; null where neither is known) and more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from watchkeeper.queries.forms import project_name, rfc3339, words
from watchkeeper.queries.stretches import Stretch
from watchkeeper.queries.token_estimates import estimated_tokens, kind_of_path
from watchkeeper.store.sqlite.reading import Reader

_FILE_TOOLS = frozenset({"Read", "NotebookRead", "Edit", "MultiEdit", "NotebookEdit", "Write"})
_TEXTS_BESIDE_FILES = frozenset({"Bash", "WebFetch", "WebSearch", "Task", "Agent"})


def activity(
    reader: Reader, stretch: Stretch, session_id: str | None = None, newest: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the tool calls of a stretch, oldest first; calls without a time are left out, since they have no day.

    Args:
        reader: The index.
        stretch: When, and which projects.
        session_id: Only this session.
        newest: Only so many, the last ones; all when absent.
    """
    condition, bindings = _condition(stretch, session_id)
    order = "started_at, tool_use_id"
    if newest is None:
        source = f"(SELECT * FROM calls WHERE {condition})"
    else:
        bindings["newest"] = newest
        source = f"(SELECT * FROM calls WHERE {condition} ORDER BY started_at DESC, tool_use_id DESC LIMIT :newest)"
    sessions = {
        session: (project_name(path), next(iter(words(models)), None))
        for session, path, models in reader.connection.execute(
            "SELECT session_id, coalesce(project_path, cwd), models FROM sessions"
        )
    }
    rows = reader.rows(
        "SELECT tool_use_id, session_id, agent_id, tool, subject, started_at, duration_ms, outcome, input_size,"
        f" result_size FROM {source} ORDER BY {order}",
        bindings,
    )
    for row in rows:
        project, model = sessions.get(row["session_id"], (None, None))
        path = row["subject"] if row["tool"] in _FILE_TOOLS else None
        sizes = (row["input_size"], row["result_size"])
        kind = "prose" if row["tool"] in _TEXTS_BESIDE_FILES else kind_of_path(path)
        known = any(size is not None for size in sizes)
        yield {
            "timestamp": rfc3339(row["started_at"]),
            "session_id": row["session_id"],
            "tool": row["tool"],
            "file": path,
            "project": project,
            "tokens": sum(estimated_tokens(size, kind, model) for size in sizes) if known else None,
            "tokens_basis": "estimated" if known else None,
            "subject": row["subject"] if path is None else None,
            "outcome": row["outcome"],
            "duration_ms": row["duration_ms"],
            "agent_id": row["agent_id"],
            "tool_use_id": row["tool_use_id"],
        }


def count_calls(reader: Reader, stretch: Stretch, session_id: str | None = None) -> int:
    """Return how many lines `activity` has for a stretch."""
    condition, bindings = _condition(stretch, session_id)
    return int(reader.value(f"SELECT count(*) FROM calls WHERE {condition}", bindings))


def _condition(stretch: Stretch, session_id: str | None) -> tuple[str, dict[str, Any]]:
    condition, bindings = f"started_at IS NOT NULL AND {stretch.where('started_at')}", stretch.bindings
    if session_id is not None:
        condition += " AND session_id = :session"
        bindings["session"] = session_id
    return condition, bindings


def day_of(line: dict[str, Any]) -> str:
    """Return the local day that a line belongs to, as ``2026-11-01``."""
    from datetime import datetime

    moment = datetime.fromisoformat(line["timestamp"]).timestamp()
    return time.strftime("%Y-%m-%d", time.localtime(moment))
