"""A real decider process, asked over its real socket."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from watchkeeper.daemon.control import synthetic_frame
from watchkeeper.daemon.decisions import ANSWER, NO_OPINION, ask, encode_request
from watchkeeper.daemon.homes import prepare_home
from watchkeeper.daemon.parts import python_command, safe_environment
from watchkeeper.daemon.sockets import connect_unix, is_answered
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
def test_questions_may_arrive_in_any_pieces(places: Places) -> None:
    """One byte at a time, and two requests in one write, give one answer each."""
    request = encode_request(synthetic_frame(), 1000)
    with connect_unix(places.decider_socket, timeout=10) as connection, connection.makefile("rb") as stream:
        for index in range(len(request)):
            connection.sendall(request[index : index + 1])
        assert stream.read(ANSWER.size) == NO_OPINION.encode()
        connection.sendall(request * 2)
        assert stream.read(2 * ANSWER.size) == NO_OPINION.encode() * 2


@pytest.mark.usefixtures("decider")
@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        encode_request(b"no frame at all", 50),
        encode_request(b"WKF1" * 400_000, 50),
    ],
    ids=["another protocol", "no frame", "many magics"],
)
def test_garbage_closes_its_own_connection_only(places: Places, request_bytes: bytes) -> None:
    """What is no question gets no answer, and the next question gets one."""
    with connect_unix(places.decider_socket, timeout=10) as connection:
        connection.sendall(request_bytes)
        assert closed_without_answer(connection)
    assert ask(places.decider_socket, synthetic_frame(), deadline_ms=5000) == NO_OPINION


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
