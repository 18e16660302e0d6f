"""What the client's own telemetry says of a call joins what hooks and transcripts say of it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from observations import Observation, merge_all, transcript_observations

from watchkeeper.events.entities import ENTITIES, SEEN_OTEL
from watchkeeper.events.merge import UNKNOWN_TIME, lift
from watchkeeper.sources.otel.records import LogRecord, decode_log_records, map_log_record, plain_attributes
from watchkeeper.store.sqlite.writing import Store

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "real-client" / "recordings"
RUNS = ("otel-tools", "otel-denied", "otel-subagent", "otel-errors")


def requests(run: str) -> list[dict[str, Any]]:
    path = RECORDINGS / "otlp" / run / "decoded.jsonl"
    if not path.exists():
        pytest.skip(f"the shared recording {run} is not here")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line["body"] for line in lines if line["signal"] == "logs"]


@pytest.mark.parametrize("run", RUNS)
def test_every_call_that_ran_is_seen_by_telemetry_too(run: str) -> None:
    observations: list[Observation] = (
        list(transcript_observations(RECORDINGS / "transcripts" / run)) if requests(run) else []
    )
    records = [record for body in requests(run) for record in decode_log_records(body, "process")]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "index.db")
        merge_all(store, observations, 100)
        before = dict(store.connection.execute("SELECT tool_use_id, outcome FROM calls"))
        with store.transaction():
            store.merge([facts for record in records for facts in map_log_record(record)])
        after = dict(store.connection.execute("SELECT tool_use_id, outcome FROM calls"))
        seen = dict(store.connection.execute("SELECT tool_use_id, seen FROM calls"))
        contradicted = store.connection.execute("SELECT count(*) FROM findings").fetchall()
        store.close()
    assert before
    assert after == before
    unseen = {call for call, bits in seen.items() if not bits & SEEN_OTEL}
    # The client does not export what it refuses before running anything.
    assert unseen <= {call for call, outcome in after.items() if outcome == "rejected"}
    assert contradicted == [(0,)]


def record(name: str, **attributes: Any) -> LogRecord:
    return LogRecord("otel:p:1", name, 1000, {"session.id": "s", "tool_use_id": "t", **attributes})


def test_a_rejected_decision_says_who_rejected() -> None:
    facts = map_log_record(record("tool_decision", decision="reject", source="user_reject"))
    assert [item.values.get("denied") for item in facts if item.entity == "call"] == ["user"]
    accepted = map_log_record(record("tool_decision", decision="accept", source="config"))
    assert [item.values.get("denied") for item in accepted if item.entity == "call"] == [None]


def test_numbers_that_come_as_text_are_numbers() -> None:
    facts = map_log_record(record("tool_result", success="false", duration_ms="68"))
    [call] = [item for item in facts if item.entity == "call"]
    assert (call.values["failed"], call.values["duration_ms"]) == (1, 68)


@pytest.mark.parametrize(
    "body", [{}, {"resourceLogs": 3}, {"resourceLogs": [{"scopeLogs": [{"logRecords": [1, {}]}]}]}]
)
def test_odd_requests_give_no_record(body: dict[str, Any]) -> None:
    assert decode_log_records(body, "p") == []


def test_odd_attributes_and_missing_sessions_are_harmless() -> None:
    assert plain_attributes([{"key": "a"}, 3, {"key": "n", "value": {"intValue": "7"}}]) == {"n": 7}
    assert map_log_record(LogRecord("otel:p:1", "tool_result", UNKNOWN_TIME, {})) == []
    for facts in map_log_record(record("tool_result", success=None, duration_ms=[], error=3)):
        lift(facts, ENTITIES[facts.entity])
