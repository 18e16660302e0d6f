"""What went wrong: kind, message, stack, whether it could be recovered from, retries, and which later call mended it.

An error is a call that failed, was refused by the client before it ran, or was interrupted; and an API request that
the provider did not answer. What a non-zero exit merely reports (tests that fail, a search without a match) is marked
``expected`` and counted apart.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any

from watchkeeper.errors import FormatError, NotFoundError
from watchkeeper.events.derive import values_of
from watchkeeper.events.identity import whole_number
from watchkeeper.events.merge import decode_state
from watchkeeper.queries.commands import alike, command_family, expected_exit, normalise_command
from watchkeeper.queries.forms import project_name, rfc3339
from watchkeeper.queries.stretches import Stretch, holds_calls
from watchkeeper.sources.claude_code.transcript_view import text_of
from watchkeeper.sources.claude_code.transcripts import content_text
from watchkeeper.store.payloads import Payloads
from watchkeeper.store.sqlite.reading import Reader
from watchkeeper.store.tables import ENTITY_NUMBERS

Row = dict[str, Any]

RETRY_WINDOW = 5
"""A like call among so many next ones of the same agent is a retry."""

RECOVERABLE: dict[str, tuple[bool | None, str]] = {
    "schema": (True, "the model can correct its input"),
    "exit_status": (True, "the model can change the command or the code"),
    "not_found": (True, "the model can look for the right place"),
    "timeout": (True, "it may succeed with more time or in the background"),
    "network": (True, "it may succeed when tried again"),
    "permission": (False, "it needs a permission that only a person can give"),
    "command_not_found": (False, "the program is not installed or not on the path"),
    "cancelled": (None, "somebody or a sibling call stopped it"),
    "other": (None, "its text does not say"),
}
"""For each kind of error whether the agent can go on by itself, and why."""


def errors(
    reader: Reader,
    stretch: Stretch,
    *,
    session_id: str | None = None,
    limit: int = 50,
    with_expected: bool = True,
) -> dict[str, Any]:
    """Return the newest errors of a stretch, and counts over all of it.

    Args:
        reader: The index.
        stretch: When, and which projects.
        session_id: Only those of one session.
        limit: Errors to list; the counts cover all.
        with_expected: List expected exits as well; they are counted in any case.
    """
    found = _call_errors(reader, stretch, session_id)
    listed = [row for row in found if with_expected or row["expected"] is None][:limit]
    _resolve(reader, listed)
    _stacks(reader, listed)
    api = _api_errors(reader, stretch, session_id)
    real = [row for row in found if row["expected"] is None]
    return {
        "stretch": stretch.to_json(),
        "recorded": holds_calls(reader, stretch),
        "total": len(found),
        "errors": [_published(row) for row in listed],
        "by_kind": dict(Counter(row["kind"] for row in real).most_common()),
        "by_tool": dict(Counter(row["tool"] or "unknown" for row in real).most_common()),
        "unexpected": len(real),
        "expected": dict(Counter(row["expected"] for row in found if row["expected"]).most_common()),
        "api_errors": api,
    }


def _call_errors(reader: Reader, stretch: Stretch, session_id: str | None) -> list[Row]:
    condition = stretch.where("e.at", "e.session_id")
    bindings = stretch.bindings
    if session_id is not None:
        condition += " AND e.session_id = :session"
        bindings["session"] = session_id
    rows = list(
        reader.rows(
            "SELECT e.tool_use_id, e.session_id, e.at, e.tool, e.kind, e.message, e.exit_code, c.subject, c.agent_id,"
            " c.started_at, c.signature, c.outcome, c.mcp_server, c.input_size, s.cwd, s.project_path FROM errors e"
            " JOIN calls c ON c.tool_use_id = e.tool_use_id LEFT JOIN sessions s ON s.session_id = e.session_id"
            f" WHERE {condition} ORDER BY e.at DESC, e.tool_use_id DESC",
            bindings,
        )
    )
    for row in rows:
        row["kind"] = error_kind(row)
        row["expected"] = expected_exit(row["subject"], row["exit_code"]) if row["tool"] == "Bash" else None
    return rows


def error_kind(row: Row) -> str:
    """Return the kind of a call's error, told more closely than its text alone does."""
    if row["exit_code"] == 127:
        return "command_not_found"
    if row["kind"] == "exit_status" and "timed out after" in (row["message"] or ""):
        return "timeout"
    if row["kind"] == "schema" and "does not exist" in (row["message"] or ""):
        return "not_found"
    return str(row["kind"])


