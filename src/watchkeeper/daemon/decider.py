"""The decider: answers the hook's question about one event, in a process that does nothing else.

``python -m watchkeeper.daemon.decider --home H`` listens on ``run/watchkeeper.sock``. Today's policy is
*observe*: no opinion on anything, so that the agent goes on as if nobody had been asked. The guard takes its
place in `main`.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # asyncio imports ssl only to offer it, and OpenSSL costs 4.5 MB that a Unix socket has no use for.
    sys.modules["ssl"] = None  # type: ignore[assignment]

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from watchkeeper.daemon.decisions import NO_OPINION, REQUEST, Answer, parse_request_head
from watchkeeper.daemon.sockets import is_trusted_peer, listen_unix
from watchkeeper.errors import FormatError, WatchkeeperError
from watchkeeper.settings import Places
from watchkeeper.spool.frames import Frame, decode_frames

SILENCE_SECONDS = 5.0
"""A connection that has not completed a request by then is closed."""


def observe(_frame: Frame) -> Answer:
    """Return no opinion, whatever the event."""
    return NO_OPINION


def decode_single_frame(data: bytes) -> Frame:
    """Return the one frame that the bytes are.

    Raises:
        FormatError: They are no frame, more than one, or damaged.
    """
    found = next(decode_frames(data), None)
    if found is None or found.frame is None:
        reason = found.damage.reason if found and found.damage else "it is empty"
        raise FormatError("the request holds no frame", why=reason)
    if found.end != len(data):
        raise FormatError(
            "the request holds more than one frame", why=f"{len(data) - found.end} bytes follow"
        )
    return found.frame


class Decider:
    """Answers decision requests by one policy, and counts what it answered and refused."""

    def __init__(self, decide: Callable[[Frame], Answer]) -> None:
        self.decide = decide
        self.answered = 0
        self.refused = 0

    def answer(self, data: bytes) -> bytes:
        """Return the encoded answer on a frame's bytes.

        Raises:
            FormatError: The bytes are not one whole frame.
        """
        answer = self.decide(decode_single_frame(data))
        self.answered += 1
        return answer.encode()

    def protocol(self) -> DecisionProtocol:
        """Return the handler of a new connection."""
        return DecisionProtocol(self)

    def refuse(self, why: str) -> None:
        """Count a connection that gets no answer, and say so the first times and then ever more rarely."""
        self.refused += 1
        if self.refused & (self.refused - 1) == 0:
            sys.stderr.write(f"decider: refused {self.refused} so far, now: {why}\n")
            sys.stderr.flush()


class DecisionProtocol(asyncio.Protocol):
    """One connection: requests one after the other, each answered as soon as it is whole."""

    __slots__ = ("decider", "frame_length", "loop", "received", "silence", "transport")

    def __init__(self, decider: Decider) -> None:
        self.decider = decider
        self.received = bytearray()
        self.frame_length = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close what comes from another user."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.silence = self.loop.call_later(SILENCE_SECONDS, transport.abort)
        connection: socket.socket = transport.get_extra_info("socket")
        if not is_trusted_peer(connection):
            self.decider.refuse("the peer is another user")
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are whole; close at the first that is none."""
        self.received += data
        try:
            while self._answer_one():
                pass
        except FormatError as error:
            self.decider.refuse(str(error))
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the protocol's own name
        """Forget the connection's time limit."""
        self.silence.cancel()

    def _answer_one(self) -> bool:
        if not self.frame_length:
            if len(self.received) < REQUEST.size:
                return False
            _, self.frame_length = parse_request_head(bytes(self.received[: REQUEST.size]))
        end = REQUEST.size + self.frame_length
        if len(self.received) < end:
            return False
        answer = self.decider.answer(bytes(self.received[REQUEST.size : end]))
        del self.received[:end]
        self.frame_length = 0
        self.transport.write(answer)
        self.silence.cancel()
        self.silence = self.loop.call_later(SILENCE_SECONDS, self.transport.abort)
        return True


def listening_at(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the socket at a path, or None when there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def withdraw(path: Path) -> None:
    """Remove the socket, so that the next hook learns at once that nobody listens."""
    path.unlink(missing_ok=True)


async def serve(decider: Decider, path: Path) -> None:
    """Answer at the path until SIGTERM or SIGINT.

    Raises:
        LockedError: Another decider answers there.
        OSError: The socket cannot be bound.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = listen_unix(path)
    identity = listening_at(path)
    server = await loop.create_unix_server(decider.protocol, sock=listener)
    gc.collect()
    gc.freeze()
    await stop.wait()
    server.close()
    if listening_at(path) == identity:
        # Otherwise another decider has taken the place over.
        withdraw(path)
    sys.stderr.write(f"decider: stops after {decider.answered} answers, {decider.refused} refused\n")


def main(arguments: Sequence[str]) -> int:
    """Serve the home that ``--home`` names; the one place where the policy is chosen."""
    if len(arguments) != 2 or arguments[0] != "--home":
        sys.stderr.write("Usage: python -m watchkeeper.daemon.decider --home H\n")
        return 2
    places = Places(Path(arguments[1]))
    try:
        asyncio.run(serve(Decider(observe), places.decider_socket))
    except (WatchkeeperError, OSError) as error:
        sys.stderr.write(f"decider: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
