"""The decider: answers the hook's question about one event, in a process that does nothing else.

``python -m watchkeeper.daemon.decider --home H`` listens on ``run/watchkeeper.sock``. Today's policy is
*observe*: no opinion on anything, so that the agent goes on as if nobody had been asked. The guard takes its
place in `main`.

A connection is one question and one answer. The question is there when the connection is accepted, as a rule, so
it is read, answered and closed at once; only what is incomplete is waited for. The loop is our own rather than
asyncio's: docs/decisions/processes.md has the measurements.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from watchkeeper.daemon.decisions import NO_OPINION, REQUEST, Answer, parse_request_head
from watchkeeper.daemon.sockets import listen_unix, peer_uid
from watchkeeper.errors import FormatError, WatchkeeperError
from watchkeeper.managed import hook_socket_mode, read_managed
from watchkeeper.settings import Places
from watchkeeper.spool.frames import Frame, decode_frames

SILENCE_SECONDS = 5.0
"""A connection whose question is not answered by then is closed; a hook waits far less long."""
OPEN_LIMIT = 128
"""Connections that are waited for. A further one takes the place of the oldest."""
HELD_LIMIT = 16 << 20
"""Bytes of incomplete questions and unsent answers, together. The oldest gives way."""
ACCEPTED_PER_ROUND = 64
"""New connections before those that are waited for, and signals, have their turn."""
READ_BYTES = 64 << 10
REST_SECONDS = 0.5
"""Pause after the process has run out of descriptors."""


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
    """Answers decision requests by one policy, and counts what it answered and refused.

    Args:
        decide: The policy.
        users: In a managed home the user ids of its agents, who may ask beside this user and root, each about
            frames of its own.
    """

    def __init__(self, decide: Callable[[Frame], Answer], users: Collection[int] | None = None) -> None:
        self.decide = decide
        self.users = users
        self.answered = 0
        self.refused = 0

    def admits(self, uid: int) -> bool:
        """Return whether a user may ask."""
        return uid in (os.geteuid(), 0) or (self.users is not None and uid in self.users)

    def answer(self, data: bytes, uid: int | None = None) -> bytes:
        """Return the encoded answer on a frame's bytes, which the user ``uid`` has sent (default: this one).

        Raises:
            FormatError: The bytes are not one whole frame, or in a managed home it names another user.
        """
        frame = decode_single_frame(data)
        asking = os.geteuid() if uid is None else uid
        if self.users is not None and frame.uid != asking:
            raise FormatError("the frame names another user", why=f"user {asking} asks as user {frame.uid}")
        answer = self.decide(frame)
        self.answered += 1
        return answer.encode()

    def refuse(self, why: str) -> None:
        """Count a connection that gets no answer, and say so the first times and then ever more rarely."""
        self.refused += 1
        if self.refused & (self.refused - 1) == 0:
            sys.stderr.write(f"decider: refused {self.refused} so far, now: {why}\n")
            sys.stderr.flush()


class Connection:
    """A connection that is waited for: what it has said so far, or what it has not taken yet."""

    __slots__ = ("deadline", "peer", "received", "uid", "unsent")

    def __init__(self, peer: socket.socket, deadline: float, uid: int) -> None:
        self.peer = peer
        self.uid = uid
        self.deadline = deadline
        self.received = bytearray()
        self.unsent = b""

    @property
    def held(self) -> int:
        """Bytes that are kept for it."""
        return len(self.received) + len(self.unsent)


class DecisionServer:
    """Answers at a listening socket, all in one thread.

    Args:
        decider: Answers the questions.
        listener: Non-blocking.
        silence: Seconds after which a connection without an answer is closed.
    """

    def __init__(self, decider: Decider, listener: socket.socket, silence: float = SILENCE_SECONDS) -> None:
        self._decider = decider
        self._listener = listener
        self._silence = silence
        self._stopping = False
        # In the order of their deadlines, as each has the same time.
        self._waiting: dict[int, Connection] = {}
        self._held = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def run(self) -> None:
        """Answer until `stop`."""
        while not self._stopping:
            for key, _ in self._selector.select(self._patience()):
                key.data()
            self._expire(time.monotonic())

    def stop(self) -> None:
        """Let `run` return after the round that it is in."""
        self._stopping = True

    def close(self) -> None:
        """Close everything but the listener."""
        for connection in list(self._waiting.values()):
            self._close(connection)
        self._selector.close()

    @contextlib.contextmanager
    def stopped_by(self, *numbers: int) -> Iterator[None]:
        """Let signals stop the server; from the main thread only."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in numbers}
        # The byte ends a wait that begins just after the handler has run.
        woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._selector.register(reading, selectors.EVENT_READ, lambda: os.read(reading, 512))
        try:
            yield
        finally:
            self._selector.unregister(reading)
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reading)
            os.close(writing)

    def _patience(self) -> float | None:
        if not self._waiting:
            return None
        return max(0.0, next(iter(self._waiting.values())).deadline - time.monotonic())

    def _accept(self) -> None:
        for _ in range(ACCEPTED_PER_ROUND):
            try:
                peer, _ = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                # Out of descriptors or of memory: what holds them gives way, or is given time to.
                self._decider.refuse(str(error))
                if self._waiting:
                    self._give_way()
                else:
                    time.sleep(REST_SECONDS)
                return
            self._welcome(peer)

    def _welcome(self, peer: socket.socket) -> None:
        uid = peer_uid(peer)
        if not self._decider.admits(uid):
            self._decider.refuse("the peer is another user")
            peer.close()
            return
        peer.setblocking(False)
        connection = Connection(peer, 0.0, uid)
        if self._serve(connection):
            peer.close()
            return
        connection.deadline = time.monotonic() + self._silence
        self._waiting[peer.fileno()] = connection
        self._held += connection.held
        events = selectors.EVENT_WRITE if connection.unsent else selectors.EVENT_READ
        self._selector.register(peer, events, lambda: self._continue(connection))
        while len(self._waiting) > OPEN_LIMIT or self._held > HELD_LIMIT:
            self._give_way()

    def _continue(self, connection: Connection) -> None:
        if connection.peer.fileno() < 0:
            # It gave way to another in this very round.
            return
        held, sending = connection.held, bool(connection.unsent)
        done = self._serve(connection)
        self._held += connection.held - held
        if done:
            self._close(connection)
        elif connection.unsent and not sending:
            self._selector.modify(connection.peer, selectors.EVENT_WRITE, lambda: self._continue(connection))
        while self._held > HELD_LIMIT:
            self._give_way()

    def _serve(self, connection: Connection) -> bool:
        """Go on with a connection as far as it goes without waiting; return whether it is done with."""
        try:
            if not connection.unsent:
                question = _read(connection)
                connection.received = bytearray()
                connection.unsent = self._decider.answer(question, connection.uid)
            connection.unsent = connection.unsent[connection.peer.send(connection.unsent) :]
        except BlockingIOError:
            return False
        except FormatError as error:
            self._decider.refuse(str(error))
            return True
        except OSError:
            # The hook has given up: nobody is left to answer.
            return True
        return not connection.unsent

    def _expire(self, now: float) -> None:
        while self._waiting and next(iter(self._waiting.values())).deadline <= now:
            self._give_way()

    def _give_way(self) -> None:
        oldest = next(iter(self._waiting.values()))
        self._decider.refuse("the question or the taking of its answer took too long")
        self._close(oldest)

    def _close(self, connection: Connection) -> None:
        del self._waiting[connection.peer.fileno()]
        self._held -= connection.held
        self._selector.unregister(connection.peer)
        connection.peer.close()


