"""A real decider process, asked over its real socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from watchkeeper.daemon.control import synthetic_frame
from watchkeeper.daemon.decider import OPEN_LIMIT, Decider, DecisionServer
from watchkeeper.daemon.decisions import LONGEST_FRAME, NO_OPINION, Answer, Verdict, ask, encode_request
from watchkeeper.daemon.homes import prepare_home
from watchkeeper.daemon.parts import python_command, safe_environment
from watchkeeper.daemon.sockets import connect_unix, is_answered, listen_unix
from watchkeeper.settings import Places

Wait = Callable[[Callable[[], object]], None]


def start_decider(places: Places) -> subprocess.Popen[str]:
    """Start a decider as the supervisor would."""
    command = python_command("watchkeeper.daemon.decider", ["--home", str(places.home)])
    return subprocess.Popen(command, env=safe_environment(os.environ), stderr=subprocess.PIPE, text=True)


@pytest.fixture
def decider(places: Places, eventually: Wait) -> Iterator[subprocess.Popen[str]]:
    """A decider that answers."""
    prepare_home(places)
    process = start_decider(places)
    try:
        eventually(lambda: is_answered(places.decider_socket))
        yield process
    finally:
        process.kill()
        process.communicate()


def closed_without_answer(connection: socket.socket) -> bool:
    """Return whether the other end closes before it says anything."""
    try:
        return connection.recv(64) == b""
    except ConnectionResetError:
        return True


@pytest.mark.usefixtures("decider")
def test_a_question_gets_no_opinion(places: Places) -> None:
    """Nobody's policy is in force yet, and the agent goes on."""
    assert ask(places.decider_socket, synthetic_frame(b"x" * 8192), deadline_ms=5000) == NO_OPINION


@pytest.mark.usefixtures("decider")
def test_the_socket_is_its_owner_s_alone(places: Places) -> None:
    """No other user can even connect."""
    assert stat.S_IMODE(places.decider_socket.stat().st_mode) == 0o600
    assert [path.name for path in places.run.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("decider")
@pytest.mark.parametrize("size", [1, 15, 16, 17, 100])
def test_a_question_may_arrive_in_any_pieces(places: Places, size: int) -> None:
    """Up to the last byte nothing is said; then the answer comes and the connection ends."""
    request = encode_request(synthetic_frame(), 1000)
    with connect_unix(places.decider_socket, timeout=10) as connection, connection.makefile("rb") as stream:
        for start in range(0, len(request), size):
            connection.sendall(request[start : start + size])
        assert stream.read() == NO_OPINION.encode()


@pytest.mark.usefixtures("decider")
def test_the_longest_question_is_answered(places: Places) -> None:
    """Also one that no single read brings."""
    frame = synthetic_frame(b"x" * (LONGEST_FRAME - len(synthetic_frame(b""))))
    assert len(frame) == LONGEST_FRAME
    assert ask(places.decider_socket, frame, deadline_ms=10_000) == NO_OPINION


@pytest.mark.usefixtures("decider")
def test_those_who_keep_silent_hold_up_nobody(places: Places) -> None:
    """More of them than are waited for, with nothing, half a head or half a frame said: a question is answered."""
    request = encode_request(synthetic_frame(b"x" * 200_000), 1000)
    with contextlib.ExitStack() as stack:
        silent = []
        for number in range(OPEN_LIMIT + 20):
            connection = stack.enter_context(connect_unix(places.decider_socket, timeout=10))
            connection.sendall(request[: (0, 7, 100_000)[number % 3]])
            silent.append(connection)
        assert ask(places.decider_socket, synthetic_frame(), deadline_ms=5000) == NO_OPINION
        # The oldest has given way, the latest may still finish its question.
        assert closed_without_answer(silent[0])
        silent[-1].sendall(request[(0, 7, 100_000)[(len(silent) - 1) % 3] :])
        assert silent[-1].recv(64) == NO_OPINION.encode()


@pytest.mark.usefixtures("decider")
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        encode_request(b"no frame at all", 50),
        encode_request(b"WKF1" * 400_000, 50),
        encode_request(synthetic_frame(), 50) * 2,
    ],
    ids=["another protocol", "no frame", "many magics", "two questions"],
)
def test_garbage_closes_its_own_connection_only(places: Places, request_bytes: bytes) -> None:
    """What is no question gets no answer, and the next question gets one."""
    with connect_unix(places.decider_socket, timeout=10) as connection:
        connection.sendall(request_bytes)
        assert closed_without_answer(connection)
    assert ask(places.decider_socket, synthetic_frame(), deadline_ms=5000) == NO_OPINION


