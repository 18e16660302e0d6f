"""Writes and reads the archive: each content once, in packs that only ever grow.

One process writes (the holder of the writer lock); any number read meanwhile. Frames are addressable, so that
a range of a transcript is read without its neighbours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from watchkeeper.archive.codecs import LEVEL, Codec, Packed, PlainCodec
from watchkeeper.archive.departures import Departure, GoneError, departures_size, read_departures
from watchkeeper.archive.frames import FRAME_HEADER, MAXIMUM_CONTENT, PACK_HEADER
from watchkeeper.archive.packs import (
    Address,
    ArchiveError,
    check_pack_header,
    list_packs,
    new_pack_id,
    pack_header,
    pack_path,
    read_frame,
    sync_data,
    sync_directory,
    walk_frames,
    write_failure,
    write_whole,
)
from watchkeeper.errors import FormatError, NotFoundError, UsageError

__all__ = ["LEVEL", "PACK_BYTES", "Address", "ArchiveError", "ArchiveReader", "ArchiveWriter"]

PACK_BYTES = 64 << 20
_REDIRECTIONS = 64
"""Contents may be rewritten again and again; a circle must not hold anybody."""


class ArchiveReader:
    """Reads frames by address or by digest; needs no writer and holds no file open.

    Args:
        directory: Folder of the packs.
        codec: Kind of the frames; those of redacted transcripts when absent.
    """

    def __init__(self, directory: Path, codec: Codec | None = None) -> None:
        self._directory = directory
        self._codec = codec or PlainCodec()
        self._found: dict[str, Address] = {}
        self._seen: list[tuple[str, int]] | None = None
        self._departures: dict[str, Departure] = {}
        self._departures_size = -1

    def get(self, pack: str, offset: int, digest: str | None = None) -> bytes:
        """Return the content of the frame at ``offset``, after checking its checksum and its digest.

        Args:
            pack: Id of the pack.
            offset: Start of the frame, in bytes.
            digest: The content that is meant, in hexadecimal. It is looked for elsewhere when the frame there is
                gone or another one: a pack may have been rewritten since the place was noted.

        Raises:
            NotFoundError: There is no such pack, nor the content elsewhere.
            GoneError: The content was taken out on purpose; its ``reason`` says why.
            FormatError: The bytes there are not a whole, unchanged frame.
        """
        try:
            found, content = self._read(pack, offset)
        except (NotFoundError, FormatError) as error:
            moved = None if digest is None else self._fetch(digest, pack)
            if moved is None:
                raise error
            return moved
        if digest is None or found == digest:
            return content
        moved = self._fetch(digest, "")
        if moved is None:
            raise self._unknown(digest)
        return moved

    def find(self, digest: str) -> Address:
        """Return where a content is now; headers of frames are read for it at the first use.

        A content that was rewritten is found by the digest that it had before.

        Raises:
            GoneError: The content was taken out on purpose; its ``reason`` says why.
            NotFoundError: The archive never held it, or lost it.
        """
        found = self._elsewhere(digest, "")
        if found is None:
            raise self._unknown(digest)
        return found

    def _unknown(self, digest: str) -> NotFoundError:
        return NotFoundError("the archive does not hold this content", why=digest, place=str(self._directory))

    def _fetch(self, digest: str, but_not: str) -> bytes | None:
        address = self._elsewhere(digest, but_not)
        if address is None:
            return None
        try:
            return self._read(address.pack, address.offset)[1]
        except NotFoundError:
            # The pack was rewritten between the look and the reading.
            self._seen = None
            address = self._elsewhere(digest, but_not)
            return None if address is None else self._read(address.pack, address.offset)[1]

    def _elsewhere(self, digest: str, but_not: str) -> Address | None:
        packs = [(name, _size(self._directory, name)) for name in list_packs(self._directory)]
        if packs != self._seen:
            self._found = {
                address.digest: address
                for name, _ in packs
                for address in _readable_frames(self._directory, name)
            }
            self._seen = packs
        departures = self._departed()
        for _ in range(_REDIRECTIONS):
            address = self._found.get(digest)
            if address is not None and address.pack != but_not:
                return address
            departure = departures.get(digest)
            if departure is None:
                return None
            if departure.to is None:
                raise GoneError(departure.reason, place=f"{self._directory}:{digest}")
            digest = departure.to
        return None

    def _departed(self) -> dict[str, Departure]:
        """Return what went, read anew when the file has grown: a rebuild asks for each range that is gone."""
        size = departures_size(self._directory)
        if size != self._departures_size:
            self._departures, self._departures_size = read_departures(self._directory), size
        return self._departures

    def _read(self, pack: str, offset: int) -> tuple[str, bytes]:
        path = pack_path(self._directory, pack)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFoundError("the archive pack does not exist", place=str(path)) from error
        try:
            header, frame = read_frame(descriptor, offset, f"{path}:{offset}")
        finally:
            os.close(descriptor)
        content = self._codec.unpack(header, frame[FRAME_HEADER.size :], f"{path}:{offset}")
        return header.digest.hex(), content

    def packs(self) -> list[str]:
        """Return the ids of all packs, the oldest first."""
        return list_packs(self._directory)

    def frames(self, pack: str | None = None) -> Iterator[Address]:
        """Yield the address of every frame, of one pack or of all, without unpacking any.

        A frame that is still being written at the end of a pack is left out.

        Raises:
            FormatError: Something in between is no frame.
        """
        for name in self.packs() if pack is None else [pack]:
            path = pack_path(self._directory, name)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                end = os.fstat(descriptor).st_size
                if end < PACK_HEADER.size:
                    continue
                check_pack_header(descriptor, path)
                yield from walk_frames(descriptor, end, path)
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
        codec: Kind of the frames; those of redacted transcripts when absent.
    """

    def __init__(
        self,
        directory: Path,
        *,
        pack_bytes: int = PACK_BYTES,
        level: int = LEVEL,
        codec: Codec | None = None,
    ) -> None:
        self._directory = directory
        self._pack_bytes = pack_bytes
        self._codec = codec or PlainCodec(level)
        self._index: dict[bytes, Address] | None = None
        self._descriptor = -1
        self._pack = ""
        self._end = 0
        self._unsynced = False
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only a writer needs it, and a quick search reads.
        from watchkeeper.archive.compaction import recover

        recover(directory)
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
        digest = self._codec.digest(data)
        return self._put(digest, len(data), lambda: self._codec.pack(data, digest))

    def put_frame(self, packed: Packed) -> Address:
        """Store a content that was packed elsewhere for this kind of archive, or find it where it already is.

        Raises:
            ArchiveError: The pack cannot be written; nothing of this content is left in it.
        """
        return self._put(packed.digest, packed.size, lambda: packed.frame)

    def _put(self, digest: bytes, size: int, frame_of: Callable[[], bytes]) -> Address:
        index = self._digests()
        known = index.get(digest)
        if known is None or not self._holds(known):
            frame = frame_of()
            known = Address(digest.hex(), *self._append(frame), len(frame), size)
            index[digest] = known
        return known

    def commit(self) -> None:
        """Make everything put so far survive a loss of power.

        Raises:
            ArchiveError: The disk refuses.
        """
        if self._unsynced:
            try:
                sync_data(self._descriptor)
            except OSError as error:
                raise self._failure(error) from error
            self._unsynced = False

    def release(self) -> None:
        """Commit and let go of the current pack, so that it can be rewritten; what is put next begins a new one."""
        self.close()
        self._index = None

    def resume(self) -> None:
        """Go on with the newest pack after a release, once nothing is rewritten any more."""
        if self._descriptor < 0:
            self._open_newest()

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
            for pack in list_packs(self._directory):
                found = _readable_frames(self._directory, pack)
                self._index.update((bytes.fromhex(address.digest), address) for address in found)
        return self._index

    def _holds(self, address: Address) -> bool:
        """Check a frame before content is said to be in it: what an earlier run wrote may be damaged."""
        if address.pack == self._pack:
            return True
        try:
            ArchiveReader(self._directory, self._codec).get(address.pack, address.offset)
        except (FormatError, NotFoundError):
            return False
        return True

    def _append(self, frame: bytes) -> tuple[str, int]:
        if self._descriptor >= 0 and self._end >= self._pack_bytes:
            self.close()
        try:
            if self._descriptor < 0:
                self._create()
            self._unsynced = True
            write_whole(self._descriptor, frame, self._end)
        except OSError as error:
            if self._descriptor >= 0:
                os.ftruncate(self._descriptor, self._end)
            raise self._failure(error) from error
        place = (self._pack, self._end)
        self._end += len(frame)
        return place

    def _create(self) -> None:
        name = new_pack_id()
        path = pack_path(self._directory, name)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            write_whole(descriptor, pack_header(name), 0)
            sync_directory(self._directory)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        self._descriptor, self._pack, self._end = descriptor, name, PACK_HEADER.size

    def _open_newest(self) -> None:
        packs = list_packs(self._directory)
        if not packs:
            return
        path = pack_path(self._directory, packs[-1])
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        end = _repair(descriptor, path)
        if end is None:
            # Left as it is for whoever looks into it; what is new goes into a pack of its own.
            os.close(descriptor)
            return
        self._descriptor, self._pack, self._end = descriptor, packs[-1], end

    def _failure(self, error: OSError) -> ArchiveError:
        return write_failure(self._directory, error)


def _size(directory: Path, pack: str) -> int:
    try:
        return pack_path(directory, pack).stat().st_size
    except FileNotFoundError:
        return -1


def _readable_frames(directory: Path, pack: str) -> Iterator[Address]:
    """Yield frames up to the first that is damaged: content behind it is stored anew, never lost."""
    try:
        yield from ArchiveReader(directory).frames(pack)
    except (FormatError, FileNotFoundError):
        return


def _repair(descriptor: int, path: Path) -> int | None:
    """Cut a torn tail off and return the pack's end; None when the damage is not only at the end."""
    size = os.fstat(descriptor).st_size
    if size < PACK_HEADER.size:
        return None
    try:
        check_pack_header(descriptor, path)
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
    try:
        return len(read_frame(descriptor, offset, str(path))[1])
    except FormatError:
        return None


def _frame_follows(descriptor: int, offset: int, size: int, path: Path) -> bool:
    """Tell whether a whole frame stands anywhere behind a bad one: then the pack was damaged, not torn."""
    tail = os.pread(descriptor, size - offset, offset)
    found = tail.find(b"WKAF", 1)
    while found >= 0:
        if _whole_frame(descriptor, offset + found, path) is not None:
            return True
        found = tail.find(b"WKAF", found + 1)
    return False
