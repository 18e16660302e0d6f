"""How a merged state becomes the rows of the tables that show it."""

from __future__ import annotations

from collections.abc import Callable

from watchkeeper.events.derive import Row, derive_call, derive_request, derive_session, ref_size, values_of
from watchkeeper.events.merge import State
from watchkeeper.store.tables import TABLES


def _plain(table: str, entity: str) -> Callable[[str, State], dict[str, Row | None]]:
    def rows(key: str, state: State) -> dict[str, Row | None]:
        values = values_of(entity, state)
        return {table: {TABLES[table].key: key, **values, "size": ref_size(values.get("ref"))}}

    return rows


PROJECTIONS: dict[str, Callable[[str, State], dict[str, Row | None]]] = {
    "session": derive_session,
    "prompt": _plain("prompts", "prompt"),
    "call": derive_call,
    "request": derive_request,
    "message": _plain("messages", "message"),
    "event": _plain("events", "event"),
    "subagent": _plain("subagents", "subagent"),
    "permission": _plain("permissions", "permission"),
    "decision": _plain("decisions", "decision"),
    "finding": _plain("findings", "finding"),
}
"""For each entity the rows that follow from its state; ``None`` for a table means that a row there must go."""
