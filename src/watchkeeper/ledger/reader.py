"""Reading the ledger, in order or one entry at a time, beside a writer that appends and erases."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from watchkeeper.errors import FormatError, NotFoundError
from watchkeeper.ledger.blocks import (
    ENTRIES,
    Block,
    DamagedBlockError,
    header_bytes,
    list_segments,
    read_block,
    unpack_entries,
    walk_blocks,
)
from watchkeeper.ledger.codec import Codec
from watchkeeper.ledger.entries import Records, StoredEntry
from watchkeeper.ledger.index import SegmentIndex

CACHE_BYTES = 16 << 20
OPEN_SEGMENTS = 8

_serials = count()

OnDamage = Callable[[FormatError], None]


class _OpenSegment:
    """A segment with its descriptor; closed when nobody holds it any more."""

    def __init__(self, path: Path, first: int, *, sealed: bool) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY)
        self.inode = os.fstat(self.descriptor).st_ino
        # Not the inode: its number is given to another file once this one is closed.
        self.serial = next(_serials)
        self.sealed = sealed
        self.index = SegmentIndex(self.descriptor, path, first, load=sealed)

    def replaced(self) -> bool:
        """Whether the path now names another file, as after an erasure."""
        try:
            return self.path.stat().st_ino != self.inode
        except FileNotFoundError:
            return True

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class LedgerReader:
    """Reads what is committed; it needs no lock. One thread at a time may use it.

    A block that another process has written and not yet synced can be seen, and be gone after a power loss.

    Args:
        directory: The ledger's folder; it need not exist yet.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._codec = Codec(directory)
        self._listed: list[tuple[int, Path]] = []
        self._open: OrderedDict[Path, _OpenSegment] = OrderedDict()
        self._blocks: OrderedDict[tuple[int, int], Records] = OrderedDict()
        self._cached_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and caches; the reader may be used again."""
        self._open.clear()
        self._blocks.clear()
        self._listed = []
        self._cached_bytes = 0

    @property
    def last_seq(self) -> int:
        """Sequence number of the last entry that can be read, -1 when there is none."""
        segments = list_segments(self._directory)
        for number in reversed(range(len(segments))):
            first, path = segments[number]
            segment = self._segment(first, path, sealed=number < len(segments) - 1)
            try:
                following = segment.index.last()
            except DamagedBlockError:
                following = max((block.next_seq for block in _sound(segment, first)), default=first)
            if following > first:
                return following - 1
        return -1

    def entries(
        self, start: int = 0, stop: int | None = None, on_damage: OnDamage | None = None
    ) -> Iterator[StoredEntry]:
        """Yield the entries from ``start`` up to and without ``stop``, one block in memory at a time.

        Args:
            start: First sequence number wanted.
            stop: The one to stop before; without it all that is committed.
            on_damage: Is told of each damaged or missing stretch, which is then left out.

        Raises:
            FormatError: A block is damaged or entries are missing, and ``on_damage`` is not given. The place
                is segment file and offset.
        """
        segments = list_segments(self._directory)
        position = max(0, bisect_right(segments, start, key=lambda segment: segment[0]) - 1)
        expected = max(start, 0)
        for number in range(position, len(segments)):
            first, path = segments[number]
            if stop is not None and first >= stop:
                return
            for records in self._walk(first, path, expected, number == len(segments) - 1, on_damage):
                if records.first > expected:
                    _report(_gap(expected, records), on_damage)
                for seq in range(max(expected, records.first), records.first + records.count):
                    if stop is not None and seq >= stop:
                        return
                    yield records.entry(seq)
                expected = max(expected, records.first + records.count)

    def get(self, seq: int) -> StoredEntry:
        """Return one entry.

        Raises:
            NotFoundError: It is not on record.
            FormatError: The block that holds it is damaged.
        """
        records = self._find(seq)
        if records is None:
            self._listed = list_segments(self._directory)
            records = self._find(seq)
        if records is None:
            raise NotFoundError(f"the ledger has no entry {seq}", place=str(self._directory))
        return records.entry(seq)

    def _walk(
        self, first: int, path: Path, start: int, last: bool, on_damage: OnDamage | None
    ) -> Iterator[Records]:
        segment = self._segment(first, path, sealed=not last)
        offset, expected = header_bytes(first), first
        if start > first:
            block = _or_none(segment.index, start)
            if block is not None:
                offset, expected = block, start
        for item in walk_blocks(segment.descriptor, offset, path, min(expected, start)):
            if isinstance(item, DamagedBlockError):
                if not (item.torn and last):
                    _report(item, on_damage)
            elif item.kind == ENTRIES and item.next_seq > start:
                try:
                    records = unpack_entries(self._codec, item, path)
                except FormatError as error:
                    _report(error, on_damage)
                    continue
                yield records

    def _find(self, seq: int) -> Records | None:
        place = bisect_right(self._listed, seq, key=lambda segment: segment[0]) - 1
        if seq < 0 or place < 0:
            return None
        first, path = self._listed[place]
        segment = self._segment(first, path, sealed=place < len(self._listed) - 1)
        try:
            block = segment.index.find(seq)
        except DamagedBlockError:
            # The way there is damaged, which need not touch the block itself.
            block = next((item for item in _sound(segment, first) if item.first <= seq < item.next_seq), None)
            if block is None:
                raise
        if block is None:
            return None
        key = (segment.serial, block.offset)
        records = self._blocks.get(key)
        if records is None:
            end = os.fstat(segment.descriptor).st_size
            whole = read_block(segment.descriptor, block.offset, end, path)
            records = unpack_entries(self._codec, whole, path)
            self._keep(key, records)
        else:
            self._blocks.move_to_end(key)
        return records

    def _segment(self, first: int, path: Path, *, sealed: bool) -> _OpenSegment:
        segment = self._open.get(path)
        if segment is None or segment.replaced() or segment.sealed != sealed:
            segment = self._open[path] = _OpenSegment(path, first, sealed=sealed)
            if len(self._open) > OPEN_SEGMENTS:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return segment

    def _keep(self, key: tuple[int, int], records: Records) -> None:
        self._blocks[key] = records
        self._cached_bytes += records.size
        while self._cached_bytes > CACHE_BYTES and len(self._blocks) > 1:
            _key, dropped = self._blocks.popitem(last=False)
            self._cached_bytes -= dropped.size


def _sound(segment: _OpenSegment, first: int) -> Iterator[Block]:
    """Yield the sound entry blocks of a damaged segment."""
    for item in walk_blocks(segment.descriptor, header_bytes(first), segment.path, first):
        if not isinstance(item, DamagedBlockError) and item.kind == ENTRIES:
            yield item


def _or_none(index: SegmentIndex, seq: int) -> int | None:
    """Return where the block of ``seq`` begins, or nothing where damage hides it."""
    try:
        block = index.find(seq)
    except DamagedBlockError:
        return None
    return None if block is None else block.offset


def _gap(expected: int, records: Records) -> FormatError:
    return FormatError(
        f"the ledger lacks the entries {expected} to {records.first - 1}",
        hint="Run `wk verify` to see what is affected.",
        place=records.place,
    )


def _report(error: FormatError, on_damage: OnDamage | None) -> None:
    if on_damage is None:
        raise error
    on_damage(error)
