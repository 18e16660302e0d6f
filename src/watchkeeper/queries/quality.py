"""Signs of work that a better configuration would spare: files read again, commands that keep failing, loops.

Definitions:

- *repeated read*: a file that one session read successfully three times or more, whoever of its agents read it. Of
  these reads ``again`` counts those that showed an agent what its context still held: same part of the file, no edit of
  it and no compaction in between;
- *failing command*: a shell command that failed twice or more, by all its lines; ``sessions`` says in how many;
- *most edited*: files by successful edits and writes;
- *loop*: the same call with the same input three times or more in a row by one agent;
- *idle definition*: an MCP server or skill that the newest sessions were offered and none of them used (`idle`).

Tokens are estimated from the size of the results, and their cost from the price of a cache write when they came plus a
cache read at every later request of that agent up to the next compaction.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from typing import Any

from watchkeeper.pricing.rates import RateCard
from watchkeeper.queries.commands import (
    alike,
    command_family,
    expected_exit,
    normalise_command,
    whole_command,
)
from watchkeeper.queries.errors import error_kind
from watchkeeper.queries.forms import dollars, project_name, rfc3339
from watchkeeper.queries.idle import idle_definitions
from watchkeeper.queries.stats import COUNTED
from watchkeeper.queries.stretches import Stretch, holds_calls
from watchkeeper.queries.token_estimates import estimated_tokens, kind_of_path
from watchkeeper.store.sqlite.reading import Reader

Row = dict[str, Any]
READS = 3
FAILURES = 2
EDITS = 2
LOOP = 3
_LOOKED_AFTER = 20
"""Of a command that fails so often, the newest failures tell what worked instead."""
_EVASIONS = frozenset(
    {"--no-verify", "--force", "-f", "--no-gpg-sign", "||", "--skip", "--ignore-scripts", "true"}
)


def quality(reader: Reader, stretch: Stretch, card: RateCard, *, limit: int | None = None) -> dict[str, Any]:
    """Return the signals of a stretch, heaviest first.

    Args:
        reader: The index.
        stretch: When, and which projects.
        card: The prices for what is estimated.
        limit: Entries of each kind; all when absent. ``totals`` counts all in any case.
    """
    idle = idle_definitions(reader, stretch, card)
    found = {
        "repeated_reads": _repeated_reads(reader, stretch, card),
        "failing_commands": _failing_commands(reader, stretch, card),
        "most_edited": _most_edited(reader, stretch, card),
        "loops": _loops(reader, stretch, card),
        "idle_definitions": idle["idle"],
        "longest_waits": _longest_waits(reader, stretch),
    }
    return {
        "stretch": stretch.to_json(),
        "recorded": holds_calls(reader, stretch),
        **{name: rows[:limit] for name, rows in found.items()},
        "totals": {name: len(rows) for name, rows in found.items()},
        "sessions_with_definitions": idle["looked_at"],
        "estimated": "tokens from the size of results, their cost from the prices of those days",
    }


class _Lanes:
    """Requests and compactions of some sessions, by agent, to see what a context still held."""

    def __init__(self, reader: Reader, sessions: set[str]) -> None:
        self._requests: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        self._compactions: dict[tuple[str, str | None], list[int]] = defaultdict(list)
        for session in sessions:
            for agent, at in reader.connection.execute(
                f"SELECT agent_id, at FROM requests WHERE session_id = ? AND at IS NOT NULL AND {COUNTED}"
                " ORDER BY at",
                (session,),
            ):
                self._requests[session, agent].append(at)
            for agent, at in reader.connection.execute(
                "SELECT agent_id, at FROM events WHERE session_id = ? AND name = 'compact_boundary'"
                " AND at IS NOT NULL ORDER BY at",
                (session,),
            ):
                self._compactions[session, agent].append(at)

    def compacted(self, session: str, agent: str | None, begin: int, end: int) -> bool:
        times = self._compactions[session, agent]
        return bisect_right(times, end) > bisect_right(times, begin)

    def later_requests(self, session: str, agent: str | None, at: int) -> int:
        """Return how many requests carried along what came at a time, the first one left out."""
        compactions = self._compactions[session, agent]
        place = bisect_right(compactions, at)
        requests = self._requests[session, agent]
        end = bisect_right(requests, compactions[place]) if place < len(compactions) else len(requests)
        return max(0, end - bisect_right(requests, at) - 1)


def _repeated_reads(reader: Reader, stretch: Stretch, card: RateCard) -> list[Row]:
    repeated = list(
        reader.connection.execute(
            "SELECT session_id, path, count(*) FROM file_operations"
            f" WHERE kind = 'read' AND done = 1 AND {stretch.where('at')}"
            f" GROUP BY 1, 2 HAVING count(*) >= {READS}",
            stretch.bindings,
        )
    )
    lanes = _Lanes(reader, {row[0] for row in repeated})
    found = [_repeated_read(reader, lanes, stretch, card, *row) for row in repeated]
    found.sort(key=lambda row: (-row["again_tokens"], -row["count"], row["session_id"], row["path"]))
    return found


_OPERATIONS = """
SELECT f.kind, f.at, f.size, c.agent_id, c.signature, c.result_size, r.model, s.cwd, s.project_path
FROM file_operations f JOIN calls c ON c.tool_use_id = f.tool_use_id
LEFT JOIN requests r ON r.request_key = c.message_id LEFT JOIN sessions s ON s.session_id = f.session_id
WHERE f.session_id = :session AND f.path = :path AND f.done = 1 AND {} ORDER BY f.at, f.tool_use_id"""


def _repeated_read(
    reader: Reader, lanes: _Lanes, stretch: Stretch, card: RateCard, session: str, path: str, count: int
) -> Row:
    held: dict[tuple[str | None, str | None], int] = {}
    parts, again, tokens, micros, after_edit, after_compaction = set(), 0, 0, 0, 0, 0
    changed_at, project, priced = -1, None, False
    rows = reader.connection.execute(
        _OPERATIONS.format(stretch.where("f.at", "f.session_id")),
        {**stretch.bindings, "session": session, "path": path},
    )
    for kind, at, size, agent, signature, result_size, model, cwd, project_path in rows:
        project = project_name(project_path or cwd)
        at = at or 0
        if kind != "read":
            changed_at = at
            continue
        parts.add(signature)
        before = held.get((agent, signature))
        held[agent, signature] = at
        if before is None:
            continue
        if lanes.compacted(session, agent, before, at):
            after_compaction += 1
        elif changed_at >= before:
            after_edit += 1
        else:
            again += 1
            its = estimated_tokens(result_size or size, kind_of_path(path), model)
            cost = _entry_and_carried(card, its, lanes.later_requests(session, agent, at), model, at)
            tokens, micros, priced = tokens + its, micros + (cost or 0), priced or cost is not None
    return {
        "session_id": session,
        "path": path,
        "count": count,
        "project": project,
        "parts": len(parts),
        "again": again,
        "after_edit": after_edit,
        "after_compaction": after_compaction,
        "again_tokens": tokens,
        "cost_usd": dollars(micros) if priced or not again else None,
        "cost_basis": "estimated",
    }


def _entry_and_carried(
    card: RateCard, tokens: int, later: int, model: str | None, at: int | None
) -> int | None:
    """Return what tokens cost that came at a time and were sent along `later` more times, in micro-dollars."""
    return card.cost(
        model=model,
        at_ms=at,
        input_tokens=0,
        output_tokens=0,
        cache_write_tokens=tokens,
        cache_write_5m_tokens=tokens,
        cache_write_1h_tokens=0,
        cache_read_tokens=tokens * later,
        web_searches=0,
        service_tier=None,
        speed=None,
        region=None,
    )


def _failing_commands(reader: Reader, stretch: Stretch, card: RateCard) -> list[Row]:
    groups: dict[str, list[Row]] = defaultdict(list)
    rows = reader.rows(
        "SELECT e.session_id, e.at, c.agent_id, c.started_at, e.message, e.exit_code, e.kind, c.subject,"
        " c.duration_ms, c.result_size, r.model"
        " FROM errors e JOIN calls c ON c.tool_use_id = e.tool_use_id"
        " LEFT JOIN requests r ON r.request_key = c.message_id"
        f" WHERE e.tool = 'Bash' AND c.outcome IN ('failed', 'rejected') AND {stretch.where('e.at', 'e.session_id')}"
        " ORDER BY e.at, e.tool_use_id",
        stretch.bindings,
    )
    for row in rows:
        groups[whole_command(row["subject"])].append(row)
    kept = {
        command: failures for command, failures in groups.items() if len(failures) >= FAILURES and command
    }
    runs = _runs(reader, stretch, {row["subject"] for failures in kept.values() for row in failures})
    found = []
    for command, failures in kept.items():
        row = _failing_command(card, command, failures, runs)
        found.append({**row, "worked": _worked(reader, command, failures, row["runs"])})
    found.sort(key=lambda row: (-(row["sessions"] > 1), -row["failures"], -row["sessions"], row["command"]))
    return found


def _runs(reader: Reader, stretch: Stretch, subjects: set[str]) -> Counter[str]:
    import json

    counts: Counter[str] = Counter()
    for subject, count in reader.connection.execute(
        "SELECT subject, count(*) FROM calls WHERE tool = 'Bash' AND subject IN (SELECT value FROM json_each(:texts))"
        f" AND {stretch.where('started_at')} GROUP BY subject",
        {**stretch.bindings, "texts": json.dumps(sorted(subjects))},
    ):
        counts[whole_command(subject)] += count
    return counts


def _failing_command(card: RateCard, command: str, failures: list[Row], runs: Counter[str]) -> Row:
    expected = Counter(expected_exit(row["subject"], row["exit_code"]) for row in failures)
    expected.pop(None, None)
    tokens, micros, priced = 0, 0, False
    for row in failures:
        its = estimated_tokens(row["result_size"], "prose", row["model"])
        cost = _entry_and_carried(card, its, 0, row["model"], row["at"])
        tokens, micros, priced = tokens + its, micros + (cost or 0), priced or cost is not None
    last = failures[-1]
    durations = [row["duration_ms"] for row in failures if row["duration_ms"] is not None]
    return {
        "command": command,
        "failures": len(failures),
        "sessions": len({row["session_id"] for row in failures}),
        "family": command_family(normalise_command(command)),
        "runs": max(runs[command], len(failures)),
        "expected": dict(expected.most_common()),
        "kinds": dict(Counter(error_kind(row) for row in failures).most_common()),
        "exit_codes": sorted({row["exit_code"] for row in failures if row["exit_code"] is not None}),
        "last_error": last["message"],
        "last_at": rfc3339(last["at"]),
        "last_session_id": last["session_id"],
        "duration_ms": sum(durations) if durations else None,
        "tokens": tokens,
        "cost_usd": dollars(micros) if priced else None,
        "cost_basis": "estimated",
    }


def _worked(reader: Reader, command: str, failures: list[Row], runs: int) -> str | None:
    """Return the command that is like one that hardly ever works and went well right after most of its failures.

    What merely goes round a check is not called working.
    """
    if 10 * len(failures) < 9 * runs:
        return None
    counts: Counter[str] = Counter()
    newest = failures[-_LOOKED_AFTER:]
    for row in newest:
        following = reader.connection.execute(
            "SELECT tool, outcome, subject FROM calls WHERE session_id = ? AND started_at > ? AND agent_id IS ?"
            " ORDER BY started_at LIMIT 5",
            (row["session_id"], row["started_at"], row["agent_id"]),
        )
        for tool, outcome, subject in following:
            other = whole_command(subject)
            evades = _EVASIONS & set(other.split()) - set(command.split())
            if (
                tool == "Bash"
                and outcome == "ok"
                and other != command
                and alike(other, command)
                and not evades
            ):
                counts[other] += 1
                break
    best = max(counts, key=lambda other: (counts[other], other), default=None)
    return best if best is not None and 2 * counts[best] >= len(newest) else None


def _most_edited(reader: Reader, stretch: Stretch, card: RateCard) -> list[Row]:
    rows = reader.rows(
        "SELECT f.path, count(*) AS edits, count(DISTINCT f.session_id) AS sessions,"
        " sum(f.lines_added) AS lines_added, sum(f.lines_removed) AS lines_removed, max(f.at) AS last_at,"
        " sum(c.input_size) AS size, max(r.model) AS model FROM (SELECT path FROM file_operations"
        f" WHERE kind != 'read' AND done = 1 AND {stretch.where('at')} GROUP BY path HAVING count(*) >= {EDITS}) p"
        " CROSS JOIN file_operations f ON f.path = p.path CROSS JOIN calls c ON c.tool_use_id = f.tool_use_id"
        " LEFT JOIN requests r ON r.request_key = c.message_id"
        f" WHERE f.kind != 'read' AND f.done = 1 AND {stretch.where('f.at', 'f.session_id')}"
        " GROUP BY f.path ORDER BY edits DESC, f.path",
        stretch.bindings,
    )
    return [_edited(row, card) for row in rows]


def _edited(row: Row, card: RateCard) -> Row:
    model, size = row.pop("model"), row.pop("size")
    tokens = estimated_tokens(size, kind_of_path(row["path"]), model)
    cost = card.cost(
        model=model,
        at_ms=row["last_at"],
        input_tokens=0,
        output_tokens=tokens,
        cache_write_tokens=0,
        cache_write_5m_tokens=0,
        cache_write_1h_tokens=0,
        cache_read_tokens=0,
        web_searches=0,
        service_tier=None,
        speed=None,
        region=None,
    )
    figures = {"tokens": tokens, "cost_usd": dollars(cost), "cost_basis": "estimated"}
    return {**row, "last_at": rfc3339(row["last_at"]), **figures}


def _looping(reader: Reader, stretch: Stretch) -> list[str]:
    """Return the sessions in which some agent made the same call so often in a row."""
    found: dict[str, None] = {}
    lanes: dict[str | None, tuple[str | None, int]] = {}
    current = None
    for session, agent, signature in reader.connection.execute(
        f"SELECT session_id, agent_id, signature FROM calls WHERE {stretch.where('started_at')}"
        " ORDER BY session_id, started_at",
        stretch.bindings,
    ):
        if session != current:
            current, lanes = session, {}
        before = lanes.get(agent)
        count = before[1] + 1 if before is not None and before[0] == signature else 1
        lanes[agent] = signature, count
        if count >= LOOP and signature is not None:
            found[session] = None
    return list(found)


def _loops(reader: Reader, stretch: Stretch, card: RateCard) -> list[Row]:
    found = []
    for session in _looping(reader, stretch):
        lanes: dict[str | None, list[Row]] = defaultdict(list)
        for row in reader.rows(
            "SELECT c.agent_id, c.signature, c.tool, c.subject, c.started_at, c.result_size, c.outcome, r.model"
            " FROM calls c LEFT JOIN requests r ON r.request_key = c.message_id WHERE c.session_id = :session"
            f" AND {stretch.where('c.started_at', 'c.session_id')} ORDER BY c.started_at, c.tool_use_id",
            {**stretch.bindings, "session": session},
        ):
            lanes[row["agent_id"]].append(row)
        for lane in lanes.values():
            found.extend(_runs_of_like(session, lane, card))
    found.sort(key=lambda row: (-row["count"], row["session_id"], row["at"] or ""))
    return found


def _runs_of_like(session: str, lane: list[Row], card: RateCard) -> list[Row]:
    found, begin = [], 0
    for place in range(1, len(lane) + 1):
        if place < len(lane) and lane[place]["signature"] == lane[begin]["signature"] is not None:
            continue
        if place - begin >= LOOP and lane[begin]["signature"] is not None:
            found.append(_loop(session, lane[begin:place], card))
        begin = place
    return found


def _loop(session: str, calls: list[Row], card: RateCard) -> Row:
    first = calls[0]
    tokens = sum(estimated_tokens(row["result_size"], "prose", row["model"]) for row in calls[1:])
    cost = _entry_and_carried(card, tokens, 0, first["model"], first["started_at"])
    return {
        "session_id": session,
        "agent_id": first["agent_id"],
        "tool": first["tool"],
        "subject": first["subject"],
        "count": len(calls),
        "failures": sum(row["outcome"] in {"failed", "rejected"} for row in calls),
        "at": rfc3339(first["started_at"]),
        "tokens": tokens,
        "cost_usd": dollars(cost),
        "cost_basis": "estimated",
    }


def _longest_waits(reader: Reader, stretch: Stretch) -> list[Row]:
    """Return the ten calls that took longest; by transcript alone the wait for a permission is part of it."""
    rows = reader.rows(
        "SELECT tool_use_id, session_id, tool, subject, started_at, duration_ms, duration_basis,"
        " coalesce(duration_ms, ended_at - started_at) AS waited FROM calls"
        f" WHERE {stretch.where('started_at')} AND outcome != 'running' ORDER BY waited DESC, tool_use_id LIMIT 10",
        stretch.bindings,
    )
    return [
        {
            "tool_use_id": row["tool_use_id"],
            "session_id": row["session_id"],
            "tool": row["tool"],
            "subject": row["subject"],
            "at": rfc3339(row["started_at"]),
            "duration_ms": row["waited"],
            "duration_basis": row["duration_basis"] or "transcript",
        }
        for row in rows
        if row["waited"]
    ]
