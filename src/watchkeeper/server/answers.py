"""What the routes answer: queries of the store, checked against the published shapes, encoded in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from watchkeeper import __version__
from watchkeeper.errors import DaemonError
from watchkeeper.queries import models
from watchkeeper.queries.calls import get_call
from watchkeeper.queries.coverage import coverage
from watchkeeper.queries.sessions import get_session, list_sessions, resolve_session, sessions_by_id
from watchkeeper.queries.status import counts
from watchkeeper.queries.timeline import timeline
from watchkeeper.server.readers import Readers
from watchkeeper.server.recorder_link import RecorderLink, accepts
from watchkeeper.server.slimming import LONG_ANSWER, Slimming
from watchkeeper.server.watched import WatchedTimelines
from watchkeeper.settings import Places
from watchkeeper.store.sqlite.reading import Reader

READ_THREADS = 3
STATUS_SECONDS = 1.0
"""How long an answer waits for the recorder's own state."""
HELLO_SESSIONS = 100
"""Rows of the session list in the first message of a live stream."""
NO_IMPORT: dict[str, Any] = {
    "running": False,
    "files_total": 0,
    "files_done": 0,
    "bytes_total": 0,
    "bytes_done": 0,
    "skipped": 0,
    "finished_at": None,
}


class Answers:
    """The answers for one home. Each is an encoded JSON document.

    Args:
        places: The home.
        link: The recorder, which knows the state of the parts.
    """

    def __init__(self, places: Places, link: RecorderLink) -> None:
        self._places = places
        self._link = link
        self._readers = Readers(places, READ_THREADS, "read")
        # Of its own, so that a slow question does not delay what browsers watch.
        self._live_readers = Readers(places, 1, "live")
        self._watched = WatchedTimelines()
        self._slimming = Slimming()

    def close(self) -> None:
        """Close the connections to the store."""
        self._readers.close()
        self._live_readers.close()

    async def sessions(self, **wanted: Any) -> bytes:
        """Return a `SessionList`; the arguments are those of `list_sessions`."""
        return await self._encoded(models.SessionList, lambda reader: list_sessions(reader, **wanted))

    async def session(self, session_id: str) -> bytes:
        """Return a `SessionDetail`.

        Raises:
            NotFoundError: No such session.
        """
        return await self._encoded(models.SessionDetail, lambda reader: get_session(reader, session_id))

    async def timeline(self, session_id: str, cursor: str | None, limit: int) -> bytes:
        """Return a `Timeline`.

        Raises:
            NotFoundError: No such session.
        """

        def query(reader: Reader) -> dict[str, Any]:
            return timeline(reader, resolve_session(reader, session_id), cursor=cursor, limit=limit)

        return await self._encoded(models.Timeline, query)

    async def call(self, tool_use_id: str) -> bytes:
        """Return a `CallDetail`.

        Raises:
            NotFoundError: No such call.
        """
        return await self._encoded(models.CallDetail, lambda reader: get_call(reader, tool_use_id))

    async def coverage(self, session_id: str | None) -> bytes:
        """Return a `CoverageReport`.

        Raises:
            NotFoundError: No such session.
        """

        def query(reader: Reader) -> dict[str, Any]:
            return coverage(reader, resolve_session(reader, session_id) if session_id else None)

        return await self._encoded(models.CoverageReport, query)

    async def status(self) -> bytes:
        """Return a `Status`."""
        return msgspec.json.encode(await self._status(self._readers))

    async def counts(self) -> Mapping[str, Any]:
        """Return the number of sessions, tool calls and ledger entries."""
        return await self._readers.run(counts)

    async def parts(self) -> dict[str, str]:
        """Return the parts of the daemon, each ``up`` or ``down``."""
        decider = await accepts(self._places.decider_socket)
        states = {"decider": decider, "recorder": self._link.up, "server": True}
        return {part: "up" if state else "down" for part, state in states.items()}

    async def hello(self, session_id: str | None) -> bytes:
        """Return the message that a live stream begins with."""
        status, listed = await asyncio.gather(
            self._status(self._live_readers),
            self._live_readers.run(lambda reader: list_sessions(reader, limit=HELLO_SESSIONS)),
        )
        rows = msgspec.convert(listed["sessions"], list[models.SessionRow])
        return msgspec.json.encode(
            models.LiveMessage(type="hello", sessions=rows, session_id=session_id, status=status)
        )

    async def status_message(self) -> bytes:
        """Return a live message with the state of the parts."""
        return msgspec.json.encode(
            models.LiveMessage(type="status", status=await self._status(self._live_readers))
        )

    async def changed_sessions(self, session_ids: list[str]) -> bytes | None:
        """Return a live message with the rows of sessions; ``None`` when none of them is on record."""
        return await self._live_readers.run(lambda reader: _sessions_message(reader, session_ids))

    async def watch(self, session_id: str) -> None:
        """Take note of a session's timeline as it is now; `changed_items` tells what differs from then on."""
        await self._live_readers.run(lambda reader: self._watched.start(reader, session_id))
        # The whole timeline has been read.
        self._slimming.answered(LONG_ANSWER)

    async def unwatch(self, session_id: str) -> None:
        """Forget a session that nobody watches any more."""
        await self._live_readers.run(lambda _: self._watched.stop(session_id))

    async def changed_items(
        self, session_id: str, tool_use_ids: list[str]
    ) -> tuple[bytes | None, float | None]:
        """Return a live message with what is new in a watched timeline, and in how many seconds to look again."""

        def query(reader: Reader) -> tuple[bytes | None, float | None]:
            items, again = self._watched.changes(reader, session_id, tool_use_ids)
            return _items_message(session_id, items), again

        return await self._live_readers.run(query)

    async def _encoded(self, kind: type[msgspec.Struct], query: Callable[[Reader], dict[str, Any]]) -> bytes:
        answer = await self._readers.run(
            lambda reader: msgspec.json.encode(msgspec.convert(query(reader), kind))
        )
        self._slimming.answered(len(answer))
        return answer

    async def _status(self, readers: Readers) -> models.Status:
        try:
            recorder = (await self._link.ask({"op": "status"}, STATUS_SECONDS)).get("status") or {}
        except DaemonError:
            recorder = {}
        counted = await readers.run(counts)
        status = {
            "version": __version__,
            "home": str(self._places.home),
            **counted,
            "import_progress": {**NO_IMPORT, **(recorder.get("import_progress") or {})},
            "parts": await self.parts(),
            "hooks_installed": recorder.get("hooks_installed"),
            "demo_available": not counted["sessions"] and not counted["tool_calls"],
        }
        return msgspec.convert(status, models.Status)


def _sessions_message(reader: Reader, session_ids: list[str]) -> bytes | None:
    rows = sessions_by_id(reader, session_ids)
    if not rows:
        return None
    sessions = msgspec.convert(rows, list[models.SessionRow])
    return msgspec.json.encode(models.LiveMessage(type="sessions", sessions=sessions))


def _items_message(session_id: str, items: list[dict[str, Any]]) -> bytes | None:
    if not items:
        return None
    converted = msgspec.convert(items, list[models.TimelineItem])
    return msgspec.json.encode(models.LiveMessage(type="items", session_id=session_id, items=converted))
