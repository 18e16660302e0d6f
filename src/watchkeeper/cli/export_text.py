"""What the Markdown and the HTML form of a conversation say in the same words."""

from __future__ import annotations

import json
from typing import Any

from watchkeeper.cli.periods import local_time

REASONS = {
    "reported": "as the client reported it",
    "computed": "computed from tokens and dated prices",
}


def title_of(document: dict[str, Any]) -> str:
    """Return the conversation's title."""
    row = document["session"]
    return str(row["title"] or row["session_id"])


def facts_of(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of the session as (name, value)."""
    row, usage = document["session"], document["usage"]
    facts = [
        ("Session", row["session_id"]),
        ("Folder", row["cwd"]),
        ("Branch", row["git_branch"]),
        ("Models", ", ".join(row["models"]) or None),
        (
            "Time",
            f"{local_time(row['started_at'])} to {local_time(row['last_at'])}" if row["started_at"] else None,
        ),
        ("Agent version", row["version"]),
        ("Prompts", f"{row['prompts']:,}"),
        ("Tool calls", f"{row['tool_calls']:,}, {row['failures']:,} failed"),
        ("Tokens", tokens(usage)),
        ("Cost", cost(usage)),
        ("Client's own total", f"$ {row['client_cost_usd']} (reported)" if row["client_cost_usd"] else None),
    ]
    return [(name, str(value)) for name, value in facts if value]


def tokens(usage: dict[str, Any]) -> str:
    """Return tokens by kind."""
    least = "at least " if usage["lower_bound"] else ""
    return (
        f"{usage['input_tokens']:,} in, {least}{usage['output_tokens']:,} out,"
        f" {usage['cache_write_tokens']:,} cache written, {usage['cache_read_tokens']:,} cache read"
    )


def cost(usage: dict[str, Any]) -> str:
    """Return a cost with its provenance; a dash where no request has a price."""
    if usage["cost_usd"] is None:
        return f"— (no price known for {usage['unpriced_requests']:,} requests)"
    kinds = [REASONS[name] for name in ("reported", "computed") if usage["cost_basis"][name]]
    rest = f"; {usage['unpriced_requests']:,} requests unpriced" if usage["unpriced_requests"] else ""
    return f"$ {usage['cost_usd']}" + (f" ({', '.join(kinds)}{rest})" if kinds else "")


def remarks_of(document: dict[str, Any]) -> list[str]:
    """Return what a reader must know about what is not shown."""
    remarks = []
    if document["forked_from"]:
        remarks.append(f"This is a fork: what came before it is in session {document['forked_from']}.")
    if document["masked"]:
        kinds = ", ".join(f"{count:,} {rule}" for rule, count in document["masked"].items())
        remarks.append(f"Secrets were masked when this was recorded; the placeholders stand for: {kinds}.")
    if document["unavailable"]:
        remarks.append(
            f"{document['unavailable']:,} payloads are no longer on record; it says so where they were."
        )
    return remarks


def call_heading(item: dict[str, Any]) -> str:
    """Return tool, subject, outcome and duration of a call on one line."""
    call = item["call"]
    parts = [item["name"], call["subject"], call["outcome"]]
    if call["duration_ms"] is not None:
        parts.append(f"{call['duration_ms']:,} ms")
    if call["exit_code"] is not None:
        parts.append(f"exit code {call['exit_code']}")
    return " · ".join(" ".join(str(part).split()) for part in parts if part)


def call_parts(item: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return a call's blocks as (heading, language, text): input, diff, result, error output."""
    parts = []
    arguments = item["input"]
    if isinstance(arguments, dict) and set(arguments) <= {"command", "description", "timeout"} and arguments:
        parts.append(("Command", "sh", str(arguments.get("command", ""))))
    elif arguments is not None and not item["diff"]:
        parts.append(("Input", "json", json.dumps(arguments, indent=2, ensure_ascii=False)))
    if item["diff"]:
        parts.append(("Change", "diff", item["diff"]))
    result = item["result"] or item["stdout"]
    if result and not (item["diff"] and item["call"]["outcome"] == "ok"):
        parts.append(("Result", "", result))
    if item["stderr"] and item["stderr"] not in (result or ""):
        parts.append(("Error output", "", item["stderr"]))
    if item["unavailable"]:
        parts.append(("Not on record", "", item["unavailable"]))
    return parts
