"""Starts the daemon's parts, starts them again when they end, and stops them in order.

Decider, recorder and server are processes of their own, because an ingest thread beside the decider took a
decision from 1 to 86 ms. This process holds the home's daemon lock, blocks until a signal arrives, and
imports neither asyncio nor anything of the parts.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from watchkeeper.daemon.homes import OWNER_ONLY_FILE, prepare_home
from watchkeeper.daemon.locks import ProcessLock
from watchkeeper.daemon.logfile import LogFile
from watchkeeper.daemon.parts import Part, PartPlan, safe_environment
from watchkeeper.settings import Places

PARTS_FILE = "parts.json"
"""Below ``run/``: what the supervisor last knew of its parts. Whether one lives, only it can answer."""
STOP_SECONDS = 10.0
"""From the request to stop until the parts that still run are killed."""
STOP_SHARES = {"server": 3.0, "decider": 1.0}
"""Seconds a part gets before the next in order is asked too; the last one has the rest."""
STOP_ORDER = ("server", "decider", "recorder")
"""The recorder is last, so that what the others still produce is on record."""
LOOK_SECONDS = 10.0
RECORDER_NICENESS = 5
"""Hooks and decisions come before recording."""
DECIDER_SLICE_NS = 100_000
"""The shortest turn there is, so that the decider's come soon: a decision takes a tenth of a millisecond."""


def default_plans(places: Places, port: int) -> tuple[PartPlan, ...]:
    """Return the parts of the daemon for a home whose server listens on the port."""
    home = ("--home", str(places.home))
    return (
        PartPlan(
            "decider",
            "watchkeeper.daemon.decider",
            home,
            slice_ns=DECIDER_SLICE_NS,
            sockets=(places.decider_socket,),
        ),
        PartPlan(
            "recorder",
            "watchkeeper.daemon.recorder",
            home,
            niceness=RECORDER_NICENESS,
            sockets=(places.recorder_socket, places.doorbell_socket),
        ),
        PartPlan(
            "server",
            "watchkeeper.server",
            (*home, "--port", str(port)),
            sockets=(places.server_socket,),
        ),
    )


class Supervisor:
    """Keeps the parts running until it is told to stop.

    Args:
        places: The home, whose daemon lock the caller holds.
        port: The server's port on 127.0.0.1.
        plans: The parts, in the order they are started.
        environment: What the parts' environment is chosen from.
    """

    def __init__(
        self, places: Places, port: int, plans: Sequence[PartPlan], environment: Mapping[str, str]
    ) -> None:
        self.places = places
        self.port = port
        self.parts = [Part(plan) for plan in plans]
        self.environment = safe_environment(environment)
        self.log = LogFile(places.log)
        self.stopping = False
        self._published = ""
        self._wake_reading, self._wake_writing = os.pipe()
        os.set_blocking(self._wake_reading, False)
        os.set_blocking(self._wake_writing, False)

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or SIGHUP, then stop the parts."""
        self._catch_signals()
        self.say(f"supervisor {os.getpid()} starts, port {self.port}")
        next_look = time.monotonic() + LOOK_SECONDS
        while not self.stopping:
            now = time.monotonic()
            self._start_due(now)
            with contextlib.suppress(OSError):
                # On a full disk the state is told as soon as there is room.
                self._publish()
            if now >= next_look:
                with contextlib.suppress(OSError):
                    self.log.rotate()
                next_look = now + LOOK_SECONDS
                self._restart_unreachable()
            waits = [part.due - now for part in self.parts if part.pid is None]
            self._sleep(max(0.0, min([*waits, next_look - now])))
            self._reap()
        self._stop_all()
        with contextlib.suppress(OSError):
            self._publish()
        self.say("supervisor stopped")
        self.log.close()

    def say(self, text: str) -> None:
        """Write a line to the log and, where there is one, to the terminal or the journal."""
        with contextlib.suppress(OSError):
            self.log.write(text)
        with contextlib.suppress(OSError, AttributeError):
            sys.stderr.write(f"watchkeeper: {text}\n")
            sys.stderr.flush()

    def _catch_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        # A handler is needed for the wake-up byte to be written at all.
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake_writing, warn_on_full_buffer=False)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _sleep(self, seconds: float) -> None:
        select.select([self._wake_reading], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_reading, 512):
                pass

    def _start_due(self, now: float) -> None:
        for part in self.parts:
            if part.pid is None and now >= part.due:
                part.start(now, self.log.descriptor, self.environment)
                self.say(f"{part.plan.name} started as {part.pid}")

    def _restart_unreachable(self) -> None:
        """End parts whose socket somebody removed: the next process binds it again."""
        for part in self.parts:
            if part.is_unreachable():
                self.say(f"{part.plan.name} cannot be reached any more: its socket is gone")
                self._signal([part], signal.SIGTERM)

    def _reap(self) -> None:
        for part in self.parts:
            if part.pid is None:
                continue
            pid, status = os.waitpid(part.pid, os.WNOHANG)
            if pid:
                part.ended(time.monotonic(), status)
                again = "" if self.stopping else f", starts again in {part.due - time.monotonic():.1f} s"
                self.say(f"{part.plan.name} ended ({part.last_exit}){again}")

    def _stop_all(self) -> None:
        self.say("stopping")
        end = time.monotonic() + STOP_SECONDS
        for name in STOP_ORDER:
            asked = [part for part in self.parts if part.plan.name == name]
            self._signal(asked, signal.SIGTERM)
            self._await_end(asked, min(end, time.monotonic() + STOP_SHARES.get(name, STOP_SECONDS)))
        self._signal(self.parts, signal.SIGTERM)
        self._await_end(self.parts, end)
        self._signal(self.parts, signal.SIGKILL)
        self._await_end(self.parts, time.monotonic() + STOP_SECONDS)

    def _signal(self, parts: Sequence[Part], number: signal.Signals) -> None:
        for part in parts:
            if part.pid is not None:
                # Safe from reuse: an unreaped child's id stays its own.
                os.kill(part.pid, number)

    def _await_end(self, parts: Sequence[Part], end: float) -> None:
        self._reap()
        while any(part.pid is not None for part in parts) and (left := end - time.monotonic()) > 0:
            self._sleep(left)
            self._reap()

    def _publish(self) -> None:
        state = {
            "supervisor": os.getpid(),
            "port": self.port,
            "parts": {part.plan.name: "stopped" if self.stopping else part.state for part in self.parts},
            "restarts": {part.plan.name: part.restarts for part in self.parts},
            "last_exit": {part.plan.name: part.last_exit for part in self.parts if part.last_exit},
        }
        text = json.dumps(state, sort_keys=True)
        if text == self._published:
            return
        fresh = self.places.run / f".{PARTS_FILE}.{os.getpid()}"
        since = json.dumps(state | {"since": int(time.time() * 1000)}, sort_keys=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, OWNER_ONLY_FILE)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(since)
        fresh.rename(self.places.run / PARTS_FILE)
        self._published = text


def supervise(places: Places, port: int, environment: Mapping[str, str]) -> None:
    """Run the daemon of a home until it is told to stop.

    Raises:
        DaemonError: The home's folders cannot be used.
        LockedError: A supervisor of this home runs already.
    """
    prepare_home(places)
    with ProcessLock(places.daemon_lock):
        Supervisor(places, port, default_plans(places, port), environment).run()
