"""The compiled hook, run as an agent runs it."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.spool.follower import FrameAt, SpoolFollower
from watchkeeper.spool.frames import FrameKind, encode_frame

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "schemas" / "wire.v1"
OTHER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's part")


def run(hook: Path, home: Path, payload: bytes, *arguments: str, **options: Any) -> bytes:
    """Run the hook to its end; it must be silent on standard error and exit 0. Returns its output."""
    options.setdefault("env", {})
    done = subprocess.run(
        [hook, "--home", home, *arguments], input=payload, capture_output=True, timeout=60, **options
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def recorded(home: Path) -> list[FrameAt]:
    return SpoolFollower(home / "spool", 1 << 30, {}).read(1 << 30)


def payloads(home: Path) -> list[bytes]:
    found = recorded(home)
    assert [item.damage for item in found if item.damage] == []
    return [item.frame.payload for item in found if item.frame]


def test_hook_writes_the_golden_event_but_for_its_stamp(hook: Path, place: Path) -> None:
    row = json.loads((GOLDEN / "frames.json").read_text())["event.bin"]
    output = run(hook, place, row["payload"].encode(), "--decide", env=row["environment"])
    found = recorded(place)[0].frame
    assert output == b""
    assert found is not None
    stamped = found._replace(
        wall_ns=row["wall_ns"],
        monotonic_ns=row["monotonic_ns"],
        boot_id=bytes.fromhex(row["boot_id"]),
        uid=row["uid"],
        pid=row["pid"],
        parent_pid=row["parent_pid"],
    )
    assert encode_frame(stamped) == (GOLDEN / "event.bin").read_bytes()


def test_stamp_is_of_the_process_that_ran(hook: Path, place: Path) -> None:
    with subprocess.Popen([hook, "--home", place], stdin=subprocess.PIPE) as running:
        running.communicate(b"{}", timeout=60)
    found = recorded(place)[0].frame
    assert found is not None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    assert (found.pid, found.parent_pid, found.uid) == (running.pid, os.getpid(), os.geteuid())
    assert found.boot_id.hex() == boot


def test_only_allow_listed_environment_is_recorded(hook: Path, place: Path) -> None:
    run(hook, place, b"{}", env={"CLAUDE_RUN_ID": "r1", "ANTHROPIC_API_KEY": "secret", "USERNAME": "x"})
    found = recorded(place)[0].frame
    assert found is not None
    assert found.environment == {"CLAUDE_RUN_ID": "r1"}


def test_oversized_environment_entry_is_left_out(hook: Path, place: Path) -> None:
    run(hook, place, b"{}", env={"USER_NAME": "x" * 20_000, "USER": "zoe"})
    found = recorded(place)[0].frame
    assert found is not None
    assert found.environment == {"USER": "zoe"}


SIZES = [0, 1, 8192, 65_536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_payload_of_any_size_is_recorded_whole(hook: Path, place: Path, size: int) -> None:
    payload = os.urandom(size)
    run(hook, place, payload)
    assert payloads(place) == [payload]


def test_large_payload_has_a_sealed_segment_of_its_own(hook: Path, place: Path) -> None:
    run(hook, place, b"x" * 3_000_000)
    (segment,) = (place / "spool").iterdir()
    assert segment.name.startswith("private-")
    assert segment.stat().st_mode & 0o777 == 0o400


def test_payload_beyond_the_cap_is_cut_flagged_and_drained(hook: Path, place: Path) -> None:
    block = b"z" * (1 << 20)
    with subprocess.Popen([hook, "--home", place], stdin=subprocess.PIPE, env={}) as running:
        assert running.stdin is not None
        for _ in range(257):
            running.stdin.write(block)  # a broken pipe would raise
        running.stdin.close()
        assert running.wait(60) == 0
    found = recorded(place)[0].frame
    assert found is not None
    assert (len(found.payload), found.truncated) == (256 << 20, True)


def test_frames_follow_each_other_in_one_segment(hook: Path, place: Path) -> None:
    for number in range(5):
        run(hook, place, b"%d" % number)
    assert payloads(place) == [b"0", b"1", b"2", b"3", b"4"]
    assert [path.name for path in (place / "spool").iterdir()] == ["current.wks"]


def test_payload_that_arrives_in_pieces_is_one_frame(hook: Path, place: Path) -> None:
    with subprocess.Popen([hook, "--home", place], stdin=subprocess.PIPE, bufsize=0, env={}) as running:
        assert running.stdin is not None
        for piece in (b'{"a"', b":", b"1}"):
            running.stdin.write(piece)
        running.stdin.close()
    assert payloads(place) == [b'{"a":1}']


def test_synthetic_kind_is_marked(hook: Path, place: Path) -> None:
    run(hook, place, b"{}", "--kind", "synthetic")
    found = recorded(place)[0].frame
    assert found is not None
    assert found.kind == FrameKind.SYNTHETIC


def test_unknown_arguments_are_passed_over(hook: Path, place: Path) -> None:
    run(hook, place, b"{}", "--new-option", "--deadline-ms", "never", "--kind")
    assert payloads(place) == [b"{}"]


def test_without_a_home_the_input_is_drained(hook: Path) -> None:
    done = subprocess.run([hook], input=b"x" * 5_000_000, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_missing_home_is_not_made(hook: Path, home: Path) -> None:
    run(hook, home, b"x" * 5_000_000)
    assert not home.exists()


def test_missing_spool_is_not_made(hook: Path, home: Path) -> None:
    home.mkdir(mode=0o700)
    run(hook, home, b"{}")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_do_no_harm(hook: Path, place: Path, redirection: str) -> None:
    command = f'exec "{hook}" --home "{place}" --decide {redirection}'
    done = subprocess.run(["/bin/sh", "-c", command], input=b"{}", capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    expected = b"" if "<&-" in redirection else b"{}"
    found = [item.frame for item in recorded(place) if item.frame]
    assert [frame.kind for frame in found] == [FrameKind.EVENT, FrameKind.DECISION]
    assert found[0].payload == expected


def test_mask_of_the_caller_does_not_make_segments_look_sealed(hook: Path, place: Path) -> None:
    for number in range(2):
        run(hook, place, b"%d" % number, umask=0o777)
    assert payloads(place) == [b"0", b"1"]
    assert [path.name for path in (place / "spool").iterdir()] == ["current.wks"]


def test_symbolic_link_in_place_of_the_segment_is_not_followed(hook: Path, place: Path) -> None:
    victim = place / "victim"
    victim.write_bytes(b"untouched")
    (place / "spool" / "current.wks").symlink_to(victim)
    run(hook, place, b"{}")
    assert victim.read_bytes() == b"untouched"
    assert [item.frame.payload for item in recorded(place) if item.frame] == [b"{}"]


def test_symbolic_link_in_place_of_the_spool_is_not_followed(hook: Path, place: Path) -> None:
    (place / "spool").rmdir()
    (place / "elsewhere").mkdir(mode=0o700)
    (place / "spool").symlink_to(place / "elsewhere")
    run(hook, place, b"{}")
    assert list((place / "elsewhere").iterdir()) == []


def test_pipe_in_place_of_the_segment_does_not_block(hook: Path, place: Path) -> None:
    os.mkfifo(place / "spool" / "current.wks", 0o600)
    run(hook, place, b"{}")
    assert [item.frame.payload for item in recorded(place) if item.frame] == [b"{}"]


def test_segment_that_others_can_write_to_is_not_trusted(hook: Path, place: Path) -> None:
    current = place / "spool" / "current.wks"
    current.touch()
    current.chmod(0o666)
    run(hook, place, b"{}")
    assert current.stat().st_size == 0
    assert [item.frame.payload for item in recorded(place) if item.frame] == [b"{}"]


def test_spool_that_others_can_write_to_is_not_used(hook: Path, place: Path) -> None:
    (place / "spool").chmod(0o777)
    run(hook, place, b"{}")
    assert list((place / "spool").iterdir()) == []


def test_segment_of_a_writer_that_died_in_its_header_is_used_again(hook: Path, place: Path) -> None:
    current = place / "spool" / "current.wks"
    current.write_bytes(b"WKSPOOL1")
    current.chmod(0o600)
    run(hook, place, b"{}")
    assert payloads(place) == [b"{}"]


def test_sealed_current_segment_is_left_alone(hook: Path, place: Path) -> None:
    run(hook, place, b"one")
    (place / "spool" / "current.wks").chmod(0o400)
    run(hook, place, b"two")
    assert sorted(payloads(place)) == [b"one", b"two"]
    assert len(list((place / "spool").iterdir())) == 2


def test_segment_beyond_the_limit_is_left_to_the_reader(hook: Path, place: Path) -> None:
    run(hook, place, b"one")
    os.truncate(place / "spool" / "current.wks", 64 << 20)
    run(hook, place, b"two")
    assert (place / "spool" / "current.wks").stat().st_size == 64 << 20
    assert any(path.name.startswith("private-") for path in (place / "spool").iterdir())


@as_root
def test_segment_of_another_owner_is_not_touched(hook: Path, place: Path) -> None:
    current = place / "spool" / "current.wks"
    current.touch(0o600)
    os.chown(current, OTHER, OTHER)
    run(hook, place, b"{}")
    assert current.stat().st_size == 0
    assert [item.frame.payload for item in recorded(place) if item.frame] == [b"{}"]


@as_root
def test_managed_home_has_a_folder_for_each_user(hook: Path, place: Path) -> None:
    for folder in (place.parent, place, place / "spool"):
        folder.chmod(0o755)
    own = place / "spool" / str(OTHER)
    own.mkdir(mode=0o700)
    os.chown(own, OTHER, OTHER)
    shared = place / "hook"
    shared.write_bytes(hook.read_bytes())
    shared.chmod(0o755)
    run(shared, place, b"{}", user=OTHER, group=OTHER, extra_groups=[])
    (found,) = recorded(place)
    assert found.frame is not None
    assert (found.frame.payload, found.frame.uid) == (b"{}", OTHER)


@as_root
def test_spool_of_another_user_is_not_written_to(hook: Path, place: Path) -> None:
    os.chown(place / "spool", OTHER, OTHER)
    run(hook, place, b"{}")
    assert list((place / "spool").iterdir()) == []


def test_doorbell_rings_after_the_frame_is_there(hook: Path, place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(place / "run" / "doorbell.sock"))
        bell.settimeout(10)
        run(hook, place, b"{}")
        assert bell.recv(8) == b"!"
    assert payloads(place) == [b"{}"]


def test_doorbell_that_nobody_hears_is_not_waited_for(hook: Path, place: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        bell.bind(str(place / "run" / "doorbell.sock"))
        other.setblocking(False)
        address = str(place / "run" / "doorbell.sock")
        while select.select([], [other], [], 0)[1]:
            try:
                other.sendto(b"!", address)
            except BlockingIOError:
                break
        run(hook, place, b"{}")
    assert payloads(place) == [b"{}"]


def test_version_and_capabilities_say_what_this_build_can_do(hook: Path) -> None:
    version = subprocess.run([hook, "--version"], capture_output=True, text=True, check=True).stdout
    said = json.loads(subprocess.run([hook, "--capabilities"], capture_output=True, check=True).stdout)
    assert f'version = "{said["version"]}"' in (ROOT / "pyproject.toml").read_text()
    assert version == f"watchkeeper-hook {said['version']}\n"
    assert said["wire"] == 1


def test_hook_is_a_static_program(hook: Path) -> None:
    content = hook.read_bytes()
    assert b"ld-musl" not in content
    assert b"ld-linux" not in content
