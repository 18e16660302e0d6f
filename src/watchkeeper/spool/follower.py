"""Following the spool: read what hooks appended, seal what is large, remove what is on record.

There is one follower. Hooks never wait for it: it reads without a lock, and takes one only for an instant,
to learn that bytes which are no frame will not become one, to seal, or to remove.

In a managed home it follows the folders of other users. It may not change the mode of their files, so instead
of sealing one it renames it only, and removes it under its lock; a hook that waited for the lock sees that the
file has no name any more. Nothing that such a user does to the folder may hold up what others recorded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from watchkeeper.spool.frames import (
    SEGMENT_HEADER,
    Damage,
    Frame,
    Located,
    decode_frames,
    decode_segment_header,
    frame_length,
)
from watchkeeper.spool.segments import (
    CURRENT,
    SEALED_MODE,
    SpoolError,
    frame_source,
    is_writable,
    list_names,
    lock_segment,
    open_directory,
    parse_segment_name,
    refusal,
    segment_name,
    unlock_segment,
)

_SEAL_SECONDS = 0.5
_LEAST_CHUNK = 1 << 16
_LONGEST_FOREIGN = 384 << 20
"""Bytes; a hook writes 256 MiB of payload at most. A file with a hole could be read for days."""
_MOST_FOREIGN = 384
_LEAST_FOREIGN = 4
"""Segments of other users that are open at once, in equal shares, so that descriptors are left for everybody."""


class FrameAt(NamedTuple):
    """A frame, or damage, with its place; exactly one of ``frame`` and ``damage`` is set.

    ``segment`` is the segment's id in hexadecimal, and ``end`` what to keep as its position once this is
    stored. A file that was refused as a whole has the empty segment, no position, and its name in
    ``source``.
    """

    source: str
    segment: str
    offset: int
    end: int
    frame: Frame | None
    damage: Damage | None


class _Folder(NamedTuple):
    descriptor: int
    place: str
    owner: int

    @property
    def foreign(self) -> bool:
        """Whether it is another user's, whose files' modes cannot be changed."""
        return os.geteuid() not in (self.owner, 0)


@dataclass
class _Segment:
    folder: _Folder
    name: str
    file: int
    id: bytes
    created_ns: int
    size: int
    start: int
    sealed: bool


class SpoolFollower:
    """Reads every segment below ``spool`` from the given positions on.

    Args:
        spool: The spool folder; it may be missing.
        segment_bytes: Seal a segment that has grown to this many bytes.
        positions: Where to go on: for each segment id (hexadecimal) the offset up to which it is on record.
    """

    def __init__(self, spool: Path, segment_bytes: int, positions: Mapping[str, int]) -> None:
        self._spool = spool
        self._segment_bytes = segment_bytes
        self._positions = dict(positions)
        self._refused: set[tuple[str, str]] = set()

    def read(self, limit_bytes: int) -> list[FrameAt]:
        """Return what was appended since the last call, oldest segment first, at most about so many bytes.

        One frame is returned even when it is longer. A frame that is still being written is left for the
        next call. In a managed home every user's folder has this limit to itself, so that none can hold up
        another.

        Raises:
            SpoolError: The spool cannot be read.
        """
        found: list[FrameAt] = []
        with _explained("read", self._spool), self._segments(found) as segments:
            left: dict[str, int] = {}
            for segment in segments:
                limit = left.get(segment.folder.place, limit_bytes)
                if limit > 0:
                    left[segment.folder.place] = limit - self._read_segment(segment, limit, found)
        return found

    def rotate(self, *, force: bool = False) -> int:
        """Seal and rename current segments that are large enough, or with ``force`` all that hold a frame.

        Returns:
            How many were sealed. One whose lock a writer keeps is left for the next call.

        Raises:
            SpoolError: A segment cannot be renamed.
        """
        count = 0
        with _explained("seal", self._spool), self._segments(None) as segments:
            for segment in segments:
                least = SEGMENT_HEADER.size + 1 if force else self._segment_bytes
                if segment.name == CURRENT and (segment.size >= least or segment.sealed):
                    with _tolerated(segment.folder):
                        count += _seal(segment, 0 if segment.folder.foreign else _SEAL_SECONDS)
        return count

    def release(self, positions_on_record: Mapping[str, int]) -> list[str]:
        """Remove sealed segments that are on record to their end; return their ids (they never come again).

        Raises:
            SpoolError: A segment cannot be removed.
        """
        removed: list[str] = []
        with _explained("remove", self._spool), self._segments(None) as segments:
            for segment in segments:
                key = segment.id.hex()
                stored = max(positions_on_record.get(key, 0), segment.start)
                if segment.name == CURRENT or stored < segment.size:
                    continue
                with _tolerated(segment.folder):
                    if _remove(segment, stored):
                        self._positions.pop(key, None)
                        removed.append(key)
        return removed

    def lost(self) -> list[tuple[str, int, int | None]]:
        """Return the segments that hold less than was read of them: id, position, and size or None when gone.

        Hooks only append and this follower alone removes, so somebody else has removed or cut them; what was behind
        the position there is unknown. A cut segment is sealed and read on from its new end.

        Raises:
            SpoolError: The spool cannot be read.
        """
        with _explained("read", self._spool), self._segments(None) as segments:
            sizes = {segment.id.hex(): segment.size for segment in segments}
            lost = [
                (key, position, sizes.get(key))
                for key, position in sorted(self._positions.items())
                if sizes.get(key, -1) < position
            ]
            for key, _, size in lost:
                if size is None:
                    del self._positions[key]
                else:
                    self._positions[key] = size
            for segment in segments:
                if segment.name == CURRENT and any(segment.id.hex() == key for key, _, _ in lost):
                    _seal(segment, _SEAL_SECONDS)
        return lost

    def _read_segment(self, segment: _Segment, limit: int, found: list[FrameAt]) -> int:
        """Append what is new to ``found`` and return how many bytes that was."""
        key = segment.id.hex()
        first = position = self._positions.get(key, segment.start)
        chunk = max(limit, _LEAST_CHUNK)
        settled = segment.sealed
        while position < segment.size and position - first < limit:
            base, wanted = position, min(chunk, segment.size - position)
            data = os.pread(segment.file, wanted, base)
            if len(data) < wanted:
                segment.size = base + len(data)  # cut back by a writer whose disk was full
            for item in decode_frames(data):
                if item.damage and item.end == len(data) and base + item.end < segment.size:
                    break  # only the chunk's end may have made it damage
                if item.damage and not settled:
                    settled = _settle(segment)
                    segment.size = segment.size if settled else position
                    break
                found.append(_located(segment, item, base))
                position = base + item.end
            if position == base:
                chunk = max(2 * chunk, frame_length(data, 0) or 0)
        self._positions[key] = position
        return position - first

    @contextmanager
    def _segments(self, found: list[FrameAt] | None) -> Iterator[list[_Segment]]:
        """Open every segment, oldest first; report files that cannot be one to ``found``, each once."""
        with ExitStack() as opened:
            segments: list[_Segment] = []
            ids: set[bytes] = set()
            folders = list(self._folders(opened, found))
            share = max(_LEAST_FOREIGN, _MOST_FOREIGN // max(1, sum(folder.foreign for folder in folders)))
            for folder in folders:
                names = [name for name in list_names(folder.descriptor) if name.endswith(".wks")]
                for name in names[: share if folder.foreign else None]:
                    segment = self._open(folder, name, opened, found)
                    if segment is not None and segment.id in ids:
                        self._refuse(folder, name, "another file has this segment's id", found)
                    elif segment is not None:
                        ids.add(segment.id)
                        segments.append(segment)
            segments.sort(key=lambda segment: (segment.created_ns, segment.id))
            yield segments

    def _folders(self, opened: ExitStack, found: list[FrameAt] | None) -> Iterator[_Folder]:
        """Open the spool and, in a managed home, the folder of each user."""
        top = open_directory(self._spool)
        if top is None:
            return
        opened.callback(os.close, top)
        outer = _Folder(top, "", os.fstat(top).st_uid)
        yield outer
        for name in filter(str.isdecimal, list_names(top)):
            inner = open_directory(name, top)
            if inner is None:
                self._refuse(outer, name, "not a folder, or not readable", found)
                continue
            opened.callback(os.close, inner)
            owner = os.fstat(inner).st_uid
            if owner == int(name):
                yield _Folder(inner, f"{name}/", owner)
            else:
                self._refuse(outer, name, f"owned by {owner}, not by {name}", found)

    def _open(
        self, folder: _Folder, name: str, opened: ExitStack, found: list[FrameAt] | None
    ) -> _Segment | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(name, flags, dir_fd=folder.descriptor)
        except FileNotFoundError:
            return None
        except OSError as problem:
            self._refuse(folder, name, problem.strerror or "cannot be opened", found)
            return None
        opened.callback(os.close, file)
        status = os.fstat(file)
        reason = refusal(status, folder.owner)
        if folder.foreign and status.st_size > _LONGEST_FOREIGN:
            reason = "longer than any hook makes one"
        if name != CURRENT and parse_segment_name(name) is None:
            reason = "not a segment's name"
        if reason is not None:
            self._refuse(folder, name, reason, found)
            return None
        with _tolerated(folder):
            return _identify(folder, name, file)
        return None

    def _refuse(self, folder: _Folder, name: str, reason: str, found: list[FrameAt] | None) -> None:
        """Report a file once for each reason; a call without a list leaves it to the next read."""
        place = folder.place + name
        if found is None or (place, reason) in self._refused:
            return
        self._refused.add((place, reason))
        found.append(FrameAt(f"spool:file:{place}", "", 0, 0, None, Damage(0, 0, reason)))


@contextmanager
def _explained(verb: str, spool: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise SpoolError(
            f"cannot {verb} the spool",
            why=problem.strerror or str(problem),
            hint="Check the folder's owner, mode and free space.",
            place=str(spool),
        ) from problem


@contextmanager
def _tolerated(folder: _Folder) -> Iterator[None]:
    """Let another user's folder fail, by its mode for instance, without holding up the rest."""
    try:
        yield
    except OSError:
        if not folder.foreign:
            raise


