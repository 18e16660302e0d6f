"""The wire format of spool segments, version 1, as ``schemas/wire.v1`` fixes it.

A segment is a header of 32 bytes and then frames. A frame is a header of 72 bytes, a block of allow-listed
environment entries, and the payload as it came. Everything is little-endian; the checksum is CRC-32/IEEE
over all but the frame's first 16 bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from watchkeeper.errors import FormatError

SEGMENT_MAGIC = b"WKSPOOL1"
SEGMENT_HEADER = struct.Struct("<8sQ16s")
FRAME_MAGIC = b"WKF1"
FRAME_HEADER = struct.Struct("<4sBBHIIQQ16sIIIIII")
VERSION = 1

FLAG_TRUNCATED = 1
"""The payload was longer than what is stored."""
FLAG_ASKED = 2
"""The hook was about to ask the decider."""

PAYLOAD_LIMIT = 256 << 20
ENVIRONMENT_LIMIT = 16384
ENVIRONMENT_NAMES = (
    "CLAUDE_RUN_ID",
    "USER_NAME",
    "USER_EMAIL",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_PID",
    "CLAUDE_PROJECT_DIR",
    "CLAUDE_CODE_SESSION_ID",
    "USER",
    "LOGNAME",
    "HOSTNAME",
    "ZO_PROJECT_ID",
    "CLAUDE_CODE_REMOTE",
)
_LONGEST = FRAME_HEADER.size + ENVIRONMENT_LIMIT + PAYLOAD_LIMIT
_CHECKED_FROM = 16


class FrameKind(IntEnum):
    """What a frame's payload is."""

    EVENT = 1
    DECISION = 2
    SYNTHETIC = 3
    HTTP_EVENT = 4


class Frame(NamedTuple):
    """One frame. Times are nanoseconds since the epoch and since boot.

    ``kind`` may be one that only a later version knows. ``environment`` is shared between frames: do not
    change it.
    """

    kind: int
    flags: int
    wall_ns: int
    monotonic_ns: int
    boot_id: bytes
    uid: int
    pid: int
    parent_pid: int
    environment: Mapping[str, str]
    payload: bytes

    @property
    def truncated(self) -> bool:
        """Whether the payload was longer than what is stored."""
        return bool(self.flags & FLAG_TRUNCATED)

    @property
    def asked(self) -> bool:
        """Whether the hook was about to ask the decider."""
        return bool(self.flags & FLAG_ASKED)


class Damage(NamedTuple):
    """Bytes that are no frame: ``length`` of them at ``offset``, and why."""

    offset: int
    length: int
    reason: str


class Located(NamedTuple):
    """What lies in a buffer between ``offset`` and ``end``: a frame, or damage."""

    offset: int
    end: int
    frame: Frame | None
    damage: Damage | None


def encode_segment_header(segment: bytes, created_ns: int) -> bytes:
    """Return the 32 bytes that a segment begins with; ``segment`` is its id of 16 bytes."""
    return SEGMENT_HEADER.pack(SEGMENT_MAGIC, created_ns, segment)


def decode_segment_header(data: bytes) -> tuple[bytes, int] | None:
    """Return a segment's id and its time of creation (nanoseconds); None for bytes that are no segment's."""
    if len(data) < SEGMENT_HEADER.size:
        return None
    magic, created_ns, segment = SEGMENT_HEADER.unpack_from(data)
    return (segment, created_ns) if magic == SEGMENT_MAGIC else None


def encode_environment(environment: Mapping[str, str]) -> bytes:
    """Return the allow-listed entries in the order given; one that does not fit is left out whole."""
    block = bytearray()
    for name, value in environment.items():
        entry = f"{name}={value}".encode("utf-8", "surrogateescape") + b"\0"
        fits = len(block) + len(entry) <= ENVIRONMENT_LIMIT
        if name in ENVIRONMENT_NAMES and "\0" not in value and fits:
            block += entry
    return bytes(block)


@lru_cache(maxsize=256)
def _decode_environment(block: bytes) -> Mapping[str, str]:
    entries = (entry.partition(b"=") for entry in block.split(b"\0") if entry)
    return MappingProxyType(
        {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, _, value in entries}
    )


