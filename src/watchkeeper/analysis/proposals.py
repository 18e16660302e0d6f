"""For each quality signal the part of the configuration to change, in words made from its evidence.

A proposal names one of five places: ``CLAUDE.md`` (what every session should know), ``skill`` (how one kind of work is
done, loaded when it is), ``permission rule`` (what is allowed without asking, or never), ``hook`` (what a program can
see to by itself), ``settings`` (what is switched on at all).
"""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

_GENERATED = (
    "lock",
    ".lock",
    "-lock.json",
    "package-lock.json",
    ".min.js",
    ".snap",
    ".generated.",
    "_pb2.py",
)
_FORMATTERS = ("prettier", "black", "ruff", "eslint", "gofmt", "rustfmt", "clippy", "flake8", "isort")


def with_proposals(report: dict[str, Any]) -> dict[str, Any]:
    """Return a quality report with ``change`` and ``proposal`` in every entry that something can be done about."""
    makers = {
        "repeated_reads": _for_reads,
        "failing_commands": _for_command,
        "most_edited": _for_edits,
        "loops": _for_loop,
        "idle_definitions": _for_idle,
    }
    changed = {
        name: [{**row, **_named(make(row))} for row in report[name]]
        for name, make in makers.items()
        if name in report
    }
    return {**report, **changed}


def _named(proposal: tuple[str, str]) -> Row:
    return {"change": proposal[0], "proposal": proposal[1]}


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _for_reads(row: Row) -> tuple[str, str]:
    name, count = _name(row["path"]), row["count"]
    if row["after_compaction"] * 2 > count - 1:
        return "CLAUDE.md", (
            f"Add to its section on compaction: keep what {name} says. It was read again {row['after_compaction']}"
            " times because a compaction had dropped it."
        )
    if row["after_edit"] * 2 > count - 1:
        return "CLAUDE.md", (
            f"Add the rule: after an edit do not read the file again, the result shows the change. {name} was read"
            f" {row['after_edit']} times right after it was edited."
        )
    if row["parts"] * 2 > count:
        return "CLAUDE.md", (
            f"Add a section on what is where in {name}: it was looked through in {row['parts']} parts. List its main"
            " symbols, and say to search before reading."
        )
    return "CLAUDE.md", (
        f"Put what {name} is needed for into a section of its own, or import the file with @{name}: it was read"
        f" {count} times in one session, {row['again']} of them while the context still held it."
    )


def _for_command(row: Row) -> tuple[str, str]:
    command = _first_line(row["command"])
    family = row["family"] or command
    often = f"failed {row['failures']} times in {_sessions(row['sessions'])}"
    said = _first_line(row["last_error"])
    if row["kinds"].get("command_not_found", 0) * 2 > row["failures"]:
        return "hook", (
            f"Let a SessionStart hook check that what `{family}` needs is installed, or name the right command in the"
            f" section on commands of CLAUDE.md: `{command}` {often}, with status 127 (no such program)."
        )
    if row["kinds"].get("permission"):
        return "permission rule", (
            f"Allow it with Bash({family}:*), or deny it so that nobody waits: `{command}` {often} for want of a"
            " permission."
        )
    if row["kinds"].get("timeout"):
        return "CLAUDE.md", (
            f"Say in the section on commands that `{command}` takes long and is run in the background or on a part:"
            f" it ran out of time and {often}."
        )
    if any(name in family or name in command for name in _FORMATTERS):
        return "hook", (
            f"Let a PostToolUse hook on Edit and Write run `{family}` on the changed file, so that it need not fail"
            f" later: `{command}` {often}."
        )
    if row["expected"]:
        return "skill", (
            "Write a skill on testing: which tests belong to which code, how one of them is run, what is known to"
            f" fail. `{command}` reported failing tests {row['failures']} times in {_sessions(row['sessions'])}."
        )
    worked = row.get("worked")
    instead = (
        f"Write into the section on commands to use `{worked}`"
        if worked
        else "Write the form that works into the"
    )
    return "CLAUDE.md", (
        (f"{instead}, which worked right after: " if worked else f"{instead} section on commands: ")
        + f"`{command}` {often}"
        + (f", last with: {said}" if said else ".")
    )


def _for_edits(row: Row) -> tuple[str, str]:
    name = _name(row["path"])
    often = f"edited {row['edits']} times in {_sessions(row['sessions'])}"
    if any(mark in name for mark in _GENERATED):
        return (
            "permission rule",
            f"Deny Edit({row['path']}) and name the program that makes it: {name} was {often}.",
        )
    if name in {"CLAUDE.md", "settings.json", "MEMORY.md"}:
        return "skill", f"Move what changes so often out of {name} into a skill: it was {often}."
    if row["sessions"] > 1:
        return "skill", (
            f"Write a skill, or a rule with paths: {row['path']}, on how {name} is changed and what goes with it:"
            f" it was {often}."
        )
    return "CLAUDE.md", (
        f"Say in a section on {name} how it is laid out, and to plan its changes before making them: it was {often}."
    )


def _for_loop(row: Row) -> tuple[str, str]:
    what = f"{row['tool']} with the same input {row['count']} times in a row"
    if row["failures"] * 2 > row["count"]:
        return "CLAUDE.md", (
            f"Add the rule: what failed twice is not tried a third time unchanged. One agent called {what}, and"
            f" {row['failures']} of these failed."
        )
    return "hook", f"Let a PreToolUse hook refuse the third like call in a row: one agent called {what}."


def _for_idle(row: Row) -> tuple[str, str]:
    never = f"was not used once in {_sessions(row['sessions'])}"
    carried = f"takes about {row['tokens']:,} tokens of every request and {never}"
    if row["kind"] == "mcp_server":
        return "settings", (
            f"Turn MCP server {row['name']} off where it is not needed (disabledMcpjsonServers, or remove it from the"
            f" scope it is in): it {carried}."
        )
    return "skill", f"Shorten the description of skill {row['name']}, or remove it: it {carried}."


def _sessions(count: int) -> str:
    return "one session" if count == 1 else f"{count} sessions"


def _first_line(message: str | None) -> str:
    lines = [line.strip() for line in (message or "").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Exit code ")]
    return lines[0][:160] if lines else ""
