"""Maps one line of a transcript to facts.

The format is internal to Claude Code and changes between releases; the shapes here cover 1.0 to 2.1.330. One API
answer is written as one line per content block, each repeating the whole usage, so requests merge by ``message.id``.
A line of a kind that is not known here passes through as an ``event`` and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from watchkeeper.events.entities import SEEN_TRANSCRIPT_RESULT, SEEN_TRANSCRIPT_USE, WITNESS_BITS
from watchkeeper.events.fields import WITNESS_RANK
from watchkeeper.events.identity import ref, shorten
from watchkeeper.events.merge import UNKNOWN_TIME, Facts
from watchkeeper.sources.claude_code.prompts import expansion_facts, framework_facts
from watchkeeper.sources.claude_code.tools import error_facts, input_facts, response_facts
from watchkeeper.sources.claude_code.usage import usage_facts

_SEEN = WITNESS_BITS["transcript"]
_RANK_MAIN = WITNESS_RANK["transcript"] * 10
_RANK_SIDECHAIN = _RANK_MAIN + 1
_RANK_PROGRESS = _RANK_MAIN + 2
_RANK_ASIDE = _RANK_MAIN + 3
SYNTHETIC_MODEL = "<synthetic>"

Path = list[str | int]


@dataclass(frozen=True, slots=True)
class TranscriptLine:
    """One decoded line and where it stands.

    Attributes:
        source: Identity of the observation: file, generation and line.
        number: Line number in its file, from 0.
        body: The decoded line.
        session_hint: Session that the file's place names, for lines without an id.
        agent_hint: Subagent that the file's name names.
    """

    source: str
    number: int
    body: Mapping[str, Any]
    session_hint: str | None
    agent_hint: str | None


@dataclass(frozen=True, slots=True)
class _View:
    """A line, or the message nested in a progress line, with what both mappers need."""

    source: str
    body: Mapping[str, Any]
    path: Path
    at: int
    session: str | None
    agent: str | None
    rank: int

    def facts(self, entity: str, key: str, values: dict[str, Any]) -> Facts:
        return Facts(entity, key, "transcript", self.rank, self.at, values)


def map_line(line: TranscriptLine) -> list[Facts]:
    """Return the facts that one transcript line gives."""
    view = _view(line)
    facts = _session(view)
    kind = line.body.get("type")
    if kind is None and isinstance(line.body.get("message"), dict):
        kind = _old_kind(line.body["message"])
    mapper = _MAPPERS.get(kind) if isinstance(kind, str) else None
    if mapper is not None:
        return facts + mapper(view, line)
    if kind not in _SILENT_TYPES:
        facts.append(_event(view, line, str(kind or "untyped"), known=False))
    return facts


def map_meta(source: str, agent_id: str, session_id: str | None, meta: Mapping[str, Any]) -> list[Facts]:
    """Return the facts of a subagent's ``.meta.json`` file."""
    values = {
        "session_id": session_id,
        "agent_type": _text(meta.get("agentType")),
        "description": _text(meta.get("description")),
        "parent_tool_use_id": _text(meta.get("toolUseId")),
        "parent_agent_id": _text(meta.get("parentAgentId")),
        "model": _text(meta.get("model")),
        "seen": _SEEN,
    }
    return [Facts("subagent", agent_id, "transcript", _RANK_MAIN, UNKNOWN_TIME, values)] if source else []


def _view(line: TranscriptLine) -> _View:
    body = line.body
    agent = _text(body.get("agentId")) or line.agent_hint
    rank = _RANK_MAIN
    if agent or body.get("isSidechain") is True:
        rank = _RANK_ASIDE if agent and agent.startswith("aside_question") else _RANK_SIDECHAIN
    return _View(
        source=line.source,
        body=body,
        path=[],
        at=_time(body.get("timestamp")),
        session=_text(body.get("sessionId")) or line.session_hint,
        agent=agent,
        rank=rank,
    )


def _old_kind(message: Mapping[str, Any]) -> str | None:
    role = message.get("role")
    return role if role in {"user", "assistant"} else None


