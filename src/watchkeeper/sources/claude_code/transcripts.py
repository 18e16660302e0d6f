"""Maps one line of a transcript to facts.

The format is internal to Claude Code and changes between releases; the shapes here cover 1.0 to 2.1.330. One API
answer is written as one line per content block, each repeating the whole usage, so requests merge by ``message.id``.
A line of a kind that is not known here passes through as an ``event`` and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from watchkeeper.events.entities import SEEN_TRANSCRIPT_RESULT, SEEN_TRANSCRIPT_USE
from watchkeeper.events.identity import ref, shorten, whole_number
from watchkeeper.events.merge import UNKNOWN_TIME, Facts
from watchkeeper.sources.claude_code.prompts import expansion_facts, framework_facts
from watchkeeper.sources.claude_code.session_runs import SessionRuns
from watchkeeper.sources.claude_code.tools import error_facts, input_facts, response_facts
from watchkeeper.sources.claude_code.transcript_view import (
    RANK_MAIN,
    RANK_PROGRESS,
    RANK_SIDECHAIN,
    SEEN,
    Path,
    TranscriptLine,
    View,
    event_facts,
    is_aside,
    known_time,
    text_of,
    time_of,
    view_of,
)
from watchkeeper.sources.claude_code.usage import client_usage, micro_dollars, usage_facts

SYNTHETIC_MODEL = "<synthetic>"


def map_line(line: TranscriptLine, runs: SessionRuns | None = None) -> list[Facts]:
    """Return the facts that one transcript line gives.

    Args:
        line: The line.
        runs: Notes what lines say about their session, to be taken from it in the end. Without it all is returned.
    """
    view = view_of(line)
    told = SessionRuns() if runs is None else runs
    told.add(view, line.number)
    facts = told.take() if runs is None else []
    kind = line.body.get("type")
    if kind is None and isinstance(line.body.get("message"), dict):
        kind = _old_kind(line.body["message"])
    name = kind if isinstance(kind, str) and kind else "untyped"
    mapper = _MAPPERS.get(name)
    if mapper is not None:
        return facts + mapper(view, line)
    if name not in _SILENT_TYPES:
        facts.append(event_facts(view, line, name, known=False))
    return facts


def map_meta(source: str, agent_id: str, session_id: str | None, meta: Mapping[str, Any]) -> list[Facts]:
    """Return the facts of a subagent's ``.meta.json`` file."""
    values = {
        "session_id": session_id,
        "agent_type": text_of(meta.get("agentType")),
        "description": text_of(meta.get("description")),
        "parent_tool_use_id": text_of(meta.get("toolUseId")),
        "parent_agent_id": text_of(meta.get("parentAgentId")),
        "model": text_of(meta.get("model")),
        "seen": SEEN,
    }
    return [Facts("subagent", agent_id, "transcript", RANK_MAIN, UNKNOWN_TIME, values)] if source else []


def _old_kind(message: Mapping[str, Any]) -> str | None:
    role = message.get("role")
    return role if role in {"user", "assistant"} else None


def _assistant(view: View, line: TranscriptLine) -> list[Facts]:
    message = view.body.get("message")
    if not isinstance(message, dict):
        return [event_facts(view, line, "assistant", known=False)]
    key = (
        text_of(message.get("id"))
        or text_of(view.body.get("requestId"))
        or text_of(view.body.get("uuid"))
        or view.source
    )
    facts = _request(view, key, message)
    content = message.get("content")
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    for place, block in enumerate(blocks):
        if not isinstance(block, dict):
            continue
        path: Path = [*view.path, "message", "content", place]
        kind = block.get("type")
        if kind in {"tool_use", "server_tool_use", "mcp_tool_use"}:
            facts.extend(_tool_use(view, block, path, key))
        elif kind in {"text", "thinking"}:
            facts.extend(_message(view, block.get(kind), [*path, str(kind)], "assistant", str(kind), key))
    return facts


