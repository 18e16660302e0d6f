"""The pack files: their names, the frames in them, and how they are made durable."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from watchkeeper.archive.frames import (
    FRAME_HEADER,
    PACK_HEADER,
    PACK_MAGIC,
    FrameHeader,
    frame_checksum,
    read_frame_header,
)
from watchkeeper.errors import FormatError, NotFoundError, WatchkeeperError

SUFFIX = ".wka"
TEMPORARY = ".tmp"
_PACK_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}")

# macOS has no fdatasync.
sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class ArchiveError(WatchkeeperError):
    """The archive cannot be written."""

    code = "archive"


class Address(NamedTuple):
    """Where a content is.

    Args:
        digest: Digest of the content, in hexadecimal: SHA-256, in sealed packs a keyed one.
        pack: Id of the pack, the file's name without ``.wka``.
        offset: Start of the frame in the pack, in bytes.
        length: Bytes that the frame takes in the pack, header included.
        size: Bytes of the content when unpacked.
    """

    digest: str
    pack: str
    offset: int
    length: int
    size: int


def list_packs(directory: Path) -> list[str]:
    """Return the ids of all packs, the oldest first."""
    try:
        return sorted(path.stem for path in directory.glob("*" + SUFFIX) if _PACK_NAME.fullmatch(path.stem))
    except FileNotFoundError:
        return []


def pack_path(directory: Path, pack: str) -> Path:
    """Return the path of a pack.

    Raises:
        NotFoundError: The id has not the form of one.
    """
    if not _PACK_NAME.fullmatch(pack):
        raise NotFoundError("this is no id of an archive pack", why=repr(pack), place=str(directory))
    return directory / (pack + SUFFIX)


def new_pack_id(created: int | None = None) -> str:
    """Return a new id; those made later sort behind.

    Args:
        created: Wall clock in ns that the id is to carry; now when absent.
    """
    import secrets  # with hmac and random, for writers only

    return f"{time.time_ns() if created is None else created:016x}-{secrets.token_bytes(16).hex()}"


def pack_header(pack: str) -> bytes:
    """Return the header of the pack with this id."""
    created, tail = pack.split("-")
    return PACK_HEADER.pack(PACK_MAGIC, int(created, 16), bytes.fromhex(tail))


def check_pack_header(descriptor: int, path: Path) -> None:
    """Check that an open file is the pack that its name says.

    Raises:
        FormatError: It is another file, or cut off.
    """
    head = os.pread(descriptor, PACK_HEADER.size, 0)
    if head != pack_header(path.stem):
        raise FormatError("this is no archive pack, or one that was renamed", place=str(path))


def address_of(pack: str, offset: int, header: FrameHeader) -> Address:
    """Return the address of a frame whose header was read."""
    return Address(header.digest.hex(), pack, offset, FRAME_HEADER.size + header.length, header.size)


def walk_frames(descriptor: int, end: int, path: Path) -> Iterator[Address]:
    """Yield the address of every frame of an open pack; one that is cut off at its end is left out.

    Raises:
        FormatError: Something in between is no frame.
    """
    offset, pack, place = PACK_HEADER.size, path.stem, str(path)
    while offset + FRAME_HEADER.size <= end:
        header = read_frame_header(os.pread(descriptor, FRAME_HEADER.size, offset), f"{place}:{offset}")
        following = offset + FRAME_HEADER.size + header.length
        if following > end:
            return
        yield address_of(pack, offset, header)
        offset = following


def read_frame(descriptor: int, offset: int, place: str) -> tuple[FrameHeader, bytes]:
    """Return a frame's header and the whole frame, after checking its checksum.

    Raises:
        FormatError: The bytes there are not a whole, unchanged frame.
    """
    raw = os.pread(descriptor, FRAME_HEADER.size, offset)
    header = read_frame_header(raw, place)
    body = os.pread(descriptor, header.length, offset + FRAME_HEADER.size)
    if len(body) < header.length:
        raise FormatError("the archive frame is cut off", place=place)
    if frame_checksum(raw, body) != header.checksum:
        raise FormatError("the archive frame is damaged", why="its checksum does not fit", place=place)
    return header, raw + body


def write_whole(descriptor: int, data: bytes, offset: int) -> None:
    """Write every byte at ``offset``, however many calls it takes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def write_file(path: Path, content: bytes) -> None:
    """Write an owner-only file so that after a crash the old or the new one is there, never a part."""
    temporary = path.with_name(path.name + TEMPORARY)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600)
    try:
        write_whole(descriptor, content, 0)
        os.fsync(descriptor)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    temporary.rename(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_failure(directory: Path, error: OSError) -> ArchiveError:
    """Return the error with a remedy for a disk that refuses."""
    return ArchiveError(
        "the archive cannot be written",
        why=error.strerror or str(error),
        hint="Free some space or mend the folder; nothing that was archived before is touched.",
        place=str(directory),
    )