def _read(connection: Connection) -> bytes:
    """Return the frame asked about.

    Raises:
        BlockingIOError: It is not all there.
        ConnectionError: The peer has closed.
        FormatError: It is no question.
    """
    data = connection.peer.recv(READ_BYTES)
    if not data:
        raise ConnectionResetError("the peer has closed")
    if connection.received or not _is_whole(data):
        connection.received += data
        while not _is_whole(connection.received):
            if not (data := connection.peer.recv(READ_BYTES)):
                raise ConnectionResetError("the peer has closed")
            connection.received += data
        data = bytes(connection.received)
    return data[REQUEST.size :]


def _is_whole(data: bytes | bytearray) -> bool:
    """Return whether a question is all there.

    Raises:
        FormatError: It is none, or something follows it.
    """
    if len(data) < REQUEST.size:
        return False
    _, length = parse_request_head(bytes(data[: REQUEST.size]))
    if len(data) > REQUEST.size + length:
        raise FormatError("more follows than one question", why=f"a frame of {length} bytes was announced")
    return len(data) == REQUEST.size + length


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


def serve(decider: Decider, path: Path, mode: int = 0o600) -> None:
    """Answer at the path until SIGTERM or SIGINT.

    Raises:
        LockedError: Another decider answers there.
        OSError: The socket cannot be bound.
    """
    with listen_unix(path, mode=mode) as listener:
        identity = listening_at(path)
        server = DecisionServer(decider, listener)
        with contextlib.closing(server), server.stopped_by(signal.SIGTERM, signal.SIGINT):
            gc.collect()
            gc.freeze()
            server.run()
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
        managed = read_managed(places)
        decider = Decider(observe, managed.users if managed else None)
        serve(decider, places.decider_socket, hook_socket_mode(places))
    except (WatchkeeperError, OSError) as error:
        sys.stderr.write(f"decider: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
