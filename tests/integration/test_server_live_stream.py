"""From an event to a browser's WebSocket, through the real recorder and the real server."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from watchkeeper.client.http import ServerClient
from watchkeeper.client.recorder import RecorderClient
from watchkeeper.client.token import read_token
from watchkeeper.errors import DaemonError
from watchkeeper.settings import Places

SOURCE = Path(__file__).parents[2] / "src"
SECONDS = 30


class Daemon:
    """Recorder and server of a home, each in its process."""

    def __init__(self, home: Path) -> None:
        self.places = Places(home)
        (home / "claude").mkdir()
        (home / "spool").mkdir(mode=0o700)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "WATCHKEEPER_HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / "claude"),
            "PYTHONPATH": str(SOURCE),
        }
        self.client = ServerClient(self.places, timeout=SECONDS)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self) -> None:
        self.start("server", "watchkeeper.server", "--port", "0")
        until(lambda: answers(lambda: self.client.get("/health")))
        self.port = int(self.client.signin()["url"].split(":")[2].split("/")[0])
        self.start_recorder()

    def start(self, name: str, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, "--home", str(self.places.home), *arguments]
        self.processes[name] = subprocess.Popen(command, env=self.environment)

    def start_recorder(self) -> None:
        self.start("recorder", "watchkeeper.daemon.recorder")
        until(lambda: self.client.get("/health")["parts"]["recorder"] == "up")

    def stop(self, name: str) -> int:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(SECONDS)

    def event(self, name: str, session: str = "s1", **fields: Any) -> None:
        document = {"hook_event_name": name, "session_id": session, "cwd": "/project", **fields}
        assert self.client.post("/hook", document) == {}

    def call(self, number: int, session: str = "s1") -> None:
        fields = {
            "tool_name": "Bash",
            "tool_input": {"command": f"echo {number}"},
            "tool_use_id": f"toolu_{number}",
        }
        self.event("PreToolUse", session, **fields)

    def cookie(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", f"/auth?code={self.client.signin()['code']}")
            cookie = connection.getresponse().headers["set-cookie"]
        return str(cookie).partition(";")[0]

    def live(self, query: str = "", **options: Any) -> ClientConnection:
        headers = options.pop("headers", {"Cookie": self.cookie()})
        address = f"ws://127.0.0.1:{self.port}/api/live{query}"
        return connect(address, additional_headers=headers, open_timeout=SECONDS, **options)


@contextlib.contextmanager
def running(home: Path) -> Iterator[Daemon]:
    """Run a daemon; whatever happens, no process of it is left."""
    daemon = Daemon(home)
    try:
        daemon.begin()
        yield daemon
    finally:
        for process in daemon.processes.values():
            process.kill()
            process.wait()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def answers(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except DaemonError:
        return False
    return True


def message(stream: ClientConnection) -> dict[str, Any]:
    document = json.loads(stream.recv(timeout=SECONDS))
    assert isinstance(document, dict)
    return document


def wait_for(stream: ClientConnection, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    while True:
        found = message(stream)
        if fits(found):
            return found


def keys(found: dict[str, Any]) -> set[str]:
    return {item["key"] for item in found["items"]}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("home")) as started:
        yield started
        assert {name: started.stop(name) for name in list(started.processes)} == {"server": 0, "recorder": 0}


def test_an_event_reaches_the_browser_that_watches_its_session(daemon: Daemon) -> None:
    with daemon.live("?session=watched") as stream:
        hello = message(stream)
        assert (hello["type"], hello["session_id"]) == ("hello", "watched")
        assert hello["status"]["parts"]["recorder"] == "up"
        daemon.call(1, "watched")
        items = wait_for(stream, lambda found: found["type"] == "items")
        assert items["session_id"] == "watched"
        assert "call:toolu_1" in keys(items)
        rows = wait_for(stream, lambda found: found["type"] == "sessions")
        assert [row["session_id"] for row in rows["sessions"]] == ["watched"]


def test_only_what_differs_is_sent(daemon: Daemon) -> None:
    daemon.call(10, "differs")
    RecorderClient(daemon.places).sync(SECONDS * 1000)
    with daemon.live("?session=differs") as stream:
        assert message(stream)["type"] == "hello"
        daemon.call(11, "differs")
        found = wait_for(stream, lambda one: one["type"] == "items" and "call:toolu_11" in keys(one))
        assert len(keys(found)) <= 3


def test_a_browser_may_change_what_it_watches(daemon: Daemon) -> None:
    with daemon.live() as stream:
        assert message(stream)["session_id"] is None
        stream.send('{"subscribe":"later"}')
        ready = wait_for(stream, lambda found: found["type"] == "items")
        assert (ready["session_id"], ready["items"]) == ("later", [])
        daemon.call(20, "later")
        found = wait_for(stream, lambda one: one["type"] == "items")
        assert "call:toolu_20" in keys(found)
        stream.send('{"subscribe":null}')
        assert wait_for(stream, lambda one: one["type"] == "items")["session_id"] is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"subscribe":1}', '{"subscribe":"a","more":1}'])
def test_words_that_are_not_understood_are_answered_and_end_nothing(daemon: Daemon, text: str) -> None:
    with daemon.live() as stream:
        assert message(stream)["type"] == "hello"
        stream.send(text)
        error = wait_for(stream, lambda found: found["type"] == "error")["error"]
        assert error["code"] == "usage"
        stream.send('{"subscribe":"x"}')
        assert wait_for(stream, lambda found: found["type"] == "items")["session_id"] == "x"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Cookie": "watchkeeper_1=x"}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_the_stream_is_refused_without_credentials(
    daemon: Daemon, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        daemon.live(headers=headers)
    assert caught.value.response.status_code == status


def test_the_stream_is_refused_under_a_foreign_name_even_with_the_token(daemon: Daemon) -> None:
    headers = {"Authorization": f"Bearer {read_token(daemon.places)}"}
    rebound = socket.create_connection(("127.0.0.1", daemon.port))
    with rebound, pytest.raises(InvalidStatus) as caught:
        connect(f"ws://evil.example:{daemon.port}/api/live", sock=rebound, additional_headers=headers)
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_the_stream_is_refused_to_another_page_even_with_the_cookie(daemon: Daemon, origin: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        daemon.live(origin=origin)
    assert caught.value.response.status_code == 403


def test_the_stream_opens_for_our_own_page_and_for_the_token(daemon: Daemon) -> None:
    with daemon.live(origin=f"http://127.0.0.1:{daemon.port}") as stream:
        assert message(stream)["type"] == "hello"
    with daemon.live(headers={"Authorization": f"Bearer {read_token(daemon.places)}"}) as stream:
        assert message(stream)["type"] == "hello"


def test_a_browser_that_does_not_read_delays_no_other(daemon: Daemon) -> None:
    token = read_token(daemon.places)
    with socket.create_connection(("127.0.0.1", daemon.port)) as deaf, daemon.live("?session=busy") as stream:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(
            f"GET /api/live?session=busy HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        assert deaf.recv(12) == b"HTTP/1.1 101"
        assert message(stream)["type"] == "hello"
        for number in range(100, 130):
            daemon.event("UserPromptSubmit", "busy", prompt="x" * 50_000, prompt_id=f"p{number}")
            daemon.call(number, "busy")
        wait_for(stream, lambda one: one["type"] == "items" and "call:toolu_129" in keys(one))


def test_closing_from_either_side_is_clean(daemon: Daemon) -> None:
    with daemon.live() as stream:
        assert message(stream)["type"] == "hello"
        stream.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            wait_for(stream, lambda _: False)
    assert daemon.client.get("/health")["status"] == "ok"


def test_the_record_is_served_over_http(daemon: Daemon) -> None:
    daemon.event("UserPromptSubmit", "over-http", prompt="hello", prompt_id="p1")
    daemon.call(40, "over-http")
    RecorderClient(daemon.places).sync(SECONDS * 1000)
    listed = daemon.client.get("/api/sessions?limit=1000")
    assert "over-http" in {row["session_id"] for row in listed["sessions"]}
    assert daemon.client.get("/api/sessions/over-h")["session"]["tool_calls"] == 1
    first = daemon.client.get("/api/sessions/over-http/timeline?limit=1")
    assert (len(first["items"]), first["next"] is not None) == (1, True)
    rest = daemon.client.get(f"/api/sessions/over-http/timeline?cursor={first['next']}")
    assert len(rest["items"]) == first["total"] - 1
    assert daemon.client.get("/api/calls/toolu_40")["input"] == {"command": "echo 40"}
    assert daemon.client.get("/api/coverage?session=over-http")["tool_calls"] == 1
    status = daemon.client.get("/api/status")
    assert status["demo_available"] is False
    assert status["ledger_entries"] > 0
    verdict = daemon.client.get("/api/verify")
    assert (verdict["integrity"], verdict["entries"] > 0) == ("intact", True)


def test_a_recorder_that_comes_back_is_followed_again_and_nothing_is_missed(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, daemon.live("?session=s1") as stream:
        assert message(stream)["type"] == "hello"
        daemon.stop("recorder")
        down = wait_for(stream, lambda one: one["type"] == "status")
        assert down["status"]["parts"]["recorder"] == "down"
        daemon.call(1)
        daemon.start_recorder()
        wait_for(stream, lambda one: one["type"] == "items" and "call:toolu_1" in keys(one))


def test_an_open_stream_does_not_keep_the_server_from_ending(tmp_path: Path) -> None:
    with running(tmp_path) as daemon, daemon.live() as stream:
        assert message(stream)["type"] == "hello"
        assert daemon.stop("server") == 0
        with pytest.raises(ConnectionClosed):
            message(stream)