def _remove(segment: _Segment, stored: int) -> bool:
    """Remove a segment that is on record up to ``stored``; False where it is not whole or still being written."""
    if not segment.folder.foreign:
        if segment.sealed:
            os.unlink(segment.name, dir_fd=segment.folder.descriptor)
        return segment.sealed
    if not lock_segment(segment.file, 0):
        return False
    try:
        if os.fstat(segment.file).st_size > stored:
            return False
        os.unlink(segment.name, dir_fd=segment.folder.descriptor)
    finally:
        unlock_segment(segment.file)
    return True


def _located(segment: _Segment, item: Located, base: int) -> FrameAt:
    """Give an item of a chunk its place in the segment, and check that its author owns the segment."""
    offset, end = base + item.offset, base + item.end
    damage = item.damage and Damage(offset, end - offset, item.damage.reason)
    frame = item.frame
    if frame is not None and frame.uid != segment.folder.owner:
        reason = f"a frame of user {frame.uid} in a file of user {segment.folder.owner}"
        frame, damage = None, Damage(offset, end - offset, reason)
    return FrameAt(frame_source(segment.id, offset), segment.id.hex(), offset, end, frame, damage)


def _settle(segment: _Segment) -> bool:
    """Learn under the lock up to where nothing changes any more; False while a writer has it."""
    if not lock_segment(segment.file, 0):
        return False
    segment.size = os.fstat(segment.file).st_size
    unlock_segment(segment.file)
    return True


