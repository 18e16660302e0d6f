"""``kill -9`` of the daemon's parts under load: hooks go on writing, and nothing is lost or doubled."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from faulty_system import is_gone, is_synced, parts_of, recorded_calls, recorder_pid
from harness_system import all_answers, fire, numbered_event, wk, wk_json

from watchkeeper.daemon import control
from watchkeeper.settings import Settings

pytestmark = pytest.mark.fault
Wait = Callable[[Callable[[], object]], None]

ROUNDS = 20
WRITERS = 4
EVENTS_A_ROUND = 8
"""Events that each writer appends in one round."""


def test_killed_twenty_times_under_load(running_daemon: Any, packaged_hook: Path, eventually: Wait) -> None:
    """Four writers number their events while the recorder is killed twenty times, at ever other moments.

    The decider and the supervisor are killed now and then too. In the end each event is on record once.
    """
    settings: Settings = running_daemon.settings
    places = settings.places
    written = threading.Semaphore(0)

    def write(writer: int, round_number: int) -> None:
        for number in range(EVENTS_A_ROUND):
            event = numbered_event(round_number * EVENTS_A_ROUND + number, f"writer-{writer}")
            fire(packaged_hook, places.home, event, arguments=("--decide",) if number % 2 else ())
            written.release()

    with ThreadPoolExecutor(WRITERS) as pool:
        for round_number in range(ROUNDS):
            eventually(lambda: recorder_pid(places) is not None)
            victim = recorder_pid(places)
            supervisor = control.status(settings).supervisor
            assert victim is not None
            assert supervisor is not None
            writing = [pool.submit(write, writer, round_number) for writer in range(WRITERS)]
            # Each round lets another number of events through before the kill.
            for _ in range(1 + round_number * WRITERS * EVENTS_A_ROUND // ROUNDS):
                assert written.acquire(timeout=60)
            os.kill(victim, signal.SIGKILL)
            if round_number % 5 == 1:
                with contextlib.suppress(KeyError, ProcessLookupError):
                    os.kill(parts_of(supervisor)["decider"], signal.SIGKILL)
            if round_number % 4 == 3:
                family = (supervisor, *parts_of(supervisor).values())
                os.kill(supervisor, signal.SIGKILL)
                # A new supervisor also forgets how often its recorder died, and does not wait so long.
                eventually(lambda family=family: all(map(is_gone, family)))
                control.ensure_running(settings, wait_seconds=60)
            wait(writing)
            assert [future.exception() for future in writing] == [None] * WRITERS
            while written.acquire(blocking=False):
                pass
    eventually(lambda: is_synced(places))
    expected = Counter(
        f"toolu_writer-{writer}_{number:05d}"
        for writer in range(WRITERS)
        for number in range(ROUNDS * EVENTS_A_ROUND)
    )
    assert recorded_calls(places) == expected
    control.stop(settings)
    verdict = wk_json(settings, "verify")
    assert (verdict["ok"], verdict["integrity"], verdict["completeness"]) == (True, "intact", "complete")
    before = all_answers(places)
    assert {key.removeprefix("call ") for key in before if key.startswith("call ")} == set(expected)
    wk(settings, "rebuild")
    assert all_answers(places) == before
