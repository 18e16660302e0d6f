"""The tables of the index: which shows which entity. `projections` says how a merged state becomes its rows.

The tables are narrow; payloads stay in the ledger and the archive and are found through the refs in the state. Quick
commands import this, so it takes nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

Row = dict[str, Any]


class Table(NamedTuple):
    """One projection: its key column, its columns with their SQL types, and its indexes."""

    name: str
    key: str
    columns: dict[str, str]
    indexes: tuple[tuple[str, ...], ...] = ()

    @property
    def ddl(self) -> str:
        """The statements that create the table and its indexes."""
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        table = f"CREATE TABLE {self.name} ({self.key} TEXT PRIMARY KEY, {columns}) WITHOUT ROWID;"
        indexes = [
            f"CREATE INDEX {self.name}_by_{'_'.join(names[:2])} ON {self.name} ({', '.join(names)});"
            for names in self.indexes
        ]
        return "\n".join([table, *indexes])

    @property
    def upsert(self) -> str:
        """The statement that writes one row, all columns bound by place."""
        names = (self.key, *self.columns)
        marks = ", ".join("?" for _ in names)
        return f"INSERT OR REPLACE INTO {self.name} ({', '.join(names)}) VALUES ({marks})"

    def bind(self, row: Row) -> tuple[Any, ...]:
        """Return the row's values in the order of `upsert`; lists and objects as JSON text."""
        return tuple(_bindable(row[name]) for name in (self.key, *self.columns))


def _bindable(value: Any) -> Any:
    return _encoder()(value).decode() if isinstance(value, list | dict) else value


@cache
def _encoder() -> Callable[[Any], bytes]:
    import msgspec

    return msgspec.json.Encoder(order="deterministic").encode


USAGE_INDEX = (
    "counted",
    "quarter",
    "session_id",
    "model",
    "agent_id",
    "input_tokens",
    "output_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_read_tokens",
    "web_searches",
    "cost_micros",
    "cost_basis",
    "last_at",
    "partial",
    "nested",
)
"""All that sums over time need, in the order in which they are grouped: no row of the table is looked at for them."""

