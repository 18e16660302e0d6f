"""Segment files and their blocks: headers, checks, and where the next sound block is after damage.

Bytes are as ``schemas/ledger.v1.md`` says; every byte of a segment lies under some CRC-32.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from watchkeeper.errors import FormatError
from watchkeeper.ledger.codec import Codec
from watchkeeper.ledger.entries import SALT_BYTES, Records
from watchkeeper.ledger.files import write_file

VERSION = 1
ENTRIES = 1
CHECKPOINT = 2
SUFFIX = ".wkl"
BLOCK_MAGIC = b"WKB1"
BLOCK_KIND_OFFSET = 5

_BLOCK = struct.Struct("<4sBBHIIQIIII")
_CHECKED_HEAD = 12
_CRC_END = 16
_SEGMENT = struct.Struct("<8sHHIIIQQ16s")
_SEGMENT_MAGIC = b"WKLEDGR1"
_SEGMENT_CRC = slice(16, 20)
_NAME = re.compile(r"^([0-9a-f]{16})\.wkl$")
_RESYNC_BYTES = 1 << 20

BLOCK_HEADER_BYTES = _BLOCK.size


class Block(NamedTuple):
    """A sound block.

    Attributes:
        offset: Where it begins in its segment.
        length: Bytes with its header.
        kind: ``ENTRIES`` or ``CHECKPOINT``.
        first: First sequence number (of a checkpoint block: its tree size).
        entries: Number of entries.
        dictionary: Id of its zstd dictionary, 0 for none.
        raw_length: Bytes of its records before compression.
        body: What follows the header.
    """

    offset: int
    length: int
    kind: int
    first: int
    entries: int
    dictionary: int
    raw_length: int
    body: bytes

    @property
    def end(self) -> int:
        """Where the next block begins."""
        return self.offset + self.length

    @property
    def next_seq(self) -> int:
        """The sequence number that must follow."""
        return self.first + self.entries


class DamagedBlockError(FormatError):
    """Bytes of a segment are not a sound block.

    Attributes:
        offset: Where the damage begins.
        torn: The file ends before the block does, as after a crash while it was written.
        promised: The sequence number that would follow, as far as its header can be believed; else nothing.
    """

    def __init__(
        self, path: Path, offset: int, why: str, *, torn: bool = False, promised: int | None = None
    ) -> None:
        super().__init__(
            "a ledger block is damaged",
            why=why,
            hint="Run `wk verify` to see what is affected.",
            place=f"{path}:{offset}",
        )
        self.offset = offset
        self.torn = torn
        self.promised = promised


class SegmentHeader(NamedTuple):
    """What stands at the head of a segment: enough to continue the tree without what went before."""

    first: int
    created: int
    host: str
    frontier: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes of the header, where the first block begins."""
        return _SEGMENT.size + 32 * len(self.frontier)


def list_segments(directory: Path) -> list[tuple[int, Path]]:
    """Return first sequence number and path of each segment, in order."""
    if not directory.is_dir():
        return []
    names = sorted(name for name in os.listdir(directory) if _NAME.match(name))  # noqa: PTH208 (quicker by far)
    return [(int(name[:16], 16), directory / name) for name in names]


def segment_path(directory: Path, first: int) -> Path:
    """Return the path of the segment that begins with the entry ``first``."""
    return directory / f"{first:016x}{SUFFIX}"


def header_bytes(first: int) -> int:
    """Return the length of the header of the segment that begins with the entry ``first``."""
    return _SEGMENT.size + 32 * first.bit_count()


def create_segment(directory: Path, header: SegmentHeader) -> Path:
    """Create a segment with nothing but its header, durably; a crash leaves it whole or absent."""
    content = bytearray(
        _SEGMENT.pack(
            _SEGMENT_MAGIC,
            VERSION,
            len(header.frontier),
            _SEGMENT.size + 32 * len(header.frontier),
            0,
            0,
            header.first,
            header.created,
            bytes.fromhex(header.host),
        )
        + b"".join(header.frontier)
    )
    content[_SEGMENT_CRC] = crc32(content).to_bytes(4, "little")
    path = segment_path(directory, header.first)
    write_file(path, bytes(content))
    return path


def read_segment_header(descriptor: int, path: Path) -> SegmentHeader:
    """Return the header of an open segment.

    Raises:
        DamagedBlockError: It is not what the format promises, or not that of a segment of this name.
    """
    head = os.pread(descriptor, _SEGMENT.size, 0)
    if len(head) < _SEGMENT.size:
        raise DamagedBlockError(path, 0, "the segment's header is cut off")
    magic, version, nodes, length, _crc, reserved, first, created, host = _SEGMENT.unpack(head)
    if magic != _SEGMENT_MAGIC or version != VERSION or reserved:
        raise DamagedBlockError(path, 0, "this is no ledger segment of version 1")
    if nodes != first.bit_count() or length != _SEGMENT.size + 32 * nodes:
        raise DamagedBlockError(path, 0, "the segment's header contradicts itself")
    content = bytearray(os.pread(descriptor, length, 0))
    stored = bytes(content[_SEGMENT_CRC])
    content[_SEGMENT_CRC] = bytes(4)
    if crc32(content).to_bytes(4, "little") != stored:
        raise DamagedBlockError(path, 0, "the segment's header has a wrong checksum")
    if path.name != f"{first:016x}{SUFFIX}":
        raise DamagedBlockError(path, 0, f"the segment's header says that it begins with entry {first}")
    frontier = tuple(bytes(content[at : at + 32]) for at in range(_SEGMENT.size, length, 32))
    return SegmentHeader(first, created, host.hex(), frontier)


