"""A tool call as text: diffs, terminal output, results, each in the form its tool calls for."""

from __future__ import annotations

from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.periods import duration, local_time
from watchkeeper.cli.terminal import clip, one_line, visible

_MARKS = {
    "ok": ("✓", "good"),
    "failed": ("✗", "bad"),
    "rejected": ("✗", "bad"),
    "denied": ("⊘", "warn"),
    "interrupted": ("■", "warn"),
    "running": ("…", ""),
}
_DIFF_LINES = 24
_OUTPUT_LINES = 8
_COMMAND_LINES = 4


def mark(outcome: str) -> tuple[str, str]:
    """Return the symbol of an outcome and its style; the style is empty for a neutral one."""
    return _MARKS.get(outcome, ("?", ""))


def outcome_words(call: dict[str, Any]) -> str:
    """Return the outcome in words: ``denied by user``, ``failed with exit code 2``."""
    words = str(call["outcome"])
    if words == "denied" and call["outcome_by"]:
        return f"denied by {one_line(call['outcome_by'])}"
    if words == "rejected":
        return "rejected by the schema"
    if words == "failed" and call["exit_code"] is not None:
        return f"failed with exit code {call['exit_code']}"
    return words


def trimmed(lines: list[str], most: int, context: Context, *, full: bool) -> list[str]:
    """Return the first lines and, where some are left out, how many."""
    if full or len(lines) <= most + 1:
        return lines
    return [*lines[:most], context.style(f"… {len(lines) - most:,} more lines", "dim")]


def body(detail: dict[str, Any], context: Context, *, width: int, full: bool) -> list[str]:
    """Return what stands below a call's line in the timeline: its command, diff, output or result."""
    call = detail["call"]
    lines: list[str] = []
    if call["tool"] == "Bash":
        lines += _command(detail["input"], context, width, full=full)
    if detail["diff"]:
        hunks = diff_lines(_without_names(detail["diff"]), context, width)
        if call["outcome"] in {"failed", "denied", "rejected", "interrupted"}:
            lines.append(context.style("not applied:", "warn"))
        lines += trimmed(hunks, _DIFF_LINES, context, full=full)
    elif detail["stdout"] or detail["stderr"]:
        lines += _output(detail["stdout"], "", context, width, full=full)
        lines += _output(detail["stderr"], "stderr: ", context, width, full=full)
    elif detail["result"] and call["outcome"] == "ok" and call["tool"] != "Read":
        lines += _output(detail["result"], "", context, width, full=full)
    if call["error"]:
        lines += _output(call["error"], "", context, width, full=full, style="bad")
    return lines


def _without_names(diff: str) -> str:
    # The file is the call's subject, one line above.
    lines = diff.split("\n")
    named = len(lines) > 2 and lines[0].startswith("--- ") and lines[1].startswith("+++ ")
    return "\n".join(lines[2:] if named else lines)


def diff_lines(diff: str, context: Context, width: int | None = None) -> list[str]:
    """Return a unified diff as harmless lines, additions and removals coloured."""
    lines = []
    for line in visible(diff).rstrip("\n").split("\n"):
        text = line.expandtabs(4)
        text = text if width is None else clip(text, width)
        if line.startswith(("+++", "---", "@@")):
            text = context.style(text, "dim")
        elif line.startswith("+"):
            text = context.style(text, "good")
        elif line.startswith("-"):
            text = context.style(text, "bad")
        lines.append(text)
    return lines


def _command(given: Any, context: Context, width: int, *, full: bool) -> list[str]:
    command = given.get("command") if isinstance(given, dict) else None
    if not isinstance(command, str) or "\n" not in command.strip():
        return []  # a command of one line is the call's subject already
    lines = _block(f"$ {command.strip()}", None if full else width)
    return trimmed(lines, _COMMAND_LINES, context, full=full)


def _output(
    text: str | None, prefix: str, context: Context, width: int, *, full: bool, style: str = ""
) -> list[str]:
    if not text or not text.strip():
        return []
    lines = _block(text.strip("\n"), None if full else width - len(prefix))
    lines = [prefix + (context.style(line, style) if style else line) for line in lines]
    return trimmed(lines, _OUTPUT_LINES, context, full=full)


def _block(text: str, width: int | None) -> list[str]:
    lines = visible(text).expandtabs(4).split("\n")
    return lines if width is None else [clip(line, width) for line in lines]


def call_in_full(detail: dict[str, Any], context: Context) -> list[str]:
    """Return everything that is on record about one call."""
    call = detail["call"]
    symbol, style = mark(call["outcome"])
    heading = f"{one_line(call['tool']) or 'unknown tool'}  {one_line(call['subject'])}".rstrip()
    lines = [(context.style(symbol, style) if style else symbol) + " " + context.style(heading, "bold")]
    for name, value in _facts(call, detail["context"]):
        lines.append(f"{name:<14}{value}")
    blocks = [
        ("prompt", detail["context"]["prompt"]),
        ("reasoning", detail["context"]["reasoning"]),
        ("thinking", detail["context"]["thinking"]),
        ("input", detail["input"]),
        ("diff", detail["diff"]),
        ("stdout", detail["stdout"]),
        ("stderr", detail["stderr"]),
        ("error", call["error"]),
        ("result", detail["result"]),
        ("response", detail["response"]),
    ]
    for name, value in blocks:
        if value not in (None, "", {}, []):
            lines += ["", context.style(name, "dim"), *_content(name, value, context)]
    return [*lines, "", context.style("evidence", "dim"), *_evidence(detail)]


def _content(name: str, value: Any, context: Context) -> list[str]:
    if name == "diff":
        return diff_lines(str(value), context)
    if isinstance(value, str):
        return _block(value.strip("\n") if name == "reasoning" else value.rstrip("\n"), None)
    import json

    return _block(json.dumps(value, indent=2, ensure_ascii=False), None)


def _facts(call: dict[str, Any], circumstances: dict[str, Any]) -> list[tuple[str, str]]:
    basis = f" ({call['duration_basis']})" if call["duration_basis"] else ""
    permission = " ".join(
        str(part) for part in (call["permission"], call["permission_source"], call["permission_mode"]) if part
    )
    neighbours = f"{call['previous_tool'] or '—'} before, {call['next_tool'] or '—'} after"
    facts = [
        ("call", call["tool_use_id"]),
        ("session", call["session_id"]),
        ("agent", call["agent_id"]),
        ("outcome", outcome_words(call)),
        ("started", local_time(call["started_at"], seconds=True)),
        ("duration", duration(call["duration_ms"]) + basis),
        ("permission", permission or "—"),
        ("witnesses", ", ".join(call["witnesses"])),
        ("gap", call["gap"]),
        ("neighbours", neighbours + (", in parallel" if call["parallel"] else "")),
        ("command", circumstances["slash_command"] or circumstances["framework_command"]),
        ("persona", circumstances["persona"]),
        ("flags", " ".join(circumstances["flags"])),
    ]
    return [(name, one_line(str(value))) for name, value in facts if value]


def _evidence(detail: dict[str, Any]) -> list[str]:
    lines = []
    for entry in detail["evidence"]:
        sequence = "—" if entry["ledger_seq"] is None else f"{entry['ledger_seq']}"
        at = local_time(entry["at"], seconds=True)
        lines.append(one_line(f"{at}  {entry['witness']:<18}ledger {sequence:>8}  {entry['source']}"))
    for rule, count in detail["masked"].items():
        lines.append(one_line(f"masked: {count} by rule {rule}"))
    return lines
