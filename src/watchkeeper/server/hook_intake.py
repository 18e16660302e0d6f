"""Takes the events of agents that can run no program: one POST becomes one frame of the spool."""

from __future__ import annotations

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor

from watchkeeper.client.sockets import socket_address
from watchkeeper.errors import UsageError
from watchkeeper.settings import Places
from watchkeeper.spool.frames import FrameKind
from watchkeeper.spool.writer import append_frame

BODY_LIMIT = 16 << 20
"""Bytes of one payload."""


class HookIntake:
    """Writes payloads to the spool, on a thread of its own.

    Args:
        places: The home.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hook")
        self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._bell.setblocking(False)

    async def take(self, payload: bytes) -> str:
        """Append a payload and return its source; from then on only the machine itself can lose it.

        Raises:
            UsageError: It is no JSON object.
            WatchkeeperError: It cannot be stored.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._append, payload)

    def close(self) -> None:
        """Finish what was accepted."""
        self._pool.shutdown(wait=True)
        self._bell.close()

    def _append(self, payload: bytes) -> str:
        check_payload(payload)
        source = append_frame(self._places.spool, payload, kind=FrameKind.HTTP_EVENT)
        self._ring()
        return source

    def _ring(self) -> None:
        try:
            with socket_address(self._places.doorbell_socket) as address:
                self._bell.sendto(b"!", address)
        except OSError:
            # Nobody listens, or the bell is ringing already: the spool is followed all the same.
            return


def check_payload(payload: bytes) -> None:
    """Check that a payload is a JSON object, as leniently as agents write it.

    Raises:
        UsageError: It is not.
    """
    try:
        document = json.loads(payload)
    except RecursionError:
        # Deeper than this reader goes, and still an event: it is recorded as it came.
        return
    except ValueError as error:
        raise UsageError(
            "the event is not JSON",
            why=str(error)[:200],
            hint="Send the hook's input as it is.",
            place="body",
        ) from error
    if not isinstance(document, dict):
        raise UsageError(
            "the event is not a JSON object", hint="Send the hook's input as it is, one event.", place="body"
        )