def _identify(folder: _Folder, name: str, file: int) -> _Segment | None:
    """Return the segment that an open file is; None while its writer is not done with it.

    One that lost its header is read too, under the id in its name, as it may hold whole frames.
    """
    status = os.fstat(file)
    segment = _Segment(folder, name, file, b"", 0, status.st_size, 0, not is_writable(status))
    if name != CURRENT and not segment.sealed and not _close(segment):
        return None
    named = parse_segment_name(name)
    header = _header(file)
    if header is None and named is None:
        named = (time.time_ns(), os.urandom(16))
        segment.created_ns, segment.id = named
        if segment.size < SEGMENT_HEADER.size or not _seal(segment, 0):
            return None
        header = _header(file)
    if header is not None:
        segment.id, segment.created_ns = header
        segment.start = SEGMENT_HEADER.size
    elif named is not None:
        segment.created_ns, segment.id = named
    return segment


def _header(file: int) -> tuple[bytes, int] | None:
    return decode_segment_header(os.pread(file, SEGMENT_HEADER.size, 0))


def _close(segment: _Segment) -> bool:
    """Seal a segment that is not the current one; False while a writer holds its lock."""
    if segment.folder.foreign:
        return True
    if not lock_segment(segment.file, 0):
        return False
    os.fchmod(segment.file, SEALED_MODE)
    segment.size, segment.sealed = os.fstat(segment.file).st_size, True
    unlock_segment(segment.file)
    return True


def _seal(segment: _Segment, seconds: float) -> bool:
    """Rename the current segment and take its write bit, under its lock; False while a writer has it.

    In this order no writer can meet a sealed ``current.wks``; one that waited for the lock sees the missing
    bit.
    """
    if not lock_segment(segment.file, seconds):
        return False
    at = segment.folder.descriptor
    name = segment_name(segment.created_ns, segment.id)
    if name in list_names(at):
        name = segment_name(time.time_ns(), os.urandom(16))
    os.rename(segment.name, name, src_dir_fd=at, dst_dir_fd=at)
    segment.name = name
    return _close(segment)