def _session(view: _View) -> list[Facts]:
    if not view.session:
        return []
    body = view.body
    values: dict[str, Any] = {
        "cwd": _text(body.get("cwd")),
        "git_branch": _text(body.get("gitBranch")),
        "entrypoint": _text(body.get("entrypoint")),
        "versions": [body["version"]] if _text(body.get("version")) else None,
        "permission_modes": [body["permissionMode"]] if _text(body.get("permissionMode")) else None,
        "seen": _SEEN,
    }
    if view.at != UNKNOWN_TIME:
        values |= {
            "started_at": view.at,
            "last_at": view.at,
            "transcript_first_at": view.at,
            "transcript_last_at": view.at,
        }
    forked = body.get("forkedFrom")
    if isinstance(forked, dict):
        values["forked_from"] = _text(forked.get("sessionId"))
    facts = [view.facts("session", view.session, values)]
    if view.agent and not view.agent.startswith("aside_question"):
        seen = {"session_id": view.session, "seen": _SEEN}
        times = {} if view.at == UNKNOWN_TIME else {"started_at": view.at, "last_at": view.at}
        facts.append(view.facts("subagent", view.agent, seen | times))
    return facts


def _assistant(view: _View, line: TranscriptLine) -> list[Facts]:
    message = view.body.get("message")
    if not isinstance(message, dict):
        return [_event(view, line, "assistant", known=False)]
    key = (
        _text(message.get("id"))
        or _text(view.body.get("requestId"))
        or _text(view.body.get("uuid"))
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


def _request(view: _View, key: str, message: Mapping[str, Any]) -> list[Facts]:
    model = _text(message.get("model"))
    values: dict[str, Any] = {
        "session_id": view.session,
        "agent_id": view.agent,
        "request_id": _text(view.body.get("requestId")),
        "model": model,
        "stop_reason": _text(message.get("stop_reason")),
        "sidechain": 0 if view.rank == _RANK_MAIN else 1,
        "synthetic": 1 if model == SYNTHETIC_MODEL else 0,
        "replay": 1 if view.rank == _RANK_ASIDE else 0,
        "seen": _SEEN,
        **usage_facts(message.get("usage"), view.body.get("costUSD")),
    }
    if view.at != UNKNOWN_TIME:
        values |= {"at": view.at, "last_at": view.at}
    facts = [view.facts("request", key, values)]
    if view.session and model and model != SYNTHETIC_MODEL:
        facts.append(view.facts("session", view.session, {"models": [model]}))
    return facts


def _tool_use(view: _View, block: Mapping[str, Any], path: Path, message_id: str) -> list[Facts]:
    key = _text(block.get("id"))
    if not key:
        return []
    tool = _text(block.get("name"))
    values = {
        **input_facts(tool, block.get("input")),
        "session_id": view.session,
        "agent_id": view.agent,
        "message_id": message_id,
        "cwd": _text(view.body.get("cwd")),
        "asked_at": _known(view.at),
        "input": ref(view.source, [*path, "input"], block.get("input")),
        "evidence": [[SEEN_TRANSCRIPT_USE, view.source, _known(view.at)]],
        "seen": SEEN_TRANSCRIPT_USE,
    }
    return [view.facts("call", key, values)]


def _user(view: _View, line: TranscriptLine) -> list[Facts]:
    message = view.body.get("message")
    if not isinstance(message, dict):
        return [_event(view, line, "user", known=False)]
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


def _tool_result(view: _View, block: Mapping[str, Any], path: Path, *, alone: bool) -> list[Facts]:
    key = _text(block.get("tool_use_id"))
    if not key:
        return []
    text = content_text(block.get("content"))
    response = view.body.get("toolUseResult") if alone else None
    values: dict[str, Any] = {
        "session_id": view.session,
        "agent_id": view.agent,
        "prompt_id": _text(view.body.get("promptId")),
        "answered_at": _known(view.at),
        "result": ref(view.source, [*path, "content"], block.get("content")),
        "response": ref(view.source, [*view.path, "toolUseResult"], response),
        "evidence": [[SEEN_TRANSCRIPT_RESULT, view.source, _known(view.at)]],
        "seen": SEEN_TRANSCRIPT_RESULT,
    }
    if block.get("is_error") is True:
        values |= error_facts(text)
    else:
        values |= {"failed": 0, **response_facts(None, response)}
    facts = [view.facts("call", key, values)]
    if isinstance(response, dict) and _text(response.get("agentId")):
        facts.append(_launched_agent(view, key, response))
    return facts


def _launched_agent(view: _View, key: str, response: Mapping[str, Any]) -> Facts:
    values = {
        "session_id": view.session,
        "agent_type": _text(response.get("agentType")),
        "parent_tool_use_id": key,
        "parent_agent_id": view.agent,
        "model": _text(response.get("resolvedModel")),
        "seen": _SEEN,
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


_NOT_TYPED = ("<local-command-", "<bash-", "Caveat: The messages below", "[Request interrupted")


def _prompt(view: _View, content: Any) -> list[Facts]:
    body = view.body
    text = content_text(content)
    if not text or not view.session or view.rank != _RANK_MAIN:
        return []
    if body.get("isMeta") is True or body.get("isCompactSummary") is True:
        return []
    if text.startswith(_NOT_TYPED):
        return [_interruption(view, text)] if text.startswith("[Request interrupted") else []
    prompt_id = _text(body.get("promptId"))
    key = f"{view.session}/{prompt_id}" if prompt_id else _text(body.get("uuid")) or view.source
    path: Path = [*view.path, "message", "content"]
    origin = body.get("origin")
    values: dict[str, Any] = {
        "session_id": view.session,
        "prompt_id": prompt_id,
        "at": _known(view.at),
        "text": shorten(text, 2000),
        "ref": ref(view.source, path, content),
        "origin": _text(origin.get("kind")) if isinstance(origin, dict) else _text(body.get("promptSource")),
        "seen": _SEEN,
        **framework_facts(text),
        **expansion_facts(text),
    }
    facts = [view.facts("prompt", key, values)]
    if not text.startswith("<"):
        facts.append(view.facts("session", view.session, {"first_prompt": shorten(text, 200)}))
    return facts


def _interruption(view: _View, text: str) -> Facts:
    values = {
        "session_id": view.session,
        "agent_id": view.agent,
        "at": _known(view.at),
        "name": "interrupted",
        "known": 1,
        "text": text,
        "seen": _SEEN,
    }
    return view.facts("event", _text(view.body.get("uuid")) or view.source, values)


def _message(view: _View, text: Any, path: Path, role: str, kind: str, message_id: str) -> list[Facts]:
    if not isinstance(text, str) or not text.strip():
        return []
    place = path[-2]
    key = f"{_text(view.body.get('uuid')) or view.source}.{place}"
    values = {
        "session_id": view.session,
        "agent_id": view.agent,
        "message_id": message_id,
        "at": _known(view.at),
        "role": role,
        "kind": kind,
        "text": shorten(text, 2000),
        "ref": ref(view.source, path, text),
        "seen": _SEEN,
    }
    return [view.facts("message", key, values)]


def _progress(view: _View, line: TranscriptLine) -> list[Facts]:
    data = view.body.get("data")
    if not isinstance(data, dict) or data.get("type") != "agent_progress":
        return []
    nested = data.get("message")
    if not isinstance(nested, dict):
        return []
    inner = _View(
        source=view.source,
        body=nested,
        path=["data", "message"],
        at=_time(nested.get("timestamp")) if nested.get("timestamp") else view.at,
        session=view.session,
        agent=_text(data.get("agentId")),
        rank=_RANK_PROGRESS,
    )
    facts = _agent_of_progress(view, inner)
    if nested.get("type") == "assistant":
        return facts + _assistant(inner, line)
    return facts + (_user(inner, line) if nested.get("type") == "user" else [])


def _agent_of_progress(view: _View, inner: _View) -> list[Facts]:
    if not inner.agent:
        return []
    values = {
        "session_id": view.session,
        "parent_tool_use_id": _text(view.body.get("parentToolUseID")),
        "started_at": _known(inner.at),
        "last_at": _known(inner.at),
        "seen": _SEEN,
    }
    return [inner.facts("subagent", inner.agent, values)]


def _system(view: _View, line: TranscriptLine) -> list[Facts]:
    subtype = _text(view.body.get("subtype")) or "system"
    if subtype in {"stop_hook_summary", "turn_duration"}:
        return []
    return [_event(view, line, subtype, known=subtype in _KNOWN_SUBTYPES)]


def _attachment(view: _View, line: TranscriptLine) -> list[Facts]:
    attachment = view.body.get("attachment")
    kind = _text(attachment.get("type")) if isinstance(attachment, dict) else None
    if not isinstance(attachment, dict) or kind not in {"file", "directory"}:
        return []
    event = _event(view, line, "file_attached", known=True)
    named = {"text": _text(attachment.get("filename")) or _text(attachment.get("path")), "data": None}
    return [view.facts(event.entity, event.key, {**event.values, **named})]


def _cost_state(view: _View, _line: TranscriptLine) -> list[Facts]:
    if not view.session:
        return []
    total = view.body.get("totalCostUSD")
    values = {
        "cost_micros": round(total * 1_000_000) if isinstance(total, int | float) else None,
        "cost_incomplete": 1 if view.body.get("hasUnknownModelCost") is True else 0,
        "client_lines_added": _number(view.body.get("totalLinesAdded")),
        "client_lines_removed": _number(view.body.get("totalLinesRemoved")),
    }
    return [view.facts("session", view.session, values)]


def _title(field: str, name: str) -> Callable[[_View, TranscriptLine], list[Facts]]:
    def mapper(view: _View, line: TranscriptLine) -> list[Facts]:
        text = _text(view.body.get(field))
        if not text or not view.session:
            return []
        # Title lines carry no time: the later line of a file is the later title.
        values = {name: shorten(text, 200)}
        return [Facts("session", view.session, "transcript", view.rank, line.number, values)]

    return mapper


def _permission_mode(view: _View, _line: TranscriptLine) -> list[Facts]:
    mode = _text(view.body.get("permissionMode"))
    return (
        [view.facts("session", view.session, {"permission_modes": [mode]})] if view.session and mode else []
    )


def _plain_event(view: _View, line: TranscriptLine) -> list[Facts]:
    return [_event(view, line, str(view.body.get("type")), known=True)]


def _event(view: _View, line: TranscriptLine, name: str, *, known: bool) -> Facts:
    body = view.body
    own = {key: value for key, value in body.items() if key not in _ENVELOPE}
    values = {
        "session_id": view.session,
        "agent_id": view.agent,
        "prompt_id": _text(body.get("promptId")),
        "at": _known(view.at),
        "name": name,
        "known": 1 if known else 0,
        "text": _event_text(body),
        "data": own if len(str(own)) <= 2000 else None,
        "ref": ref(line.source, [], dict(body)),
        "seen": _SEEN,
    }
    return view.facts("event", _text(body.get("uuid")) or line.source, values)


def _event_text(body: Mapping[str, Any]) -> str | None:
    error = body.get("error")
    for value in (
        body.get("content"),
        error.get("message") if isinstance(error, dict) else error,
        body.get("prUrl"),
    ):
        if isinstance(value, str) and value:
            return shorten(value, 500)
    return None


def _time(value: Any) -> int:
    if isinstance(value, str):
        try:
            return round(datetime.fromisoformat(value).timestamp() * 1000)
        except (ValueError, OverflowError):
            return UNKNOWN_TIME
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return round(value if value > 10**11 else value * 1000)
    return UNKNOWN_TIME


def _known(at: int) -> int | None:
    return None if at == UNKNOWN_TIME else at


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    return round(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


_KNOWN_SUBTYPES = {
    "compact_boundary",
    "microcompact_boundary",
    "api_error",
    "local_command",
    "away_summary",
    "informational",
}

_ENVELOPE = {
    "uuid", "parentUuid", "logicalParentUuid", "sessionId", "timestamp", "cwd", "gitBranch", "version", "isSidechain",
    "userType", "entrypoint", "agentId", "slug", "type", "subtype", "isMeta",
}  # fmt: skip

_SILENT_TYPES = {
    "queue-operation", "last-prompt", "tools-used", "atis-latch", "mode", "file-history-snapshot",
    "file-history-delta", "api-request", "api-request-blob", "api-request-shape", "bridge-session", "agent-name",
}  # fmt: skip
"""Known line types that say nothing about what happened; they stay in the archive untouched."""

_MAPPERS: dict[str, Callable[[_View, TranscriptLine], list[Facts]]] = {
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
