"""The daemon's small pieces: wire format, back-off, environment, log, locks, arguments."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from watchkeeper.daemon import decisions, locks
from watchkeeper.daemon.__main__ import parse
from watchkeeper.daemon.control import synthetic_frame
from watchkeeper.daemon.decider import Decider, decode_single_frame, observe
from watchkeeper.daemon.decisions import Answer, Verdict
from watchkeeper.daemon.homes import prepare_home
from watchkeeper.daemon.logfile import LogFile
from watchkeeper.daemon.parts import LONGEST_DELAY, Part, PartPlan, describe_exit, safe_environment
from watchkeeper.errors import DaemonError, FormatError, LockedError, UsageError
from watchkeeper.settings import Places
from watchkeeper.spool.frames import Frame


def test_an_answer_has_the_bytes_of_the_wire_format() -> None:
    """Magic, version, verdict, exit status, padding, length, output."""
    assert Answer(Verdict.DENY, 2, b"no").encode() == b"WKA1\x01\x03\x02\x00\x02\x00\x00\x00no"
    assert decisions.NO_OPINION.encode() == b"WKA1\x01\x00\x00\x00\x00\x00\x00\x00"


def test_a_request_has_the_bytes_of_the_wire_format() -> None:
    """Magic, version, three bytes of padding, deadline, length, frame."""
    request = decisions.encode_request(b"frame", 50)
    assert request == b"WKD1\x01\x00\x00\x00\x32\x00\x00\x00\x05\x00\x00\x00frame"
    assert decisions.parse_request_head(request[:16]) == (50, 5)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"WKD2\x01\0\0\0\0\0\0\0\x05\0\0\0", "not a decision request"),
        (b"WKD1\x02\0\0\0\0\0\0\0\x05\0\0\0", "unknown version"),
        (b"WKD1\x01\0\0\0\0\0\0\0\0\0\0\0", "out of bounds"),
        (b"WKD1\x01\0\0\0\0\0\0\0\x01\0\x20\0", "out of bounds"),
    ],
)
def test_a_request_that_is_none_is_refused(head: bytes, what: str) -> None:
    """Wrong magic, wrong version, no frame, and more than 2 MiB."""
    with pytest.raises(FormatError, match=what):
        decisions.parse_request_head(head)


def test_the_policy_gets_the_frame_as_the_hook_wrote_it() -> None:
    """The decider hands the decoded frame to its policy, and the policy's answer to the hook."""
    seen: list[Frame] = []

    def deny(frame: Frame) -> Answer:
        seen.append(frame)
        return Answer(Verdict.DENY, 2, b"stop")

    decider = Decider(deny)
    assert decider.answer(synthetic_frame(b'{"tool":1}')) == Answer(Verdict.DENY, 2, b"stop").encode()
    assert [frame.payload for frame in seen] == [b'{"tool":1}']
    assert decider.answered == 1


def test_observing_has_no_opinion() -> None:
    """Today's policy leaves every event to the agent."""
    assert observe(decode_single_frame(synthetic_frame())) == decisions.NO_OPINION


@pytest.mark.parametrize("place", [0, 8, 12, 16, 40, 71, 72])
def test_a_damaged_frame_is_no_question(place: int) -> None:
    """A flipped bit in magic, length, checksum or anything that the checksum covers is noticed."""
    frame = bytearray(synthetic_frame())
    frame[place] ^= 0x10
    with pytest.raises(FormatError):
        decode_single_frame(bytes(frame))


def test_two_frames_are_no_question() -> None:
    """A request is about one event."""
    with pytest.raises(FormatError, match="more than one"):
        decode_single_frame(synthetic_frame() * 2)


def test_restarts_come_later_and_later_until_the_part_has_lived() -> None:
    """0.1 s, doubled to 10 s; half a minute of life starts over."""
    part = Part(PartPlan("decider", "watchkeeper.daemon.decider"))
    delays = []
    for _ in range(9):
        part.started = 100.0
        part.ended(101.0, 256)
        delays.append(round(part.due - 101.0, 3))
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_DELAY, LONGEST_DELAY]
    part.started = 200.0
    part.ended(230.0, 0)
    assert round(part.due - 230.0, 3) == 0.1
    assert (part.restarts, part.last_exit, part.state) == (10, "exit 0", "waiting")


