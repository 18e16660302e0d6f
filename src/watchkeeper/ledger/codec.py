"""Compression of blocks with zstd, and the trained dictionaries that make small blocks small.

A dictionary file holds pieces of the payloads it was trained from, so it says which entries those were:
erasing one of them drops the dictionary (``erasure.py``).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import zstandard

from watchkeeper.errors import FormatError
from watchkeeper.ledger.files import sync_folder, write_file

LEVEL = 3
DICTIONARY_BYTES = 32 << 10
FOLDER = "dictionaries"

_HEADER = struct.Struct("<8sQQ")
_MAGIC = b"WKZDICT1"
_NAME = re.compile(r"^([0-9a-f]{8})\.zdict$")


@dataclass(frozen=True, slots=True)
class Dictionary:
    """A trained dictionary; its id is the head of the file's SHA-256, so that damage shows at once.

    Attributes:
        id: Number in block headers, never 0.
        first: First entry it was trained from.
        last: Last entry it was trained from.
        data: What zstd needs.
        digest: SHA-256 of the whole file.
        path: The file.
    """

    id: int
    first: int
    last: int
    data: bytes
    digest: bytes
    path: Path

    def to_json(self) -> dict[str, Any]:
        """Return what the ledger records of it."""
        return {
            "id": f"{self.id:08x}",
            "sha256": self.digest.hex(),
            "first": self.first,
            "last": self.last,
            "bytes": len(self.data),
        }


class Codec:
    """Compresses and decompresses blocks of one ledger.

    Args:
        directory: The ledger's folder.
        level: zstd level for new blocks.
    """

    def __init__(self, directory: Path, level: int = LEVEL) -> None:
        self._folder = directory / FOLDER
        self._level = level
        self._plain = zstandard.ZstdCompressor(level=level, write_checksum=False)
        self._compressors: dict[int, zstandard.ZstdCompressor] = {0: self._plain}
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {0: zstandard.ZstdDecompressor()}

    def identifiers(self) -> list[int]:
        """Return the ids of all dictionaries, the newest last."""
        if not self._folder.is_dir():
            return []
        found = [path for path in self._folder.iterdir() if _NAME.match(path.name)]
        found.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
        return [int(path.stem, 16) for path in found]

    def newest(self) -> int:
        """Return the id of the newest usable dictionary, 0 when there is none."""
        for identifier in reversed(self.identifiers()):
            try:
                return self.load(identifier).id
            except FormatError:
                continue
        return 0

    def compress(self, raw: bytes, dictionary: int) -> bytes:
        """Return one zstd frame; ``dictionary`` 0 means none."""
        compressor = self._compressors.get(dictionary)
        if compressor is None:
            trained = zstandard.ZstdCompressionDict(self.load(dictionary).data)
            trained.precompute_compress(level=self._level)
            compressor = zstandard.ZstdCompressor(level=self._level, dict_data=trained, write_checksum=False)
            self._compressors[dictionary] = compressor
        return compressor.compress(raw)

    def decompress(self, body: bytes, dictionary: int, raw_length: int, place: str) -> bytes:
        """Return the bytes of a frame.

        Raises:
            FormatError: The dictionary is missing or damaged, or the frame is not what the block promises.
        """
        decompressor = self._decompressors.get(dictionary)
        if decompressor is None:
            trained = zstandard.ZstdCompressionDict(self.load(dictionary).data)
            decompressor = self._decompressors[dictionary] = zstandard.ZstdDecompressor(dict_data=trained)
        try:
            if zstandard.frame_content_size(body) != raw_length:
                raise FormatError(
                    "a ledger block cannot be decompressed", why="its length is wrong", place=place
                )
            return decompressor.decompress(body, max_output_size=raw_length)
        except zstandard.ZstdError as error:
            raise FormatError("a ledger block cannot be decompressed", why=str(error), place=place) from error

    def load(self, identifier: int) -> Dictionary:
        """Return a stored dictionary.

        Raises:
            FormatError: It is missing or damaged.
        """
        path = self._path(identifier)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise FormatError("a ledger dictionary is missing", place=str(path)) from error
        digest = sha256(content).digest()
        if len(content) < _HEADER.size or int.from_bytes(digest[:4], "big") != identifier:
            raise FormatError("a ledger dictionary is damaged", why="its digest is wrong", place=str(path))
        magic, first, last = _HEADER.unpack_from(content)
        if magic != _MAGIC:
            raise FormatError(
                "a ledger dictionary is damaged", why="it begins with other bytes", place=str(path)
            )
        return Dictionary(identifier, first, last, content[_HEADER.size :], digest, path)

    def train(self, samples: Sequence[bytes], first: int, last: int) -> Dictionary | None:
        """Train a dictionary from the records of the entries ``first`` to ``last`` and store it.

        Returns:
            The dictionary, or nothing when zstd finds too little in common.
        """
        try:
            data = zstandard.train_dictionary(DICTIONARY_BYTES, list(samples), k=256, d=8).as_bytes()
        except zstandard.ZstdError:
            return None
        content = _HEADER.pack(_MAGIC, first, last) + data
        digest = sha256(content).digest()
        identifier = int.from_bytes(digest[:4], "big")
        if identifier == 0:
            return None
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(identifier)
        write_file(path, content)
        return Dictionary(identifier, first, last, data, digest, path)

    def drop(self, identifier: int) -> None:
        """Remove a dictionary that no block uses any more."""
        self._compressors.pop(identifier, None)
        self._decompressors.pop(identifier, None)
        self._path(identifier).unlink(missing_ok=True)
        sync_folder(self._folder)

    def _path(self, identifier: int) -> Path:
        return self._folder / f"{identifier:08x}.zdict"
