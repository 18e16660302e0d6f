"""Everything that is not a fact: pure functions of merged states.

They are recomputed for every entity that changed, in the transaction that changed it, so a projection always equals
what its facts say, whatever the order in which they came.
"""

from __future__ import annotations

import re
from typing import Any

from watchkeeper.events.entities import (
    CALL,
    ENTITIES,
    SEEN_HOOK_BATCH,
    SEEN_HOOK_FAILURE,
    SEEN_HOOK_POST,
    SEEN_HOOK_PRE,
)
from watchkeeper.events.merge import State, value_of
from watchkeeper.events.usage import quarter_of, split_cache_writes

Row = dict[str, Any]

READING_TOOLS = {"Read", "NotebookRead"}
WRITING_TOOLS = {"Write"}
EDITING_TOOLS = {"Edit", "MultiEdit", "NotebookEdit"}


def values_of(entity: str, state: State) -> Row:
    """Return the entity's plain values, one per declared field, ``None`` where nothing is known."""
    return {name: value_of(state, name, field.rule) for name, field in ENTITIES[entity].items()}


def ref_size(reference: list[Any] | None) -> int | None:
    """Return the size of the payload that a ref points to: characters of a text, bytes of anything else."""
    return None if reference is None else int(reference[2])


def call_times(call: Row) -> tuple[int | None, int | None]:
    """Return start and end of a call in epoch milliseconds.

    The hook's own times are nearer to the work than the transcript's; a start is never after the end.
    """
    start = call["pre_at"] if call["pre_at"] is not None else call["asked_at"]
    end = call["post_at"] if call["post_at"] is not None else call["answered_at"]
    if start is None:
        start = call["batch_at"] if end is None else end
    if end is not None and start is not None and end < start:
        end = start
    return start, end


def call_duration(call: Row) -> tuple[int | None, str | None]:
    """Return the duration in milliseconds and its basis: ``reported``, ``computed``, or neither.

    A transcript's two times include the wait for a permission and for the API, so only hook times are subtracted:
    those of the clock that counts from the machine's start, since the wall clock may be set in between.
    """
    if call["duration_ms"] is not None:
        return call["duration_ms"], "reported"
    started, ended = call["pre_clock"], call["post_clock"]
    if started is not None and ended is not None:
        same_boot = started[0] == ended[0] and ended[1] >= started[1]
        return (ended[1] - started[1], "computed") if same_boot else (None, None)
    start, end = call["pre_at"], call["post_at"]
    if start is not None and end is not None and end >= start:
        return end - start, "computed"
    return None, None


def call_outcome(call: Row) -> tuple[str, str | None]:
    """Return what became of a call, and who denied it where someone did."""
    if call["denied"]:
        return "denied", call["denied"]
    if call["rejected"]:
        return "rejected", None
    if call["interrupted"]:
        return "interrupted", None
    if call["failed"] and _never_ran(call):
        return "denied", None
    if call["failed"] is not None:
        return ("failed", None) if call["failed"] else ("ok", None)
    if call["seen"] and call["seen"] & SEEN_HOOK_POST:
        return "ok", None
    if call["answered_at"] is not None or call["batch_at"] is not None:
        return "unknown", None
    return "running", None


def _never_ran(call: Row) -> bool:
    """Tell whether a call was begun and answered without its result event, although hooks still fired after it.

    So it is when a person or a hook refuses with words of their own, which no error text gives away.
    """
    seen = call["seen"] or 0
    begun = seen & SEEN_HOOK_PRE and seen & SEEN_HOOK_BATCH
    return bool(begun) and not seen & (SEEN_HOOK_POST | SEEN_HOOK_FAILURE) and call["exit_code"] is None


def call_contradictions(state: State) -> list[Row]:
    """Return the fields on which witnesses disagree, with what each says."""
    found = []
    for name, field in CALL.items():
        stored = state.get(name)
        if field.rule != "witnessed" or not stored or len(stored) < 2:
            continue
        said = {witness: tagged[1] for witness, tagged in sorted(stored.items())}
        if len({str(value) for value in said.values()}) > 1:
            found.append({"field": name, "said": said})
    return found


def derive_call(key: str, state: State) -> dict[str, Row | None]:
    """Return every row that follows from a call's facts, by table; ``None`` where the call has none there."""
    call = values_of("call", state)
    return {
        "calls": call_row(key, call, contradicted=bool(call_contradictions(state))),
        "file_operations": file_operation(key, call),
        "git_operations": git_operation(key, call),
        "errors": error_row(key, call),
        "findings": call_finding(key, call, call_contradictions(state)),
    }


def call_row(key: str, call: Row, *, contradicted: bool) -> Row:
    """Return the row of table ``calls`` for the values of one call."""
    start, end = call_times(call)
    duration, basis = call_duration(call)
    outcome, outcome_by = call_outcome(call)
    return {
        "tool_use_id": key,
        "session_id": call["session_id"],
        "prompt_id": call["prompt_id"],
        "agent_id": call["agent_id"],
        "message_id": call["message_id"],
        "tool": call["tool"],
        "mcp_server": call["mcp_server"],
        "subject": call["subject"],
        "signature": call["signature"],
        "cwd": call["cwd"],
        "started_at": start,
        "ended_at": end,
        "pre_at": call["pre_at"],
        "duration_ms": duration,
        "duration_basis": basis,
        "outcome": outcome,
        "outcome_by": outcome_by,
        "permission_mode": call["permission_mode"],
        "failed": 1 if outcome == "failed" else 0,
        "background": call["background"] or 0,
        "exit_code": call["exit_code"],
        "error": call["error"],
        "lines_added": call["lines_added"],
        "lines_removed": call["lines_removed"],
        "input_size": ref_size(call["input"]),
        "result_size": ref_size(call["result"]),
        "seen": call["seen"] or 0,
        "contradicted": 1 if contradicted else 0,
    }


