"""Bytes that nobody wrote so, in every store, and files that go missing: the rest stays, and it is said."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty_system import is_synced, recorded_calls, recorder_pid
from harness_system import Json, all_answers, fire, numbered_event, recorded_session, recordings, wk, wk_json

from watchkeeper.client.recorder import RecorderClient
from watchkeeper.daemon import control
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.queries.timeline import timeline
from watchkeeper.settings import Places, Settings
from watchkeeper.store import envelopes
from watchkeeper.store.sqlite.reading import open_reader

pytestmark = pytest.mark.fault
Wait = Callable[[Callable[[], object]], None]


def fire_many(hook: Path, places: Places, session: str, count: int) -> set[str]:
    """Append numbered events and return the ids of their calls."""
    rows = [numbered_event(number, session) for number in range(count)]
    for row in rows:
        fire(hook, places.home, row)
    return {row["tool_use_id"] for row in rows}


def kinds(places: Places) -> list[str]:
    """Return the kinds of all ledger entries in order."""
    with LedgerReader(places.ledger) as reader:
        return [entry.kind for entry in reader.entries()]


def intact(settings: Settings) -> Json:
    """Return the verdict on the ledger, which must be good."""
    verdict = wk_json(settings, "verify")
    assert (verdict["ok"], verdict["integrity"]) == (True, "intact"), verdict
    return verdict


def test_torn_and_corrupt_spool_bytes_cost_nothing_else(
    running_daemon: Any, packaged_hook: Path, eventually: Wait
) -> None:
    """Noise between frames, half a frame at the end, a file of noise: every whole frame is on record once."""
    settings: Settings = running_daemon.settings
    places = settings.places
    noise = random.Random(1).randbytes(3000)
    expected = fire_many(packaged_hook, places, "one", 10)
    eventually(lambda: is_synced(places))
    current = places.spool / "current.wks"
    half = current.read_bytes()[32:150]
    for number, bytes_ in enumerate((noise, half, b"WKF1", b"\0" * 500)):
        with current.open("ab") as stream:
            stream.write(bytes_)
        expected |= fire_many(packaged_hook, places, f"after-{number}", 5)
    (places.spool / f"{1:016x}-{'ab' * 16}.wks").write_bytes(noise)
    with current.open("ab") as stream:
        stream.write(half)
    eventually(lambda: is_synced(places))
    assert set(recorded_calls(places)) == expected
    assert kinds(places).count(envelopes.DAMAGE) >= 4
    intact(settings)
    control.stop(settings)
    before = all_answers(places)
    wk(settings, "rebuild")
    assert all_answers(places) == before


def test_truncated_replaced_and_garbage_transcripts(running_daemon: Any, eventually: Wait) -> None:
    """What was read stays on record whatever becomes of the file, and bad lines are named, not fatal."""
    settings: Settings = running_daemon.settings
    folder = settings.claude_config_dirs[0]
    sessions = [recorded_session(name, number) for number, name in enumerate(recordings() * 2, start=1)]
    for each in sessions[:3]:
        each.write_transcripts(folder)
    eventually(lambda: is_synced(settings.places))
    before = all_answers(settings.places)
    cut, replaced, garbled, late = (folder / "projects" / min(each.transcripts) for each in sessions)
    os.truncate(cut, cut.stat().st_size // 2)
    replaced.unlink()
    replaced.write_bytes(b'{"type":"user"\n\xff\xfe not json\n[1,2]\n"text"\nnull\n')
    with garbled.open("ab") as stream:
        stream.write(random.Random(2).randbytes(5000) + b"\n" + b"[" * 100_000 + b"\n")
    late.parent.mkdir(parents=True, exist_ok=True)
    late.with_name("00000000-0000-4000-8000-000000000000.jsonl").write_bytes(bytes(10_000))
    sessions[3].write_transcripts(folder)
    eventually(lambda: is_synced(settings.places))
    after = all_answers(settings.places)
    for key, value in before.items():
        if key.startswith("call "):
            assert after[key]["call"]["outcome"] == value["call"]["outcome"]
            assert after[key]["result"] == value["result"]
    assert f"session {sessions[3].session_id}" in after
    assert control.status(settings).healthy
    assert RecorderClient(settings.places).import_paths([str(replaced)])["files"] >= 0
    intact(settings)
    control.stop(settings)
    wk(settings, "rebuild")
    assert all_answers(settings.places) == after


@pytest.mark.parametrize("damage", ["header", "middle", "cut", "text", "empty", "other version"])
def test_a_damaged_index_is_made_anew_at_start(settings: Settings, packaged_hook: Path, damage: str) -> None:
    """The index is the ledger's reflection: a broken one is set aside and made again, without being asked."""
    settings.places.spool.mkdir(parents=True, mode=0o700)
    expected = fire_many(packaged_hook, settings.places, "one", 60)
    catch_up(settings)
    before = all_answers(settings.places)
    _damage(settings.places.database, damage)
    more = fire_many(packaged_hook, settings.places, "two", 3)
    control.ensure_running(settings, wait_seconds=60)
    try:
        assert is_synced(settings.places)
        after = all_answers(settings.places)
        assert {key: after[key] for key in before if key.startswith("call ")} == {
            key: value for key, value in before.items() if key.startswith("call ")
        }
        assert set(recorded_calls(settings.places)) == expected | more
        assert wk_json(settings, "sessions")["total"] == 2
        intact(settings)
        if damage not in {"empty"}:
            assert "made anew" in settings.places.log.read_text()
    finally:
        control.stop(settings)


