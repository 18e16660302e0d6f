"""The writer lock: whoever holds it is the one process that appends, migrates or rebuilds."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from watchkeeper.errors import LockedError


class WriterLock:
    """An advisory lock on a file, released by the kernel when its holder dies.

    Raises:
        LockedError: Another process holds it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise LockedError(
                "another process is recording",
                hint="Wait for it, or ask the daemon: it answers every command.",
                place=str(path),
            ) from error

    def release(self) -> None:
        """Let the next writer in."""
        os.close(self._descriptor)
