"""Maps the payload of a hook event to facts.

The 33 events and their fields are those of Claude Code 2.1.330. No payload carries a time, so the frame's own time
counts. An event of a kind that is not known here passes through as an ``event`` with its fields, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from watchkeeper.events.entities import (
    SEEN_HOOK_BATCH,
    SEEN_HOOK_DENIED,
    SEEN_HOOK_FAILURE,
    SEEN_HOOK_POST,
    SEEN_HOOK_PRE,
    WITNESS_BITS,
)
from watchkeeper.events.fields import WITNESS_RANK
from watchkeeper.events.identity import ERROR_LENGTH, ref, shorten, signature, whole_number
from watchkeeper.events.merge import Facts
from watchkeeper.sources.claude_code.prompts import framework_facts
from watchkeeper.sources.claude_code.tools import error_facts, input_facts, response_facts

_HOOK = WITNESS_BITS["hook"]
_RANK = WITNESS_RANK["hook"] * 10
_DATA_LIMIT = 2000
_COMMON = {
    "session_id",
    "transcript_path",
    "cwd",
    "hook_event_name",
    "prompt_id",
    "permission_mode",
    "agent_id",
    "agent_type",
    "effort",
}


@dataclass(frozen=True, slots=True)
class HookEvent:
    """One hook payload as it was recorded.

    Attributes:
        source: Identity of the observation.
        at: Time of the frame in epoch milliseconds.
        body: The payload after redaction.
        environment: The allow-listed variables of the hook's environment.
        host: Name of the machine.
        synthetic: Made by the doctor.
        clock: Boot id and milliseconds since the machine's start, where the frame has them: no one can set this
            clock, so it measures durations.
    """

    source: str
    at: int
    body: Mapping[str, Any]
    environment: Mapping[str, str]
    host: str | None
    synthetic: bool = False
    clock: tuple[str, int] | None = None


def map_hook(event: HookEvent) -> list[Facts]:
    """Return the facts that one hook payload gives."""
    name = _text(event.body.get("hook_event_name")) or "unknown"
    facts = [_session(event, name)] if _text(event.body.get("session_id")) else []
    mapper = _MAPPERS.get(name)
    if mapper is not None:
        facts.extend(mapper(event))
    if name not in _WITHOUT_ROW:
        facts.append(_event(event, name, known=event.synthetic or name in KNOWN_EVENTS))
    return facts


def _facts(event: HookEvent, entity: str, key: str, values: dict[str, Any]) -> Facts:
    return Facts(entity, key, "hook", _RANK, event.at, values)


def _session(event: HookEvent, name: str) -> Facts:
    body, environment = event.body, event.environment
    values: dict[str, Any] = {
        "started_at": event.at,
        "last_at": event.at,
        "hook_first_at": event.at,
        "hook_last_at": event.at,
        "cwd": _text(body.get("cwd")),
        "transcript_path": _text(body.get("transcript_path")),
        "project_path": environment.get("CLAUDE_PROJECT_DIR"),
        "entrypoint": environment.get("CLAUDE_CODE_ENTRYPOINT"),
        "user_name": environment.get("USER_NAME") or environment.get("USER") or environment.get("LOGNAME"),
        "user_email": environment.get("USER_EMAIL"),
        "host": event.host,
        "run_id": environment.get("CLAUDE_RUN_ID"),
        "synthetic": 1 if event.synthetic else 0,
        "seen": _HOOK,
    }
    if _text(body.get("permission_mode")):
        values["permission_modes"] = [body["permission_mode"]]
    if name == "SessionStart":
        values["start_sources"] = [body["source"]] if _text(body.get("source")) else None
        values["models"] = [body["model"]] if _text(body.get("model")) else None
        values["title_custom"] = _text(body.get("session_title"))
    elif name == "SessionEnd":
        values["ended_at"] = event.at
        values["end_reason"] = _text(body.get("reason"))
    elif name == "UserPromptSubmit":
        prompt = _text(body.get("prompt"))
        values["first_prompt"] = shorten(prompt, 200) if prompt and not prompt.startswith("<") else None
    return _facts(event, "session", body["session_id"], values)


def _call(event: HookEvent, bit: int, values: dict[str, Any]) -> list[Facts]:
    body = event.body
    key = _text(body.get("tool_use_id"))
    if not key:
        return []
    tool = _text(body.get("tool_name"))
    server = body.get("mcp_server")
    effort = body.get("effort")
    merged = {
        **input_facts(tool, body.get("tool_input")),
        "session_id": _text(body.get("session_id")),
        "prompt_id": _text(body.get("prompt_id")),
        "agent_id": _text(body.get("agent_id")),
        "cwd": _text(body.get("cwd")),
        "permission_mode": _text(body.get("permission_mode")),
        "effort": _text(effort.get("level")) if isinstance(effort, dict) else None,
        "input": ref(event.source, ["tool_input"], body.get("tool_input")),
        "evidence": [[bit, event.source, event.at]],
        "seen": bit,
        **values,
    }
    if isinstance(server, dict):
        merged["mcp_server"] = _text(server.get("name"))
    return [_facts(event, "call", key, merged)]


def _pre_tool_use(event: HookEvent) -> list[Facts]:
    return _call(event, SEEN_HOOK_PRE, {"pre_at": event.at, "pre_clock": event.clock})


def _post_tool_use(event: HookEvent) -> list[Facts]:
    response = event.body.get("tool_response")
    tool = _text(event.body.get("tool_name"))
    values = {
        "post_at": event.at,
        "post_clock": event.clock,
        "duration_ms": whole_number(event.body.get("duration_ms")),
        "response": ref(event.source, ["tool_response"], response),
        "failed": 0,
        **response_facts(tool, response),
    }
    return _call(event, SEEN_HOOK_POST, values) + _subagent_of_call(event, response)


def _subagent_of_call(event: HookEvent, response: Any) -> list[Facts]:
    if not isinstance(response, dict) or not _text(response.get("agentId")):
        return []
    values = {
        "session_id": _text(event.body.get("session_id")),
        "agent_type": _text(response.get("agentType")),
        "parent_tool_use_id": _text(event.body.get("tool_use_id")),
        "parent_agent_id": _text(event.body.get("agent_id")),
        "model": _text(response.get("resolvedModel")),
        "seen": _HOOK,
    }
    return [_facts(event, "subagent", response["agentId"], values)]


def _post_tool_use_failure(event: HookEvent) -> list[Facts]:
    error = _text(event.body.get("error")) or ""
    values = {
        "post_at": event.at,
        "post_clock": event.clock,
        "duration_ms": whole_number(event.body.get("duration_ms")),
        "interrupted": 1 if event.body.get("is_interrupt") is True else None,
        "response": ref(event.source, ["error"], error or None),
        **error_facts(error),
    }
    return _call(event, SEEN_HOOK_FAILURE, values)


def _post_tool_batch(event: HookEvent) -> list[Facts]:
    facts: list[Facts] = []
    calls = event.body.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else ()):
        if not isinstance(call, dict) or not _text(call.get("tool_use_id")):
            continue
        tool = _text(call.get("tool_name"))
        values = {
            **input_facts(tool, call.get("tool_input")),
            "session_id": _text(event.body.get("session_id")),
            "prompt_id": _text(event.body.get("prompt_id")),
            "agent_id": _text(event.body.get("agent_id")),
            "batch_at": event.at,
            "input": ref(event.source, ["tool_calls", place, "tool_input"], call.get("tool_input")),
            "result": ref(event.source, ["tool_calls", place, "tool_response"], call.get("tool_response")),
            "evidence": [[SEEN_HOOK_BATCH, event.source, event.at]],
            "seen": SEEN_HOOK_BATCH,
            **_refused_before_running(call.get("tool_response")),
        }
        facts.append(_facts(event, "call", call["tool_use_id"], values))
    return facts


def _refused_before_running(response: Any) -> dict[str, Any]:
    """Return what the batch alone shows: a call that the client refused fires no event of its own."""
    refused = isinstance(response, str) and response.startswith("<tool_use_error>")
    return error_facts(response) if refused else {}


def _permission_denied(event: HookEvent) -> list[Facts]:
    reason = _text(event.body.get("reason"))
    values = {"denied": "classifier", "error": shorten(reason, ERROR_LENGTH) if reason else None}
    return _call(event, SEEN_HOOK_DENIED, values)


def _permission_request(event: HookEvent) -> list[Facts]:
    body = event.body
    tool = _text(body.get("tool_name"))
    values = {
        "session_id": _text(body.get("session_id")),
        "agent_id": _text(body.get("agent_id")),
        "prompt_id": _text(body.get("prompt_id")),
        "at": event.at,
        "tool": tool,
        "signature": signature(tool, body.get("tool_input")),
    }
    return [_facts(event, "permission", event.source, values)]


def _prompt(event: HookEvent, values: dict[str, Any]) -> list[Facts]:
    session, prompt = _text(event.body.get("session_id")), _text(event.body.get("prompt_id"))
    if not session:
        return []
    key = f"{session}/{prompt}" if prompt else event.source
    common = {"session_id": session, "prompt_id": prompt, "at": event.at, "seen": _HOOK}
    return [_facts(event, "prompt", key, common | values)]


def _user_prompt_submit(event: HookEvent) -> list[Facts]:
    text = _text(event.body.get("prompt"))
    values: dict[str, Any] = {
        "text": shorten(text, 2000) if text else None,
        "ref": ref(event.source, ["prompt"], text),
        "origin": _text(event.body.get("source")),
    }
    return _prompt(event, values | framework_facts(text))


def _user_prompt_expansion(event: HookEvent) -> list[Facts]:
    body = event.body
    text = _text(body.get("prompt"))
    values = {
        "slash_command": _text(body.get("command_name")),
        "slash_arguments": _text(body.get("command_args")),
        "command_source": _text(body.get("command_source")),
        "text": shorten(text, 2000) if text else None,
        "ref": ref(event.source, ["prompt"], text),
    }
    return _prompt(event, values | framework_facts(text))


def _subagent_start(event: HookEvent) -> list[Facts]:
    return _subagent(event, {"started_at": event.at})


def _subagent_stop(event: HookEvent) -> list[Facts]:
    if event.body.get("agent_type") == "":
        return []  # The client's own summary of a compaction: no subagent, and never announced as one.
    answer = _text(event.body.get("last_assistant_message"))
    values = {
        "ended_at": event.at,
        "transcript_path": _text(event.body.get("agent_transcript_path")),
        "last_message": shorten(answer, 500) if answer else None,
    }
    return _subagent(event, values)


def _subagent(event: HookEvent, values: dict[str, Any]) -> list[Facts]:
    agent = _text(event.body.get("agent_id"))
    if not agent:
        return []
    common = {
        "session_id": _text(event.body.get("session_id")),
        "agent_type": _text(event.body.get("agent_type")),
        "last_at": event.at,
        "seen": _HOOK,
    }
    return [_facts(event, "subagent", agent, common | values)]


def _event(event: HookEvent, name: str, *, known: bool) -> Facts:
    own = {key: value for key, value in event.body.items() if key not in _COMMON}
    values = {
        "session_id": _text(event.body.get("session_id")),
        "agent_id": _text(event.body.get("agent_id")),
        "prompt_id": _text(event.body.get("prompt_id")),
        "at": event.at,
        "name": name,
        "known": 1 if known else 0,
        "text": _event_text(event.body),
        "data": own if len(str(own)) <= _DATA_LIMIT else None,
        "ref": ref(event.source, [], dict(event.body)),
        "seen": _HOOK,
    }
    return _facts(event, "event", event.source, values)


_TEXT_FIELDS = (
    "message",
    "error",
    "reason",
    "file_path",
    "new_cwd",
    "directory",
    "task_subject",
    "to_model",
    "worktree_path",
    "name",
    "trigger",
    "source",
    "last_assistant_message",
)


def _event_text(body: Mapping[str, Any]) -> str | None:
    for name in _TEXT_FIELDS:
        value = _text(body.get(name))
        if value:
            return shorten(value, 500)
    return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


_MAPPERS: dict[str, Callable[[HookEvent], list[Facts]]] = {
    "PreToolUse": _pre_tool_use,
    "PostToolUse": _post_tool_use,
    "PostToolUseFailure": _post_tool_use_failure,
    "PostToolBatch": _post_tool_batch,
    "PermissionDenied": _permission_denied,
    "PermissionRequest": _permission_request,
    "UserPromptSubmit": _user_prompt_submit,
    "UserPromptExpansion": _user_prompt_expansion,
    "SubagentStart": _subagent_start,
    "SubagentStop": _subagent_stop,
}

_WITHOUT_ROW = {
    "PreToolUse",
    "PostToolUse",
    "PostToolUseFailure",
    "PostToolBatch",
    "UserPromptSubmit",
    "UserPromptExpansion",
}
"""Events whose whole content is in a call or a prompt; every other event is a row of its own as well."""

KNOWN_EVENTS = frozenset(
    {
        *_MAPPERS,
        "SessionStart", "SessionEnd", "Setup", "InstructionsLoaded", "Notification", "Stop", "StopFailure",
        "TaskCreated", "TaskCompleted", "TeammateIdle", "PreCompact", "PostCompact", "PreModelSwitch",
        "PostModelSwitch", "ConfigChange", "CwdChanged", "DirectoryAdded", "FileChanged", "WorktreeCreate",
        "WorktreeRemove", "Elicitation", "ElicitationResult", "MessageDisplay", "StatusLine",
    }
)  # fmt: skip
