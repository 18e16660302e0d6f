"""How a content becomes the body of a frame: compressed, and for raw transcripts also sealed."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Protocol

import zstandard

from watchkeeper.archive.frames import PLAIN, FrameHeader, pack_frame
from watchkeeper.errors import FormatError

LEVEL = 3


class Codec(Protocol):
    """Packs and unpacks the frames of one kind; the frame's header names the kind."""

    def digest(self, content: bytes) -> bytes:
        """Return the 32 bytes that identify a content."""

    def pack(self, content: bytes, digest: bytes) -> bytes:
        """Return the whole frame for a content."""

    def unpack(self, header: FrameHeader, body: bytes, place: str) -> bytes:
        """Return the content of a frame whose checksum fits.

        Raises:
            FormatError: The body cannot be unpacked, or its content is not the one it was.
        """


class Packed(NamedTuple):
    """A content as a whole frame, ready to be written: its digest, its size in bytes, the frame."""

    digest: bytes
    size: int
    frame: bytes


class PlainCodec:
    """Frames in zstd, identified by the SHA-256 of their content.

    Args:
        level: Level of zstd.
    """

    def __init__(self, level: int = LEVEL) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level)

    def digest(self, content: bytes) -> bytes:
        """Return the SHA-256 of the content."""
        return hashlib.sha256(content).digest()

    def pack(self, content: bytes, digest: bytes) -> bytes:
        """Return the whole frame for a content."""
        return pack_frame(digest, len(content), self._compressor.compress(content), PLAIN)

    def unpack(self, header: FrameHeader, body: bytes, place: str) -> bytes:
        """Return the content of a frame, after checking its digest.

        Raises:
            FormatError: The body cannot be unpacked, or its content is not the one it was.
        """
        if header.codec != PLAIN:
            raise FormatError("the archive frame is of another kind", why="it is sealed", place=place)
        content = decompress(body, header.size, place)
        if self.digest(content) != header.digest:
            raise FormatError(
                "the archived content is not the one it was", why="its digest differs", place=place
            )
        return content


def decompress(body: bytes, size: int, place: str) -> bytes:
    """Return what zstd holds, which must be ``size`` bytes.

    Raises:
        FormatError: It cannot be unpacked, or has another size.
    """
    try:
        content = zstandard.ZstdDecompressor().decompress(body, max_output_size=size or 1)
    except zstandard.ZstdError as error:
        raise FormatError("the archive frame cannot be unpacked", why=str(error), place=place) from error
    if len(content) != size:
        raise FormatError("the archived content is not the one it was", why="its size differs", place=place)
    return content
