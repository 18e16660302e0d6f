"""The writer lock: whoever holds it is the one process that appends, migrates or rebuilds."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from watchkeeper.errors import LockedError


class WriterLock:
    """An advisory lock on a file and on the home two folders above it, released by the kernel when its holder dies.

    The file alone would not do: whoever removes it, or its folder, would let a second writer in.

    Raises:
        LockedError: Another process holds it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        home = os.open(path.parent.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._descriptors = (file, home)
        try:
            for descriptor in self._descriptors:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise LockedError(
                "another process is recording",
                hint="Wait for it, or ask the daemon: it answers every command.",
                place=str(path),
            ) from error

    def release(self) -> None:
        """Let the next writer in."""
        for descriptor in self._descriptors:
            os.close(descriptor)
