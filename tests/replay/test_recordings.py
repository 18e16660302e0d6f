"""Recordings of the real client give exactly the projections that are written down beside this file.

``python tests/replay/test_recordings.py`` writes them anew; read the difference before you keep it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from observations import (
    Observation,
    hook_observations,
    merge_all,
    projections,
    recorded_session,
    transcript_observations,
)

from watchkeeper.pipeline.demo import demo_folder
from watchkeeper.queries.coverage import coverage
from watchkeeper.queries.timeline import timeline
from watchkeeper.settings import Places
from watchkeeper.store.sqlite.reading import Reader
from watchkeeper.store.sqlite.writing import Store

EXPECTED = Path(__file__).parent / "expected"
RECORDINGS = Path(__file__).parents[2].parent / "shared" / "real-client" / "recordings"
NOW = 1_900_000_000_000
"""Long after every recording, so that no transcript counts as lagging."""

PACKAGED = sorted(path.name for path in demo_folder().iterdir() if path.is_dir())
SHARED = sorted(path.stem for path in (RECORDINGS / "hooks").glob("*.jsonl")) if RECORDINGS.is_dir() else []
KNOWN = sorted(path.stem for path in EXPECTED.glob("*.json"))


def observations_of(name: str) -> list[Observation]:
    if name in PACKAGED:
        return recorded_session(demo_folder() / name)
    hooks = list(hook_observations(RECORDINGS / "hooks" / f"{name}.jsonl"))
    return hooks + list(transcript_observations(RECORDINGS / "transcripts" / name))


def summary_of(name: str) -> dict[str, Any]:
    """Merge a recording and return what its sessions, calls, coverage and other rows came to."""
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder))
        store = Store(places.database)
        merge_all(store, observations_of(name), 50)
        reader = Reader(store.connection, places)
        sessions = [
            row["session_id"] for row in reader.rows("SELECT session_id FROM sessions ORDER BY started_at")
        ]
        report = coverage(reader, now_ms=NOW)
        summary = {
            "calls": [line for session in sessions for line in call_lines(reader, session)],
            "coverage": {key: report[key] for key in ("tool_calls", "by_witness", "complete", "gap_classes")},
            "unknown_events": report["unknown_events"],
            "rows": row_counts(reader),
            "tokens": reader.row(
                "SELECT count(*) AS requests, sum(input_tokens) AS input, sum(output_tokens) AS output,"
                " sum(cache_write_tokens) AS cache_write, sum(cache_read_tokens) AS cache_read FROM requests"
            ),
            "cost_micros": [
                row["c"] for row in reader.rows("SELECT cost_micros AS c FROM sessions ORDER BY started_at")
            ],
        }
        store.close()
        return summary


def call_lines(reader: Reader, session: str) -> list[str]:
    lines = []
    for item in timeline(reader, session, limit=100_000, now_ms=NOW)["items"]:
        call = item["call"]
        if call is None:
            continue
        changed = "" if call["lines_added"] is None else f" +{call['lines_added']} -{call['lines_removed']}"
        allowed = f" {call['permission']} by {call['permission_source']}" if call["permission"] else ""
        lines.append(
            f"{call['tool']} {(call['subject'] or '')[:40]!r} {call['outcome']}"
            f"{' by ' + call['outcome_by'] if call['outcome_by'] else ''} {call['duration_ms']} ms"
            f"{changed}{allowed} {' '.join(call['witnesses'])}{' gap ' + call['gap'] if call['gap'] else ''}"
        )
    return lines


def row_counts(reader: Reader) -> dict[str, int]:
    tables = ("sessions", "prompts", "subagents", "events", "messages", "permissions", "file_operations")
    tables += ("git_operations", "errors", "findings")
    return {table: reader.value(f"SELECT count(*) FROM {table}") for table in tables}


@pytest.mark.parametrize("name", KNOWN)
def test_a_recording_gives_exactly_the_written_projections(name: str) -> None:
    if name not in PACKAGED and name not in SHARED:
        pytest.skip(f"the shared recording {name} is not here")
    assert summary_of(name) == json.loads((EXPECTED / f"{name}.json").read_text(encoding="utf-8"))


def test_every_recording_at_hand_has_its_projections_written_down() -> None:
    assert set(PACKAGED) | set(SHARED) <= set(KNOWN)


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_recording_does_not_depend_on_order(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        forward, backward = Store(Path(folder) / "a.db"), Store(Path(folder) / "b.db")
        observations = observations_of(name)
        merge_all(forward, observations, 1000)
        merge_all(backward, observations[::-1], 7)
        assert projections(forward) == projections(backward)
        forward.close()
        backward.close()


if __name__ == "__main__":
    for recording in sys.argv[1:] or [*PACKAGED, *SHARED]:
        text = json.dumps(summary_of(recording), indent=1, ensure_ascii=False) + "\n"
        (EXPECTED / f"{recording}.json").write_text(text, encoding="utf-8")
