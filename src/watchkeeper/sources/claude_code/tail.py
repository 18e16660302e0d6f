"""Reads what has been added to transcript files since they were last read.

**Identity.** A line is named by its file's key, a generation and its number from 1. The number depends only
on the bytes before the line, never on how often or in which pieces the file was read. A file that was cut
or replaced begins a new generation.

**Lines without a line end.** Real files end without one, so the last line is taken when it is a complete
object and the file has rested, though a writer may still go on. The position then stands behind bytes that
are no line end, and that alone says what happened. If a line end comes next, it belongs to the line already
taken and is passed over. If anything else comes, the line was not complete after all: it is read again from
its start and handed out once more under the same identity, to replace what was taken.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.sources.claude_code.discovery import TranscriptFile
from watchkeeper.sources.claude_code.lines import Skip, decode, decode_objects
from watchkeeper.sources.claude_code.samples import read_at, sample_digest

RANGE_BYTES = 512 << 10
MAXIMUM_LINE = 50 << 20
REST_NS = 60 * 10**9
_BLOCK = 1 << 20
_MAXIMUM_META = 1 << 20


class Cursor(msgspec.Struct, frozen=True):
    """How far a file has been read.

    Args:
        file_key: Key of the file.
        path: Where it was.
        relative: Its place below ``projects``.
        generation: 0, and one more for each time that the file was cut or replaced.
        inode: The file's number when it was read; another one alone means nothing.
        offset: Bytes read.
        lines: The number that the next line has: the last range's ``first_line + line_count``.
        head_digest: See ``Range``.
    """

    file_key: str
    path: str
    relative: str
    generation: int
    inode: int
    offset: int
    lines: int
    head_digest: str


class Range(msgspec.Struct, frozen=True):
    """Successive lines of a file.

    Args:
        file_key: Key of the file.
        path: Where it is.
        relative: Its place below ``projects``.
        generation: See ``Cursor``.
        first_line: Number of the first line.
        line_count: Number of lines.
        start: Where the bytes start in the file.
        end: Where they end; the offset of the next cursor.
        data: The lines with their line ends as they are; the last may have none.
        inode: The file's number.
        device: Its device's number.
        size: Bytes of the file that are read now, so that a file is known as unchanged only when read to
        its end. mtime_ns: Time of its last change. head_digest: SHA-256, in hexadecimal, of the first 4,096
        bytes up to ``end`` and, where there are more, the
            last 4,096 of the others; by it a replaced file is recognised.
        final: Nothing more can be read for now.
        skipped: Lines that were left out, as number and reason; such a range holds no data.
    """

    file_key: str
    path: str
    relative: str
    generation: int
    first_line: int
    line_count: int
    start: int
    end: int
    data: bytes
    inode: int
    device: int
    size: int
    mtime_ns: int
    head_digest: str
    final: bool
    skipped: tuple[tuple[int, str], ...] = ()

    @property
    def cursor(self) -> Cursor:
        """Where to go on."""
        return Cursor(
            file_key=self.file_key,
            path=self.path,
            relative=self.relative,
            generation=self.generation,
            inode=self.inode,
            offset=self.end,
            lines=self.first_line + self.line_count,
            head_digest=self.head_digest,
        )


class _Position(msgspec.Struct):
    generation: int
    offset: int
    line: int


class _Piece(msgspec.Struct):
    """Bytes found at a position; ``data`` is None for a line that is too long to be taken."""

    data: bytes | None
    end: int
    final: bool


def file_key(config_dir: Path, relative: str) -> str:
    """Return the key of the file at this place below the ``projects`` of one of the agent's folders.

    The folder counts, because two of them may hold different files at the same place.
    """
    place = f"{config_dir}\0{relative}"
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class TranscriptTail:
    """Reads new lines. It remembers only which files had nothing new, so as not to open them again.

    Args:
        clock: Returns the wall clock in ns since 1970.
        maximum_line: Longer lines, in bytes, are skipped.
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns, maximum_line: int = MAXIMUM_LINE) -> None:
        self._clock = clock
        self._maximum_line = maximum_line
        self._idle: dict[str, tuple[int, ...]] = {}

    def file_key(self, file: TranscriptFile) -> str:
        """Return the key of a file."""
        return file_key(file.config_dir, file.relative)

    def read_new(
        self,
        file: TranscriptFile,
        cursor: Cursor | None,
        max_bytes: int = RANGE_BYTES,
        *,
        settled: bool = False,
    ) -> Range | None:
        """Return the next lines of a file, or None when there are none yet.

        Args:
            file: The file as listed.
            cursor: How far it has been read; None for a new file.
            max_bytes: Where to cut, at the last line end before it; a longer line makes a range of its own.
            settled: Take a complete last line without a line end at once; otherwise the file must have rested
                for 60 s.

        Raises:
            OSError: The file has gone, cannot be read, or is not a regular file.
        """
        key = file_key(file.config_dir, file.relative)
        mark = (file.size, file.mtime_ns, file.inode, *((cursor.generation, cursor.offset) if cursor else ()))
        if self._idle.get(key) == mark:
            return None
        descriptor = os.open(file.location, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", file.location)
            rested = settled or self._clock() - status.st_mtime_ns > REST_NS
            position = _find_position(descriptor, status.st_size, cursor)
            piece = position and self._read(descriptor, position.offset, status.st_size, max_bytes, rested)
            if position and piece:
                self._idle.pop(key, None)
                return self._range(descriptor, file, status, position, piece)
        finally:
            os.close(descriptor)
        if position is None or rested:
            self._idle[key] = mark
        return None

    def _read(self, descriptor: int, offset: int, size: int, max_bytes: int, rested: bool) -> _Piece | None:
        chunk = read_at(descriptor, offset, min(max_bytes, size - offset))
        end = offset + len(chunk)
        cut = chunk.rfind(b"\n") + 1
        if end >= size or len(chunk) < max_bytes:
            if cut < len(chunk) and rested and _is_complete(chunk[cut:]):
                cut = len(chunk)
            return _Piece(chunk[:cut], offset + cut, True) if cut else None
        if cut:
            return _Piece(chunk[:cut], offset + cut, False)
        return self._read_long_line(descriptor, offset, end, size, rested)

    def _read_long_line(
        self, descriptor: int, offset: int, searched: int, size: int, rested: bool
    ) -> _Piece | None:
        end = _find_line_end(descriptor, searched, size)
        length = (end or size) - offset
        if length > self._maximum_line:
            return _Piece(None, end, end >= size) if end else None
        data = read_at(descriptor, offset, length)
        if end or (rested and _is_complete(data)):
            return _Piece(data, offset + len(data), offset + len(data) >= size)
        return None

    def _range(
        self,
        descriptor: int,
        file: TranscriptFile,
        status: os.stat_result,
        position: _Position,
        piece: _Piece,
    ) -> Range:
        data = piece.data or b""
        count = data.count(b"\n") + (not data.endswith(b"\n"))
        reason = f"the line is longer than {self._maximum_line >> 20} MiB"
        return Range(
            file_key=file_key(file.config_dir, file.relative),
            path=file.location,
            relative=file.relative,
            generation=position.generation,
            first_line=position.line,
            line_count=count,
            start=position.offset,
            end=piece.end,
            data=data,
            inode=status.st_ino,
            device=status.st_dev,
            size=piece.end,
            mtime_ns=status.st_mtime_ns,
            head_digest=sample_digest(descriptor, piece.end),
            final=piece.final,
            skipped=((position.line, reason),) if piece.data is None else (),
        )


def read_meta(path: Path) -> dict[str, Any] | None:
    """Return the content of a subagent's sidecar, or None when there is none or it is no JSON object."""
    try:
        # A pipe of that name must not be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = stream.read(_MAXIMUM_META + 1)
    if len(data) > _MAXIMUM_META:
        return None
    body = decode(data)
    return None if isinstance(body, Skip) else body


def _find_position(descriptor: int, size: int, cursor: Cursor | None) -> _Position | None:
    """Return where to read on; None when there can be nothing new."""
    if cursor is None:
        return _Position(0, 0, 1)
    if size < cursor.offset or sample_digest(descriptor, cursor.offset) != cursor.head_digest:
        return _Position(cursor.generation + 1, 0, 1)
    if size == cursor.offset:
        return None
    position = _Position(cursor.generation, cursor.offset, cursor.lines)
    if cursor.offset and read_at(descriptor, cursor.offset - 1, 1) != b"\n":
        return _behind_open_line(descriptor, size, position)
    return position


def _behind_open_line(descriptor: int, size: int, position: _Position) -> _Position | None:
    following = read_at(descriptor, position.offset, 2)
    if following.startswith(b"\n"):
        position.offset += 1
    elif following == b"\r\n":
        position.offset += 2
    elif following == b"\r":
        return None
    else:
        position.offset = _find_line_start(descriptor, position.offset)
        position.line -= 1
    return position if position.offset < size else None


def _find_line_start(descriptor: int, offset: int) -> int:
    while offset:
        start = max(0, offset - _BLOCK)
        found = read_at(descriptor, start, offset - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        offset = start
    return 0


def _find_line_end(descriptor: int, offset: int, size: int) -> int | None:
    """Return the position behind the next line end."""
    while offset < size:
        block = read_at(descriptor, offset, min(_BLOCK, size - offset))
        if not block:
            return None
        found = block.find(b"\n")
        if found >= 0:
            return offset + found + 1
        offset += len(block)
    return None


def _is_complete(line: bytes) -> bool:
    bare = line.rstrip(b"\x00 \t\r")
    # Padding alone, as a crash leaves it behind, is a line of nothing.
    return not bare or (bare.endswith(b"}") and isinstance(decode_objects(line)[-1], dict))