def target_of(tool: str | None, subject: str | None) -> str:
    """Return what a call is about in the form that calls are compared in."""
    return normalise_command(subject) if tool == "Bash" else subject or ""


def _resolve(reader: Reader, listed: list[Row]) -> None:
    """Find for each error the like calls that followed, in the same session and by the same agent."""
    wanted: dict[str, list[Row]] = defaultdict(list)
    for row in listed:
        wanted[row["session_id"]].append(row)
    for session_id, rows in wanted.items():
        lanes: dict[str | None, list[tuple[Any, ...]]] = defaultdict(list)
        for call in reader.connection.execute(
            "SELECT agent_id, started_at, tool_use_id, tool, subject, outcome, ended_at FROM calls"
            " WHERE session_id = ? ORDER BY started_at, tool_use_id",
            (session_id,),
        ):
            lanes[call[0]].append(call)
        places = {call[2]: (lane, place) for lane in lanes.values() for place, call in enumerate(lane)}
        for row in rows:
            lane, place = places[row["tool_use_id"]]
            _follow(row, lane[place + 1 :])


def _follow(row: Row, following: list[tuple[Any, ...]]) -> None:
    tool, target = row["tool"], target_of(row["tool"], row["subject"])
    family = command_family(target) if tool == "Bash" else None
    retries, resolved, counting = 0, None, True
    for distance, (_agent, _started, key, other, subject, outcome, ended) in enumerate(following):
        if distance >= RETRY_WINDOW and not retries:
            counting = False
        if other != tool:
            continue
        its = target_of(other, subject)
        same = subject == row["subject"] or (its == target and "<<" not in its)
        similar = same or (
            family is not None
            and distance < RETRY_WINDOW
            and command_family(its) == family
            and alike(its, target)
        )
        if not similar:
            continue
        if counting:
            retries += 1
        if outcome == "ok" and (same or distance < RETRY_WINDOW):
            resolved = {
                "tool_use_id": key,
                "how": "same" if same else "similar",
                "after_ms": None if ended is None or row["at"] is None else max(0, ended - row["at"]),
                "at": rfc3339(ended),
            }
            break
    row["retries"], row["resolved_by"] = retries, resolved


_PYTHON_STACK = re.compile(r"Traceback \(most recent call last\):\n(?:.*\n)*?(?=\S)(?!Traceback)[^\n]+")
_FRAME = re.compile(
    r"^\s+at .+(?:\)|:\d+(?::\d+)?)$|^\s+File \".+\", line \d+|^\s*\d+: 0x|^goroutine \d+|^\s+\S+\.go:\d+",
    re.MULTILINE,
)


def stack_of(text: str | None) -> str | None:
    """Return the stack trace that a text holds, or ``None``: Python's, or lines that name frames of other languages."""
    if not text:
        return None
    found = _PYTHON_STACK.search(text)
    if found:
        return found.group(0)[:4000]
    lines = text.splitlines()
    frames = [place for place, line in enumerate(lines) if _FRAME.match(line)]
    if len(frames) < 2:
        return None
    return "\n".join(lines[max(0, frames[0] - 1) : frames[-1] + 1])[:4000]


_STACKS_READ = 100


