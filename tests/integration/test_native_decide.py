"""The compiled hook asking a decider: good answers, bad ones, late ones, none."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.spool.follower import SpoolFollower
from watchkeeper.spool.frames import Frame, FrameKind, decode_frames

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "schemas" / "wire.v1"
PATIENCE = ("--deadline-ms", "10000")
Answer = Callable[[socket.socket, bytes], None]


def receive(peer: socket.socket) -> bytes:
    """Return one whole request, or what came before the other side closed."""
    data = b""
    while len(data) < 16 or len(data) < 16 + struct.unpack_from("<I", data, 12)[0]:
        part = peer.recv(1 << 20)
        if not part:
            break
        data += part
    return data


@contextmanager
def decider(path: Path, answer: Answer) -> Iterator[list[bytes]]:
    """Serve one request on a socket; yields the list that it will be in."""
    requests: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(30)
                requests.append(receive(peer))
                answer(peer, requests[0])

        thread = threading.Thread(target=serve)
        thread.start()
        yield requests
        thread.join(30)
        assert not thread.is_alive()


def says(data: bytes) -> Answer:
    """Answer with these bytes and close."""
    return lambda peer, _: peer.sendall(data)


def encode_answer(verdict: int, output: bytes = b"", code: int = 0, version: int = 1) -> bytes:
    return struct.pack("<4sBBBBI", b"WKA1", version, verdict, code, 0, len(output)) + output


def ask(hook: Path, home: Path, *arguments: str, payload: bytes = b"{}", **options: Any) -> tuple[int, bytes]:
    done = subprocess.run(
        [hook, "--home", home, "--decide", *arguments],
        input=payload,
        capture_output=True,
        timeout=60,
        env={},
        **options,
    )
    assert done.stderr == b""
    return done.returncode, done.stdout


def frames(home: Path) -> list[Frame]:
    found = SpoolFollower(home / "spool", 1 << 30, {}).read(1 << 30)
    return [item.frame for item in found if item.frame]


def verdict(home: Path) -> dict[str, Any]:
    (decision,) = [frame for frame in frames(home) if frame.kind == FrameKind.DECISION]
    found: dict[str, Any] = json.loads(decision.payload)
    return found


def test_golden_answer_is_printed_and_recorded(hook: Path, place: Path) -> None:
    row = json.loads((GOLDEN / "frames.json").read_text())["answer.bin"]
    with decider(place / "run" / "watchkeeper.sock", says((GOLDEN / "answer.bin").read_bytes())):
        assert ask(hook, place, *PATIENCE) == (0, row["output"].encode())
    assert verdict(place)["verdict"] == row["verdict"]


def test_request_is_the_golden_header_and_the_frame_as_appended(hook: Path, place: Path) -> None:
    payload = json.loads((GOLDEN / "frames.json").read_text())["event.bin"]["payload"].encode()
    with decider(place / "run" / "watchkeeper.sock", says(encode_answer(0))) as requests:
        ask(hook, place, payload=payload)
    (request,) = requests
    assert request[:12] == (GOLDEN / "request.bin").read_bytes()[:12]
    (asked,) = decode_frames(request, 16)
    assert asked.frame == frames(place)[0]
    assert asked.frame is not None
    assert asked.frame.asked


def test_decision_names_the_frame_it_is_about(hook: Path, place: Path) -> None:
    ask(hook, place)
    event = SpoolFollower(place / "spool", 1 << 30, {}).read(1 << 30)[0]
    said = verdict(place)
    assert (said["of"], said["verdict"]) == (event.source, "unreachable")
    assert said["latency_us"] >= 0


@pytest.mark.parametrize(
    ("number", "word", "code", "exit_code"),
    [(0, "none", 2, 0), (1, "allow", 0, 0), (2, "ask", 0, 0), (3, "deny", 2, 2), (4, "rewrite", 0, 0)],
)
def test_every_verdict_is_printed_with_its_exit_code(
    hook: Path, place: Path, number: int, word: str, code: int, exit_code: int
) -> None:
    with decider(place / "run" / "watchkeeper.sock", says(encode_answer(number, b"text", code))):
        assert ask(hook, place, *PATIENCE) == (exit_code, b"text")
    assert verdict(place)["verdict"] == word


BAD = {
    "garbage": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "other magic": encode_answer(3).replace(b"WKA1", b"WKA2"),
    "other version": encode_answer(3, version=2),
    "unknown verdict": encode_answer(5),
    "other exit code": encode_answer(3, code=1),
    "too long": struct.pack("<4sBBBBI", b"WKA1", 1, 3, 0, 0, (1 << 20) + 1) + b"x" * 100,
    "cut off": encode_answer(3, b"deny this")[:-2],
    "cut off in its header": encode_answer(3)[:5],
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_answer_prints_nothing_and_exits_0(hook: Path, place: Path, name: str) -> None:
    with decider(place / "run" / "watchkeeper.sock", says(BAD[name])):
        assert ask(hook, place, *PATIENCE) == (0, b"")
    assert verdict(place)["verdict"] == "malformed"


def test_answer_of_a_megabyte_is_printed_whole(hook: Path, place: Path) -> None:
    output = os.urandom(1 << 20)
    with decider(place / "run" / "watchkeeper.sock", says(encode_answer(1, output))):
        assert ask(hook, place, *PATIENCE) == (0, output)


def test_late_answer_is_a_timeout(hook: Path, place: Path) -> None:
    gone = threading.Event()
    with decider(place / "run" / "watchkeeper.sock", lambda *_: gone.wait(30) and None):
        assert ask(hook, place, "--deadline-ms", "20") == (0, b"")
        gone.set()
    said = verdict(place)
    assert said["verdict"] == "timeout"
    assert said["latency_us"] >= 20_000


def test_answer_that_trickles_is_a_timeout(hook: Path, place: Path) -> None:
    gone = threading.Event()

    def half(peer: socket.socket, _: bytes) -> None:
        peer.sendall(encode_answer(3, b"deny")[:13])
        gone.wait(30)

    with decider(place / "run" / "watchkeeper.sock", half):
        assert ask(hook, place, "--deadline-ms", "20") == (0, b"")
        gone.set()
    assert verdict(place)["verdict"] == "timeout"


def test_decider_that_never_accepts_is_a_timeout(hook: Path, place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "run" / "watchkeeper.sock"))
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for peer in waiting:
            peer.setblocking(False)
            peer.connect_ex(str(place / "run" / "watchkeeper.sock"))
        assert ask(hook, place, "--deadline-ms", "20") == (0, b"")
        for peer in waiting:
            peer.close()
    assert verdict(place)["verdict"] == "timeout"


def test_socket_without_a_decider_is_unreachable(hook: Path, place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "run" / "watchkeeper.sock"))
    assert ask(hook, place) == (0, b"")
    assert verdict(place)["verdict"] == "unreachable"


def test_decider_that_hangs_up_without_a_word_is_unreachable(hook: Path, place: Path) -> None:
    with decider(place / "run" / "watchkeeper.sock", lambda peer, _: None):
        assert ask(hook, place, *PATIENCE) == (0, b"")
    assert verdict(place)["verdict"] == "unreachable"


def test_decision_is_recorded_before_the_agent_hears_it(hook: Path, place: Path) -> None:
    command = [hook, "--home", place, "--decide", *PATIENCE]
    with (
        decider(place / "run" / "watchkeeper.sock", says(encode_answer(3, b"x" * 500_000))),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}) as running,
    ):
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.close()
        running.stdout.read(1)
        assert verdict(place)["verdict"] == "deny"
        running.stdout.read()


def test_agent_that_stopped_reading_does_no_harm(hook: Path, place: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with decider(place / "run" / "watchkeeper.sock", says(encode_answer(1, b"y" * 500_000))):
        done = subprocess.run(
            [hook, "--home", place, "--decide", *PATIENCE], input=b"{}", stdout=writer, timeout=60, env={}
        )
    os.close(writer)
    assert done.returncode == 0
    assert verdict(place)["verdict"] == "allow"


def test_payload_beyond_memory_is_asked_about_whole(hook: Path, place: Path) -> None:
    payload = os.urandom(3_000_000)
    with decider(place / "run" / "watchkeeper.sock", says(encode_answer(3, b"no"))) as requests:
        assert ask(hook, place, *PATIENCE, payload=payload) == (0, b"no")
    (asked,) = decode_frames(requests[0], 16)
    assert asked.frame is not None
    assert asked.frame.payload == payload


def test_decision_is_taken_also_where_nothing_can_be_recorded(hook: Path, place: Path) -> None:
    (place / "spool").rmdir()
    with decider(place / "run" / "watchkeeper.sock", says(encode_answer(3, b"no"))):
        assert ask(hook, place, *PATIENCE) == (0, b"no")


def test_home_too_long_for_a_socket_address_is_reached(hook: Path, home: Path) -> None:
    long_home = home.parent / ("h" * 120)
    for folder in (long_home, long_home / "spool", long_home / "run"):
        folder.mkdir(mode=0o700)
    run_folder = os.open(long_home / "run", os.O_RDONLY | os.O_DIRECTORY)
    with decider(Path(f"/proc/self/fd/{run_folder}/watchkeeper.sock"), says(encode_answer(1, b"yes"))):
        assert ask(hook, long_home, *PATIENCE) == (0, b"yes")
    os.close(run_folder)
    assert verdict(long_home)["verdict"] == "allow"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take other users' parts")
def test_decider_of_a_stranger_is_not_believed(hook: Path, place: Path) -> None:
    """The hook runs as one user, and another user listens in its place."""
    agent, stranger = 65534, 65533
    shared = place / "hook"
    shared.write_bytes(hook.read_bytes())
    shared.chmod(0o755)
    for folder in (place.parent, place, place / "run"):
        folder.chmod(0o755)
    for folder in (place, place / "spool"):
        os.chown(folder, agent, agent)
    (place / "run").chmod(0o777)
    listen = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen();"
        "import os; os.chmod(sys.argv[1], 0o777); print('ready', flush=True); p, _ = s.accept();"
        "p.settimeout(20); p.sendall(bytes.fromhex(sys.argv[2])); p.recv(9)"
    )
    answer = encode_answer(1, b"allowed by a stranger").hex()
    with subprocess.Popen(
        ["/usr/bin/env", "python3", "-c", listen, place / "run" / "watchkeeper.sock", answer],
        user=stranger,
        group=stranger,
        extra_groups=[],
        stdout=subprocess.PIPE,
    ) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"ready\n"
        assert ask(shared, place, *PATIENCE, user=agent, group=agent, extra_groups=[]) == (0, b"")
        listener.kill()
    assert verdict(place)["verdict"] == "unreachable"


def test_doorbell_rings_once_when_event_and_decision_are_there(hook: Path, place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(place / "run" / "doorbell.sock"))
        bell.settimeout(10)
        ask(hook, place)
        assert bell.recv(8) == b"!"
        assert [frame.kind for frame in frames(place)] == [FrameKind.EVENT, FrameKind.DECISION]
        bell.setblocking(False)
        with pytest.raises(BlockingIOError):
            bell.recv(8)
