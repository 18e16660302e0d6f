"""The home's disk filled to the last byte: the agent notices nothing, and the daemon says so and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty_system import fill, is_synced, mount_small, recorded_calls, recorder_pid
from harness_system import all_answers, fire, numbered_event, wk, wk_json

from watchkeeper.client.recorder import RecorderClient
from watchkeeper.daemon import control
from watchkeeper.errors import DaemonError
from watchkeeper.pipeline.catch_up import drain_spool
from watchkeeper.pipeline.recording import Recording
from watchkeeper.settings import Places, Settings
from watchkeeper.spool.frames import SEGMENT_HEADER, FrameKind, decode_frames
from watchkeeper.store.sqlite.writing import StoreWriteError

pytestmark = pytest.mark.fault
Wait = Callable[[Callable[[], object]], None]


@pytest.fixture
def small_home(settings: Settings) -> Iterator[Settings]:
    """A daemon whose home is a file system of its own, of four mebibytes."""
    home = settings.places.home
    mount_small(home, "4m")
    try:
        control.ensure_running(settings, wait_seconds=60)
        yield settings
    finally:
        control.stop(settings)
        subprocess.run(["umount", "-l", str(home)], check=True)


def accepted(places: Places) -> set[str]:
    """Return the calls whose events are whole in the spool: those a hook took on."""
    found = set()
    for path in places.spool.glob("*.wks"):
        for item in decode_frames(path.read_bytes(), SEGMENT_HEADER.size):
            if item.frame is not None and item.frame.kind == FrameKind.EVENT:
                found.add(numbered_id(item.frame.payload))
    return found


def numbered_id(payload: bytes) -> str:
    """Return the id of the call that an event is about."""
    return payload.partition(b'"tool_use_id": "')[2].partition(b'"')[0].decode()


def held_up(places: Places) -> str | None:
    """Return what the recorder says keeps it from recording."""
    try:
        return RecorderClient(places).status().get("held_up")
    except DaemonError:
        return None


def test_a_full_disk_disturbs_no_agent_and_loses_nothing_accepted(
    small_home: Settings, packaged_hook: Path, eventually: Wait
) -> None:
    """Before, while, and after: what a hook took on is on record once, and what it could not was quiet."""
    places = small_home.places
    supervisor = control.status(small_home).supervisor
    for number in range(20):
        fire(packaged_hook, places.home, numbered_event(number, "before"))
    eventually(lambda: is_synced(places))
    recorder = recorder_pid(places)
    assert recorder is not None
    # What the stopped recorder finds when it goes on has no room in the ledger.
    os.kill(recorder, signal.SIGSTOP)
    try:
        for number in range(60):
            fire(packaged_hook, places.home, numbered_event(number, "waiting"))
        filler = fill(places.home)
        for number in range(60):
            fire(packaged_hook, places.home, numbered_event(number, "full"))
        taken = accepted(places)
    finally:
        os.kill(recorder, signal.SIGCONT)
    assert {f"toolu_waiting_{number:05d}" for number in range(60)} <= taken
    assert f"toolu_full_{59:05d}" not in taken, "the disk was not full"
    eventually(lambda: held_up(places))
    assert "space" in str(held_up(places))
    assert "space" in places.log.read_text()
    doctor = wk(small_home, "doctor", status=None)
    assert doctor.returncode != 0
    assert "space" in doctor.stdout, doctor.stdout
    assert recorder_pid(places) == recorder
    filler.unlink()
    eventually(lambda: is_synced(places))
    for number in range(20):
        fire(packaged_hook, places.home, numbered_event(number, "after"))
    eventually(lambda: is_synced(places) and held_up(places) is None)
    found = control.status(small_home)
    assert (found.supervisor, found.healthy) == (supervisor, True)
    expected = taken | {f"toolu_{name}_{n:05d}" for name in ("before", "after") for n in range(20)}
    recorded = recorded_calls(places)
    assert {call: times for call, times in recorded.items() if times > 1} == {}
    assert set(recorded) == expected
    _check_record(small_home, recorded)


def _check_record(settings: Settings, recorded: Counter[str]) -> None:
    control.stop(settings)
    verdict = wk_json(settings, "verify")
    assert (verdict["ok"], verdict["integrity"], verdict["completeness"]) == (True, "intact", "complete")
    before = all_answers(settings.places)
    assert {key.removeprefix("call ") for key in before if key.startswith("call ")} == set(recorded)
    wk(settings, "rebuild")
    assert all_answers(settings.places) == before


def test_a_disk_that_is_full_at_start_is_survived(
    small_home: Settings, packaged_hook: Path, eventually: Wait
) -> None:
    """A daemon that finds no room when it starts records as soon as there is some."""
    places = small_home.places
    for number in range(20):
        fire(packaged_hook, places.home, numbered_event(number, "early"))
    eventually(lambda: is_synced(places))
    recorder = recorder_pid(places)
    assert recorder is not None
    os.kill(recorder, signal.SIGSTOP)
    for number in range(20):
        fire(packaged_hook, places.home, numbered_event(number, "late"))
    filler = fill(places.home)
    os.kill(recorder, signal.SIGKILL)
    eventually(lambda: recorder_pid(places) not in (None, recorder) or "ended" in places.log.read_text())
    fire(packaged_hook, places.home, numbered_event(99, "full"))
    filler.unlink()
    eventually(lambda: is_synced(places))
    recorded = recorded_calls(places)
    expected = {f"toolu_{name}_{n:05d}" for name in ("early", "late") for n in range(20)}
    assert expected <= set(recorded)
    assert set(recorded.values()) == {1}
    _check_record(small_home, recorded)


def test_an_index_without_room_is_caught_up_with_the_ledger(settings: Settings, packaged_hook: Path) -> None:
    """The ledger took events and the index could not: they are not recorded again, and then are in both."""
    places = settings.places
    places.spool.mkdir(parents=True, mode=0o700)
    for number in range(40):
        fire(packaged_hook, places.home, numbered_event(number, "one"))
    expected = {f"toolu_one_{number:05d}" for number in range(40)}
    with Recording(settings) as recording:
        database = recording.store.connection
        unlimited = database.pragma("max_page_count")
        database.pragma("max_page_count", database.pragma("page_count"))
        with pytest.raises(StoreWriteError, match="full"):
            drain_spool(recording, settings)
        with pytest.raises(StoreWriteError):
            recording.note("note", {"what": "while there is no room"})
        database.pragma("max_page_count", unlimited)
        drain_spool(recording, settings)
        assert recording.recoveries == 1
    recorded = recorded_calls(places)
    assert (set(recorded), set(recorded.values())) == (expected, {1})
    _check_record(settings, recorded)