def _stacks(reader: Reader, listed: list[Row]) -> None:
    """Add the stacks; where the index holds only the beginning of a message, from the whole result."""
    payloads = Payloads(reader)
    read = 0
    for row in listed:
        text = row["message"]
        if text and text.endswith("…") and read < _STACKS_READ and row["expected"] is None:
            read += 1
            text = _whole_message(reader, payloads, row["tool_use_id"]) or text
        row["stack"] = stack_of(text)


def _whole_message(reader: Reader, payloads: Payloads, tool_use_id: str) -> str | None:
    state = reader.value(
        "SELECT state FROM facts WHERE entity = ? AND key = ?", (ENTITY_NUMBERS["call"], tool_use_id)
    )
    if state is None:
        return None
    try:
        return content_text(payloads.resolve(values_of("call", decode_state(state))["result"]))
    except (NotFoundError, FormatError):
        # Erased or damaged: the beginning that the index keeps is all there is.
        return None


def _published(row: Row) -> Row:
    recoverable, why = RECOVERABLE.get(row["kind"], RECOVERABLE["other"])
    return {
        "tool_use_id": row["tool_use_id"],
        "session_id": row["session_id"],
        "project": project_name(row["project_path"] or row["cwd"]),
        "agent_id": row["agent_id"],
        "at": rfc3339(row["at"]),
        "tool": row["tool"],
        "mcp_server": row["mcp_server"],
        "subject": row["subject"],
        "kind": row["kind"],
        "outcome": row["outcome"],
        "message": row["message"],
        "exit_code": row["exit_code"],
        "expected": row["expected"],
        "stack": row["stack"],
        "recoverable": recoverable,
        "recoverable_why": why,
        "retries": row["retries"],
        "resolved_by": row["resolved_by"],
    }


_STATUS = re.compile(r"\b([45]\d\d)\b")


def _api_errors(reader: Reader, stretch: Stretch, session_id: str | None) -> dict[str, Any]:
    """Return what the provider did not answer: retries on the way, and what the client gave up on."""
    condition, bindings = stretch.where("at"), stretch.bindings
    if session_id is not None:
        condition += " AND session_id = :session"
        bindings["session"] = session_id
    retried = [
        _api_retry(row)
        for row in reader.rows(
            f"SELECT session_id, at, text, data FROM events WHERE known = 1 AND name = 'api_error' AND {condition}"
            " ORDER BY at DESC, event_key",
            bindings,
        )
    ]
    given_up = []
    for row in reader.rows(
        f"SELECT request_key, session_id, at FROM requests WHERE synthetic = 1 AND {condition} ORDER BY at DESC",
        bindings,
    ):
        text = reader.value(
            "SELECT text FROM messages WHERE message_id = ? ORDER BY at LIMIT 1", (row["request_key"],)
        )
        if text and text.startswith("API Error"):
            given_up.append(
                {"session_id": row["session_id"], "at": rfc3339(row["at"]), "message": text, **_status(text)}
            )
    return {"retried": retried, "given_up": given_up}


def _api_retry(row: Row) -> Row:
    import json

    data = json.loads(row["data"]) if row["data"] else {}
    said = data.get("error")
    error: Row = said if isinstance(said, dict) else {}
    status = error.get("status")
    return {
        "session_id": row["session_id"],
        "at": rfc3339(row["at"]),
        "message": text_of(error.get("formatted")) or row["text"],
        **(_status(str(status)) if status is not None else _status(row["text"] or "")),
        "attempt": whole_number(data.get("retryAttempt")),
        "most_attempts": whole_number(data.get("maxRetries")),
        "retry_in_ms": whole_number(data.get("retryInMs")),
    }


def _status(text: str) -> Row:
    """Return the HTTP status that a text names, and whether trying again can help."""
    found = _STATUS.search(text)
    if not found:
        return {"status": None, "recoverable": None}
    status = int(found.group(1))
    return {"status": status, "recoverable": status in {408, 409, 429} or status >= 500}
