"""Starts, finds and stops the daemon of a home, for commands and tests.

That a part lives is proven by a round trip to it: a question to the decider, a ping to the recorder, ``GET
/health`` at the server. No file is ever taken as proof.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchkeeper.client.recorder import RecorderClient
from watchkeeper.daemon import locks
from watchkeeper.daemon.decisions import ask
from watchkeeper.daemon.homes import prepare_home
from watchkeeper.daemon.parts import python_command, safe_environment
from watchkeeper.daemon.sockets import connect_unix
from watchkeeper.errors import DaemonError, WatchkeeperError
from watchkeeper.settings import Places, Settings
from watchkeeper.spool.frames import Frame, FrameKind, encode_frame

ANSWER_SECONDS = 2.0
"""How long one round trip may take before the part counts as silent."""
STOP_SECONDS = 15.0
DYING_SECONDS = 2.0
PAUSE_SECONDS = 0.05
LOG_LINES = 5
"""How many lines of the log an error quotes."""


@dataclass(frozen=True)
class Running:
    """A daemon that answers: the dashboard's address, and whether it was started just now."""

    url: str
    started: bool


@dataclass(frozen=True)
class PartStatus:
    """One part as it was found: whether it answered, after how many milliseconds, and why not."""

    alive: bool
    latency_ms: float | None
    problem: str = ""


@dataclass(frozen=True)
class DaemonStatus:
    """The daemon as it was found; ``supervisor`` is its process id, None when nobody holds the lock."""

    supervisor: int | None
    port: int
    parts: dict[str, PartStatus]

    @property
    def url(self) -> str:
        """Return the dashboard's address."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def healthy(self) -> bool:
        """Return whether every part answered."""
        return self.supervisor is not None and all(part.alive for part in self.parts.values())

    @property
    def problem(self) -> str:
        """Return what is wrong, in words; empty when nothing is."""
        if self.supervisor is None:
            return "it is not running"
        return ", ".join(f"{name}: {part.problem}" for name, part in self.parts.items() if not part.alive)


def status(settings: Settings) -> DaemonStatus:
    """Ask every part of the home's daemon and return what came of it."""
    places = settings.places
    port = int(_published(places).get("port") or settings["server.port"])
    if locks.holder(places.daemon_lock) is None:
        return DaemonStatus(None, port, {})
    parts = {
        "decider": _timed(lambda: _ask_decider(places)),
        "recorder": _timed(lambda: _ask_recorder(places)),
        "server": _timed(lambda: _ask_server(places, port)),
    }
    return DaemonStatus(locks.holder(places.daemon_lock), port, parts)


def ensure_running(settings: Settings, *, port: int | None = None, wait_seconds: float = 20.0) -> Running:
    """Start the home's daemon unless it runs, and return once every part answers.

    A daemon that runs already keeps its port; ``port`` is for one that has to be started.

    Raises:
        DaemonError: It did not answer within ``wait_seconds``, or the port is taken by something else.
    """
    places = settings.places
    started = False
    if locks.holder(places.daemon_lock) is None:
        chosen = port if port is not None else int(settings["server.port"])
        prepare_home(places)
        _refuse_taken_port(chosen)
        _start(settings, chosen)
        started = True
    end = time.monotonic() + wait_seconds
    while True:
        found = status(settings)
        if found.healthy:
            return Running(found.url, started)
        if time.monotonic() >= end:
            raise DaemonError(
                f"the daemon does not answer within {wait_seconds:g} s",
                why=found.problem,
                hint=_last_words(places),
                place=str(places.log),
            )
        time.sleep(PAUSE_SECONDS)


def stop(settings: Settings) -> bool:
    """Stop the home's daemon and return whether one was running.

    Raises:
        DaemonError: It did not end in time, or it may not be stopped by this user.
    """
    places = settings.places
    pid = locks.holder(places.daemon_lock)
    if pid is None:
        return False
    try:
        if pid:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise DaemonError("the daemon belongs to another user", place=str(places.daemon_lock)) from error
    end = time.monotonic() + STOP_SECONDS
    while locks.holder(places.daemon_lock) is not None:
        if time.monotonic() >= end:
            raise DaemonError(
                f"the daemon did not end within {STOP_SECONDS:g} s",
                hint=f"See the log, or end process {pid}.",
                place=str(places.log),
            )
        time.sleep(PAUSE_SECONDS)
    return True


def _start(settings: Settings, port: int) -> None:
    from watchkeeper.daemon import service

    if service.start_installed(settings, port):
        return
    command = python_command(
        "watchkeeper.daemon", ["--home", str(settings.places.home), "--port", str(port), "--background"]
    )
    # The command returns as soon as the supervisor is on its own, without this process as its parent.
    done = subprocess.run(
        command,
        env=safe_environment(settings.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DaemonError("the daemon cannot be started", why=done.stderr.strip())


def _published(places: Places) -> dict[str, Any]:
    try:
        document = json.loads((places.run / "parts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _timed(question: Callable[[], None]) -> PartStatus:
    start = time.perf_counter()
    try:
        question()
    except (OSError, WatchkeeperError) as error:
        return PartStatus(False, None, str(error) or type(error).__name__)
    return PartStatus(True, round((time.perf_counter() - start) * 1000, 3))


def synthetic_frame(payload: bytes = b"{}") -> bytes:
    """Return a frame that no agent sent, to ask the decider with; it goes to no spool."""
    frame = Frame(
        kind=FrameKind.SYNTHETIC,
        flags=0,
        wall_ns=time.time_ns(),
        monotonic_ns=time.monotonic_ns(),
        boot_id=bytes(16),
        uid=os.getuid(),
        pid=os.getpid(),
        parent_pid=os.getppid(),
        environment={},
        payload=payload,
    )
    return encode_frame(frame)


def _ask_decider(places: Places) -> None:
    ask(places.decider_socket, synthetic_frame(), deadline_ms=int(ANSWER_SECONDS * 1000))


def _ask_recorder(places: Places) -> None:
    RecorderClient(places, timeout=ANSWER_SECONDS).ping()


def _ask_server(places: Places, port: int) -> None:
    # The socket in the home proves that it is ours; the port, that browsers reach it.
    with connect_unix(places.server_socket, timeout=ANSWER_SECONDS) as connection:
        _expect_healthy(connection, "localhost")
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
        _expect_healthy(connection, f"127.0.0.1:{port}")


def _expect_healthy(connection: socket.socket, host: str) -> None:
    connection.sendall(f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    with connection.makefile("rb") as stream:
        line = stream.readline(1024).split()
    if len(line) < 2 or line[1] != b"200":
        raise DaemonError("the server is not healthy", why=f"it answered {b' '.join(line)!r}")


def _refuse_taken_port(port: int) -> None:
    # A daemon that was killed a moment ago may still be dying.
    end = time.monotonic() + DYING_SECONDS
    while problem := _port_problem(port):
        if time.monotonic() >= end:
            raise DaemonError(f"port {port} cannot be used", why=problem, hint="Choose one with --port.")
        time.sleep(PAUSE_SECONDS)


def _port_problem(port: int) -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _last_words(places: Places) -> str:
    with contextlib.suppress(OSError):
        lines = _tail(places.log).splitlines()[-LOG_LINES:]
        if lines:
            return "The log ends with: " + " | ".join(lines)
    return "Run `wk doctor`."


def _tail(path: Path, length: int = 4096) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - length))
        return stream.read().decode("utf-8", "replace")
