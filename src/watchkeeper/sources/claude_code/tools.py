"""What the inputs, responses and errors of the agent's tools say, whoever reports them.

The response object is the same in the PostToolUse event (``tool_response``) and beside the result in the transcript
(``toolUseResult``); there it may also be a bare string or a list.
"""

from __future__ import annotations

import re
from typing import Any

from watchkeeper.events.identity import ERROR_LENGTH, shorten, signature, subject

_EXIT_CODE = re.compile(r"^(?:Error: )?Exit code (\d{1,10})(?!\d)")
_COMMIT_STATISTICS = re.compile(
    r"(?<!\d)(\d{1,15}) files? changed(?:, (\d{1,15}) insertions?\(\+\))?(?:, (\d{1,15}) deletions?\(-\))?"
)
_COMMIT_LINE = re.compile(r"^\[(\S+?)(?: \([^)]*\))? ([0-9a-f]{7,40})\]", re.MULTILINE)

# Possessive throughout: a command can be megabytes long.
_GIT_COMMAND = re.compile(
    r"(?:^|[;&|\n(`{])[ \t]*+(?:(?:[A-Za-z_]\w*+=\S*+|sudo|env|time|command|then|do|else)[ \t]++)*+"
    r"git[ \t]++(?:-[Cc][ \t]++\S++[ \t]++|--?[a-zA-Z][a-zA-Z-]*+(?:=\S++)?[ \t]++)*+([a-z][a-z-]++)"
)
_WEIGHTY_VERBS = (
    "push",
    "commit",
    "merge",
    "rebase",
    "reset",
    "cherry-pick",
    "revert",
    "checkout",
    "switch",
    "stash",
)
"""Of several git commands on one line the operation is the one that changes most."""

_FILE_FIELDS = ("file_path", "notebook_path")


def input_facts(tool: str | None, arguments: Any) -> dict[str, Any]:
    """Return the call facts that a tool's input gives."""
    facts: dict[str, Any] = {
        "tool": tool,
        "subject": subject(arguments),
        "signature": signature(tool, arguments),
    }
    if isinstance(arguments, dict):
        for name in _FILE_FIELDS:
            if isinstance(arguments.get(name), str):
                facts["file_path"] = arguments[name]
        if tool == "Write" and isinstance(arguments.get("content"), str):
            facts["file_size"] = len(arguments["content"].encode("utf-8", "surrogatepass"))
        if arguments.get("run_in_background") is True:
            facts["background"] = 1
        if tool == "Bash" and isinstance(arguments.get("command"), str):
            facts["git_verb"] = git_verb(arguments["command"])
    if tool and tool.startswith("mcp__"):
        parts = tool.split("__")
        facts["mcp_server"] = parts[1] if len(parts) > 2 else None
    return facts


def git_verb(command: str) -> str | None:
    """Return the git command that a command line runs, the weightiest of several, or ``None``."""
    verbs = _GIT_COMMAND.findall(command) if "git" in command else []
    return next((verb for verb in _WEIGHTY_VERBS if verb in verbs), verbs[0] if verbs else None)


def response_facts(tool: str | None, response: Any) -> dict[str, Any]:
    """Return the call facts that a structured response gives."""
    if not isinstance(response, dict):
        return {}
    facts: dict[str, Any] = {}
    if response.get("interrupted") is True:
        facts["interrupted"] = 1
    if response.get("backgroundTaskId") or response.get("status") == "async_launched":
        facts["background"] = 1
    added, removed = patch_lines(tool, response)
    if added is not None:
        facts["lines_added"], facts["lines_removed"] = added, removed
    if response.get("type") == "create":
        facts["file_created"] = 1
    file = response.get("file")
    if isinstance(file, dict) and isinstance(file.get("content"), str):
        facts["file_size"] = len(file["content"].encode("utf-8", "surrogatepass"))
    git = git_facts(response)
    if git:
        facts["git"] = git
    return facts


