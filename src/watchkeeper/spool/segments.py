"""Segment files: their names, their lock, and who may own them.

``current.wks`` is being appended to; a *sealed* segment has no write bit, so that a writer which waited for
its lock sees that it came too late; a *private* one has a single frame from a writer that could not wait.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from pathlib import Path

from watchkeeper.errors import WatchkeeperError

CURRENT = "current.wks"
SEALED_MODE = 0o400
_NAME = re.compile(r"(private-)?([0-9a-f]{16})-([0-9a-f]{32})\.wks")
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class SpoolError(WatchkeeperError):
    """The spool cannot be written to, sealed or cleaned."""

    code = "spool"


def segment_name(created_ns: int, segment: bytes, *, private: bool = False) -> str:
    """Return the file name of a sealed or private segment."""
    return f"{'private-' if private else ''}{created_ns:016x}-{segment.hex()}.wks"


def parse_segment_name(name: str) -> tuple[int, bytes] | None:
    """Return time of creation (nanoseconds) and id out of a file name; None for all other names."""
    found = _NAME.fullmatch(name)
    return (int(found[2], 16), bytes.fromhex(found[3])) if found else None


def frame_source(segment: bytes, offset: int) -> str:
    """Return the identity of a frame: ``spool:<segment id>:<offset>``."""
    return f"spool:{segment.hex()}:{offset}"


def lock_segment(file: int, seconds: float) -> bool:
    """Take the exclusive lock within some time; closing the file or :func:`unlock_segment` gives it back."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.00005)
        else:
            return True


def unlock_segment(file: int) -> None:
    """Give the lock back."""
    fcntl.flock(file, fcntl.LOCK_UN)


def is_writable(status: os.stat_result) -> bool:
    """Return whether writers may still append: the file has a name and its write bit."""
    return status.st_nlink > 0 and bool(status.st_mode & stat.S_IWUSR)


def refusal(status: os.stat_result, owner: int) -> str | None:
    """Return why a file cannot be a segment of this owner, or None when it can."""
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if status.st_uid != owner:
        return f"owned by {status.st_uid}, not by {owner}"
    if status.st_mode & 0o022:
        return "writable by others"
    return None


def open_directory(name: str | Path, at: int | None = None) -> int | None:
    """Open a folder that is no symbolic link; None when there is no such folder."""
    try:
        return os.open(name, _DIRECTORY_FLAGS, dir_fd=at)
    except OSError as problem:
        if problem.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES}:
            return None
        raise


def list_names(directory: int) -> list[str]:
    """Return the names in an open folder, sorted."""
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries)
