"""Writes and reads the archive: each content once, in packs that only ever grow.

One process writes (the holder of the writer lock); any number read meanwhile. Frames are addressable, so that
a range of a transcript is read without its neighbours.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

from watchkeeper.archive.frames import (
    FRAME_HEADER,
    MAXIMUM_CONTENT,
    PACK_HEADER,
    PACK_MAGIC,
    FrameHeader,
    frame_checksum,
    pack_frame,
    read_frame_header,
)
from watchkeeper.errors import FormatError, NotFoundError, UsageError, WatchkeeperError

PACK_BYTES = 64 << 20
LEVEL = 3
_SUFFIX = ".wka"
_PACK_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}")


class ArchiveError(WatchkeeperError):
    """The archive cannot be written."""

    code = "archive"


@dataclass(frozen=True)
class Address:
    """Where a content is.

    Args:
        digest: SHA-256 of the content, in hexadecimal.
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


class ArchiveReader:
    """Reads frames by address; needs no writer and holds no file open."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, pack: str, offset: int) -> bytes:
        """Return the content of the frame at ``offset``, after checking its checksum and its digest.

        Raises:
            NotFoundError: There is no such pack.
            FormatError: The bytes there are not a whole, unchanged frame.
        """
        path = _pack_path(self._directory, pack)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFoundError("the archive pack does not exist", place=str(path)) from error
        try:
            return _read_content(descriptor, offset, f"{path}:{offset}")
        finally:
            os.close(descriptor)

    def packs(self) -> list[str]:
        """Return the ids of all packs, the oldest first."""
        return _list_packs(self._directory)

    def frames(self, pack: str | None = None) -> Iterator[Address]:
        """Yield the address of every frame, of one pack or of all, without unpacking any.

        A frame that is still being written at the end of a pack is left out.

        Raises:
            FormatError: Something in between is no frame.
        """
        for name in self.packs() if pack is None else [pack]:
            path = _pack_path(self._directory, name)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                end = os.fstat(descriptor).st_size
                if end < PACK_HEADER.size:
                    continue
                _check_pack_header(descriptor, path)
                for offset, header in _walk(descriptor, end, path):
                    yield _address(name, offset, header)
            finally:
                os.close(descriptor)


class ArchiveWriter:
    """Appends contents to the newest pack.

    Nothing is promised to survive a loss of power before ``commit`` returns. A torn frame at the end of the
    newest pack is cut off when the writer opens.

    Args:
        directory: Folder of the packs; made when it is missing.
        pack_bytes: A new pack is begun when the current one has grown to this size.
        level: Level of zstd.
    """

    def __init__(self, directory: Path, *, pack_bytes: int = PACK_BYTES, level: int = LEVEL) -> None:
        self._directory = directory
        self._pack_bytes = pack_bytes
        self._compressor = zstandard.ZstdCompressor(level=level)
        self._index: dict[bytes, Address] | None = None
        self._descriptor = -1
        self._pack = ""
        self._end = 0
        self._unsynced = False
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open_newest()

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def put(self, data: bytes) -> Address:
        """Store ``data``, or find it where it already is.

        Raises:
            UsageError: The content is larger than 64 MiB.
            ArchiveError: The pack cannot be written; nothing of this content is left in it.
        """
        if len(data) > MAXIMUM_CONTENT:
            raise UsageError("the content is too large for one archive frame", why=f"{len(data)} bytes")
        digest = hashlib.sha256(data).digest()
        index = self._digests()
        known = index.get(digest)
        if known is None or not self._holds(known):
            frame = pack_frame(digest, len(data), self._compressor.compress(data))
            known = Address(digest.hex(), *self._append(frame), len(frame), len(data))
            index[digest] = known
        return known

    def commit(self) -> None:
        """Make everything put so far survive a loss of power.

        Raises:
            ArchiveError: The disk refuses.
        """
        if self._unsynced:
            try:
                _sync(self._descriptor)
            except OSError as error:
                raise self._failure(error) from error
            self._unsynced = False

    def close(self) -> None:
        """Commit and let go of the pack."""
        if self._descriptor >= 0:
            try:
                self.commit()
            finally:
                os.close(self._descriptor)
                self._descriptor = -1

    def _digests(self) -> dict[bytes, Address]:
        """Return the index by digest, read from the headers of all packs at the first use."""
        if self._index is None:
            self._index = {}
            for pack in _list_packs(self._directory):
                self._index.update(_readable_frames(self._directory, pack))
        return self._index

    def _holds(self, address: Address) -> bool:
        """Check a frame before content is said to be in it: what an earlier run wrote may be damaged."""
        if address.pack == self._pack:
            return True
        try:
            return bool(ArchiveReader(self._directory).get(address.pack, address.offset)) or not address.size
        except (FormatError, NotFoundError):
            return False

    def _append(self, frame: bytes) -> tuple[str, int]:
        if self._descriptor >= 0 and self._end >= self._pack_bytes:
            self.close()
        try:
            if self._descriptor < 0:
                self._create()
            self._unsynced = True
            _write_whole(self._descriptor, frame, self._end)
        except OSError as error:
            if self._descriptor >= 0:
                os.ftruncate(self._descriptor, self._end)
            raise self._failure(error) from error
        place = (self._pack, self._end)
        self._end += len(frame)
        return place

    def _create(self) -> None:
        created, tail = time.time_ns(), secrets.token_bytes(16)
        name = f"{created:016x}-{tail.hex()}"
        path = _pack_path(self._directory, name)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            _write_whole(descriptor, PACK_HEADER.pack(PACK_MAGIC, created, tail), 0)
            _sync_directory(self._directory)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        self._descriptor, self._pack, self._end = descriptor, name, PACK_HEADER.size

    def _open_newest(self) -> None:
        packs = _list_packs(self._directory)
        if not packs:
            return
        path = _pack_path(self._directory, packs[-1])
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        end = _repair(descriptor, path)
        if end is None:
            # Left as it is for whoever looks into it; what is new goes into a pack of its own.
            os.close(descriptor)
            return
        self._descriptor, self._pack, self._end = descriptor, packs[-1], end

    def _failure(self, error: OSError) -> ArchiveError:
        return ArchiveError(
            "the archive cannot be written",
            why=error.strerror or str(error),
            hint="Free some space or mend the folder; the transcript is read again from where it was.",
            place=str(self._directory),
        )


def _list_packs(directory: Path) -> list[str]:
    try:
        return sorted(path.stem for path in directory.glob("*" + _SUFFIX) if _PACK_NAME.fullmatch(path.stem))
    except FileNotFoundError:
        return []


def _pack_path(directory: Path, pack: str) -> Path:
    if not _PACK_NAME.fullmatch(pack):
        raise NotFoundError("this is no id of an archive pack", why=repr(pack), place=str(directory))
    return directory / (pack + _SUFFIX)


def _address(pack: str, offset: int, header: FrameHeader) -> Address:
    return Address(header.digest.hex(), pack, offset, FRAME_HEADER.size + header.length, header.size)


def _check_pack_header(descriptor: int, path: Path) -> None:
    magic, created, tail = PACK_HEADER.unpack(os.pread(descriptor, PACK_HEADER.size, 0))
    if magic != PACK_MAGIC or f"{created:016x}-{tail.hex()}" != path.stem:
        raise FormatError("this is no archive pack, or one that was renamed", place=str(path))


def _walk(descriptor: int, end: int, path: Path) -> Iterator[tuple[int, FrameHeader]]:
    offset = PACK_HEADER.size
    while offset + FRAME_HEADER.size <= end:
        header = read_frame_header(os.pread(descriptor, FRAME_HEADER.size, offset), f"{path}:{offset}")
        following = offset + FRAME_HEADER.size + header.length
        if following > end:
            return
        yield offset, header
        offset = following


def _readable_frames(directory: Path, pack: str) -> Iterator[tuple[bytes, Address]]:
    """Yield frames up to the first that is damaged: content behind it is stored anew, never lost."""
    try:
        for address in ArchiveReader(directory).frames(pack):
            yield bytes.fromhex(address.digest), address
    except FormatError:
        return


def _read_content(descriptor: int, offset: int, place: str) -> bytes:
    raw = os.pread(descriptor, FRAME_HEADER.size, offset)
    header = read_frame_header(raw, place)
    body = os.pread(descriptor, header.length, offset + FRAME_HEADER.size)
    if len(body) < header.length:
        raise FormatError("the archive frame is cut off", place=place)
    if frame_checksum(raw, body) != header.checksum:
        raise FormatError("the archive frame is damaged", why="its checksum does not fit", place=place)
    try:
        content = zstandard.ZstdDecompressor().decompress(body, max_output_size=header.size or 1)
    except zstandard.ZstdError as error:
        raise FormatError("the archive frame cannot be unpacked", why=str(error), place=place) from error
    if len(content) != header.size or hashlib.sha256(content).digest() != header.digest:
        raise FormatError("the archived content is not the one it was", why="its digest differs", place=place)
    return content


def _repair(descriptor: int, path: Path) -> int | None:
    """Cut a torn tail off and return the pack's end; None when the damage is not only at the end."""
    size = os.fstat(descriptor).st_size
    if size < PACK_HEADER.size:
        return None
    try:
        _check_pack_header(descriptor, path)
    except FormatError:
        return None
    end = PACK_HEADER.size
    while end < size:
        length = _whole_frame(descriptor, end, path)
        if length is None:
            break
        end += length
    if end < size:
        if _frame_follows(descriptor, end, size, path):
            return None
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
    return end


def _whole_frame(descriptor: int, offset: int, path: Path) -> int | None:
    raw = os.pread(descriptor, FRAME_HEADER.size, offset)
    try:
        header = read_frame_header(raw, str(path))
    except FormatError:
        return None
    body = os.pread(descriptor, header.length, offset + FRAME_HEADER.size)
    if len(body) < header.length or frame_checksum(raw, body) != header.checksum:
        return None
    return len(raw) + len(body)


def _frame_follows(descriptor: int, offset: int, size: int, path: Path) -> bool:
    """Tell whether a whole frame stands anywhere behind a bad one: then the pack was damaged, not torn."""
    tail = os.pread(descriptor, size - offset, offset)
    found = tail.find(b"WKAF", 1)
    while found >= 0:
        if _whole_frame(descriptor, offset + found, path) is not None:
            return True
        found = tail.find(b"WKAF", found + 1)
    return False


def _write_whole(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


# macOS has no fdatasync.
_sync = getattr(os, "fdatasync", os.fsync)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
