"""The recorder's control socket, as commands use it: one JSON request a line, one JSON answer a line.

Quick commands import this module, so it takes nothing but the standard library's sockets and JSON.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from watchkeeper.client.sockets import connect, not_running
from watchkeeper.errors import DaemonError
from watchkeeper.settings import Places

LONGEST_LINE = 64 << 20
"""Bytes of one answer that are taken before the other end is called broken."""
SYNC_SLACK = 3.0
"""Seconds beyond a sync's own time limit before the recorder is called silent."""
LONG_WORK = 3600.0
"""Seconds that an import or the demo may take."""


class RecorderClient:
    """Asks the recorder of one home; each request has a connection of its own.

    Args:
        places: The home.
        timeout: Seconds to wait for an ordinary answer.
    """

    def __init__(self, places: Places, timeout: float = 2.0) -> None:
        self.path = places.recorder_socket
        self.timeout = timeout

    def ping(self) -> dict[str, Any]:
        """Return ``{"ok", "pid", "ledger_seq"}``; that it returns is what *running* means.

        Raises:
            DaemonError: Nobody answers, or not as the recorder would.
        """
        return self._ask({"op": "ping"}, self.timeout)

    def is_running(self) -> bool:
        """Return whether a recorder answers at this home."""
        try:
            self.ping()
        except DaemonError:
            return False
        return True

    def sync(self, timeout_ms: int = 2000) -> dict[str, Any]:
        """Wait until all that was spooled or written to transcripts before is on record.

        Returns:
            ``{"ok", "ledger_seq", "stale_ms"}``; ``stale_ms`` is 0 when everything is on record.

        Raises:
            DaemonError: Nobody answers.
        """
        return self._ask({"op": "sync", "timeout_ms": timeout_ms}, timeout_ms / 1000 + SYNC_SLACK)

    def status(self) -> dict[str, Any]:
        """Return the recorder's own state.

        Raises:
            DaemonError: Nobody answers.
        """
        return _part(self._ask({"op": "status"}, self.timeout), "status")

    def import_paths(self, paths: Sequence[str] | None = None) -> dict[str, Any]:
        """Read transcripts, those of all known folders without ``paths``.

        Returns:
            ``{"files", "lines", "observations", "skipped"}``.

        Raises:
            DaemonError: Nobody answers, or the recorder refused.
        """
        wanted = None if paths is None else [str(path) for path in paths]
        return _part(self._ask({"op": "import", "paths": wanted}, LONG_WORK), "report")

    def demo(self) -> dict[str, Any]:
        """Load the packaged demo sessions.

        Raises:
            DaemonError: Nobody answers, or the recorder refused.
        """
        return self._ask({"op": "demo"}, LONG_WORK)

    def rotate_key(self) -> dict[str, Any]:
        """Let the ledger be signed by a new key from here on; return its public half.

        Raises:
            DaemonError: Nobody answers, or the recorder refused.
        """
        return _part(self._ask({"op": "rotate-key"}, self.timeout), "key")

    def forget(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let something be erased for good; return the report.

        Args:
            request: ``what``, ``why``, and ``secret`` (base64) or ``sessions``.

        Raises:
            DaemonError: Nobody answers, or the recorder refused.
        """
        return _part(self._ask({"op": "forget", "request": request}, LONG_WORK), "report")

    def housekeeping(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Let the archive be brought within retention and budget; return the report.

        Raises:
            DaemonError: Nobody answers, or the recorder refused.
        """
        return _part(self._ask({"op": "housekeeping", "dry_run": dry_run}, LONG_WORK), "report")

    def subscribe(self) -> Iterator[dict[str, Any]]:
        """Yield what the recorder tells, as it happens; ends when the recorder does.

        Raises:
            DaemonError: Nobody answers.
        """
        with contextlib.closing(connect(self.path, self.timeout)) as connection:
            lines = self._exchange(connection, {"op": "subscribe"})
            _checked(self._next(lines), str(self.path))
            # The recorder is silent while nothing happens.
            connection.settimeout(None)
            while True:
                try:
                    line = next(lines)
                except (StopIteration, OSError):
                    return
                yield _document(line, str(self.path))

    def _ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        with contextlib.closing(connect(self.path, self.timeout)) as connection:
            connection.settimeout(timeout)
            return _checked(self._next(self._exchange(connection, request)), str(self.path))

    def _exchange(self, connection: socket.socket, request: dict[str, Any]) -> Iterator[bytes]:
        try:
            connection.sendall(json.dumps(request, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            raise not_running(self.path, error) from error
        return _lines(connection)

    def _next(self, lines: Iterator[bytes]) -> dict[str, Any]:
        try:
            line = next(lines)
        except StopIteration as error:
            raise not_running(self.path, ConnectionResetError("it closed the connection")) from error
        except OSError as error:
            raise not_running(self.path, error) from error
        return _document(line, str(self.path))


def _lines(connection: socket.socket) -> Iterator[bytes]:
    pending = bytearray()
    while True:
        end = pending.find(b"\n")
        if end >= 0:
            yield bytes(pending[:end])
            del pending[: end + 1]
            continue
        if len(pending) > LONGEST_LINE:
            raise OSError("its answer has no end")
        chunk = connection.recv(65536)
        if not chunk:
            return
        pending += chunk


def _document(line: bytes, place: str) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise DaemonError("the daemon's answer is not JSON", why=str(error), place=place) from error
    if not isinstance(document, dict):
        raise DaemonError("the daemon's answer is not an object", place=place)
    return document


def _checked(answer: dict[str, Any], place: str) -> dict[str, Any]:
    if answer.get("ok") is True:
        return answer
    error = answer.get("error")
    if isinstance(error, dict):
        raise DaemonError(
            str(error.get("what") or "the recorder refused"),
            why=str(error.get("why") or ""),
            hint=str(error.get("hint") or ""),
            place=str(error.get("place") or ""),
        )
    raise DaemonError("the recorder refused", why=str(error or "it gave no reason"), place=place)


def _part(answer: dict[str, Any], name: str) -> dict[str, Any]:
    part = answer.get(name)
    return part if isinstance(part, dict) else {}
