"""The mode in which no content is stored: of each JSON line, structure, names, times and numbers stay.

A string is replaced by what it was and how long: ``[REDACTED:text:<characters>]``. Strings stay as they are
under the keys of `KEPT`: identities, types, names of tools and models, times, versions, states, and the folder
and branch that sessions are listed by. Under the keys of `PATHS` a path keeps its depth and its suffix:
``[REDACTED:path:<parts>:<suffix>]``. Keys of objects, numbers, booleans and null always stay.
"""

from __future__ import annotations

import json
import re
from typing import Any

KEPT = frozenset(
    [
        "type",
        "subtype",
        "role",
        "model",
        "id",
        "uuid",
        "parentUuid",
        "logicalParentUuid",
        "sessionId",
        "session_id",
        "agentId",
        "agent_id",
        "agent_type",
        "parentToolUseID",
        "toolUseID",
        "tool_use_id",
        "toolUseId",
        "sourceToolAssistantUUID",
        "promptId",
        "messageId",
        "message_id",
        "requestId",
        "request_id",
        "leafUuid",
        "name",
        "tool_name",
        "hook_event_name",
        "hookEvent",
        "hookName",
        "timestamp",
        "version",
        "cwd",
        "gitBranch",
        "transcript_path",
        "agent_transcript_path",
        "stop_reason",
        "stop_sequence",
        "service_tier",
        "speed",
        "inference_geo",
        "userType",
        "entrypoint",
        "permission_mode",
        "permissionMode",
        "source",
        "reason",
        "trigger",
        "status",
        "state",
        "level",
        "operation",
        "backupTime",
        "interrupt_reason",
        "mcp_server_name",
        "subagent_type",
        "skill",
        "effort",
        "media_type",
        "stop_hook_active",
        "error_type",
        "terminal_reason",
    ]
)
"""Keys whose strings stay, up to `_LONGEST` characters."""
PATHS = frozenset({"file_path", "filePath", "path", "notebook_path", "notebookPath", "filename"})
_LONGEST = 300
_DONE = re.compile(r"\[REDACTED:(?:text:\d+|path:\d+:[\w.]*)\]")


def strip_line(line: bytes) -> bytes:
    """Return one line without its content; what is no JSON becomes one JSON string."""
    if not line.strip():
        return line
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return f'"[REDACTED:text:{len(line)}]"'.encode()
    end = b"\r" if line.endswith(b"\r") else b""
    try:
        return json.dumps(_strip("", value), separators=(",", ":")).encode() + end
    except RecursionError:
        return f'"[REDACTED:text:{len(line)}]"'.encode()


def _strip(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return _strip_text(key, value)
    if isinstance(value, dict):
        return {name: _strip(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_strip(key, inner) for inner in value]
    return value


def _strip_text(key: str, text: str) -> str:
    if not text or _DONE.fullmatch(text) or (key in KEPT and len(text) <= _LONGEST):
        return text
    if key in PATHS:
        suffix = re.search(r"\.\w{1,10}$", text)
        return (
            f"[REDACTED:path:{len([part for part in text.split('/') if part])}:{suffix[0] if suffix else ''}]"
        )
    return f"[REDACTED:text:{len(text)}]"