def test_an_end_is_described_in_words() -> None:
    """A status becomes an exit code or the signal's name."""
    assert [describe_exit(status) for status in (0, 3 << 8, signal.SIGKILL)] == [
        "exit 0",
        "exit 3",
        "SIGKILL",
    ]


def test_no_secret_of_the_shell_lives_on_in_the_parts() -> None:
    """Only what the parts need is passed on."""
    shell = {
        "PATH": "/bin",
        "HOME": "/h",
        "ANTHROPIC_API_KEY": "k",
        "WATCHKEEPER_PORT": "1",
        "LD_PRELOAD": "x",
    }
    kept = safe_environment(shell)
    kept.pop("PYTHONPATH", None)
    kept.pop("MALLOC_ARENA_MAX")
    assert kept == {"PATH": "/bin", "HOME": "/h", "WATCHKEEPER_PORT": "1"}


def test_the_log_is_moved_aside_at_its_limit_and_keeps_one_old_file(tmp_path: Path) -> None:
    """A writer that holds the descriptor goes on in the emptied file."""
    log = LogFile(tmp_path / "daemon.log", limit=100)
    assert not log.rotate()
    for generation in ("first", "second"):
        os.write(log.descriptor, f"{generation}\n".encode() * 30)
        assert log.rotate()
    os.write(log.descriptor, b"third\n")
    log.close()
    assert (tmp_path / "daemon.log").read_text() == "third\n"
    assert (tmp_path / "daemon.log.1").read_text() == "second\n" * 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["daemon.log", "daemon.log.1"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_the_log_is_never_written_through_a_link(tmp_path: Path) -> None:
    """A link at the log's place could point anywhere."""
    (tmp_path / "daemon.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"daemon\.log"):
        LogFile(tmp_path / "daemon.log")
    assert not (tmp_path / "elsewhere").exists()


def test_a_lock_has_one_holder_whom_it_names(tmp_path: Path) -> None:
    """A second taker is refused; after release the lock is free again."""
    path = tmp_path / "lock"
    assert locks.holder(path) is None
    with locks.ProcessLock(path):
        assert locks.holder(path) == os.getpid()
        with pytest.raises(LockedError):
            locks.ProcessLock(path)
    assert locks.holder(path) is None


def test_a_home_is_its_owner_s_alone(tmp_path: Path) -> None:
    """Every folder gets mode 0700, also one that was made with another."""
    places = Places(tmp_path / "deep" / "home")
    places.run.mkdir(parents=True, mode=0o777)
    prepare_home(places)
    folders = [places.home, *(path for path in places.home.iterdir() if path.is_dir())]
    assert {path.name for path in folders} == {"home", "bin", "spool", "ledger", "archive", "keys", "run"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_a_home_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    """A file in the way is an error with its place."""
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(DaemonError) as caught:
        prepare_home(Places(tmp_path / "home"))
    assert caught.value.place == str(tmp_path / "home")


def test_arguments_are_parsed_by_hand_and_refused_by_name() -> None:
    """Home and port are taken; anything else is named."""
    assert parse(["--home", "/h", "--port", "7", "--background"]) == (Path("/h"), 7, True)
    assert parse([]) == (None, None, False)
    for wrong in (["--nope"], ["--port", "x"], ["--home"]):
        with pytest.raises(UsageError, match=wrong[0]):
            parse(wrong)


def test_a_part_is_unreachable_when_a_socket_that_was_there_is_gone(tmp_path: Path) -> None:
    """A part that has not bound it yet is starting, and one that is being started anew is not ended again."""
    path = tmp_path / "s.sock"
    part = Part(PartPlan("p", "module", sockets=(path,)))
    part.pid = 1
    assert not part.is_unreachable()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert not part.is_unreachable()
        path.unlink()
        assert part.is_unreachable()
        assert not part.is_unreachable()
