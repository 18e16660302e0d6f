"""The live stream: what the recorder says has changed, queried once and sent to every browser that watches.

A browser that reads too slowly loses its queue and gets a fresh ``hello`` instead, after which it loads its
timeline anew; it never delays the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from watchkeeper.errors import WatchkeeperError

log = logging.getLogger("watchkeeper.server")

QUEUE_MESSAGES = 256
QUEUE_BYTES = 4 << 20
"""A queue beyond either limit is given up."""
COALESCE_SECONDS = 0.03
"""The least time between two rounds; the first notice after a pause is passed on at once."""
SESSIONS_PER_ROUND = 100
"""Changed sessions of one round; an import changes thousands, and the rest waits for the next."""


class LiveAnswers(Protocol):
    """What the stream asks of the store. Each answer is an encoded `LiveMessage`."""

    async def hello(self, session_id: str | None) -> bytes:
        """Return the message that a stream begins with."""

    async def status_message(self) -> bytes:
        """Return a message with the state of the parts."""

    async def changed_sessions(self, session_ids: list[str]) -> bytes | None:
        """Return a message with the rows of sessions; ``None`` when none of them is on record."""

    async def changed_items(self, session_id: str, tool_use_ids: list[str]) -> bytes | None:
        """Return a message with what is new in a session's timeline; ``None`` when nothing is."""


@dataclass(eq=False)
class Subscriber:
    """One browser: what it watches and what waits to be sent to it."""

    session_id: str | None = None
    needs_hello: bool = True
    _queue: deque[str] = field(default_factory=deque)
    _bytes: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, text: str) -> None:
        """Queue a message, or give up on the queue where it is full."""
        if len(self._queue) >= QUEUE_MESSAGES or self._bytes + len(text) > QUEUE_BYTES:
            self.restart()
            return
        self._queue.append(text)
        self._bytes += len(text)
        self._wake.set()

    def restart(self) -> None:
        """Drop what waits and begin again with a ``hello``."""
        self._queue.clear()
        self._bytes = 0
        self.needs_hello = True
        self._wake.set()

    async def next_message(self, hello: Callable[[str | None], Awaitable[bytes]]) -> str:
        """Return the next message, when there is one."""
        while True:
            if self.needs_hello:
                # Lowered before the query, so that what changes meanwhile is queued behind the answer.
                self.needs_hello = False
                return (await hello(self.session_id)).decode()
            if self._queue:
                text = self._queue.popleft()
                self._bytes -= len(text)
                return text
            self._wake.clear()
            await self._wake.wait()


class LiveHub:
    """Gathers notices and passes them on in rounds."""

    def __init__(self, answers: LiveAnswers) -> None:
        self._answers = answers
        self._subscribers: set[Subscriber] = set()
        self._sessions: dict[str, None] = {}
        self._calls: dict[str, None] = {}
        self._status_changed = False
        self._work = asyncio.Event()

    def join(self, session_id: str | None) -> Subscriber:
        """Return a new subscriber."""
        subscriber = Subscriber(session_id)
        self._subscribers.add(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a subscriber."""
        self._subscribers.discard(subscriber)

    def changed(self, sessions: list[str], calls: list[str]) -> None:
        """Take note that sessions and calls have changed; costs nothing while nobody watches."""
        if self._subscribers:
            self._sessions.update(dict.fromkeys(sessions))
            self._calls.update(dict.fromkeys(calls))
            self._work.set()

    def status_changed(self) -> None:
        """Take note that a part's state has changed."""
        if self._subscribers:
            self._status_changed = True
            self._work.set()

    def restart(self) -> None:
        """Let everyone begin again: notices may have been missed."""
        for subscriber in self._subscribers:
            subscriber.restart()

    async def run(self) -> None:
        """Pass on what changes until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._work.wait()
            self._work.clear()
            begun = loop.time()
            try:
                await self._round()
            except WatchkeeperError as error:
                log.warning("the live stream could not read what changed: %s", error)
                self.restart()
            if self._sessions:
                self._work.set()
            await asyncio.sleep(max(0.0, COALESCE_SECONDS - (loop.time() - begun)))

    async def _round(self) -> None:
        watched = {subscriber.session_id for subscriber in self._subscribers}
        # Those that are watched come first: only they need the calls, which do not wait for another round.
        sessions = sorted(self._sessions, key=lambda one: one not in watched)[:SESSIONS_PER_ROUND]
        for session_id in sessions:
            del self._sessions[session_id]
        calls, self._calls = list(self._calls), {}
        for session_id in [one for one in sessions if one in watched]:
            message = await self._answers.changed_items(session_id, calls)
            self._send(message, session_id)
        if sessions:
            self._send(await self._answers.changed_sessions(sessions))
        if self._status_changed:
            self._status_changed = False
            self._send(await self._answers.status_message())

    def _send(self, message: bytes | None, session_id: str | None = None) -> None:
        if message is None:
            return
        text = message.decode()
        for subscriber in self._subscribers:
            if session_id is None or subscriber.session_id == session_id:
                subscriber.offer(text)
