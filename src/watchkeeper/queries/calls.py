"""One call with everything known about it."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable
from typing import Any

from watchkeeper.errors import FormatError, NotFoundError
from watchkeeper.events.derive import EDITING_TOOLS, WRITING_TOOLS, values_of
from watchkeeper.events.entities import SEEN_NAMES
from watchkeeper.events.gaps import call_gap, session_is_over
from watchkeeper.events.merge import decode_state
from watchkeeper.queries.call_rows import CallRows
from watchkeeper.queries.forms import rfc3339, words
from watchkeeper.queries.gaps import first_hook_ever
from watchkeeper.sources.claude_code.transcripts import content_text
from watchkeeper.store.payloads import Payloads
from watchkeeper.store.sqlite.reading import Reader
from watchkeeper.store.tables import ENTITY_NUMBERS


def get_call(reader: Reader, tool_use_id: str, now_ms: int | None = None) -> dict[str, Any]:
    """Return a call with its payloads, context and evidence (`models.CallDetail`).

    Raises:
        NotFoundError: No call has this id.
    """
    now = int(time.time() * 1000) if now_ms is None else now_ms
    row = reader.row("SELECT * FROM calls WHERE tool_use_id = ?", (tool_use_id,))
    state = reader.value(
        "SELECT state FROM facts WHERE entity = ? AND key = ?", (ENTITY_NUMBERS["call"], tool_use_id)
    )
    if row is None or state is None:
        raise NotFoundError(
            f"call {tool_use_id} is not on record", hint="Run `wk show SESSION` for the calls."
        )
    facts = values_of("call", decode_state(state))
    payloads = Payloads(reader)
    arguments, response, result = (
        _payload(payloads, facts[name]) for name in ("input", "response", "result")
    )
    evidence = [_evidence(payloads, item) for item in facts["evidence"] or ()]
    output = response if isinstance(response, dict) else {}
    return {
        "call": _view(reader, row, now),
        "context": context_of(reader, row),
        "input": arguments,
        "response": response,
        "result": content_text(result) if result is not None else None,
        "diff": unified_diff(row["tool"], arguments, response),
        "stdout": _text(output.get("stdout")),
        "stderr": _text(output.get("stderr")),
        "evidence": sorted(evidence, key=lambda item: (item["at"] or "", item["witness"])),
        "masked": _masked(payloads, facts["evidence"] or ()),
        "file_operation": _operation(reader, "file_operations", _FILE_COLUMNS, tool_use_id),
        "git_operation": _operation(reader, "git_operations", _GIT_COLUMNS, tool_use_id),
        "error_class": reader.value("SELECT kind FROM errors WHERE error_key = ?", (tool_use_id,)),
    }


_FILE_COLUMNS = "kind, path, size, lines_added, lines_removed"
_GIT_COLUMNS = "operation, branch, commit_id, files_changed, insertions, deletions"


def _operation(reader: Reader, table: str, columns: str, tool_use_id: str) -> dict[str, Any] | None:
    return reader.row(f"SELECT {columns} FROM {table} WHERE tool_use_id = ?", (tool_use_id,))


def _view(reader: Reader, row: dict[str, Any], now: int) -> dict[str, Any]:
    session = reader.row("SELECT * FROM sessions WHERE session_id = ?", (row["session_id"],))
    gap = None
    if session is not None and session["hook_first_at"] is not None:
        gap = call_gap(row, session, now=now, first_hook_ever=first_hook_ever(reader))
    rows = CallRows(reader, row["session_id"])
    over = session is None or session_is_over(session, now)
    return rows.view(row, gap[0] if gap else None, over=over)


def _payload(payloads: Payloads, reference: list[Any] | None) -> Any:
    try:
        return payloads.resolve(reference)
    except (NotFoundError, FormatError) as error:
        # A damaged or erased payload costs itself only; everything else about the call is known.
        return {"unavailable": str(error)}


def _evidence(payloads: Payloads, item: list[Any]) -> dict[str, Any]:
    bit, source, at = item
    return {
        "witness": SEEN_NAMES.get(bit, str(bit)),
        "source": source,
        "at": rfc3339(at),
        "ledger_seq": payloads.ledger_seq(source),
    }


def _masked(payloads: Payloads, evidence: Iterable[list[Any]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for _, source, _ in evidence:
        for rule, hits in payloads.masked(source).items():
            total[rule] = max(hits, total.get(rule, 0))
    return total


def context_of(reader: Reader, call: dict[str, Any]) -> dict[str, Any]:
    """Return the prompt, command and stated reasoning that a call was made in (`models.CallContext`)."""
    prompt = _prompt_of(reader, call) or {}
    return {
        "prompt": prompt.get("text"),
        "slash_command": prompt.get("slash_command"),
        "framework_command": prompt.get("framework_command"),
        "persona": prompt.get("persona"),
        "flags": words(prompt.get("flags")),
        "reasoning": _words_before(reader, call, "text"),
        "thinking": _words_before(reader, call, "thinking"),
    }


def _prompt_of(reader: Reader, call: dict[str, Any]) -> dict[str, Any] | None:
    if call["prompt_id"]:
        found = reader.row(
            "SELECT * FROM prompts WHERE session_id = ? AND prompt_id = ? ORDER BY at, prompt_key LIMIT 1",
            (call["session_id"], call["prompt_id"]),
        )
        if found is not None:
            return found
    return reader.row(
        "SELECT * FROM prompts WHERE session_id = ? AND at <= ? ORDER BY at DESC, prompt_key LIMIT 1",
        (call["session_id"], call["started_at"] or 0),
    )


def _words_before(reader: Reader, call: dict[str, Any], kind: str) -> str | None:
    """Return what the agent said or thought in the message that asked for the call."""
    if call["message_id"] is None:
        return None
    rows = reader.rows(
        "SELECT text FROM messages WHERE message_id = ? AND kind = ? ORDER BY at, message_key",
        (call["message_id"], kind),
    )
    said = [row["text"] for row in rows if row["text"]]
    return "\n\n".join(said) or None


def unified_diff(tool: str | None, arguments: Any, response: Any) -> str | None:
    """Return the unified diff of an edit or write: the client's own patch, else made from the input."""
    path = _path(arguments, response)
    if isinstance(response, dict) and isinstance(response.get("structuredPatch"), list):
        if response["structuredPatch"]:
            return _from_patch(path, response["structuredPatch"])
        if response.get("type") == "create":
            return _lines_diff(path, "", _text(response.get("content")) or "")
    if not isinstance(arguments, dict):
        return None
    if tool in EDITING_TOOLS:
        edits = arguments.get("edits") if isinstance(arguments.get("edits"), list) else [arguments]
        parts = [_edit_diff(path, edit) for edit in edits or () if isinstance(edit, dict)]
        return "\n".join(part for part in parts if part) or None
    if tool in WRITING_TOOLS and isinstance(arguments.get("content"), str):
        return _lines_diff(path, "", arguments["content"])
    return None


def _edit_diff(path: str, edit: dict[str, Any]) -> str | None:
    old, new = _text(edit.get("old_string")), _text(edit.get("new_string") or edit.get("new_source"))
    return _lines_diff(path, old or "", new or "") if old is not None or new is not None else None


def _path(arguments: Any, response: Any) -> str:
    for source, name in ((response, "filePath"), (arguments, "file_path"), (arguments, "notebook_path")):
        if isinstance(source, dict) and isinstance(source.get(name), str):
            return str(source[name])
    return "file"


def _from_patch(path: str, patch: list[Any]) -> str:
    lines = [f"--- {path}", f"+++ {path}"]
    for hunk in patch:
        if not isinstance(hunk, dict):
            continue
        old, new = (
            f"{hunk.get('oldStart')},{hunk.get('oldLines')}",
            f"{hunk.get('newStart')},{hunk.get('newLines')}",
        )
        lines.append(f"@@ -{old} +{new} @@")
        lines.extend(str(line) for line in hunk.get("lines") or ())
    return "\n".join(lines)


def _lines_diff(path: str, old: str, new: str) -> str | None:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), path, path, lineterm="")
    return "\n".join(lines) or None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
