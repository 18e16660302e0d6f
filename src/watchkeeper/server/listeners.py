"""The two places the server listens at: a loopback port, and a Unix socket for this user's own processes."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import sys
from pathlib import Path

from watchkeeper.client.sockets import socket_address
from watchkeeper.errors import ConfigError, LockedError

BACKLOG = 512
LOCAL_PEERCRED = 1
"""``getsockopt`` name on macOS, level 0 (``sys/un.h``)."""
CONNECT_SECONDS = 1.0


def prepare_run_folder(folder: Path, mode: int = 0o700) -> None:
    """Make the folder of sockets and tokens, or check the one there is; others may do there what ``mode`` says.

    Raises:
        ConfigError: It is not a folder of this user's alone.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigError("the run folder cannot be made", why=str(error), place=str(folder)) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigError(
            "the run folder is not this user's own",
            hint="Choose another WATCHKEEPER_HOME.",
            place=str(folder),
        )
    if found.st_mode & 0o077 & ~mode:
        folder.chmod(mode)


def listen_tcp(port: int) -> socket.socket:
    """Return a socket that is bound to 127.0.0.1; port 0 takes a free one.

    Raises:
        LockedError: Another program has the port.
        ConfigError: The port cannot be used.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        place = f"127.0.0.1:{port}"
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise LockedError(
                f"port {port} is taken by another program",
                hint="Choose another with `wk up --port N` or WATCHKEEPER_PORT.",
                place=place,
            ) from error
        raise ConfigError(
            f"port {port} cannot be used", why=str(error), hint="Choose one from 1024 to 65535.", place=place
        ) from error
    return listener


def listen_unix(path: Path) -> socket.socket:
    """Return a socket that is bound to ``path`` with mode 0600; what a dead process left there is replaced.

    Raises:
        LockedError: A living process listens there.
        ConfigError: The socket cannot be made.
    """
    if _is_answered(path):
        raise LockedError("another server of this home is running", hint="Stop it first.", place=str(path))
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        fresh.unlink(missing_ok=True)
        with socket_address(fresh) as address:
            listener.bind(address)
        fresh.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        # Renamed only now, so that nobody ever finds a socket that does not listen yet.
        fresh.replace(path)
    except OSError as error:
        listener.close()
        fresh.unlink(missing_ok=True)
        raise ConfigError("the socket cannot be made", why=str(error), place=str(path)) from error
    return listener


def is_same_user(connection: socket.socket) -> bool:
    """Return whether the process at the other end of a Unix socket runs as this user."""
    if sys.platform == "darwin":
        credentials = connection.getsockopt(0, LOCAL_PEERCRED, 76)
        return int(struct.unpack_from("=II", credentials)[1]) == os.geteuid()
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1]) == os.geteuid()


def _is_answered(path: Path) -> bool:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(CONNECT_SECONDS)
        try:
            with socket_address(path) as address:
                probe.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            # A full backlog still means that somebody is there.
            return path.exists()
        return True
