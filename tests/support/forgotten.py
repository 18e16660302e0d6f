"""Looks for a text in every form in which a home may hold it: files, SQLite pages, ledger blocks, archive frames."""

from __future__ import annotations

import json
from pathlib import Path

from watchkeeper.archive.store import ArchiveReader
from watchkeeper.ledger.blocks import ENTRIES, DamagedBlockError, header_bytes, list_segments, walk_blocks
from watchkeeper.ledger.codec import Codec
from watchkeeper.ledger.verify import verify
from watchkeeper.settings import Places


def places_of(places: Places, needle: bytes) -> list[str]:
    """Return where a home still holds the bytes, compressed or not."""
    found = [str(path) for path in files_of(places) if needle in _content(path)]
    archive = ArchiveReader(places.archive)
    for address in archive.frames():
        if needle in archive.get(address.pack, address.offset):
            found.append(f"{address.pack}:{address.offset}")
    codec = Codec(places.ledger)
    for first, path in list_segments(places.ledger):
        with path.open("rb") as file:
            for block in walk_blocks(file.fileno(), header_bytes(first), path, first):
                assert not isinstance(block, DamagedBlockError)
                if block.kind != ENTRIES:
                    continue
                body = block.body[16 * block.entries :]
                raw = codec.decompress(body, block.dictionary, block.raw_length, str(path))
                if needle in raw:
                    found.append(f"{path}:{block.offset}")
    for path in places.ledger.rglob("*.zdict"):
        if needle in path.read_bytes():
            found.append(str(path))
    return found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        # A daemon at work replaces its files.
        return b""


def files_of(places: Places) -> list[Path]:
    """Return every regular file of a home."""
    return [path for path in sorted(places.home.rglob("*")) if path.is_file() and not path.is_symlink()]


def assert_intact(places: Places) -> None:
    """Check that the ledger verifies."""
    verdict = verify(places.ledger, places.keys)
    assert verdict.ok, json.dumps(verdict.to_json())
    assert verdict.integrity == "intact"
    assert verdict.completeness == "complete"
