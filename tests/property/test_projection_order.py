"""Any order, duplication or splitting of the same observations gives the same projections, byte for byte."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from observations import Observation, merge_all, projections, recorded_session, transcript_observations

from watchkeeper.pipeline.demo import demo_folder
from watchkeeper.store.sqlite.writing import Store

SESSIONS = sorted(path for path in demo_folder().iterdir() if path.is_dir())


def projected(observations: list[Observation], batch: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "index.db")
        try:
            merge_all(store, observations, batch)
            return projections(store)
        finally:
            store.close()


@pytest.fixture(scope="module", params=SESSIONS, ids=lambda path: path.name)
def session(request: pytest.FixtureRequest) -> tuple[Path, bytes]:
    return request.param, projected(recorded_session(request.param), 1000)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), batch=st.integers(1, 60), lines=st.integers(1, 40))
def test_order_repetition_and_splitting_never_show(
    session: tuple[Path, bytes], seed: int, batch: int, lines: int
) -> None:
    folder, expected = session
    shuffle = random.Random(seed)
    observations = recorded_session(folder, lines_each=lines)
    observations += shuffle.sample(observations, len(observations) // 3)
    shuffle.shuffle(observations)
    assert projected(observations, batch) == expected


def test_the_projections_hold_what_was_recorded(session: tuple[Path, bytes]) -> None:
    _, rows = session
    assert b'"calls": [["toolu_' in rows


def resumed_tree(folder: Path) -> Path:
    """Write three sessions of an old client: each resumed copies all lines of the one before under its own id."""
    project = folder / "projects" / "-home-ada"
    project.mkdir(parents=True)
    lines: list[bytes] = []
    # The ids sort against the order in which the sessions were made.
    for turn, session in enumerate(("ccc", "bbb", "aaa")):
        lines = [json.dumps({**json.loads(line), "sessionId": session}).encode() + b"\n" for line in lines]
        lines += [json.dumps(line).encode() + b"\n" for line in turn_lines(session, turn)]
        (project / f"{session}.jsonl").write_bytes(b"".join(lines))
    return folder / "projects"


def turn_lines(session: str, turn: int) -> list[dict[str, Any]]:
    """Return a prompt, an answer with a call, and the call's result."""
    use = {"type": "tool_use", "id": f"toolu_{turn}", "name": "Read", "input": {"file_path": f"/{turn}"}}
    result = {"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": "text"}
    usage = {"input_tokens": 1, "output_tokens": 10**turn}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": f"question {turn}"},
        {"role": "assistant", "id": f"msg_{turn}", "model": "m", "usage": usage, "content": [use]},
        {"role": "user", "content": [result]},
    ]
    return [
        {
            "type": message["role"],
            "uuid": f"u{turn}.{place}",
            "sessionId": session,
            "timestamp": f"2025-06-0{turn + 1}T00:00:0{place}Z",
            "message": message,
        }
        for place, message in enumerate(messages)
    ]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), batch=st.integers(1, 12), lines=st.integers(1, 4))
def test_copies_of_resumed_sessions_belong_to_the_first_in_any_order(
    seed: int, batch: int, lines: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        projects = resumed_tree(Path(folder))
        shuffle = random.Random(seed)
        observations = list(transcript_observations(projects, lines_each=lines))
        observations += shuffle.sample(observations, len(observations) // 3)
        shuffle.shuffle(observations)
        store = Store(Path(folder) / "index.db")
        try:
            merge_all(store, observations, batch)
            found = {
                table: list(store.connection.execute(f"SELECT session_id, {key} FROM {table} ORDER BY {key}"))
                for table, key in (
                    ("requests", "request_key"),
                    ("calls", "tool_use_id"),
                    ("file_operations", "tool_use_id"),
                    ("prompts", "prompt_key"),
                )
            }
            kept = sorted(store.connection.execute("SELECT * FROM contested"))
            owners = sorted(store.connection.execute("SELECT * FROM owners"))
        finally:
            store.close()
    first = ["ccc", "bbb", "aaa"]
    assert found["requests"] == [(session, f"msg_{turn}") for turn, session in enumerate(first)]
    assert found["calls"] == [(session, f"toolu_{turn}") for turn, session in enumerate(first)]
    assert found["file_operations"] == found["calls"]
    assert found["prompts"] == [(session, f"u{turn}.0") for turn, session in enumerate(first)]
    assert len(kept) == 6
    assert dict(owners)['["aaa", "bbb", "ccc"]'] == "ccc"
    assert dict(owners)['["aaa", "bbb"]'] == "bbb"
