"""Any order, duplication or splitting of the same observations gives the same projections, byte for byte."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from observations import Observation, merge_all, projections, recorded_session

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
