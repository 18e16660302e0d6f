"""Totals for the page's header, the doctor and the metrics."""

from __future__ import annotations

from typing import Any

from watchkeeper.queries.forms import rfc3339
from watchkeeper.queries.sessions import LISTED
from watchkeeper.store.sqlite.reading import Reader


def counts(reader: Reader) -> dict[str, Any]:
    """Return how many sessions, calls and ledger entries are on record, and when the latest event was."""
    listed = f"FROM sessions s WHERE {LISTED}"
    entries = reader.value("SELECT value FROM meta WHERE name = 'ledger_next'")
    return {
        "sessions": reader.value(f"SELECT count(*) {listed}"),
        "tool_calls": reader.value("SELECT count(*) FROM calls"),
        "ledger_entries": int(entries or 0),
        "last_event_at": rfc3339(reader.value(f"SELECT max(last_at) {listed}")),
    }
