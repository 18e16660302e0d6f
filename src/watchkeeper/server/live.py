"""The live stream: what the recorder says has changed, queried once and sent to every browser that watches.

A browser that reads too slowly loses its queue and gets a fresh ``hello`` instead, after which it loads its
timeline anew; it never delays the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from watchkeeper.errors import WatchkeeperError

log = logging.getLogger("watchkeeper.server")

QUEUE_MESSAGES = 256
QUEUE_BYTES = 4 << 20
"""A queue beyond either limit is given up."""
COALESCE_SECONDS = 0.03
"""The least time between two rounds; the first notice after a pause is passed on at once."""
PAUSE_SECONDS = 1.0
"""After a round that failed."""
TOTALS_SECONDS = 1.0
"""From a change to the totals and the progress of an import that it moves: they tick no faster than that."""
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

    async def watch(self, session_id: str) -> None:
        """Begin to tell what changes in a session's timeline."""

    async def unwatch(self, session_id: str) -> None:
        """Stop telling it."""

    async def changed_items(
        self, session_id: str, tool_use_ids: list[str]
    ) -> tuple[bytes | None, float | None]:
        """Return a message with what has changed in a watched timeline, and when to look again.

        The message is ``None`` when nothing has changed, the seconds are when everything has been looked at.
        """


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
        self._again: set[str] = set()
        self._status_changed = False
        self._totals_due = False
        self._work = asyncio.Event()

    async def join(self, session_id: str | None) -> Subscriber:
        """Return a new subscriber, which watches a session or none."""
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        await self.watch(subscriber, session_id)
        return subscriber

    async def leave(self, subscriber: Subscriber) -> None:
        """Forget a subscriber."""
        self._subscribers.discard(subscriber)
        await self._unwatch(subscriber.session_id)

    async def watch(self, subscriber: Subscriber, session_id: str | None) -> None:
        """Let a subscriber watch another session; every change after this returns is sent to it."""
        before, subscriber.session_id = subscriber.session_id, session_id
        if session_id is not None:
            await self._answers.watch(session_id)
        if before != session_id:
            await self._unwatch(before)

    def changed(self, sessions: Iterable[str], calls: Iterable[str] = ()) -> None:
        """Take note that sessions, and calls in them, have changed; costs nothing while nobody watches."""
        if self._subscribers:
            self._sessions.update(dict.fromkeys(sessions))
            self._calls.update(dict.fromkeys(calls))
            self._work.set()
            self._tell_totals_soon()

    def _tell_totals_soon(self) -> None:
        if not self._totals_due:
            self._totals_due = True
            asyncio.get_running_loop().call_later(TOTALS_SECONDS, self._tell_totals)

    def _tell_totals(self) -> None:
        self._totals_due = False
        self.status_changed()

    def status_changed(self) -> None:
        """Take note that a part's state has changed."""
        if self._subscribers:
            self._status_changed = True
            self._work.set()

    def resume(self) -> None:
        """Let everyone begin again, and look at all that is watched: notices may have been missed."""
        for subscriber in self._subscribers:
            subscriber.restart()
        self.changed(self._watched())

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
                self.resume()
                await asyncio.sleep(PAUSE_SECONDS)
            if self._sessions:
                self._work.set()
            await asyncio.sleep(max(0.0, COALESCE_SECONDS - (loop.time() - begun)))

    async def _round(self) -> None:
        watched = self._watched()
        # Those that are watched come first: only they need the calls, which do not wait for another round.
        sessions = sorted(self._sessions, key=lambda one: one not in watched)[:SESSIONS_PER_ROUND]
        for session_id in sessions:
            del self._sessions[session_id]
        calls, self._calls = list(self._calls), {}
        for session_id in [one for one in sessions if one in watched]:
            message, again = await self._answers.changed_items(session_id, calls)
            self._send(message, session_id)
            if again is not None:
                self._look_again(session_id, again)
        if sessions:
            self._send(await self._answers.changed_sessions(sessions))
        if self._status_changed:
            self._status_changed = False
            self._send(await self._answers.status_message())

    def _look_again(self, session_id: str, seconds: float) -> None:
        if session_id not in self._again:
            self._again.add(session_id)
            asyncio.get_running_loop().call_later(seconds, self._due, session_id)

    def _due(self, session_id: str) -> None:
        self._again.discard(session_id)
        if session_id in self._watched():
            self.changed([session_id])

    def _watched(self) -> set[str]:
        return {one.session_id for one in self._subscribers if one.session_id is not None}

    async def _unwatch(self, session_id: str | None) -> None:
        if session_id is not None and session_id not in self._watched():
            await self._answers.unwatch(session_id)

    def _send(self, message: bytes | None, session_id: str | None = None) -> None:
        if message is None:
            return
        text = message.decode()
        for subscriber in self._subscribers:
            if session_id is None or subscriber.session_id == session_id:
                subscriber.offer(text)
