"""Exporting a part of the ledger as plain JSON lines that ``standalone.py`` checks without anything of ours.

A bundle covers the tree from entry 0 to a signed size without a hole: entries that are told, and roots of
complete subtrees for all that is not (what lies before the range, what the caller leaves out, what follows
up to the signature).
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from watchkeeper.errors import FormatError, UsageError
from watchkeeper.ledger.blocks import list_segments, read_segment_header
from watchkeeper.ledger.checkpoints import FILE, HEAD, Checkpoint, read_checkpoints, read_head
from watchkeeper.ledger.entries import StoredEntry
from watchkeeper.ledger.files import TEMPORARY
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.merkle import Tree, largest_aligned, leaf_hash, subtree_root
from watchkeeper.ledger.reader import LedgerReader

FORMAT = "watchkeeper-bundle"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Exported:
    """What went into a bundle.

    Attributes:
        path: The bundle.
        first: First entry of the range.
        last: Last entry of the range.
        entries: How many are told.
        withheld: How many of the range are there only as hashes.
        checkpoints: How many signatures are included.
        tree_size: The signed size that the bundle proves its entries against.
    """

    path: Path
    first: int
    last: int
    entries: int
    withheld: int
    checkpoints: int
    tree_size: int


def export_bundle(
    directory: Path,
    keys_directory: Path,
    destination: Path,
    first: int = 0,
    last: int | None = None,
    include: Callable[[StoredEntry], bool] | None = None,
) -> Exported:
    """Write a bundle; the destination appears whole or not at all.

    Args:
        directory: The ledger's folder.
        keys_directory: The folder of its keys; only public ones are exported.
        destination: The file to write.
        first: First entry wanted.
        last: Last entry wanted; without it the last that is signed.
        include: Says which entries of the range are told; the others are there as hashes only.

    Raises:
        UsageError: The range is empty or reaches beyond what is signed.
        FormatError: The ledger is damaged within the range.
    """
    keys = KeyRing(keys_directory, create_if_missing=False)
    checkpoints = _checkpoints(directory, keys_directory)
    signed = checkpoints[-1].tree_size if checkpoints else 0
    last = signed - 1 if last is None else last
    if not 0 <= first <= last < signed:
        why = f"entries 0 to {signed - 1} are signed" if signed else "nothing is signed yet"
        raise UsageError(
            f"entries {first} to {last} cannot be exported", why=why, hint="Wait for a checkpoint."
        )
    covering = next(checkpoint for checkpoint in checkpoints if checkpoint.tree_size > last)
    wanted = [item for item in checkpoints if first < item.tree_size <= covering.tree_size]
    temporary = destination.with_name(destination.name + TEMPORARY)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            export = _Export(directory, file, first, last, include, wanted)
            export.write(keys)
        temporary.rename(destination)
    finally:
        temporary.unlink(missing_ok=True)
    withheld = last - first + 1 - export.told
    return Exported(destination, first, last, export.told, withheld, len(wanted), covering.tree_size)


class _Export:
    """One bundle being written."""

    def __init__(
        self,
        directory: Path,
        file: BinaryIO,
        first: int,
        last: int,
        include: Callable[[StoredEntry], bool] | None,
        checkpoints: list[Checkpoint],
    ) -> None:
        self.directory = directory
        self.file = file
        self.first = first
        self.last = last
        self.include = include
        self.checkpoints = {checkpoint.tree_size: checkpoint for checkpoint in checkpoints}
        self.size = checkpoints[-1].tree_size
        self.told = self.lines = 0
        self._run_start = 0
        self._run: list[bytes] = []

    def write(self, keys: KeyRing) -> None:
        """Write all lines."""
        header = {"format": FORMAT, "version": VERSION, "host": keys.host, "tree_size": self.size}
        self._line(
            "header", **header, first=self.first, last=self.last, exported_at=time.time_ns() // 1_000_000
        )
        for key in keys.public_keys():
            self._line("key", **key.to_json())
        for start, size, root in _prefix(self.directory, self.first):
            self._line("subtree", start=start, size=size, hash=root.hex())
        position = self.first
        for entry in LedgerReader(self.directory).entries(self.first, self.size):
            position = entry.seq + 1
            if entry.seq <= self.last and (self.include is None or self.include(entry)):
                self._flush_run()
                self._entry(entry)
            else:
                if not self._run:
                    self._run_start = entry.seq
                self._run.append(leaf_hash(entry.leaf()))
            if position in self.checkpoints:
                self._flush_run()
                found = self.checkpoints[position]
                self._line("checkpoint", checkpoint=found.fields(), signature=found.signature)
        if position != self.size:
            raise FormatError(
                "the ledger ends early",
                why=f"entry {position} is signed and missing",
                place=str(self.directory),
            )
        self._line("end", lines=self.lines)

    def _entry(self, entry: StoredEntry) -> None:
        content: dict[str, Any] = {"digest": entry.digest.hex()} if entry.erased else _payload(entry)
        self._line("entry", seq=entry.seq, kind=entry.kind, source=entry.source, at=entry.at, **content)
        self.told += 1

    def _flush_run(self) -> None:
        start, run = self._run_start, self._run
        stop = start + len(run)
        position = start
        while position < stop:
            size = largest_aligned(position, stop)
            root = subtree_root(run[position - start : position - start + size])
            self._line("subtree", start=position, size=size, hash=root.hex())
            position += size
        self._run = []

    def _line(self, line_type: str, **content: Any) -> None:
        self.file.write(json.dumps({"type": line_type, **content}, separators=(",", ":")).encode() + b"\n")
        self.lines += 1


def _payload(entry: StoredEntry) -> dict[str, str]:
    try:
        return {"salt": entry.salt.hex(), "text": entry.payload.decode()}
    except UnicodeDecodeError:
        return {"salt": entry.salt.hex(), "base64": base64.b64encode(entry.payload).decode()}


def _prefix(directory: Path, first: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield start, size and root of the complete subtrees that cover what lies before ``first``."""
    segments = [segment for segment in list_segments(directory) if segment[0] <= first]
    if not segments:
        raise FormatError("the ledger's first segment is missing", place=str(directory))
    begin, path = segments[-1]
    descriptor = os.open(path, os.O_RDONLY)
    try:
        tree = Tree(begin, read_segment_header(descriptor, path).frontier)
    finally:
        os.close(descriptor)
    for entry in LedgerReader(directory).entries(begin, first):
        tree.append(leaf_hash(entry.leaf()))
    start = 0
    for root in tree.frontier():
        size = 1 << ((first - start).bit_length() - 1)
        yield start, size, root
        start += size


def _checkpoints(directory: Path, keys_directory: Path) -> list[Checkpoint]:
    path = directory / FILE
    found: dict[int, Checkpoint] = {}
    for item in read_checkpoints(path):
        if isinstance(item, FormatError):
            raise item
        found[item.tree_size] = item
    head = read_head(keys_directory)
    if head is not None and head.tree_size not in found:
        raise FormatError("checkpoints.jsonl lacks the newest checkpoint", place=str(keys_directory / HEAD))
    return [found[size] for size in sorted(found)]