@contextlib.contextmanager
def serving(path: Path, decider: Decider, silence: float) -> Iterator[None]:
    """Answer at a path in a thread."""
    with listen_unix(path) as listener:
        server = DecisionServer(decider, listener, silence)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield
        finally:
            server.stop()
            # Any connection ends the wait.
            connect_unix(path, timeout=10).close()
            thread.join()
            server.close()


def test_a_question_that_does_not_end_is_given_up(home: Path) -> None:
    """The connection is closed when its time is over, and counted as refused."""
    decider = Decider(lambda _frame: NO_OPINION)
    home.mkdir(exist_ok=True)
    with serving(home / "s", decider, silence=0.05), connect_unix(home / "s", timeout=10) as connection:
        connection.sendall(encode_request(synthetic_frame(), 1000)[:-1])
        assert closed_without_answer(connection)
    assert (decider.answered, decider.refused) == (0, 1)


def test_an_answer_that_is_not_taken_holds_up_nobody(home: Path) -> None:
    """A long answer waits for its reader while others are answered, and arrives whole."""
    long = Answer(Verdict.DENY, 2, b"no" * 500_000)
    home.mkdir(exist_ok=True)
    with (
        serving(home / "s", Decider(lambda _frame: long), silence=30),
        connect_unix(home / "s", timeout=10) as slow,
        slow.makefile("rb") as stream,
    ):
        slow.sendall(encode_request(synthetic_frame(), 1000))
        assert ask(home / "s", synthetic_frame(), deadline_ms=10_000) == long
        assert stream.read() == long.encode()


def test_a_stop_is_clean_and_takes_the_socket_away(places: Places, decider: subprocess.Popen[str]) -> None:
    """SIGTERM ends it with status 0, a word on what it did, and no socket left."""
    ask(places.decider_socket, synthetic_frame(), deadline_ms=5000)
    decider.send_signal(signal.SIGTERM)
    _, words = decider.communicate(timeout=60)
    assert decider.returncode == 0
    assert words == "decider: stops after 1 answers, 0 refused\n"
    assert not places.decider_socket.exists()


def test_a_dead_decider_s_socket_is_taken_over(
    places: Places, decider: subprocess.Popen[str], eventually: Wait
) -> None:
    """What `kill -9` leaves behind stops nobody."""
    decider.kill()
    decider.wait()
    assert places.decider_socket.exists()
    assert not is_answered(places.decider_socket)
    successor = start_decider(places)
    try:
        eventually(lambda: is_answered(places.decider_socket))
        assert ask(places.decider_socket, synthetic_frame(), deadline_ms=5000) == NO_OPINION
    finally:
        successor.kill()
        successor.communicate()


@pytest.mark.usefixtures("decider")
def test_a_second_decider_leaves_the_living_one_alone(places: Places) -> None:
    """It says so and ends; the first goes on answering."""
    second = start_decider(places)
    _, words = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "another process listens already" in words
    assert ask(places.decider_socket, synthetic_frame(), deadline_ms=5000) == NO_OPINION


def test_a_home_too_deep_for_a_socket_s_name_works_all_the_same(home: Path, eventually: Wait) -> None:
    """A socket's name has about a hundred bytes; a home may be deeper."""
    if sys.platform != "linux":
        pytest.skip("only Linux reaches a socket through its folder's descriptor")
    places = Places(home / ("d" * 100) / ("e" * 100))
    prepare_home(places)
    process = start_decider(places)
    try:
        eventually(lambda: is_answered(places.decider_socket))
        assert ask(places.decider_socket, synthetic_frame(), deadline_ms=5000) == NO_OPINION
    finally:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("decider")
def test_the_real_hook_gets_its_answer(places: Places, packaged_hook: Path) -> None:
    """The native hook asks, is told nothing, prints nothing and exits 0; the decision is on record."""
    done = subprocess.run(
        [packaged_hook, "--home", places.home, "--decide"],
        input=b'{"hook_event_name":"PreToolUse","session_id":"s","tool_use_id":"t"}',
        env={},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert b'"verdict":"none"' in (places.spool / "current.wks").read_bytes()
