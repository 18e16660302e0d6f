"""Maps the log events of Claude Code's OpenTelemetry export to facts: the third witness of a tool call.

Names and attributes are those of Claude Code 2.1.330 (``claude_code.*`` events, scope ``com.anthropic.claude_code``).
All numbers may come as text. The cost that the client reports is itself an estimate, so it never replaces usage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from watchkeeper.events.entities import SEEN_OTEL, WITNESS_BITS
from watchkeeper.events.fields import WITNESS_RANK
from watchkeeper.events.identity import whole_number
from watchkeeper.events.merge import UNKNOWN_TIME, Facts

_SEEN = WITNESS_BITS["otel"]
_RANK = WITNESS_RANK["otel"] * 10

_DENIED_BY = {"hook": "hook", "config": "rule", "user_reject": "user", "user_abort": "user"}


class LogRecord(NamedTuple):
    """One exported log event.

    Attributes:
        source: Identity of the observation; from the exporting process and its ``event.sequence``.
        name: ``event.name`` without the prefix ``claude_code.``.
        at: ``event.timestamp`` in epoch milliseconds, or `UNKNOWN_TIME`.
        attributes: The record's attributes as plain values.
    """

    source: str
    name: str
    at: int
    attributes: Mapping[str, Any]


def decode_log_records(body: Mapping[str, Any], process: str) -> list[LogRecord]:
    """Return the log events of one OTLP/JSON request; what is no event is left out.

    Args:
        body: An ``ExportLogsServiceRequest`` in its JSON form.
        process: Names the exporting process; ``event.sequence`` counts within it.
    """
    found = []
    for scope in _scopes(body):
        for record in _items(scope, "logRecords"):
            attributes = plain_attributes(record.get("attributes"))
            name = attributes.get("event.name")
            if isinstance(name, str) and name:
                sequence = attributes.get("event.sequence")
                found.append(
                    LogRecord(
                        source=f"otel:{process}:{sequence}",
                        name=name.removeprefix("claude_code."),
                        at=_time(attributes.get("event.timestamp")),
                        attributes=attributes,
                    )
                )
    return found


def plain_attributes(attributes: Any) -> dict[str, Any]:
    """Return OTLP key-value pairs as a dictionary of plain values; arrays and maps stay as they are."""
    plain = {}
    for pair in attributes if isinstance(attributes, list) else ():
        if (
            isinstance(pair, dict)
            and isinstance(pair.get("key"), str)
            and isinstance(pair.get("value"), dict)
        ):
            kind, value = next(iter(pair["value"].items()), ("", None))
            plain[pair["key"]] = _integer(value) if kind == "intValue" else value
    return plain


def map_log_record(record: LogRecord) -> list[Facts]:
    """Return the facts that one log event gives; every event tells at least that its session lived."""
    session = record.attributes.get("session.id")
    if not isinstance(session, str) or not session:
        return []
    values: dict[str, Any] = {"seen": _SEEN}
    if record.at != UNKNOWN_TIME:
        values |= {"started_at": record.at, "last_at": record.at}
    facts = [_facts(record, "session", session, values)]
    mapper = _MAPPERS.get(record.name)
    return facts if mapper is None else facts + mapper(record, session)


def _facts(record: LogRecord, entity: str, key: str, values: dict[str, Any]) -> Facts:
    return Facts(entity, key, "otel", _RANK, record.at, values)


def _call(record: LogRecord, session: str, values: dict[str, Any]) -> list[Facts]:
    key = record.attributes.get("tool_use_id")
    if not isinstance(key, str) or not key:
        return []
    common = {
        "session_id": session,
        "prompt_id": _text(record.attributes.get("prompt.id")),
        "agent_id": _text(record.attributes.get("agent_id")),
        "permission_mode": _text(record.attributes.get("permission_mode")),
        "evidence": [[SEEN_OTEL, record.source, None if record.at == UNKNOWN_TIME else record.at]],
        "seen": SEEN_OTEL,
    }
    return [_facts(record, "call", key, common | values)]


def _tool_result(record: LogRecord, session: str) -> list[Facts]:
    succeeded = str(record.attributes.get("success")).lower()
    # MCP, skill and agent names may be exported as "custom", so the tool's name is not taken from here.
    values = {
        "duration_ms": whole_number(_integer(record.attributes.get("duration_ms"))),
        "failed": {"true": 0, "false": 1}.get(succeeded),
        "error": _text(record.attributes.get("error")),
    }
    return _call(record, session, values)


def _tool_decision(record: LogRecord, session: str) -> list[Facts]:
    if record.attributes.get("decision") != "reject":
        return _call(record, session, {})
    return _call(record, session, {"denied": _DENIED_BY.get(str(record.attributes.get("source")), "rule")})


def _user_prompt(record: LogRecord, session: str) -> list[Facts]:
    prompt = _text(record.attributes.get("prompt.id"))
    if prompt is None:
        return []
    values = {
        "session_id": session,
        "prompt_id": prompt,
        "at": None if record.at == UNKNOWN_TIME else record.at,
        "seen": _SEEN,
    }
    return [_facts(record, "prompt", f"{session}/{prompt}", values)]


_MAPPERS: dict[str, Callable[[LogRecord, str], list[Facts]]] = {
    "tool_result": _tool_result,
    "tool_decision": _tool_decision,
    "user_prompt": _user_prompt,
}


def _scopes(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [scope for resource in _items(body, "resourceLogs") for scope in _items(resource, "scopeLogs")]


def _items(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    items = body.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _integer(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20:
        return int(value)
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(value: Any) -> int:
    try:
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return UNKNOWN_TIME