def _request(view: View, key: str, message: Mapping[str, Any]) -> list[Facts]:
    model = text_of(message.get("model"))
    values: dict[str, Any] = {
        "session_id": view.session,
        "agent_id": view.agent_at_work,
        "request_id": text_of(view.body.get("requestId")),
        "model": model,
        "stop_reason": text_of(message.get("stop_reason")),
        "branch": text_of(view.body.get("gitBranch")),
        "skill": text_of(view.body.get("attributionSkill")),
        "mcp_server": text_of(view.body.get("attributionMcpServer")),
        "sidechain": 0 if view.main else 1,
        "nested": 1 if view.path else 0,
        "synthetic": 1 if model == SYNTHETIC_MODEL else 0,
        "replay": 1 if is_aside(view.agent) else 0,
        "seen": SEEN,
        **usage_facts(message.get("usage"), view.body.get("costUSD")),
    }
    if view.at != UNKNOWN_TIME:
        values |= {"at": view.at, "last_at": view.at}
    facts = [view.facts("request", key, values)]
    if view.session and model and model != SYNTHETIC_MODEL:
        facts.append(view.facts("session", view.session, {"models": [model]}))
    return facts


def _tool_use(view: View, block: Mapping[str, Any], path: Path, message_id: str) -> list[Facts]:
    key = text_of(block.get("id"))
    if not key:
        return []
    tool = text_of(block.get("name"))
    values = {
        **input_facts(tool, block.get("input")),
        "session_id": view.session,
        "agent_id": view.agent_at_work,
        "message_id": message_id,
        "cwd": text_of(view.body.get("cwd")),
        "asked_at": known_time(view.at),
        "input": ref(view.source, [*path, "input"], block.get("input")),
        "evidence": [[SEEN_TRANSCRIPT_USE, view.source, known_time(view.at)]],
        "seen": SEEN_TRANSCRIPT_USE,
    }
    return [view.facts("call", key, values)]


def _user(view: View, line: TranscriptLine) -> list[Facts]:
    message = view.body.get("message")
    if not isinstance(message, dict):
        return [event_facts(view, line, "user", known=False)]
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    results = [
        (place, block)
        for place, block in enumerate(blocks)
        if isinstance(block, dict) and block.get("type") == "tool_result"
    ]
    if results:
        facts: list[Facts] = []
        for place, block in results:
            facts.extend(
                _tool_result(view, block, [*view.path, "message", "content", place], alone=len(results) == 1)
            )
        return facts
    return _prompt(view, content)


def _tool_result(view: View, block: Mapping[str, Any], path: Path, *, alone: bool) -> list[Facts]:
    key = text_of(block.get("tool_use_id"))
    if not key:
        return []
    text = content_text(block.get("content"))
    response = view.body.get("toolUseResult") if alone else None
    values: dict[str, Any] = {
        "session_id": view.session,
        "agent_id": view.agent_at_work,
        "prompt_id": text_of(view.body.get("promptId")),
        "answered_at": known_time(view.at),
        "result": ref(view.source, [*path, "content"], block.get("content")),
        "response": ref(view.source, [*view.path, "toolUseResult"], response),
        "evidence": [[SEEN_TRANSCRIPT_RESULT, view.source, known_time(view.at)]],
        "seen": SEEN_TRANSCRIPT_RESULT,
    }
    if block.get("is_error") is True:
        values |= error_facts(text)
    else:
        values |= {"failed": 0, **response_facts(None, response)}
    facts = [view.facts("call", key, values)]
    if isinstance(response, dict) and text_of(response.get("agentId")):
        facts.append(_launched_agent(view, key, response))
    return facts


def _launched_agent(view: View, key: str, response: Mapping[str, Any]) -> Facts:
    values = {
        "session_id": view.session,
        "agent_type": text_of(response.get("agentType")),
        "parent_tool_use_id": key,
        "parent_agent_id": view.agent,
        "model": text_of(response.get("resolvedModel")),
        "seen": SEEN,
    }
    return view.facts("subagent", str(response["agentId"]), values)