def patch_lines(tool: str | None, response: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return the lines added and removed that a response reports, or ``None`` twice where they are not certain.

    A created file has an empty patch, and a notebook's cell none: all lines of what is new are additions. Of other
    changes without a patch only that nothing changed is certain.
    """
    patch = response.get("structuredPatch")
    if isinstance(patch, list) and patch:
        return _patched_lines(patch)
    content, original = response.get("content"), response.get("originalFile")
    if isinstance(content, str):
        written_anew = "filePath" in response and "originalFile" in response and original is None
        if response.get("type") == "create" or written_anew:
            return len(content.splitlines()), 0
        if content == original:
            return 0, 0
    if response.get("edit_mode") == "insert" and isinstance(response.get("new_source"), str):
        return len(response["new_source"].splitlines()), 0
    nothing = isinstance(patch, list) and tool in {"Write", "Edit", "MultiEdit"}
    return (0, 0) if nothing else (None, None)


def _patched_lines(patch: list[Any]) -> tuple[int, int]:
    added = removed = 0
    for hunk in patch:
        lines = hunk.get("lines") if isinstance(hunk, dict) else None
        for line in lines if isinstance(lines, list) else ():
            if isinstance(line, str):
                added += line.startswith("+")
                removed += line.startswith("-")
    return added, removed


def git_facts(response: dict[str, Any]) -> dict[str, Any] | None:
    """Return the git operation that a Bash response reports, with the statistics that git printed.

    The statistics alone are no operation: whether git was called at all, the command line says.
    """
    operation = response.get("gitOperation")
    output = response.get("stdout")
    facts: dict[str, Any] = {}
    if isinstance(operation, dict):
        facts.update(_reported_operation(operation))
    if isinstance(output, str) and (facts or "changed" in output):
        printed = _COMMIT_LINE.search(output)
        statistics = _COMMIT_STATISTICS.search(output)
        if printed:
            facts.setdefault("operation", "commit")
            facts.setdefault("branch", printed.group(1))
            facts.setdefault("commit", printed.group(2))
        if statistics:
            facts["files_changed"] = int(statistics.group(1))
            facts["insertions"] = int(statistics.group(2) or 0)
            facts["deletions"] = int(statistics.group(3) or 0)
    return facts or None


def _reported_operation(operation: dict[str, Any]) -> dict[str, Any]:
    for name in ("commit", "push", "pr"):
        detail = operation.get(name)
        if isinstance(detail, dict):
            facts = {"operation": name, "branch": detail.get("branch"), "commit": detail.get("sha")}
            return {key: value for key, value in facts.items() if value is not None}
    return {}


def error_facts(text: str) -> dict[str, Any]:
    """Return the call facts that an error text gives: who denied, whether anything ran, the exit status."""
    facts: dict[str, Any] = {"error": shorten(text.removeprefix("Error: "), ERROR_LENGTH), "failed": 1}
    code = _EXIT_CODE.match(text)
    if code:
        facts["exit_code"] = int(code.group(1))
    facts.update(_refusal(text.removeprefix("Error: ")))
    return facts


_REFUSALS: tuple[tuple[re.Pattern[str], dict[str, Any]], ...] = (
    (
        re.compile(r"The user doesn't want to (?:proceed|take this action)|User rejected tool use"),
        {"denied": "user"},
    ),
    (re.compile(r"\[Request interrupted by user"), {"interrupted": 1}),
    (re.compile(r"(?:<tool_use_error>)?Sibling tool call errored"), {"interrupted": 1}),
    (
        re.compile(
            r"PreToolUse:\S+ hook (?:error|returned)|Hook PreToolUse:|.{0,80}denied by PreToolUse hook"
        ),
        {"denied": "hook"},
    ),
    (
        re.compile(
            r"Permission to use \S+.{0,200}has been denied"
            r"|.{0,200}(?:needs approval|requires approval|haven't granted it yet)",
            re.DOTALL,
        ),
        {"denied": "rule"},
    ),
    (re.compile(r"<tool_use_error>|String to replace not found|File has not been read yet"), {"rejected": 1}),
)


def _refusal(text: str) -> dict[str, Any]:
    for pattern, facts in _REFUSALS:
        if pattern.match(text):
            return facts
    return {}
