"""Whatever JSON an agent sends, mapping it raises nothing, and what it gives can be merged, derived and stored."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchkeeper.events.entities import ENTITIES
from watchkeeper.events.merge import Facts, encode_state, lift
from watchkeeper.sources.claude_code.hooks import KNOWN_EVENTS, HookEvent, map_hook
from watchkeeper.sources.claude_code.transcript_view import TranscriptLine
from watchkeeper.sources.claude_code.transcripts import map_line
from watchkeeper.store.sqlite.writing import Store

_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
_names = st.sampled_from(
    [
        "session_id", "tool_use_id", "tool_name", "tool_input", "tool_response", "prompt", "prompt_id", "agent_id",
        "error", "duration_ms", "is_interrupt", "tool_calls", "mcp_server", "effort", "message", "content", "id",
        "usage", "type", "data", "uuid", "timestamp", "sessionId", "agentId", "toolUseResult", "structuredPatch",
        "lines", "file", "gitOperation", "commit", "stdout", "is_error", "text", "thinking", "name", "input",
        "file_path", "command", "attachment", "subtype", "cache_creation", "input_tokens", "forkedFrom", "origin",
    ]
)  # fmt: skip
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=5),
    max_leaves=12,
)
_objects = st.dictionaries(_names, _json, max_size=8)
_line_types = st.sampled_from(
    [
        "assistant",
        "user",
        "progress",
        "system",
        "attachment",
        "cost-state",
        "summary",
        "custom-title",
        "x",
        None,
    ]
)


def storable(facts: list[Facts]) -> None:
    for item in facts:
        encode_state(lift(item, ENTITIES[item.entity]))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "index.db")
        with store.transaction():
            store.merge(facts)
        store.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=_objects, name=st.sampled_from(sorted(KNOWN_EVENTS)) | _json)
def test_any_hook_payload_maps(body: dict[str, Any], name: Any) -> None:
    storable(map_hook(HookEvent("spool:s:0", 1, body | {"hook_event_name": name}, {}, None)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=_objects, kind=_line_types, message=_objects | _json)
def test_any_transcript_line_maps(body: dict[str, Any], kind: str | None, message: Any) -> None:
    storable(
        map_line(TranscriptLine("transcript:f:0:1", 1, body | {"type": kind, "message": message}, "s", None))
    )
