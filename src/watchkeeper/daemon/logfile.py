"""The daemon's log: appended by every part, cut at a size, one old file kept."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

LOG_BYTES = 5 << 20
"""Size at which the log is moved aside."""


class LogFile:
    """The open log; the parts inherit its descriptor as their standard output and error.

    All writers hold the same file in append mode, so it is copied and cut rather than renamed: a renamed file
    would keep receiving what the living parts write. A line written between copy and cut may be lost.
    """

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self.path = path
        self.limit = limit
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self.descriptor = os.open(path, flags, 0o600)

    def write(self, text: str) -> None:
        """Append one line with the time (UTC) in front."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.write(self.descriptor, f"{stamp} {text}\n".encode())

    def rotate(self) -> bool:
        """Move the content to ``<name>.1`` when it has reached the limit; return whether it was moved."""
        if os.fstat(self.descriptor).st_size < self.limit:
            return False
        old = self.path.with_name(f"{self.path.name}.1")
        shutil.copyfile(self.path, old)
        old.chmod(0o600)
        os.ftruncate(self.descriptor, 0)
        return True

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)
