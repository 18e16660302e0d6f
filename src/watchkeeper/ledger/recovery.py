"""Opening a ledger to append: where it ends, the tree up to there, and what a crash or a hand left behind.

Only what follows the newest checkpoint is read again. Nothing that was signed is cut: where signed entries
are missing or damaged, the ledger goes on after them in a new segment, and ``verify`` keeps telling.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from watchkeeper.errors import FormatError
from watchkeeper.ledger.blocks import (
    ENTRIES,
    Block,
    DamagedBlockError,
    find_block,
    header_bytes,
    list_segments,
    peek_block,
    read_block,
    read_segment_header,
    unpack_entries,
)
from watchkeeper.ledger.checkpoints import FILE, Checkpoint, last_checkpoint, read_head, usable
from watchkeeper.ledger.codec import Codec
from watchkeeper.ledger.files import TEMPORARY, write_file
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.merkle import Tree, leaf_hash


@dataclass(slots=True)
class Recovered:
    """A ledger ready to go on.

    Attributes:
        tree: The tree over all that is on record.
        checkpoint: The newest one whose signature and frontier hold.
        segment: The segment to append to; nothing when a new one must be begun.
        repairs: What was found and done, each the payload of an entry of kind ``repair``.
    """

    tree: Tree
    checkpoint: Checkpoint | None
    segment: Path | None = None
    repairs: list[dict[str, Any]] = field(default_factory=list)


def recover(directory: Path, keys: KeyRing, codec: Codec) -> Recovered:
    """Find the end of a ledger, cutting a torn tail."""
    repairs: list[dict[str, Any]] = []
    for leftover in directory.glob(f"*{TEMPORARY}"):
        leftover.unlink()
    checkpoint = _newest_checkpoint(directory, keys, repairs)
    state = Recovered(checkpoint.tree() if checkpoint else Tree(), checkpoint, None, repairs)
    signed = state.tree.size
    segments = list_segments(directory)
    if signed and not segments:
        repairs.append({"what": "signed entries missing", "first": 0, "last": signed - 1})
    begin = max((number for number, (first, _) in enumerate(segments) if first <= signed), default=0)
    for number in range(begin, len(segments)):
        first, path = segments[number]
        _Segment(first, path, codec, state, signed, last=number == len(segments) - 1).read()
    return state


class _Segment:
    """One segment from which recovery reads what the newest checkpoint does not cover."""

    def __init__(
        self, first: int, path: Path, codec: Codec, state: Recovered, signed: int, *, last: bool
    ) -> None:
        self.first = first
        self.path = path
        self.codec = codec
        self.state = state
        self.signed = signed
        self.last = last
        self.seen = first
        self.intact = True

    def read(self) -> None:
        """Append the entries that the tree lacks, and settle where the ledger goes on."""
        self.descriptor = os.open(self.path, os.O_RDWR if self.last else os.O_RDONLY)
        try:
            self._check_header()
            self._read_blocks()
        finally:
            os.close(self.descriptor)
        if self.last and self.seen < self.state.tree.size:
            self.state.repairs.append(
                {"what": "signed entries missing", "first": self.seen, "last": self.state.tree.size - 1}
            )
        self.state.segment = self.path if self.intact and self.seen == self.state.tree.size else None

    def _check_header(self) -> None:
        try:
            header = read_segment_header(self.descriptor, self.path)
        except DamagedBlockError as damage:
            self.intact = False
            self._note("segment header damaged", damage)
            return
        if self.first > self.state.tree.size:
            missing = {"first": self.state.tree.size, "last": self.first - 1}
            self.state.repairs.append({"what": "entries missing", **missing})
            self.state.tree = Tree(header.first, header.frontier)

    def _read_blocks(self) -> None:
        end = os.fstat(self.descriptor).st_size
        offset = header_bytes(self.first)
        while offset < end:
            try:
                block = self._next_block(offset, end)
            except FormatError as damage:
                found = self._pass_damage(offset, end, damage)
                if found is None:
                    return
                block = found
            if block.kind == ENTRIES:
                self.seen = block.next_seq
            offset = block.end

    def _next_block(self, offset: int, end: int) -> Block:
        block = peek_block(self.descriptor, offset, end, self.path)
        if block.next_seq > self.state.tree.size or block.kind != ENTRIES:
            block = read_block(self.descriptor, offset, end, self.path)
        if block.kind == ENTRIES and block.next_seq > self.state.tree.size:
            if block.first > self.state.tree.size:
                raise DamagedBlockError(
                    self.path, offset, f"entry {self.state.tree.size} is missing before it"
                )
            for entry in unpack_entries(self.codec, block, self.path):
                if entry.seq >= self.state.tree.size:
                    self.state.tree.append(leaf_hash(entry.leaf()))
        return block

    def _pass_damage(self, offset: int, end: int, damage: FormatError) -> Block | None:
        """Cut a tail that nothing vouches for; leave signed bytes alone and return what follows them."""
        following = find_block(self.descriptor, offset, end, self.path, self.seen)
        if self.seen >= self.signed and self.last:
            # A block that decayed, or whose dictionary is gone, is no half-done write.
            torn = following is None and isinstance(damage, DamagedBlockError) and damage.torn
            self._cut(offset, end, keep=not torn)
            return None
        self._note("damaged block", damage)
        if following is None or following.first > self.state.tree.size:
            self.intact = False
            return None
        return self._next_block(following.offset, end)

    def _cut(self, offset: int, end: int, *, keep: bool) -> None:
        tail = os.pread(self.descriptor, end - offset, offset)
        note = {
            "what": "torn tail cut",
            "segment": self.path.name,
            "offset": offset,
            "bytes": len(tail),
            "sha256": sha256(tail).hexdigest(),
            "next": self.state.tree.size,
        }
        if keep:
            # Bytes that were once on record are set aside, not thrown away.
            kept = self.path.with_name(f"{self.path.stem}-{offset}.cut")
            write_file(kept, tail)
            note["kept"] = kept.name
        os.ftruncate(self.descriptor, offset)
        os.fsync(self.descriptor)
        self.state.repairs.append(note)

    def _note(self, what: str, damage: FormatError) -> None:
        self.state.repairs.append(
            {"what": what, "segment": self.path.name, "why": damage.why, "next": self.state.tree.size}
        )


def _newest_checkpoint(directory: Path, keys: KeyRing, repairs: list[dict[str, Any]]) -> Checkpoint | None:
    path = directory / FILE
    stored, torn = last_checkpoint(path)
    if torn:
        os.truncate(path, path.stat().st_size - torn)
        repairs.append({"what": "torn checkpoint cut", "bytes": torn})
    try:
        head = read_head(keys.directory)
    except FormatError as error:
        head = None
        repairs.append({"what": "head damaged", "why": error.why})
    sound = [
        found
        for found in usable([stored, head])
        if keys.verify(found.key_id, found.message(), found.signature)
    ]
    if stored is not None and head is None and not any(note["what"] == "head damaged" for note in repairs):
        repairs.append({"what": "head missing", "signed": stored.tree_size})
    elif head is not None and not any(found is head for found in sound):
        repairs.append({"what": "head damaged", "why": "its signature or frontier does not hold"})
    return sound[-1] if sound else None
