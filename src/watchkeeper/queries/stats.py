"""What was done in a stretch of time: sessions, prompts, calls, tokens, cost, files.

Every figure is counted once, whatever number of files repeats it:

- *session*: one with a prompt, a tool call or an API request in the stretch;
- *prompt*: a turn that a person, or a program in a person's stead (``claude -p``, the SDK), began; not what the client
  told itself (finished background tasks, scheduled wake-ups, the summary after a compaction) nor a subagent's task;
- *tool call*: one ``tool_use`` of any agent, by the time it began;
- *failure*: a call whose result is an error of the work itself: the command or tool failed, or the client refused the
  input before running it (no such file, text to replace not found). Calls that a person, a rule or a hook denied, and
  calls that were interrupted, are no failures; ``outcomes`` counts each;
- *files touched*: distinct paths that an edit or write changed;
- *lines*: as the client's own patches state them;
- *active time*: of all moments between two signs of a session that are at most five minutes apart, over all sessions;
  work that two sessions did at once counts twice.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

from watchkeeper.queries.forms import dollars, project_name, rfc3339
from watchkeeper.queries.stretches import Stretch
from watchkeeper.store.sqlite.reading import Reader

FAILED = ("failed", "rejected")
"""Outcomes of a call that count as a failure."""

COUNTED = "counted = 1"
"""Condition for the rows of table ``requests`` that are API requests."""

BY_SOMEBODY = """coalesce(text, '') NOT LIKE '<task-notification>%' AND coalesce(origin, 'user') NOT IN
  ('system', 'task-notification', 'task_notification', 'scheduled', 'peer', 'loop_wakeup', 'schedule_wakeup',
   'poll_event')"""
"""Condition for the rows of table ``prompts`` that somebody outside the client wrote."""

PAUSE_MS = 5 * 60_000
"""A longer silence of a session is a pause, not work."""

_TOKENS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_write_tokens": "coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0)",
    "cache_read_tokens": "cache_read_tokens",
}
"""Sums of tokens and the columns they are made of, those of the index by quarter-hour."""


def stats(reader: Reader, stretch: Stretch, now_ms: int | None = None) -> dict[str, Any]:
    """Return the figures of a stretch, and those of the stretch before under ``previous`` where there is one."""
    now = int(time.time() * 1000) if now_ms is None else now_ms
    figures = _figures(reader, stretch)
    before = stretch.previous(now)
    previous = None
    if before is not None:
        earlier = _figures(reader, before)
        previous = {"stretch": before.to_json(), **{name: earlier[name] for name in _COMPARED}}
    return {"stretch": stretch.to_json(), **figures, "previous": previous}


_COMPARED = (
    "sessions", "prompts", "tool_calls", "failures", "requests", "tokens", "cost_usd", "unpriced_requests",
    "files_touched", "lines_added", "lines_removed", "active_ms", "api_errors",
)  # fmt: skip


def _figures(reader: Reader, stretch: Stretch) -> dict[str, Any]:
    paths = {
        row[0]: project_name(row[1])
        for row in reader.connection.execute("SELECT session_id, coalesce(project_path, cwd) FROM sessions")
    }
    calls = _calls(reader, stretch, paths)
    requests, in_requests = _requests(reader, stretch)
    prompts = dict(
        reader.connection.execute(
            f"SELECT session_id, count(*) FROM prompts WHERE {stretch.where('at')} AND {BY_SOMEBODY}"
            " GROUP BY session_id",
            stretch.bindings,
        )
    )
    sessions = in_requests | calls.pop("in_sessions") | set(prompts)
    return {
        "sessions": len(sessions - {None}),
        "prompts": sum(prompts.values()),
        **calls,
        **requests,
        **_files(reader, stretch),
        "active_ms": _active(reader, stretch),
    }


def _calls(reader: Reader, stretch: Stretch, paths: dict[str, str | None]) -> dict[str, Any]:
    tools: Counter[str] = Counter()
    failing: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    projects: Counter[str] = Counter()
    servers: Counter[str] = Counter()
    added = removed = 0
    sessions = set()
    rows = reader.connection.execute(
        "SELECT session_id, tool, mcp_server, outcome, count(*), sum(lines_added), sum(lines_removed) FROM calls"
        f" WHERE {stretch.where('started_at')} GROUP BY 1, 2, 3, 4",
        stretch.bindings,
    )
    for session, tool, server, outcome, count, plus, minus in rows:
        name = tool or "unknown"
        tools[name] += count
        outcomes[outcome] += count
        projects[paths.get(session) or "unknown"] += count
        sessions.add(session)
        if server:
            servers[server] += count
        if outcome in FAILED:
            failing[name] += count
        added += plus or 0
        removed += minus or 0
    return {
        "tool_calls": tools.total(),
        "failures": failing.total(),
        "tools": dict(tools.most_common()),
        "tool_failures": dict(failing.most_common()),
        "outcomes": dict(outcomes.most_common()),
        "projects": dict(projects.most_common()),
        "mcp_servers": dict(servers.most_common()),
        "lines_added": added,
        "lines_removed": removed,
        "in_sessions": sessions,
    }


def _requests(reader: Reader, stretch: Stretch) -> tuple[dict[str, Any], set[str]]:
    sums = ", ".join(f"sum({column})" for column in _TOKENS.values())
    rows = reader.connection.execute(
        f"SELECT session_id, model, cost_basis, count(*), {sums}, sum(cost_micros), sum(cost_micros IS NULL),"
        f" sum(partial) FROM requests WHERE {stretch.of_requests()} AND {COUNTED} GROUP BY 1, 2, 3",
        stretch.bindings,
    )
    total = _Sum()
    models: dict[str, _Sum] = defaultdict(_Sum)
    sessions = set()
    for session, model, basis, *figures in rows:
        sessions.add(session)
        total.add(basis, figures)
        models[model or "unknown"].add(basis, figures)
    errors = reader.value(
        f"SELECT count(*) FROM requests WHERE {stretch.of_requests()} AND counted = 0 AND synthetic = 1",
        stretch.bindings,
    )
    by_model = {name: models[name].to_json() for name in sorted(models, key=lambda name: -models[name].count)}
    return {**total.to_json(), "models": by_model, "api_errors": errors}, sessions


class _Sum:
    """Requests added up."""

    def __init__(self) -> None:
        self.count = self.micros = self.unpriced = self.partial = 0
        self.tokens = [0, 0, 0, 0]
        self.basis: Counter[str] = Counter()

    def add(self, basis: str | None, figures: list[int | None]) -> None:
        count, *tokens, micros, unpriced, partial = (figure or 0 for figure in figures)
        self.count += count
        self.tokens = [mine + more for mine, more in zip(self.tokens, tokens, strict=True)]
        self.micros += micros
        self.unpriced += unpriced
        self.partial += partial
        if basis:
            self.basis[basis] += count

    def to_json(self) -> dict[str, Any]:
        priced = self.count - self.unpriced
        return {
            "requests": self.count,
            "tokens": sum(self.tokens),
            **dict(zip(_TOKENS, self.tokens, strict=True)),
            "partial_requests": self.partial,
            "cost_usd": dollars(self.micros) if priced or not self.count else None,
            "cost_basis": {name: self.basis[name] for name in ("reported", "computed", "estimated")},
            "unpriced_requests": self.unpriced,
        }


def _files(reader: Reader, stretch: Stretch) -> dict[str, Any]:
    row = reader.row(
        "SELECT count(DISTINCT CASE WHEN kind = 'read' THEN path END) AS read,"
        " count(DISTINCT CASE WHEN kind != 'read' THEN path END) AS touched"
        f" FROM file_operations WHERE {stretch.where('at')} AND done = 1",
        stretch.bindings,
    )
    assert row is not None
    return {"files_read": row["read"], "files_touched": row["touched"]}


def _gaps(stretch: Stretch) -> str:
    """Return the query of the silences of each session, from the times of prompts and of API answers."""
    requests = f"FROM requests WHERE {stretch.of_requests()} AND {COUNTED}"
    return (
        "SELECT session_id, at, at - lag(at) OVER (PARTITION BY session_id ORDER BY at) AS gap FROM ("
        f"SELECT session_id, at {requests} UNION ALL"
        f" SELECT session_id, at FROM prompts WHERE {stretch.where('at')}) WHERE at IS NOT NULL"
    )


def _active(reader: Reader, stretch: Stretch) -> int:
    """Return the active time in milliseconds."""
    found = reader.value(f"SELECT sum(gap) FROM ({_gaps(stretch)}) WHERE gap <= {PAUSE_MS}", stretch.bindings)
    return int(found or 0)


def longest_sessions(reader: Reader, stretch: Stretch, limit: int) -> list[dict[str, Any]]:
    """Return the sessions with the most active time in a stretch, with what they cost in it."""
    rows = reader.rows(
        f"SELECT g.session_id, sum(CASE WHEN gap <= {PAUSE_MS} THEN gap ELSE 0 END) AS active, min(at) AS first,"
        " max(at) AS last, coalesce(s.project_path, s.cwd) AS path, coalesce(s.title_custom, s.title_ai,"
        f" s.title_summary, s.first_prompt) AS title FROM ({_gaps(stretch)}) g LEFT JOIN sessions s"
        " ON s.session_id = g.session_id GROUP BY g.session_id ORDER BY active DESC, g.session_id LIMIT :limit",
        {**stretch.bindings, "limit": limit},
    )
    return [
        {
            "session_id": row["session_id"],
            "project": project_name(row["path"]),
            "title": " ".join(row["title"].split()) if row["title"] else None,
            "first_at": rfc3339(row["first"]),
            "last_at": rfc3339(row["last"]),
            "active_ms": row["active"] or 0,
            "cost_usd": dollars(
                reader.value(
                    f"SELECT sum(cost_micros) FROM requests WHERE {stretch.of_requests()} AND {COUNTED}"
                    " AND session_id = :session",
                    {**stretch.bindings, "session": row["session_id"]},
                )
            ),
        }
        for row in rows
    ]


def cost_by_day(reader: Reader, stretch: Stretch) -> list[dict[str, Any]]:
    """Return requests, tokens and cost of each local day of a stretch that has any, oldest first."""
    sums = ", ".join(f"sum({column})" for column in _TOKENS.values())
    days: dict[str, _Sum] = defaultdict(_Sum)
    # Every time zone's days begin on a quarter-hour, so that few rows need the calendar.
    for quarter, basis, *figures in reader.connection.execute(
        f"SELECT at / 900000, cost_basis, count(*), {sums}, sum(cost_micros), sum(cost_micros IS NULL), sum(partial)"
        f" FROM requests WHERE {stretch.of_requests()} AND at IS NOT NULL AND {COUNTED} GROUP BY 1, 2",
        stretch.bindings,
    ):
        days[time.strftime("%Y-%m-%d", time.localtime(quarter * 900))].add(basis, figures)
    return [{"day": day, **days[day].to_json()} for day in sorted(days)]