def file_operation(key: str, call: Row) -> Row | None:
    """Return the file operation that a call was, if it was one."""
    if not call["file_path"]:
        return None
    kind = _file_operation_kind(call)
    if kind is None:
        return None
    start, _ = call_times(call)
    duration, _ = call_duration(call)
    return {
        "tool_use_id": key,
        "session_id": call["session_id"],
        "at": start,
        "kind": kind,
        "path": call["file_path"],
        "size": call["file_size"],
        "duration_ms": duration,
        "lines_added": call["lines_added"],
        "lines_removed": call["lines_removed"],
        "done": 1 if call_outcome(call)[0] == "ok" else 0,
    }


def _file_operation_kind(call: Row) -> str | None:
    if call["tool"] in READING_TOOLS:
        return "read"
    if call["tool"] in EDITING_TOOLS:
        return "edit"
    if call["tool"] in WRITING_TOOLS:
        return "create" if call["file_created"] else "write"
    return None


def git_operation(key: str, call: Row) -> Row | None:
    """Return the git operation that a call was: the one the client reports, else what its command line says."""
    reported = call["git"] or {}
    command = call["subject"] if call["tool"] == "Bash" else None
    operation = reported.get("operation") or call["git_verb"]
    if operation is None:
        return None
    start, _ = call_times(call)
    return {
        "tool_use_id": key,
        "session_id": call["session_id"],
        "at": start,
        "operation": operation,
        "command": command,
        "branch": reported.get("branch"),
        "commit_id": reported.get("commit"),
        "files_changed": reported.get("files_changed"),
        "insertions": reported.get("insertions"),
        "deletions": reported.get("deletions"),
        "done": 1 if call_outcome(call)[0] == "ok" else 0,
    }


_ERROR_TYPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("exit_status", re.compile(r"^(?:Error: )?Exit code \d+")),
    ("timeout", re.compile(r"timed? ?out", re.IGNORECASE)),
    ("not_found", re.compile(r"does not exist|ENOENT|No such file", re.IGNORECASE)),
    ("permission", re.compile(r"EACCES|permission denied|needs approval|haven't granted", re.IGNORECASE)),
    ("network", re.compile(r"ECONN|ENOTFOUND|network|safe to fetch", re.IGNORECASE)),
    ("cancelled", re.compile(r"Sibling tool call errored|interrupted", re.IGNORECASE)),
)


def error_type(message: str | None) -> str:
    """Return the class of an error by its text; ``other`` when none fits."""
    for name, pattern in _ERROR_TYPES if message else ():
        if message and pattern.search(message):
            return name
    return "other"


def error_row(key: str, call: Row) -> Row | None:
    """Return the error of a call that failed, was rejected or was interrupted."""
    outcome, _ = call_outcome(call)
    if outcome not in {"failed", "rejected", "interrupted"}:
        return None
    _, end = call_times(call)
    return {
        "error_key": key,
        "tool_use_id": key,
        "session_id": call["session_id"],
        "at": end,
        "tool": call["tool"],
        "kind": "schema" if outcome == "rejected" else error_type(call["error"]),
        "message": call["error"],
        "exit_code": call["exit_code"],
    }


def call_finding(key: str, call: Row, contradictions: list[Row]) -> Row | None:
    """Return the finding that the witnesses of a call contradict each other, if they do."""
    if not contradictions:
        return None
    start, _ = call_times(call)
    return {
        "finding_key": key,
        "session_id": call["session_id"],
        "tool_use_id": key,
        "at": start,
        "rule": "witnesses_contradict",
        "severity": "medium",
        "what": " ".join(_contradiction_text(item) for item in contradictions),
    }


def _contradiction_text(item: Row) -> str:
    said = ", ".join(f"{witness} says {value}" for witness, value in item["said"].items())
    if item["field"] == "signature":
        return f"The input that ran is not the input that the model asked for ({said})."
    return f"The witnesses disagree on {item['field']}: {said}."


def derive_session(key: str, state: State) -> dict[str, Row | None]:
    """Return the row of table ``sessions``.

    Old clients began a new session's file with summaries of earlier sessions: one that stands before the session's
    own first message is another's title.
    """
    session = values_of("session", state)
    begins, summary = session["messages_from"], state.get("title_summary")
    if begins is not None and summary is not None and summary[0] < begins:
        session["title_summary"] = None
    return {"sessions": {"session_id": key, **session}}


def derive_request(key: str, state: State) -> dict[str, Row | None]:
    """Return the row of table ``requests``; its cost is what the client reported, or still to be computed.

    What only an aside's file holds is counted as well: its own answer was paid for, and so was one whose other copies
    are gone. A copy beside its original is the same request by its key.
    """
    request = values_of("request", state)
    reported = request["reported_micros"]
    five, hour = split_cache_writes(
        request["cache_write_tokens"], request["cache_write_5m_tokens"], request["cache_write_1h_tokens"]
    )
    return {
        "requests": {
            "request_key": key,
            **request,
            "cache_write_5m_tokens": five,
            "cache_write_1h_tokens": hour,
            "quarter": quarter_of(request["last_at"]),
            "cost_micros": reported,
            "cost_basis": None if reported is None else "reported",
            "counted": 0 if request["synthetic"] else 1,
            "partial": 0 if request["stop_reason"] else 1,
        }
    }
