"""Removing payloads for good while the tree still verifies.

A plan is stored first, so that opening the ledger finishes what a crash interrupted. A dictionary that was
trained from an erased payload may hold pieces of it: it goes too, with its use in every block.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from pathlib import Path
from typing import Any

from watchkeeper.errors import FormatError, UsageError
from watchkeeper.ledger.blocks import (
    ENTRIES,
    Block,
    DamagedBlockError,
    header_bytes,
    list_segments,
    pack_entries,
    read_segment_header,
    unpack_entries,
    walk_blocks,
)
from watchkeeper.ledger.codec import Codec
from watchkeeper.ledger.entries import NO_SALT, StoredEntry, encode_erased, encode_record
from watchkeeper.ledger.files import sync_folder, write_file
from watchkeeper.ledger.index import index_path, store_index
from watchkeeper.ledger.reader import LedgerReader

PLAN = "erasure.json"
OWN_KINDS = frozenset({"tombstone", "repair", "dictionary", "key-rotation"})


def check_erasable(directory: Path, seqs: list[int]) -> None:
    """Check that each entry is on record and not one that the ledger's own proof needs.

    Raises:
        NotFoundError: One is not on record.
        UsageError: One is the ledger's own.
    """
    reader = LedgerReader(directory)
    for seq in seqs:
        entry = reader.get(seq)
        if entry.kind in OWN_KINDS:
            raise UsageError(
                f"entry {seq} cannot be erased",
                why=f"the ledger needs its own entries, such as this {entry.kind}",
            )


def plan_erasure(directory: Path, seqs: list[int], reason: str) -> None:
    """Store what is about to be erased."""
    write_file(directory / PLAN, json.dumps({"seqs": seqs, "reason": reason}).encode())


def pending_erasure(directory: Path) -> tuple[list[int], str] | None:
    """Return entries and reason of an erasure that was not finished.

    Raises:
        FormatError: The plan is damaged.
    """
    path = directory / PLAN
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        return [int(seq) for seq in document["seqs"]], str(document["reason"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError("an unfinished erasure cannot be read", why=str(error), place=str(path)) from error


def finish_erasure(directory: Path) -> None:
    """Forget the plan."""
    (directory / PLAN).unlink(missing_ok=True)
    sync_folder(directory)


def rewrite(directory: Path, codec: Codec, seqs: list[int]) -> list[int]:
    """Take the payloads out of every block that holds them; return the dictionaries that had to go with them.

    Raises:
        FormatError: A block that would have to be rewritten is damaged; its segment is left as it was.
    """
    dropped = []
    for identifier in codec.identifiers():
        dictionary = codec.load(identifier)
        if _any_between(seqs, dictionary.first, dictionary.last + 1):
            dropped.append(identifier)
    segments = list_segments(directory)
    for number, (first, path) in enumerate(segments):
        sealed = number + 1 < len(segments)
        following = segments[number + 1][0] if sealed else 1 << 64
        if dropped or _any_between(seqs, first, following):
            _rewrite_segment(first, path, codec, seqs, dropped, sealed=sealed)
    for identifier in dropped:
        codec.drop(identifier)
    return dropped


def _rewrite_segment(
    first: int, path: Path, codec: Codec, seqs: list[int], dropped: list[int], *, sealed: bool
) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        read_segment_header(descriptor, path)
        pieces = [os.pread(descriptor, header_bytes(first), 0)]
        changed = False
        for block in walk_blocks(descriptor, header_bytes(first), path, first):
            if isinstance(block, DamagedBlockError):
                raise block
            affected = block.dictionary in dropped or _any_between(seqs, block.first, block.next_seq)
            if block.kind == ENTRIES and affected:
                pieces.append(_rewrite_block(block, path, codec, seqs, dropped))
                changed = True
            else:
                pieces.append(os.pread(descriptor, block.length, block.offset))
    finally:
        os.close(descriptor)
    if changed:
        index_path(path).unlink(missing_ok=True)
        write_file(path, b"".join(pieces))
        if sealed:
            store_index(path, first)


def _rewrite_block(block: Block, path: Path, codec: Codec, seqs: list[int], dropped: list[int]) -> bytes:
    salts, records = [], []
    for entry in unpack_entries(codec, block, path):
        gone = entry.erased or _any_between(seqs, entry.seq, entry.seq + 1)
        salts.append(NO_SALT if gone else entry.salt)
        records.append(encode_erased(entry) if gone else _encode(entry))
    return pack_entries(
        codec, block.first, salts, records, 0 if block.dictionary in dropped else block.dictionary
    )


def _encode(entry: StoredEntry) -> bytes:
    return encode_record(entry.kind.encode(), entry.source.encode(), entry.at, entry.payload)


def _any_between(seqs: list[int], start: int, stop: int) -> bool:
    place = bisect_left(seqs, start)
    return place < len(seqs) and seqs[place] < stop
