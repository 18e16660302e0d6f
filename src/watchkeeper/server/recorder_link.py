"""The server's end of the recorder's control socket: follows what changes, and passes questions on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from watchkeeper.client.sockets import not_running, socket_address
from watchkeeper.errors import DaemonError

Document = TypeVar("Document")

log = logging.getLogger("watchkeeper.server")

LONGEST_LINE = 64 << 20
FIRST_DELAY = 0.05
"""Seconds before the first new attempt to reach the recorder; doubled each time."""
LONGEST_DELAY = 2.0
ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 0.5


class Notice(msgspec.Struct):
    """One line of the recorder's stream."""

    event: str = ""
    sessions: list[str] = []
    calls: list[str] = []


class RecorderLink:
    """Follows the recorder for as long as `run` does, across its restarts.

    Args:
        path: The recorder's socket.
        on_notice: Called for each line of the stream.
        on_state: Called with whether the recorder is there, each time that changes. What happened while it
            was not followed is not told afterwards.
    """

    def __init__(
        self, path: Path, on_notice: Callable[[Notice], None], on_state: Callable[[bool], None]
    ) -> None:
        self._path = path
        self._on_notice = on_notice
        self._on_state = on_state
        self.up = False

    async def run(self) -> None:
        """Follow until cancelled."""
        delay = FIRST_DELAY
        while True:
            try:
                await self._follow()
                delay = FIRST_DELAY
            except DaemonError as error:
                log.debug("%s", error)
            if self.up:
                delay = FIRST_DELAY
                self._set(up=False)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    async def ask(self, request: dict[str, Any], timeout: float = ANSWER_SECONDS) -> dict[str, Any]:  # noqa: ASYNC109 - the recorder's own words
        """Return the recorder's answer to one request.

        Raises:
            DaemonError: It does not answer within ``timeout`` seconds, or refuses.
        """
        try:
            async with asyncio.timeout(timeout), self._lines(request) as reader:
                answer = _decode(await reader.readline(), dict[str, Any], self._path)
        except (OSError, TimeoutError, ValueError) as error:
            raise not_running(self._path, error) from error
        if answer.get("ok") is not True:
            raise _refusal(answer, self._path)
        return answer

    async def _follow(self) -> None:
        try:
            async with self._lines({"op": "subscribe"}) as reader:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = _decode(await reader.readline(), dict[str, Any], self._path)
                if answer.get("ok") is not True:
                    raise _refusal(answer, self._path)
                self._set(up=True)
                while line := await reader.readline():
                    self._on_notice(_decode(line, Notice, self._path))
        except (OSError, TimeoutError, ValueError) as error:
            raise not_running(self._path, error) from error

    @contextlib.asynccontextmanager
    async def _lines(self, request: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
        with socket_address(self._path) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=LONGEST_LINE)
        try:
            writer.write(msgspec.json.encode(request) + b"\n")
            await writer.drain()
            yield reader
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _set(self, *, up: bool) -> None:
        self.up = up
        self._on_state(up)


async def accepts(path: Path) -> bool:
    """Return whether a process accepts connections at a socket of this home."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            with socket_address(path) as address:
                _, writer = await asyncio.open_unix_connection(address)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _decode(line: bytes, kind: type[Document], path: Path) -> Document:
    if not line:
        raise not_running(path, ConnectionResetError("it closed the connection"))
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError as error:
        raise DaemonError(
            "the recorder's answer is not understood", why=str(error), place=str(path)
        ) from error


def _refusal(answer: dict[str, Any], path: Path) -> DaemonError:
    error = answer.get("error")
    if isinstance(error, dict):
        words = {name: str(error.get(name) or "") for name in ("why", "hint", "place")}
        return DaemonError(str(error.get("what") or "the recorder refused"), **words)
    return DaemonError("the recorder refused", why=str(error or "it gave no reason"), place=str(path))
