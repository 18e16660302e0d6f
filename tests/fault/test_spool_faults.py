"""Hooks and the reader while processes die, disks are full and segments come and go."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchkeeper.spool.follower import FrameAt, SpoolFollower
from watchkeeper.spool.segments import SpoolError
from watchkeeper.spool.writer import append_frame

pytestmark = pytest.mark.fault
ROOT = Path(__file__).parents[2]
ALL = 1 << 30
PROCESSES, EACH = 12, 50


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """A spool on a disk of its own with 64 KB."""
    spool = place / "spool"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", spool], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    yield spool
    subprocess.run(["umount", spool], check=True)


def run(hook: Path, home: Path, payload: bytes) -> None:
    done = subprocess.run([hook, "--home", home], input=payload, capture_output=True, timeout=60, env={})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def payloads(items: list[FrameAt]) -> list[bytes]:
    return [item.frame.payload for item in items if item.frame]


def storm(hook: Path, home: Path) -> list[subprocess.Popen[bytes]]:
    """Start twelve agents that each fire fifty hooks, one after the other."""
    fire = f'echo "$0-$i" | "{hook}" --home "{home}" || exit 1'
    loop = f"i=0; while [ $i -lt {EACH} ]; do {fire}; i=$((i+1)); done"
    return [subprocess.Popen(["/bin/sh", "-c", loop, str(number)]) for number in range(PROCESSES)]


def expected() -> Counter[bytes]:
    return Counter(b"%d-%d\n" % (number, turn) for number in range(PROCESSES) for turn in range(EACH))


def follow(follower: SpoolFollower, positions: dict[str, int]) -> list[FrameAt]:
    """Read, seal and remove once, as the recorder does all the time."""
    found = follower.read(ALL)
    positions.update({item.segment: item.end for item in found})
    follower.rotate()
    follower.release(positions)
    return found


def test_nothing_is_lost_or_doubled_while_the_reader_seals_and_removes(hook: Path, place: Path) -> None:
    follower, positions, found = SpoolFollower(place / "spool", 1, {}), dict[str, int](), list[FrameAt]()
    agents = storm(hook, place)
    while any(agent.poll() is None for agent in agents):
        found += follow(follower, positions)
    assert [agent.returncode for agent in agents] == [0] * PROCESSES
    while rest := follow(follower, positions):
        found += rest
    assert [item.damage for item in found if item.damage] == []
    assert Counter(payloads(found)) == expected()
    assert len({item.source for item in found}) == PROCESSES * EACH
    assert list((place / "spool").iterdir()) == []


def test_nothing_is_lost_or_doubled_by_readers_that_start_anew(hook: Path, place: Path) -> None:
    positions, found = dict[str, int](), list[FrameAt]()
    agents = storm(hook, place)
    while any(agent.poll() is None for agent in agents):
        found += follow(SpoolFollower(place / "spool", 1, positions), positions)
    while rest := follow(SpoolFollower(place / "spool", 1, positions), positions):
        found += rest
    assert Counter(payloads(found)) == expected()


def test_killed_hooks_cost_only_themselves(hook: Path, place: Path) -> None:
    """Hooks with payloads up to 4 MB are killed at any moment, between others that live."""
    chance = random.Random(7)
    follower, found = SpoolFollower(place / "spool", 1 << 20, {}), list[FrameAt]()
    survivors = []
    for turn in range(30):
        payload = b"killed" * chance.choice([1000, 100_000, 700_000])
        victim = subprocess.Popen([hook, "--home", place], stdin=subprocess.PIPE, env={}, bufsize=0)
        assert victim.stdin is not None
        os.set_blocking(victim.stdin.fileno(), False)
        victim.stdin.write(payload)  # as much as the pipe takes
        time.sleep(chance.random() * 0.002)
        if chance.random() < 0.5:
            victim.stdin.close()
        victim.send_signal(signal.SIGKILL)
        victim.wait(60)
        victim.stdin.close()
        run(hook, place, b"alive %d" % turn)
        survivors.append(b"alive %d" % turn)
        found += follower.read(ALL)
        follower.rotate()
    found += follower.read(ALL)
    assert [data for data in payloads(found) if data.startswith(b"alive")] == survivors
    assert all(set(data) <= set(b"killed") for data in payloads(found) if not data.startswith(b"alive"))


def test_stopped_hook_that_holds_the_lock_delays_nobody_for_long(hook: Path, place: Path) -> None:
    run(hook, place, b"before")
    command = ["flock", "-x", place / "spool" / "current.wks", "sh", "-c", "echo locked; read line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        for number in range(5):
            run(hook, place, b"%d" % number)
        own = [path for path in (place / "spool").iterdir() if path.name.startswith("private-")]
        found = SpoolFollower(place / "spool", 1 << 30, {}).read(ALL)
    assert len(own) == 5
    assert sorted(payloads(found)) == [b"0", b"1", b"2", b"3", b"4", b"before"]


def test_full_disk_costs_the_agent_nothing_and_leaves_whole_frames(
    hook: Path, place: Path, small_disk: Path
) -> None:
    for number in range(12):
        run(hook, place, b"%02d" % number * 4000)
    found = SpoolFollower(small_disk, 1 << 30, {}).read(ALL)
    stored = payloads(found)
    assert [item.damage for item in found if item.damage] == []
    assert 0 < len(stored) < 12
    assert stored == [b"%02d" % number * 4000 for number in range(len(stored))]


def test_full_disk_takes_frames_again_once_there_is_room(hook: Path, place: Path, small_disk: Path) -> None:
    follower, positions = SpoolFollower(small_disk, 1, {}), dict[str, int]()
    for number in range(12):
        run(hook, place, b"%02d" % number * 4000)
    follow(follower, positions)
    run(hook, place, b"after")
    assert payloads(follower.read(ALL)) == [b"after"]


def test_large_payload_on_a_full_disk_leaves_no_remains(hook: Path, place: Path, small_disk: Path) -> None:
    run(hook, place, b"x" * 3_000_000)
    found = SpoolFollower(small_disk, 1 << 30, {}).read(ALL)
    assert [item for item in found if item.frame is None] == []
    assert sum(path.stat().st_size for path in small_disk.iterdir()) == 0


def test_python_writer_says_that_the_disk_is_full(small_disk: Path) -> None:
    append_frame(small_disk, b"fits")
    with pytest.raises(SpoolError, match="cannot write a segment"):
        append_frame(small_disk, b"x" * 200_000)
    assert payloads(SpoolFollower(small_disk, 1 << 30, {}).read(ALL)) == [b"fits"]


def test_read_only_home_costs_the_agent_nothing(hook: Path, place: Path, small_disk: Path) -> None:
    run(hook, place, b"before")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    run(hook, place, b"lost")
    run(hook, place, b"y" * 3_000_000)
    assert payloads(SpoolFollower(small_disk, 1 << 30, {}).read(ALL)) == [b"before"]


def test_file_size_limit_neither_kills_the_hook_nor_tears_a_frame(hook: Path, place: Path) -> None:
    for size in (100, 5000, 100, 3_000_000, 100):
        command = f'ulimit -f 4; exec "{hook}" --home "{place}"'
        done = subprocess.run(["/bin/sh", "-c", command], input=b"x" * size, capture_output=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
    found = SpoolFollower(place / "spool", 1 << 30, {}).read(ALL)
    assert payloads(found) == [b"x" * 100] * 3
    assert [item.damage for item in found if item.damage] == []


def test_no_free_descriptors_cost_the_agent_nothing(hook: Path, place: Path) -> None:
    command = f'ulimit -n 3; exec "{hook}" --home "{place}" --decide'
    done = subprocess.run(["/bin/sh", "-c", command], input=b"{}", capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
