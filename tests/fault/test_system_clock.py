"""Wall clocks that jump: order and durations come from what cannot jump, and the record stays whole."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from harness_system import all_answers, wk, wk_json

from watchkeeper.ledger.entries import Entry
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.ledger.verify import verify
from watchkeeper.ledger.writer import LedgerWriter
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.settings import Settings
from watchkeeper.spool.frames import Frame, FrameKind, encode_frame, encode_segment_header
from watchkeeper.spool.segments import segment_name

pytestmark = pytest.mark.fault
HOUR_NS = 3_600_000_000_000
JUMPS = (0, 5, -7, 30, -48)
"""By how many hours the wall clock is off at each event, in turn."""
BOOT = bytes(range(16))


def frame(payload: dict[str, Any], wall_ns: int, monotonic_ns: int, boot: bytes = BOOT) -> bytes:
    """Return an event as a hook writes it at a moment of both clocks."""
    return encode_frame(
        Frame(
            kind=FrameKind.EVENT,
            flags=0,
            wall_ns=wall_ns,
            monotonic_ns=monotonic_ns,
            boot_id=boot,
            uid=os.geteuid(),
            pid=100,
            parent_pid=99,
            environment={},
            payload=json.dumps(payload).encode(),
        )
    )


def events(count: int) -> list[dict[str, Any]]:
    """Return a session of so many calls, one after the other, none of which says how long it took."""
    common = {"session_id": "jumping", "cwd": "/project"}
    found: list[dict[str, Any]] = [{**common, "hook_event_name": "SessionStart", "source": "startup"}]
    for number in range(count):
        call = {
            "tool_name": "Bash",
            "tool_input": {"command": f"echo {number}"},
            "tool_use_id": f"toolu_{number}",
        }
        found.append({**common, **call, "hook_event_name": "PreToolUse"})
        found.append({**common, **call, "hook_event_name": "PostToolUse", "tool_response": {"stdout": "x"}})
    return [*found, {**common, "hook_event_name": "SessionEnd", "reason": "other"}]


def spool(settings: Settings, frames: list[bytes]) -> None:
    """Put frames into a sealed segment."""
    settings.places.spool.mkdir(parents=True, mode=0o700)
    settings.places.home.chmod(0o700)
    segment, created = b"clockclockclock!", time.time_ns()
    path = settings.places.spool / segment_name(created, segment)
    path.write_bytes(encode_segment_header(segment, created) + b"".join(frames))
    path.chmod(0o400)


def jumping_frames(boots: int) -> list[bytes]:
    """Return a session of 30 calls, each of one second, under a wall clock that jumps."""
    start = 1_790_000_000 * 1_000_000_000
    rows = events(30)
    frames = []
    for number, payload in enumerate(rows):
        later = boots == 2 and number > len(rows) // 2
        monotonic = (number - len(rows) // 2 if later else 10_000 + number) * 1_000_000_000
        wall = start + number * 1_000_000_000 + JUMPS[number % len(JUMPS)] * HOUR_NS
        frames.append(frame(payload, wall, monotonic, bytes(16) if later else BOOT))
    return frames


def test_a_jumping_wall_clock_does_not_invent_durations(settings: Settings) -> None:
    """Each call took a second by the clock that cannot jump; neither 0 s nor 37 h may be claimed for it."""
    spool(settings, jumping_frames(1))
    catch_up(settings)
    answers = all_answers(settings.places)
    durations = {value["call"]["duration_ms"] for key, value in answers.items() if key.startswith("call ")}
    assert durations <= {1000, None}


@pytest.mark.parametrize("boots", [1, 2])
def test_durations_are_never_negative_and_order_is_stable(settings: Settings, boots: int) -> None:
    """Each event an hour or two days before or after the one before it, also over a restart of the machine."""
    spool(settings, jumping_frames(boots))
    catch_up(settings)
    before = all_answers(settings.places)
    calls = [value["call"] for key, value in before.items() if key.startswith("call ")]
    assert len(calls) == 30
    for row in calls:
        assert row["outcome"] == "ok", row
        assert row["duration_ms"] is None or row["duration_ms"] >= 0, row
    items = before["timeline jumping"]["items"]
    keys = [(item["order"], item["key"]) for item in items]
    assert keys == sorted(keys)
    assert len({item["key"] for item in items}) == len(items)
    verdict = wk_json(settings, "verify")
    assert (verdict["ok"], verdict["integrity"]) == (True, "intact")
    wk(settings, "rebuild")
    assert all_answers(settings.places) == before


def test_a_ledger_under_a_clock_that_goes_backwards(tmp_path: Path) -> None:
    """Entries keep the order in which they were appended; signatures are made in time, and hold."""
    now = 1_790_000_000_000

    def clock() -> int:
        nonlocal now
        now -= 3_600_000
        return now

    with LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"), clock=clock) as writer:
        for number in range(200):
            writer.append([Entry("note", f"n:{number}", clock(), b"%d" % number)])
            writer.commit()
    with LedgerReader(tmp_path / "ledger") as reader:
        found = [entry.payload for entry in reader.entries() if entry.kind == "note"]
    assert found == [b"%d" % number for number in range(200)]
    verdict = verify(tmp_path / "ledger", tmp_path / "keys")
    assert (verdict.ok, verdict.integrity, verdict.completeness) == (True, "intact", "complete")
    assert verdict.checkpoints > 1
