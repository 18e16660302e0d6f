"""The recorder's control socket: one JSON request a line, one JSON answer a line, and a stream for subscribers."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from watchkeeper.daemon.sockets import listen_unix, peer_uid
from watchkeeper.errors import UsageError, WatchkeeperError

LONGEST_REQUEST = 1 << 20
QUEUE_LENGTH = 10_000
"""Notices that a slow subscriber may be behind before it is cut off; it then connects again and reads anew."""


class Recorder(Protocol):
    """What the control socket asks of the recorder."""

    @property
    def recording(self) -> Any:
        """The open record."""

    async def sync(self, timeout_ms: int) -> dict[str, Any]:
        """Bring the record up to date."""

    async def import_paths(self, paths: list[str] | None) -> dict[str, Any]:
        """Read transcripts."""

    async def demo(self) -> dict[str, Any]:
        """Load the demo sessions."""

    async def housekeeping(self, *, dry_run: bool) -> dict[str, Any]:
        """Drop what is beyond retention and budget."""

    async def rotate_key(self) -> dict[str, Any]:
        """Sign with a new key."""

    async def forget(self, request: dict[str, Any]) -> dict[str, Any]:
        """Erase something for good."""

    def status(self) -> dict[str, Any]:
        """Return the recorder's own state."""


class Subscribers:
    """Those who follow the record as it grows. A slow one never holds up the recorder."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes | None]] = set()

    def send(self, notice: dict[str, Any]) -> None:
        """Queue a notice for everybody."""
        if not self._queues:
            return
        line = msgspec.json.encode(notice) + b"\n"
        for queue in list(self._queues):
            try:
                queue.put_nowait(line)
            except asyncio.QueueFull:
                self._queues.discard(queue)
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)

    async def follow(self, writer: asyncio.StreamWriter) -> None:
        """Send every notice to one subscriber until it leaves or falls too far behind."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_LENGTH)
        self._queues.add(queue)
        try:
            while (line := await queue.get()) is not None:
                writer.write(line)
                await writer.drain()
        finally:
            self._queues.discard(queue)


class ControlSocket:
    """Serves `run/recorder.sock` to processes of the same user."""

    def __init__(self, path: Path, recorder: Recorder, subscribers: Subscribers) -> None:
        self._path = path
        self._recorder = recorder
        self._subscribers = subscribers
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._operations: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "ping": self._ping,
            "sync": self._sync,
            "status": self._status,
            "import": self._import,
            "demo": self._demo,
            "rotate-key": self._rotate_key,
            "forget": self._forget,
            "housekeeping": self._housekeeping,
        }

    async def open(self) -> None:
        """Listen.

        Raises:
            LockedError: Another recorder answers there.
        """
        listener = listen_unix(self._path)
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=LONGEST_REQUEST)

    async def close(self) -> None:
        """Stop listening and let go of the clients."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            peer = writer.get_extra_info("socket")
            if peer_uid(peer) in {os.getuid(), 0}:
                await self._serve(reader, writer)
        except (ConnectionError, ValueError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = self._parse(line)
            if request.get("op") == "subscribe":
                writer.write(b'{"ok":true}\n')
                await self._until_gone(reader, self._subscribers.follow(writer))
                return
            writer.write(msgspec.json.encode(await self._answer(request)) + b"\n")
            await writer.drain()

    async def _until_gone(self, reader: asyncio.StreamReader, following: Any) -> None:
        follow = asyncio.ensure_future(following)
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({follow, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (follow, gone):
                task.cancel()
            await asyncio.gather(follow, gone, return_exceptions=True)

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}
        return request if isinstance(request, dict) else {}

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            operation = self._operations.get(str(request.get("op")))
            if operation is None:
                raise UsageError(f"unknown operation {request.get('op')!r}", place="op")
            return {"ok": True, **await operation(request)}
        except WatchkeeperError as error:
            return {"ok": False, **error.to_json()}
        except OSError as error:
            return {"ok": False, **WatchkeeperError("the recorder failed", why=str(error)).to_json()}

    async def _ping(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"pid": os.getpid(), "ledger_seq": self._recorder.recording.ledger.next_seq}

    async def _sync(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("timeout_ms", 2000)
        return await self._recorder.sync(wanted if isinstance(wanted, int) else 2000)

    async def _status(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"status": self._recorder.status()}

    async def _import(self, request: dict[str, Any]) -> dict[str, Any]:
        paths = request.get("paths")
        if paths is not None and not (
            isinstance(paths, list) and all(isinstance(path, str) for path in paths)
        ):
            raise UsageError("paths must be a list of texts or null", place="paths")
        return await self._recorder.import_paths(paths)

    async def _demo(self, _request: dict[str, Any]) -> dict[str, Any]:
        return await self._recorder.demo()

    async def _forget(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("request")
        if not isinstance(wanted, dict):
            raise UsageError("request must be an object", place="request")
        return await self._recorder.forget(wanted)

    async def _housekeeping(self, request: dict[str, Any]) -> dict[str, Any]:
        return await self._recorder.housekeeping(dry_run=request.get("dry_run") is True)

    async def _rotate_key(self, _request: dict[str, Any]) -> dict[str, Any]:
        return await self._recorder.rotate_key()
