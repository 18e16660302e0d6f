"""Unix sockets of the daemon: bound atomically, owner-only, reclaimed when stale, closed to other users."""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

from watchkeeper.client.sockets import socket_address
from watchkeeper.errors import LockedError

BACKLOG = 1024
LOCAL_PEERCRED = 1
"""``getsockopt`` name on macOS, level 0 (``sys/un.h``)."""


def connect_unix(path: Path, *, timeout: float, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket connected to the path; ``timeout`` (seconds) also holds for what follows on it.

    Raises:
        OSError: Nobody listens there, or not in time.
    """
    connection = socket.socket(socket.AF_UNIX, kind)
    try:
        connection.settimeout(timeout)
        with socket_address(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def listen_unix(path: Path, *, kind: int = socket.SOCK_STREAM, mode: int = 0o600) -> socket.socket:
    """Return a non-blocking socket that listens at the path, by default with mode 0600.

    It is bound beside the path and renamed onto it, so that nobody ever finds a socket that does not listen
    yet. What a dead process left at the path is replaced.

    Raises:
        LockedError: A living process answers at the path.
    """
    if is_answered(path, kind):
        raise LockedError("another process listens already", hint="Stop it first.", place=str(path))
    listener = socket.socket(socket.AF_UNIX, kind)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        with socket_address(fresh) as address:
            listener.bind(address)
        if mode != 0o600:
            fresh.chmod(mode)
        if kind == socket.SOCK_STREAM:
            listener.listen(BACKLOG)
        listener.setblocking(False)
        fresh.rename(path)
    except BaseException:
        listener.close()
        fresh.unlink(missing_ok=True)
        raise
    finally:
        os.umask(mask)
    return listener


def is_answered(path: Path, kind: int = socket.SOCK_STREAM) -> bool:
    """Return whether a process accepts connections at the path."""
    try:
        connect_unix(path, timeout=1.0, kind=kind).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        # A full backlog or a timeout still means that somebody is there.
        return path.exists()
    return True


def peer_uid(connection: socket.socket) -> int:
    """Return the user id of the process at the other end, as the kernel recorded it at connect."""
    if sys.platform == "darwin":
        credentials = connection.getsockopt(0, LOCAL_PEERCRED, 76)
        return int(struct.unpack_from("=II", credentials)[1])
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
