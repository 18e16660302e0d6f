"""The checked-in event schema is the one that the code gives."""

from __future__ import annotations

from pathlib import Path

from watchkeeper.events.schema import text

SCHEMA = Path(__file__).parents[2] / "schemas" / "events.v1.json"


def test_the_published_event_schema_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == text(), "run `python -m watchkeeper.events.schema`"