def pack_block(
    kind: int, first: int, count: int, body: bytes, dictionary: int = 0, raw_length: int = 0
) -> bytes:
    """Return a whole block."""
    length = _BLOCK.size + len(body)
    head = _BLOCK.pack(BLOCK_MAGIC, VERSION, kind, 0, length, 0, first, count, dictionary, raw_length, 0)
    checksum = _checksum(head, body)
    return head[:_CHECKED_HEAD] + checksum.to_bytes(4, "little") + head[_CRC_END:] + body


def pack_entries(
    codec: Codec, first: int, salts: Sequence[bytes], records: Sequence[bytes], dictionary: int
) -> bytes:
    """Return a block of entries: their salts, which nothing compresses, then the records in one frame."""
    raw = b"".join(records)
    body = b"".join(salts) + codec.compress(raw, dictionary)
    return pack_block(ENTRIES, first, len(records), body, dictionary, len(raw))


def unpack_entries(codec: Codec, block: Block, path: Path) -> Records:
    """Return the records of an entries block.

    Raises:
        FormatError: Its content or its dictionary is damaged; the place is named.
    """
    place = f"{path}:{block.offset}"
    salts = block.body[: SALT_BYTES * block.entries]
    if len(salts) != SALT_BYTES * block.entries:
        raise FormatError("a ledger block cannot be decoded", why="its salts are cut off", place=place)
    raw = codec.decompress(block.body[len(salts) :], block.dictionary, block.raw_length, place)
    return Records(block.first, block.entries, salts, raw, place)


def peek_block(descriptor: int, offset: int, end: int, path: Path) -> Block:
    """Return the block at ``offset`` without its body and without checking its checksum.

    Raises:
        DamagedBlockError: No block begins there, or the file ends within it.
    """
    head = os.pread(descriptor, _BLOCK.size, offset)
    if len(head) < _BLOCK.size:
        raise DamagedBlockError(path, offset, "the file ends within a block's header", torn=True)
    magic, version, kind, flags, length, _crc, first, count, dictionary, raw_length, _ = _BLOCK.unpack(head)
    if magic != BLOCK_MAGIC or length < _BLOCK.size:
        raise DamagedBlockError(path, offset, "no block begins here")
    if version != VERSION or kind not in (ENTRIES, CHECKPOINT) or flags:
        raise DamagedBlockError(path, offset, "the block is of an unknown version or kind")
    block = Block(offset, length, kind, first, count, dictionary, raw_length, b"")
    if block.end > end:
        raise DamagedBlockError(path, offset, "the file ends within the block", torn=True)
    return block


def read_block(descriptor: int, offset: int, end: int, path: Path) -> Block:
    """Return the block at ``offset``, checked.

    Raises:
        DamagedBlockError: It is damaged or cut off.
    """
    block = peek_block(descriptor, offset, end, path)
    content = os.pread(descriptor, block.length, offset)
    stored = int.from_bytes(content[_CHECKED_HEAD:_CRC_END], "little")
    body = content[_BLOCK.size :]
    if len(content) != block.length or _checksum(content[: _BLOCK.size], body) != stored:
        raise DamagedBlockError(path, offset, "its checksum is wrong", promised=block.next_seq)
    return block._replace(body=body)


def find_block(descriptor: int, offset: int, end: int, path: Path, at_least: int) -> Block | None:
    """Return the first sound block after ``offset`` that holds nothing before the entry ``at_least``."""
    position, window = offset + 1, b""
    while position < end:
        window = os.pread(descriptor, _RESYNC_BYTES, position)
        found = window.find(BLOCK_MAGIC)
        while found >= 0:
            block = _try_block(descriptor, position + found, end, path)
            if block is not None and block.first >= at_least:
                return block
            found = window.find(BLOCK_MAGIC, found + 1)
        if len(window) < _RESYNC_BYTES:
            return None
        position += len(window) - len(BLOCK_MAGIC) + 1
    return None


def walk_blocks(
    descriptor: int, offset: int, path: Path, expected: int
) -> Iterator[Block | DamagedBlockError]:
    """Yield each block of an open segment from ``offset``, and what is damaged between them.

    Args:
        descriptor: The open segment.
        offset: Where a block begins.
        path: Named in errors.
        expected: Sequence number of the first entry from there; blocks found after damage lie at or after it.
    """
    end = os.fstat(descriptor).st_size
    while offset < end:
        try:
            block = read_block(descriptor, offset, end, path)
        except DamagedBlockError as damage:
            following = find_block(descriptor, offset, end, path, expected)
            damage.torn = damage.torn and following is None
            yield damage
            if following is None:
                return
            block = following
        yield block
        offset = block.end
        expected = block.next_seq


def _try_block(descriptor: int, offset: int, end: int, path: Path) -> Block | None:
    try:
        return read_block(descriptor, offset, end, path)
    except DamagedBlockError:
        return None


def _checksum(head: bytes, body: bytes) -> int:
    return crc32(body, crc32(head[_CRC_END:], crc32(head[:_CHECKED_HEAD])))