CALLS_INDEX = (
    "session_id",
    "started_at",
    "agent_id",
    "tool",
    "mcp_server",
    "outcome",
    "signature",
    "lines_added",
    "lines_removed",
)
"""The calls of a session in order; with what statistics count, so that no row of the table is looked at for them."""

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "sessions",
            "session_id",
            {
                "started_at": "INTEGER",
                "last_at": "INTEGER",
                "ended_at": "INTEGER",
                "end_reason": "TEXT",
                "start_sources": "TEXT",
                "project_path": "TEXT",
                "cwd": "TEXT",
                "transcript_path": "TEXT",
                "git_branch": "TEXT",
                "versions": "TEXT",
                "models": "TEXT",
                "permission_modes": "TEXT",
                "entrypoint": "TEXT",
                "user_name": "TEXT",
                "user_email": "TEXT",
                "host": "TEXT",
                "run_id": "TEXT",
                "title_custom": "TEXT",
                "title_ai": "TEXT",
                "title_summary": "TEXT",
                "first_prompt": "TEXT",
                "cost_micros": "INTEGER",
                "cost_incomplete": "INTEGER",
                "client_usage": "TEXT",
                "client_lines_added": "INTEGER",
                "client_lines_removed": "INTEGER",
                "forked_from": "TEXT",
                "hook_first_at": "INTEGER",
                "hook_last_at": "INTEGER",
                "transcript_first_at": "INTEGER",
                "transcript_last_at": "INTEGER",
                "synthetic": "INTEGER",
                "seen": "INTEGER",
            },
            (("last_at",),),
        ),
        Table(
            "prompts",
            "prompt_key",
            {
                "session_id": "TEXT",
                "prompt_id": "TEXT",
                "at": "INTEGER",
                "text": "TEXT",
                "origin": "TEXT",
                "slash_command": "TEXT",
                "slash_arguments": "TEXT",
                "framework_command": "TEXT",
                "persona": "TEXT",
                "flags": "TEXT",
                "size": "INTEGER",
                "seen": "INTEGER",
            },
            (("session_id", "at"), ("at",)),
        ),
        Table(
            "calls",
            "tool_use_id",
            {
                "session_id": "TEXT",
                "prompt_id": "TEXT",
                "agent_id": "TEXT",
                "message_id": "TEXT",
                "tool": "TEXT",
                "mcp_server": "TEXT",
                "subject": "TEXT",
                "signature": "TEXT",
                "cwd": "TEXT",
                "started_at": "INTEGER",
                "ended_at": "INTEGER",
                "pre_at": "INTEGER",
                "duration_ms": "INTEGER",
                "duration_basis": "TEXT",
                "outcome": "TEXT",
                "outcome_by": "TEXT",
                "permission_mode": "TEXT",
                "failed": "INTEGER",
                "background": "INTEGER",
                "exit_code": "INTEGER",
                "error": "TEXT",
                "lines_added": "INTEGER",
                "lines_removed": "INTEGER",
                "input_size": "INTEGER",
                "result_size": "INTEGER",
                "seen": "INTEGER",
                "contradicted": "INTEGER",
            },
            (CALLS_INDEX, ("started_at",)),
        ),
        Table(
            "requests",
            "request_key",
            {
                "session_id": "TEXT",
                "agent_id": "TEXT",
                "request_id": "TEXT",
                "at": "INTEGER",
                "quarter": "INTEGER",
                "last_at": "INTEGER",
                "model": "TEXT",
                "input_tokens": "INTEGER",
                "output_tokens": "INTEGER",
                "cache_write_tokens": "INTEGER",
                "cache_write_5m_tokens": "INTEGER",
                "cache_write_1h_tokens": "INTEGER",
                "cache_read_tokens": "INTEGER",
                "web_searches": "INTEGER",
                "reported_micros": "INTEGER",
                "cost_micros": "INTEGER",
                "cost_basis": "TEXT",
                "service_tier": "TEXT",
                "speed": "TEXT",
                "region": "TEXT",
                "stop_reason": "TEXT",
                "branch": "TEXT",
                "skill": "TEXT",
                "mcp_server": "TEXT",
                "sidechain": "INTEGER",
                "nested": "INTEGER",
                "partial": "INTEGER",
                "synthetic": "INTEGER",
                "replay": "INTEGER",
                "counted": "INTEGER",
            },
            (("session_id", "at"), USAGE_INDEX),
        ),
        Table(
            "messages",
            "message_key",
            {
                "session_id": "TEXT",
                "agent_id": "TEXT",
                "message_id": "TEXT",
                "at": "INTEGER",
                "role": "TEXT",
                "kind": "TEXT",
                "text": "TEXT",
                "size": "INTEGER",
            },
            (("session_id", "at"), ("message_id",)),
        ),
        Table(
            "events",
            "event_key",
            {
                "session_id": "TEXT",
                "agent_id": "TEXT",
                "prompt_id": "TEXT",
                "at": "INTEGER",
                "name": "TEXT",
                "known": "INTEGER",
                "text": "TEXT",
                "data": "TEXT",
                "seen": "INTEGER",
            },
            (("session_id", "at"), ("known", "name")),
        ),
        Table(
            "subagents",
            "agent_id",
            {
                "session_id": "TEXT",
                "agent_type": "TEXT",
                "description": "TEXT",
                "parent_tool_use_id": "TEXT",
                "parent_agent_id": "TEXT",
                "started_at": "INTEGER",
                "ended_at": "INTEGER",
                "last_at": "INTEGER",
                "model": "TEXT",
                "last_message": "TEXT",
                "seen": "INTEGER",
            },
            (("session_id",),),
        ),
        Table(
            "permissions",
            "permission_key",
            {
                "session_id": "TEXT",
                "agent_id": "TEXT",
                "prompt_id": "TEXT",
                "at": "INTEGER",
                "tool": "TEXT",
                "signature": "TEXT",
            },
            (("session_id", "at"),),
        ),
        Table(
            "decisions",
            "decision_key",
            {"at": "INTEGER", "verdict": "TEXT", "latency_us": "INTEGER"},
            (("at",),),
        ),
        Table(
            "file_operations",
            "tool_use_id",
            {
                "session_id": "TEXT",
                "at": "INTEGER",
                "kind": "TEXT",
                "path": "TEXT",
                "size": "INTEGER",
                "duration_ms": "INTEGER",
                "lines_added": "INTEGER",
                "lines_removed": "INTEGER",
                "done": "INTEGER",
            },
            (("session_id", "at"), ("path",)),
        ),
        Table(
            "git_operations",
            "tool_use_id",
            {
                "session_id": "TEXT",
                "at": "INTEGER",
                "operation": "TEXT",
                "command": "TEXT",
                "branch": "TEXT",
                "commit_id": "TEXT",
                "files_changed": "INTEGER",
                "insertions": "INTEGER",
                "deletions": "INTEGER",
                "done": "INTEGER",
            },
            (("session_id", "at"),),
        ),
        Table(
            "errors",
            "error_key",
            {
                "tool_use_id": "TEXT",
                "session_id": "TEXT",
                "at": "INTEGER",
                "tool": "TEXT",
                "kind": "TEXT",
                "message": "TEXT",
                "exit_code": "INTEGER",
            },
            (("session_id", "at"),),
        ),
        Table(
            "findings",
            "finding_key",
            {
                "session_id": "TEXT",
                "tool_use_id": "TEXT",
                "at": "INTEGER",
                "rule": "TEXT",
                "severity": "TEXT",
                "what": "TEXT",
            },
            (("session_id", "at"),),
        ),
    )
}

ENTITY_NUMBERS: dict[str, int] = {
    "session": 1,
    "prompt": 2,
    "call": 3,
    "request": 4,
    "message": 5,
    "event": 6,
    "subagent": 7,
    "permission": 8,
    "decision": 9,
    "finding": 10,
}
"""Numbers under which the store keeps entities; never reused."""
