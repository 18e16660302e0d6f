"""Ledger entries: what callers append, what readers get back, and their two canonical encodings.

The *record* is how an entry lies in a block; the *leaf* is what the tree hashes;
``schemas/ledger.v1.md`` is the contract.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from watchkeeper.errors import FormatError, UsageError

OWN_SOURCE = "ledger"
SALT_BYTES = 16
DIGEST_BYTES = 32
MAX_KIND_BYTES = 255
MAX_SOURCE_BYTES = 0xFFFF
MAX_PAYLOAD_BYTES = 1 << 30
ERASED = 1
NO_SALT = bytes(SALT_BYTES)

_RECORD = struct.Struct("<BBHqI")
_LEAF = struct.Struct("<QqHI")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to put on record.

    Attributes:
        kind: What the payload is, 1 to 255 bytes of UTF-8.
        source: Where it came from, at most 65,535 bytes of UTF-8.
        at: When it happened, epoch milliseconds.
        payload: The bytes themselves, already redacted, at most 1 GiB.
    """

    kind: str
    source: str
    at: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class StoredEntry(Entry):
    """An entry as it is on record.

    Attributes:
        seq: Its place in the ledger, from 0, dense per host.
        salt: 16 random bytes hashed before the payload; empty when the payload was erased.
        digest: SHA-256 of salt and payload; it stays when the payload is erased.
    """

    seq: int
    salt: bytes
    digest: bytes

    @property
    def erased(self) -> bool:
        """Whether the payload was removed later, with its salt."""
        return not self.salt

    def leaf(self) -> bytes:
        """Return the bytes that the tree hashes for this entry."""
        return encode_leaf(self.seq, self.kind.encode(), self.source.encode(), self.at, self.digest)


def encode_leaf(seq: int, kind: bytes, source: bytes, at: int, digest: bytes) -> bytes:
    """Return the canonical leaf: fixed-width numbers and lengths first, so that no two entries share one."""
    return _LEAF.pack(seq, at, len(kind), len(source)) + kind + source + digest


def check_entry(entry: Entry) -> tuple[bytes, bytes]:
    """Return kind and source as bytes.

    Raises:
        UsageError: A field does not fit the format; the field is named as the place.
    """
    try:
        kind, source = entry.kind.encode(), entry.source.encode()
    except UnicodeEncodeError as error:
        raise UsageError("an entry cannot be stored", why=str(error), place="kind or source") from error
    if not 0 < len(kind) <= MAX_KIND_BYTES:
        raise UsageError("an entry cannot be stored", why=f"its kind has {len(kind)} bytes", place="kind")
    if len(source) > MAX_SOURCE_BYTES:
        raise UsageError(
            "an entry cannot be stored", why=f"its source has {len(source)} bytes", place="source"
        )
    if len(entry.payload) > MAX_PAYLOAD_BYTES:
        raise UsageError(
            "an entry cannot be stored", why=f"its payload has {len(entry.payload)} bytes", place="payload"
        )
    if not -(1 << 63) <= entry.at < 1 << 63:
        raise UsageError("an entry cannot be stored", why="its time needs more than 64 bits", place="at")
    return kind, source


def encode_record(kind: bytes, source: bytes, at: int, payload: bytes) -> bytes:
    """Return a record that holds its payload."""
    return _RECORD.pack(0, len(kind), len(source), at, len(payload)) + kind + source + payload


def encode_erased(entry: StoredEntry) -> bytes:
    """Return the record of an entry whose payload is gone: its digest stands where the payload stood."""
    kind, source = entry.kind.encode(), entry.source.encode()
    return _RECORD.pack(ERASED, len(kind), len(source), entry.at, DIGEST_BYTES) + kind + source + entry.digest


class Records:
    """The decoded content of one block, read record by record.

    Args:
        first: Sequence number of the first record.
        count: Number of records.
        salts: ``16 * count`` bytes.
        raw: The records, one after another.
        place: Named in errors.
    """

    __slots__ = ("_offsets", "_raw", "_salts", "count", "first", "place")

    def __init__(self, first: int, count: int, salts: bytes, raw: bytes, place: str) -> None:
        self.first = first
        self.count = count
        self.place = place
        self._salts = salts
        self._raw = raw
        self._offsets = self._walk()

    @property
    def size(self) -> int:
        """Bytes held in memory."""
        return len(self._raw) + len(self._salts)

    def __iter__(self) -> Iterator[StoredEntry]:
        return (self.entry(self.first + index) for index in range(self.count))

    def entry(self, seq: int) -> StoredEntry:
        """Return the entry ``seq``, which must lie in this block."""
        index = seq - self.first
        start = self._offsets[index]
        flags, kind_length, source_length, at, payload_length = _RECORD.unpack_from(self._raw, start)
        source_start = start + _RECORD.size + kind_length
        payload_start = source_start + source_length
        payload = self._raw[payload_start : payload_start + payload_length]
        try:
            kind = self._raw[start + _RECORD.size : source_start].decode()
            source = self._raw[source_start:payload_start].decode()
        except UnicodeDecodeError as error:
            raise self._error(f"entry {seq}: {error}") from error
        if flags & ERASED:
            return StoredEntry(kind, source, at, b"", seq, b"", payload)
        salt = self._salts[index * SALT_BYTES : (index + 1) * SALT_BYTES]
        return StoredEntry(kind, source, at, payload, seq, salt, sha256(salt + payload).digest())

    def _walk(self) -> list[int]:
        offsets = []
        offset, end = 0, len(self._raw)
        for _ in range(self.count):
            if offset + _RECORD.size > end:
                raise self._error("a record ends early")
            flags, kind_length, source_length, _at, payload_length = _RECORD.unpack_from(self._raw, offset)
            if flags & ~ERASED or (flags & ERASED and payload_length != DIGEST_BYTES):
                raise self._error("a record has unknown flags")
            offsets.append(offset)
            offset += _RECORD.size + kind_length + source_length + payload_length
        if offset != end:
            raise self._error("the records do not fill the block")
        return offsets

    def _error(self, why: str) -> FormatError:
        return FormatError("a ledger block cannot be decoded", why=why, place=self.place)
