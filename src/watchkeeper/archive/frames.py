"""The format of archive packs.

A pack is a file ``<id>.wka``: a header of 32 bytes, then frames one after another. All is little-endian.

Header: magic ``WKARCHV1`` (8) | created, wall clock in ns, u64 | 16 random bytes; time and bytes are the id.

Frame: a header of 56 bytes, then the body.

====== ==== ==============================================================
offset size field
====== ==== ==============================================================
0      4    magic ``WKAF``
4      1    version, 1
5      1    codec: 1 zstd, 2 zstd then sealed (ChaCha20-Poly1305)
6      2    reserved, 0
8      4    length of the body
12     4    size of the content when unpacked
16     4    CRC-32 (IEEE) over bytes 0-15, 20-55 and the body
20     4    reserved, 0
24     32   SHA-256 of the content; of a sealed one HMAC-SHA-256 with a key of its own
====== ==== ==============================================================
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from watchkeeper.errors import FormatError

PACK_MAGIC = b"WKARCHV1"
PACK_HEADER = struct.Struct("<8sQ16s")
FRAME_HEADER = struct.Struct("<4sBBHIIII32s")
MAXIMUM_CONTENT = 64 << 20
_FRAME_MAGIC = b"WKAF"
_VERSION = 1
PLAIN = 1
SEALED = 2
_CHECKSUM = slice(16, 20)


class FrameHeader(NamedTuple):
    """What the header of a frame says: lengths in bytes, the checksum, the digest of the content, its kind."""

    length: int
    size: int
    checksum: int
    digest: bytes
    codec: int = PLAIN


def pack_frame(digest: bytes, size: int, body: bytes, codec: int = PLAIN) -> bytes:
    """Return a whole frame for ``size`` bytes of content that ``body`` holds in the way of ``codec``."""
    bare = FRAME_HEADER.pack(_FRAME_MAGIC, _VERSION, codec, 0, len(body), size, 0, 0, digest)
    checksum = frame_checksum(bare, body)
    return FRAME_HEADER.pack(_FRAME_MAGIC, _VERSION, codec, 0, len(body), size, checksum, 0, digest) + body


def frame_checksum(header: bytes, body: bytes) -> int:
    """Return the CRC-32 that the header of a frame must carry."""
    start = zlib.crc32(header[: _CHECKSUM.start])
    return zlib.crc32(body, zlib.crc32(header[_CHECKSUM.stop :], start))


def read_frame_header(header: bytes, place: str) -> FrameHeader:
    """Return the fields of a frame's header.

    Raises:
        FormatError: The bytes are no header of a version known here.
    """
    if len(header) < FRAME_HEADER.size:
        raise FormatError("the archive frame is cut off", place=place)
    magic, version, codec, zero, length, size, checksum, reserved, digest = FRAME_HEADER.unpack(header)
    if magic != _FRAME_MAGIC or zero or reserved or size > MAXIMUM_CONTENT:
        raise FormatError("no archive frame starts here", place=place)
    if version != _VERSION or codec not in (PLAIN, SEALED):
        raise FormatError(
            "the archive frame is of an unknown kind",
            why=f"version {version}, codec {codec}",
            hint="A newer Watchkeeper may have written it.",
            place=place,
        )
    return FrameHeader(length, size, checksum, digest, codec)
