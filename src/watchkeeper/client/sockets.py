"""Connections to the daemon's Unix sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from watchkeeper.errors import DaemonError

LONGEST_ADDRESS = 100
"""Bytes that every platform's ``sun_path`` takes (104 on macOS, 108 on Linux, with its end mark)."""
NOT_RUNNING = "Start it with `wk up`."


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield an address that names the path's socket, also where the path is too long for a socket's name.

    Raises:
        DaemonError: The path is too long on a platform that has no way around it.
        OSError: The socket's folder cannot be opened.
    """
    if len(os.fsencode(path)) <= LONGEST_ADDRESS:
        yield str(path)
        return
    if not sys.platform.startswith("linux"):
        raise DaemonError(
            "the home's path is too long for a socket",
            hint="Choose a shorter WATCHKEEPER_HOME.",
            place=str(path),
        )
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def connect(path: Path, timeout: float) -> socket.socket:
    """Return a stream socket connected to ``path``; ``timeout`` (seconds) holds for later operations too.

    Raises:
        DaemonError: Nobody listens there: no file, a stale one, or no answer in time.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        with socket_address(path) as address:
            connection.connect(address)
    except OSError as error:
        connection.close()
        raise not_running(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def not_running(path: Path, error: Exception) -> DaemonError:
    """Return the error for a socket that nobody answers at."""
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return DaemonError("the daemon is not running", hint=NOT_RUNNING, place=str(path))
    return DaemonError(
        "the daemon does not answer",
        why=str(error) or type(error).__name__,
        hint=NOT_RUNNING,
        place=str(path),
    )
