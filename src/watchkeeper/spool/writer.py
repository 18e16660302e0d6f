"""Appending frames from Python by the protocol of the native hook: for HTTP hooks and the doctor."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from watchkeeper.spool.frames import (
    FLAG_TRUNCATED,
    PAYLOAD_LIMIT,
    SEGMENT_HEADER,
    Frame,
    FrameKind,
    decode_segment_header,
    encode_frame,
    encode_segment_header,
)
from watchkeeper.spool.segments import (
    CURRENT,
    SEALED_MODE,
    SpoolError,
    frame_source,
    is_writable,
    lock_segment,
    open_directory,
    refusal,
    segment_name,
    unlock_segment,
)

LOCK_SECONDS = 0.002
SEGMENT_LIMIT = 64 << 20
_ATTEMPTS = 8
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@lru_cache(maxsize=1)
def boot_id() -> bytes:
    """Return the 16 bytes that tell this boot of the machine from others; zero where the system has none."""
    try:
        return uuid.UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
    except (OSError, ValueError):
        return bytes(16)


def own_directory(spool: Path) -> int:
    """Open the folder that this user writes to: the spool, or its ``<uid>`` when another owns the spool.

    The group of a spool that another owns may write to the folder as well: its daemon removes what it has read.

    Raises:
        SpoolError: There is no folder that is ours and that nobody else can write to.
    """
    uid = os.geteuid()
    at = open_directory(spool)
    if at is not None:
        status, forbidden = os.fstat(at), 0o022
        if status.st_uid != uid and not status.st_mode & 0o022:
            outer, at, reader = at, open_directory(str(uid), at), status.st_gid
            os.close(outer)
            status = os.fstat(at) if at is not None else status
            forbidden = 0o002 if status.st_gid == reader else 0o022
        if at is not None and status.st_uid == uid and not status.st_mode & forbidden:
            return at
        if at is not None:
            os.close(at)
    raise SpoolError(
        "no spool folder to write to",
        why="it is missing, somebody else's, or writable by others",
        hint="Run: wk install",
        place=str(spool),
    )


def _let_group_read(at: int, file: int) -> bool:
    """Let the folder's group read a new file, where that group may write to the folder; return whether it may."""
    shared = bool(os.fstat(at).st_mode & 0o020)
    if shared and os.fstat(file).st_size == 0:
        os.fchmod(file, 0o640)
    return shared


def _write_whole(file: int, parts: list[bytes], size: int) -> bool:
    """Write everything, or take back what was written and return False (the disk is full)."""
    try:
        written = os.writev(file, parts)
    except OSError:
        return False
    if written == sum(map(len, parts)):
        return True
    os.ftruncate(file, size)
    return False


def _append_locked(file: int, data: bytes, size: int) -> str | None:
    header = os.pread(file, SEGMENT_HEADER.size, 0)
    if size < SEGMENT_HEADER.size:
        # A writer died within its header: no frame can be in there.
        os.ftruncate(file, 0)
        size, header = 0, encode_segment_header(os.urandom(16), time.time_ns())
    known = decode_segment_header(header)
    if known is None or not _write_whole(file, [header, data] if size == 0 else [data], size):
        return None
    return frame_source(known[0], size or SEGMENT_HEADER.size)


def _append_current(at: int, data: bytes, limit: int) -> tuple[str | None, bool]:
    """Return the frame's source, and whether to go elsewhere; neither: the segment was just sealed."""
    try:
        file = os.open(CURRENT, _OPEN | os.O_APPEND, 0o600, dir_fd=at)
    except PermissionError:
        return None, False
    except OSError:
        return None, True
    try:
        if not lock_segment(file, LOCK_SECONDS):
            return None, True
        status = os.fstat(file)
        if refusal(status, os.geteuid()) or status.st_size + len(data) > limit:
            return None, True
        if not is_writable(status):
            return None, False
        _let_group_read(at, file)
        source = _append_locked(file, data, status.st_size)
        unlock_segment(file)
        return source, source is None
    finally:
        os.close(file)


def _append_private(at: int, data: bytes, place: Path) -> str:
    segment, created_ns = os.urandom(16), time.time_ns()
    name = segment_name(created_ns, segment, private=True)
    try:
        file = os.open(name, _OPEN | os.O_EXCL, 0o600, dir_fd=at)
        shared = _let_group_read(at, file)
    except OSError as problem:
        raise SpoolError("cannot create a segment", why=problem.strerror or "", place=str(place)) from problem
    try:
        # A reader that glanced at the file in between has sealed it, and may have removed it.
        kept = lock_segment(file, 10 * LOCK_SECONDS) and is_writable(os.fstat(file))
        if not kept or not _write_whole(file, [encode_segment_header(segment, created_ns), data], 0):
            os.unlink(name, dir_fd=at) if kept else None
            raise SpoolError(
                "cannot write a segment", why="full disk?" if kept else "in use", place=str(place)
            )
        os.fchmod(file, SEALED_MODE | 0o040 if shared else SEALED_MODE)
    finally:
        os.close(file)
    return frame_source(segment, SEGMENT_HEADER.size)


def append_frame(
    spool: Path,
    payload: bytes,
    *,
    kind: FrameKind = FrameKind.HTTP_EVENT,
    environment: Mapping[str, str] | None = None,
    segment_bytes: int = SEGMENT_LIMIT,
) -> str:
    """Append one frame, stamped with now and this process, and return its source.

    A payload beyond 256 MiB is cut and flagged. A segment that grew beyond ``segment_bytes`` (64 MiB at
    least) is left to the reader, and the frame gets a segment of its own; the same when the lock is not to
    be had in 2 ms.

    Raises:
        SpoolError: The frame could not be stored.
    """
    frame = Frame(
        kind=kind,
        flags=FLAG_TRUNCATED if len(payload) > PAYLOAD_LIMIT else 0,
        wall_ns=time.time_ns(),
        monotonic_ns=time.monotonic_ns(),
        boot_id=boot_id(),
        uid=os.geteuid(),
        pid=os.getpid(),
        parent_pid=os.getppid(),
        environment=environment or {},
        payload=payload[:PAYLOAD_LIMIT],
    )
    data = encode_frame(frame)
    at = own_directory(spool)
    try:
        for _ in range(_ATTEMPTS):
            source, elsewhere = _append_current(at, data, max(segment_bytes, SEGMENT_LIMIT))
            if source is not None:
                return source
            if elsewhere:
                break
            time.sleep(0.00005)
        return _append_private(at, data, spool)
    finally:
        os.close(at)