def content_text(content: Any) -> str:
    """Return the text of a message's content, whether it is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [block.get("text") for block in content if isinstance(block, dict)]
    return "\n".join(part for part in parts if isinstance(part, str))


def _begins_sidechain(view: View) -> bool:
    body = view.body
    return (
        view.rank == RANK_SIDECHAIN
        and view.agent is None
        and body.get("parentUuid") is None
        and text_of(body.get("uuid")) is not None
    )


def _inline_agent(view: View, text: str) -> Facts:
    """Return the subagent that begins with a line of a 1.x session's own file.

    Its lines name no agent: they hang together only by ``parentUuid``, so what it does is known as a sidechain's and
    not whose.
    """
    values = {
        "session_id": view.session,
        "description": shorten(text.strip().split("\n", 1)[0], 200) or None,
        "started_at": known_time(view.at),
        "last_at": known_time(view.at),
        "seen": SEEN,
    }
    return view.facts("subagent", f"inline-{view.body['uuid']}", values)


_NOT_TYPED = ("<local-command-", "<bash-", "Caveat: The messages below", "[Request interrupted")


def _prompt(view: View, content: Any) -> list[Facts]:
    body = view.body
    text = content_text(content)
    if not text or not view.session or not view.main:
        return [_inline_agent(view, text)] if _begins_sidechain(view) else []
    if body.get("isMeta") is True or body.get("isCompactSummary") is True:
        return []
    if text.startswith(_NOT_TYPED):
        return [_interruption(view, text)] if text.startswith("[Request interrupted") else []
    prompt_id = text_of(body.get("promptId"))
    key = f"{view.session}/{prompt_id}" if prompt_id else text_of(body.get("uuid")) or view.source
    path: Path = [*view.path, "message", "content"]
    origin = body.get("origin")
    values: dict[str, Any] = {
        "session_id": view.session,
        "prompt_id": prompt_id,
        "at": known_time(view.at),
        "text": shorten(text, 2000),
        "ref": ref(view.source, path, content),
        "origin": text_of(origin.get("kind"))
        if isinstance(origin, dict)
        else text_of(body.get("promptSource")),
        "seen": SEEN,
        **framework_facts(text),
        **expansion_facts(text),
    }
    facts = [view.facts("prompt", key, values)]
    if not text.startswith("<"):
        facts.append(view.facts("session", view.session, {"first_prompt": shorten(text, 200)}))
    return facts


def _interruption(view: View, text: str) -> Facts:
    values = {
        "session_id": view.session,
        "agent_id": view.agent,
        "at": known_time(view.at),
        "name": "interrupted",
        "known": 1,
        "text": text,
        "seen": SEEN,
    }
    return view.facts("event", text_of(view.body.get("uuid")) or view.source, values)


def _message(view: View, text: Any, path: Path, role: str, kind: str, message_id: str) -> list[Facts]:
    if not isinstance(text, str) or not text.strip():
        return []
    place = path[-2]
    key = f"{text_of(view.body.get('uuid')) or view.source}.{place}"
    values = {
        "session_id": view.session,
        "agent_id": view.agent,
        "message_id": message_id,
        "at": known_time(view.at),
        "role": role,
        "kind": kind,
        "text": shorten(text, 2000),
        "ref": ref(view.source, path, text),
        "seen": SEEN,
    }
    return [view.facts("message", key, values)]


def _progress(view: View, line: TranscriptLine) -> list[Facts]:
    data = view.body.get("data")
    if not isinstance(data, dict) or data.get("type") != "agent_progress":
        return []
    nested = data.get("message")
    if not isinstance(nested, dict):
        return []
    inner = View(
        source=view.source,
        body=nested,
        path=["data", "message"],
        at=time_of(nested.get("timestamp")) if nested.get("timestamp") else view.at,
        session=view.session,
        agent=text_of(data.get("agentId")),
        rank=RANK_PROGRESS,
    )
    facts = _agent_of_progress(view, inner)
    if nested.get("type") == "assistant":
        return facts + _assistant(inner, line)
    return facts + (_user(inner, line) if nested.get("type") == "user" else [])


def _agent_of_progress(view: View, inner: View) -> list[Facts]:
    if not inner.agent:
        return []
    values = {
        "session_id": view.session,
        "parent_tool_use_id": text_of(view.body.get("parentToolUseID")),
        "started_at": known_time(inner.at),
        "last_at": known_time(inner.at),
        "seen": SEEN,
    }
    return [inner.facts("subagent", inner.agent, values)]


def _system(view: View, line: TranscriptLine) -> list[Facts]:
    subtype = text_of(view.body.get("subtype")) or "system"
    if subtype in {"stop_hook_summary", "turn_duration"}:
        return []
    return [event_facts(view, line, subtype, known=subtype in _KNOWN_SUBTYPES)]


def _attachment(view: View, line: TranscriptLine) -> list[Facts]:
    attachment = view.body.get("attachment")
    kind = text_of(attachment.get("type")) if isinstance(attachment, dict) else None
    if not isinstance(attachment, dict) or kind not in {"file", "directory"}:
        return []
    event = event_facts(view, line, "file_attached", known=True)
    named = {"text": text_of(attachment.get("filename")) or text_of(attachment.get("path")), "data": None}
    return [view.facts(event.entity, event.key, {**event.values, **named})]


def _cost_state(view: View, _line: TranscriptLine) -> list[Facts]:
    if not view.session:
        return []
    values = {
        "cost_micros": micro_dollars(view.body.get("totalCostUSD")),
        "cost_incomplete": 1 if view.body.get("hasUnknownModelCost") is True else 0,
        "client_lines_added": whole_number(view.body.get("totalLinesAdded")),
        "client_lines_removed": whole_number(view.body.get("totalLinesRemoved")),
    }
    facts = [view.facts("session", view.session, values)]
    usage, weight = client_usage(view.body.get("modelUsage"))
    if usage:
        # The totals only grow and carry no time: of several the one that counts most is the latest.
        facts.append(Facts("session", view.session, "transcript", view.rank, weight, {"client_usage": usage}))
    return facts


def _title(field: str, name: str) -> Callable[[View, TranscriptLine], list[Facts]]:
    def mapper(view: View, line: TranscriptLine) -> list[Facts]:
        text = text_of(view.body.get(field))
        if not text or not view.session:
            return []
        # Title lines carry no time: the later line of a file is the later title.
        values = {name: shorten(text, 200)}
        return [Facts("session", view.session, "transcript", view.rank, line.number, values)]

    return mapper


def _permission_mode(view: View, _line: TranscriptLine) -> list[Facts]:
    mode = text_of(view.body.get("permissionMode"))
    return (
        [view.facts("session", view.session, {"permission_modes": [mode]})] if view.session and mode else []
    )


def _plain_event(view: View, line: TranscriptLine) -> list[Facts]:
    return [event_facts(view, line, str(view.body.get("type")), known=True)]


_KNOWN_SUBTYPES = {
    "compact_boundary",
    "microcompact_boundary",
    "api_error",
    "local_command",
    "away_summary",
    "informational",
}

_SILENT_TYPES = {
    "queue-operation", "last-prompt", "tools-used", "atis-latch", "mode", "file-history-snapshot",
    "file-history-delta", "api-request", "api-request-blob", "api-request-shape", "bridge-session", "agent-name",
    "relocated",
}  # fmt: skip
"""Known line types that say nothing about what happened; they stay in the archive untouched."""

_MAPPERS: dict[str, Callable[[View, TranscriptLine], list[Facts]]] = {
    "assistant": _assistant,
    "user": _user,
    "progress": _progress,
    "system": _system,
    "attachment": _attachment,
    "cost-state": _cost_state,
    "custom-title": _title("customTitle", "title_custom"),
    "ai-title": _title("aiTitle", "title_ai"),
    "summary": _title("summary", "title_summary"),
    "permission-mode": _permission_mode,
    "pr-link": _plain_event,
}