def _damage(database: Path, damage: str) -> None:
    data = bytearray(database.read_bytes())
    if damage == "header":
        data[:100] = bytes(100)
    elif damage == "middle":
        # Every page but the first, so that the file still says it is a database.
        data[4096:] = b"\xa5" * (len(data) - 4096)
    elif damage == "cut":
        del data[4096 * 2 :]
    elif damage == "text":
        data[:] = b"this is no database\n" * 500
    elif damage == "empty":
        data.clear()
    else:
        data[60:64] = (9999).to_bytes(4, "big")
    database.write_bytes(data)


def test_an_index_damaged_under_the_daemon_loses_nothing(
    running_daemon: Any, packaged_hook: Path, eventually: Wait
) -> None:
    """Pages overwritten while all runs: questions are answered with the remedy, and a new start is enough."""
    settings: Settings = running_daemon.settings
    places = settings.places
    expected = fire_many(packaged_hook, places, "one", 30)
    eventually(lambda: is_synced(places))
    for path in (places.database, Path(f"{places.database}-wal")):
        with path.open("r+b") as stream:
            stream.write(b"\xa5" * path.stat().st_size)
    expected |= fire_many(packaged_hook, places, "two", 30)
    done = wk(settings, "sessions", status=None)
    assert done.returncode != 0
    assert "wk rebuild" in done.stderr
    assert "Traceback" not in done.stderr
    control.stop(settings)
    control.ensure_running(settings, wait_seconds=60)
    eventually(lambda: is_synced(places))
    assert {key.removeprefix("call ") for key in all_answers(places) if key.startswith("call ")} == expected
    recorded = recorded_calls(places)
    assert (set(recorded), set(recorded.values())) == (expected, {1})
    intact(settings)


def test_a_damaged_ledger_block_is_found_and_recording_goes_on(
    running_daemon: Any, packaged_hook: Path, eventually: Wait
) -> None:
    """The verdict says from which entry on nothing is vouched for; what comes later is recorded still."""
    settings: Settings = running_daemon.settings
    places = settings.places
    fire_many(packaged_hook, places, "one", 20)
    eventually(lambda: is_synced(places))
    # Events are recorded in groups, each a block of its own: the damage is somewhere behind this entry.
    first = RecorderClient(places).ping()["ledger_seq"]
    segment = max(path for path in places.ledger.iterdir() if path.is_file() and path.stat().st_size > 1000)
    start = segment.stat().st_size
    fire_many(packaged_hook, places, "two", 1)
    eventually(lambda: is_synced(places))
    fire_many(packaged_hook, places, "three", 20)
    eventually(lambda: is_synced(places))
    control.stop(settings)
    _flip(segment, start)
    verdict = wk_json(settings, "verify", status=1)
    assert (verdict["ok"], verdict["integrity"], verdict["first_bad"]) == (False, "broken", first)
    control.ensure_running(settings, wait_seconds=60)
    later = fire_many(packaged_hook, places, "later", 5)
    eventually(lambda: is_synced(places))
    with open_reader(places) as reader:
        items = timeline(reader, "later")["items"]
    assert {item["call"]["tool_use_id"] for item in items if item["call"]} == later
    # A call whose payload is in the damaged block cannot be shown whole; that is said, not hidden.
    done = wk(settings, "show", "toolu_two_00000", status=None)
    assert "Traceback" not in done.stderr
    again = wk_json(settings, "verify", status=1)
    assert (again["integrity"], again["first_bad"]) == ("broken", first)


def _flip(segment: Path, start: int) -> None:
    data = bytearray(segment.read_bytes())
    data[start + 60] ^= 0xFF
    segment.write_bytes(data)


def test_a_deleted_run_folder_is_told_and_mended(
    running_daemon: Any, packaged_hook: Path, eventually: Wait
) -> None:
    """Hooks go on without sockets; the doctor says what is wrong; a new start takes everything in."""
    settings: Settings = running_daemon.settings
    places = settings.places
    supervisor = control.status(settings).supervisor
    assert supervisor is not None
    expected = fire_many(packaged_hook, places, "before", 5)
    shutil.rmtree(places.run)
    expected |= fire_many(packaged_hook, places, "after", 5)
    doctor = wk(settings, "doctor", status=None)
    assert doctor.returncode != 0
    assert "Traceback" not in doctor.stderr
    os.kill(supervisor, 15)
    eventually(lambda: not Path(f"/proc/{supervisor}").exists())
    control.ensure_running(settings, wait_seconds=60)
    eventually(lambda: is_synced(places))
    assert expected <= set(recorded_calls(places))
    assert set(recorded_calls(places).values()) == {1}
    intact(settings)


def test_stale_sockets_stop_nobody(settings: Settings, packaged_hook: Path, eventually: Wait) -> None:
    """Sockets and lock files of a daemon that is long dead, even with another process's id in them."""
    places = settings.places
    for folder in (places.home, places.run, places.spool):
        folder.mkdir(mode=0o700)
    for path in (places.decider_socket, places.recorder_socket, places.server_socket):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
            stale.listen()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
        stale.bind(str(places.doorbell_socket))
    places.daemon_lock.write_text(f"{os.getpid()}\n")
    places.writer_lock.write_text("")
    expected = fire_many(packaged_hook, places, "early", 5)
    control.ensure_running(settings, wait_seconds=60)
    try:
        expected |= fire_many(packaged_hook, places, "late", 5)
        eventually(lambda: is_synced(places))
        assert set(recorded_calls(places)) == expected
        assert recorder_pid(places) is not None
    finally:
        control.stop(settings)