def encode_frame(frame: Frame) -> bytes:
    """Return a frame's bytes.

    Raises:
        FormatError: The payload is longer than 256 MiB, or the boot id is not 16 bytes.
    """
    if len(frame.payload) > PAYLOAD_LIMIT:
        raise FormatError(
            "payload too long for a frame", hint="Cut it to 256 MiB and set the truncated flag."
        )
    if len(frame.boot_id) != 16:
        raise FormatError("a boot id is 16 bytes", why=f"found {len(frame.boot_id)}")
    block = encode_environment(frame.environment)
    fields = (frame.wall_ns, frame.monotonic_ns, frame.boot_id, frame.uid, frame.pid, frame.parent_pid)
    lengths = (len(block), len(frame.payload), 0)
    total = FRAME_HEADER.size + len(block) + len(frame.payload)
    head = FRAME_HEADER.pack(FRAME_MAGIC, VERSION, frame.kind, frame.flags, total, 0, *fields, *lengths)
    checksum = zlib.crc32(frame.payload, zlib.crc32(block, zlib.crc32(head[_CHECKED_FROM:])))
    return head[:12] + checksum.to_bytes(4, "little") + head[_CHECKED_FROM:] + block + frame.payload


def frame_length(data: bytes, offset: int) -> int | None:
    """Return the whole length of the frame that may begin at ``offset``.

    None: its header is not all there, or is not a frame's.
    """
    if len(data) - offset < FRAME_HEADER.size or not data.startswith(FRAME_MAGIC, offset):
        return None
    (total,) = struct.unpack_from("<I", data, offset + 8)
    environment, payload = struct.unpack_from("<II", data, offset + 60)
    consistent = total == FRAME_HEADER.size + environment + payload and environment <= ENVIRONMENT_LIMIT
    return total if consistent and total <= _LONGEST else None


def _frame_at(data: bytes, offset: int, view: memoryview) -> tuple[Frame, int] | str:
    """Return the frame at an offset and its end, or the reason why there is none."""
    if len(data) - offset < FRAME_HEADER.size:
        return "incomplete header"
    (
        magic,
        version,
        kind,
        flags,
        total,
        checksum,
        wall,
        monotonic,
        boot,
        uid,
        pid,
        parent,
        environment,
        payload,
        _,
    ) = FRAME_HEADER.unpack_from(data, offset)
    body = offset + FRAME_HEADER.size
    if magic != FRAME_MAGIC or total != FRAME_HEADER.size + environment + payload or total > _LONGEST:
        return "no frame"
    if len(data) < offset + total:
        return "incomplete frame"
    if zlib.crc32(view[offset + _CHECKED_FROM : offset + total]) != checksum:
        return "wrong checksum"
    if version != VERSION:
        return f"unknown version {version}"
    middle, end = body + environment, offset + total
    entries = _decode_environment(data[body:middle])
    return Frame(kind, flags, wall, monotonic, boot, uid, pid, parent, entries, data[middle:end]), end


def _next_frame(data: bytes, start: int, view: memoryview) -> int:
    """Return the offset of the next whole frame, or the end of the data."""
    at = data.find(FRAME_MAGIC, start)
    while at >= 0:
        if not isinstance(_frame_at(data, at, view), str):
            return at
        at = data.find(FRAME_MAGIC, at + 1)
    return len(data)


def decode_frames(data: bytes, offset: int = 0) -> Iterator[Located]:
    """Yield everything in a buffer from ``offset`` (past the segment header) to its end, without a gap.

    After bytes that are no frame it goes on at the next whole frame, so that one torn write costs nothing
    else. What is cut off by the end of the buffer is damage with the reason ``incomplete frame`` or
    ``incomplete header``; only the caller can know whether more is to come.
    """
    view = memoryview(data)
    end = len(data)
    while offset < end:
        found = _frame_at(data, offset, view)
        if isinstance(found, str):
            whole = frame_length(data, offset) if found.startswith("unknown version") else None
            after = offset + whole if whole else _next_frame(data, offset + 1, view)
            yield Located(offset, after, None, Damage(offset, after - offset, found))
        else:
            frame, after = found
            yield Located(offset, after, frame, None)
        offset = after
