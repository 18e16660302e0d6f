"""Where in a segment an entry's block begins: one mark for every 64 KiB or so.

Sealed segments have theirs in a small file beside them, which can be lost at no harm:
without it, the marks are made by hopping over block headers.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from pathlib import Path
from zlib import crc32

from watchkeeper.ledger.blocks import ENTRIES, Block, DamagedBlockError, header_bytes, peek_block
from watchkeeper.ledger.files import write_file

STRIDE_BYTES = 64 << 10
SUFFIX = ".wki"

_HEAD = struct.Struct("<8sII")
_MARK = struct.Struct("<QQ")
_MAGIC = b"WKINDEX1"


class SegmentIndex:
    """Marks of one open segment.

    Args:
        descriptor: The open segment.
        path: Its path.
        first: The entry it begins with.
        load: Use the stored marks, where there are any (sealed segments only).
    """

    def __init__(self, descriptor: int, path: Path, first: int, *, load: bool) -> None:
        self._descriptor = descriptor
        self._path = path
        self._seqs = [first]
        self._offsets = [header_bytes(first)]
        if load:
            self._load()

    def find(self, seq: int) -> Block | None:
        """Return the block that holds ``seq``, without its body; nothing when the segment ends before.

        Raises:
            DamagedBlockError: The way there is damaged.
        """
        end = os.fstat(self._descriptor).st_size
        place = bisect_right(self._seqs, seq) - 1
        offset = self._offsets[place]
        while offset < end:
            block = self._peek(offset, end)
            if block is None or (block.kind == ENTRIES and block.first > seq):
                return None
            if block.kind == ENTRIES and seq < block.next_seq:
                return block
            offset = block.end
        return None

    def last(self) -> int:
        """Return the sequence number that follows the segment's last entry, placing every mark on the way.

        Raises:
            DamagedBlockError: The segment is damaged.
        """
        end = os.fstat(self._descriptor).st_size
        following, offset = self._seqs[-1], self._offsets[-1]
        while offset < end:
            block = self._peek(offset, end)
            if block is None:
                break
            if block.kind == ENTRIES:
                following = block.next_seq
            offset = block.end
        return following

    def store(self) -> None:
        """Keep the marks beside the segment."""
        marks = b"".join(_MARK.pack(*mark) for mark in zip(self._seqs, self._offsets, strict=True))
        write_file(index_path(self._path), _HEAD.pack(_MAGIC, len(self._seqs), crc32(marks)) + marks)

    def _peek(self, offset: int, end: int) -> Block | None:
        """Return the block at ``offset``, marked when far enough from the last; nothing at a torn tail."""
        try:
            block = peek_block(self._descriptor, offset, end, self._path)
        except DamagedBlockError as damage:
            if damage.torn:
                return None
            raise
        if block.kind == ENTRIES and offset >= self._offsets[-1] + STRIDE_BYTES:
            self._seqs.append(block.first)
            self._offsets.append(offset)
        return block

    def _load(self) -> None:
        try:
            content = index_path(self._path).read_bytes()
        except OSError:
            return
        if len(content) < _HEAD.size:
            return
        magic, count, checksum = _HEAD.unpack_from(content)
        marks = content[_HEAD.size :]
        if magic == _MAGIC and len(marks) == count * _MARK.size and crc32(marks) == checksum and count:
            # The last mark only: checking each would cost what the index saves; get() checks what it reads.
            pairs = list(_MARK.iter_unpack(marks))
            if self._begins(*pairs[-1]):
                self._seqs = [seq for seq, _offset in pairs]
                self._offsets = [offset for _seq, offset in pairs]

    def _begins(self, seq: int, offset: int) -> bool:
        try:
            block = peek_block(self._descriptor, offset, os.fstat(self._descriptor).st_size, self._path)
        except DamagedBlockError:
            return False
        return block.first == seq


def index_path(segment: Path) -> Path:
    """Return where the marks of a segment are kept."""
    return segment.with_suffix(SUFFIX)


def store_index(path: Path, first: int) -> None:
    """Make and keep the marks of a sealed segment; a damaged one goes without."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        index = SegmentIndex(descriptor, path, first, load=False)
        index.last()
        index.store()
    except DamagedBlockError:
        index_path(path).unlink(missing_ok=True)
    finally:
        os.close(descriptor)
