"""Checking a whole ledger: is what is there unchanged (integrity), and is all there (completeness).

The two are separate verdicts. Neither is worth more than its anchor: a ledger that its subject could have
signed anew is *consistent with its own signatures*, no more, and nothing here calls it proof against
tampering.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from watchkeeper.errors import FormatError, NotFoundError
from watchkeeper.ledger.anchor import Anchor, evidence
from watchkeeper.ledger.blocks import (
    BLOCK_KIND_OFFSET,
    CHECKPOINT,
    ENTRIES,
    Block,
    DamagedBlockError,
    SegmentHeader,
    header_bytes,
    list_segments,
    pack_block,
    read_segment_header,
    unpack_entries,
    walk_blocks,
)
from watchkeeper.ledger.checkpoints import (
    FILE,
    Checkpoint,
    last_checkpoint,
    parse_checkpoint,
    read_checkpoints,
    read_head,
)
from watchkeeper.ledger.codec import Codec
from watchkeeper.ledger.entries import StoredEntry
from watchkeeper.ledger.erasure import pending_erasure
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.merkle import Tree, leaf_hash
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.ledger.watch import EntryWatch, Finding

Integrity = Literal["intact", "broken"]
Completeness = Literal["complete", "truncated", "unknown"]

PROGRESS_ENTRIES = 10_000
TORN_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of a ledger came to.

    Attributes:
        ok: Integrity is intact and no entry is known to be missing.
        entries: How many could be read.
        integrity: Whether what is there is what was signed.
        completeness: Whether all that was signed is there; unknown when nothing says how much there was.
        first_bad: The first entry that cannot be vouched for.
        anchor: How far the record is out of reach of the one it is about.
        checkpoints: How many signatures held.
        findings: What was noticed, whether or not it changes the verdict.
    """

    ok: bool
    entries: int
    integrity: Integrity
    completeness: Completeness
    first_bad: int | None
    anchor: Anchor
    checkpoints: int
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the shape of ``wk verify --json``."""
        return asdict(self)


def verify(
    directory: Path,
    keys_directory: Path,
    *,
    heartbeat_seconds: int = 300,
    agent_uid: int | Collection[int] | None = None,
    author: Callable[[StoredEntry], int | None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Check every byte of a ledger against its signatures. Nothing is changed; no lock is needed.

    Args:
        directory: The ledger's folder.
        keys_directory: The folder with the public keys and the newest head.
        heartbeat_seconds: How often the recorder writes a heartbeat; twice that without one is a finding.
        agent_uid: The user whom the record is about, or all such users; without any the user of this process.
        author: Tells the user id of the agent that an entry came from, so that who is on record counts too.
        progress: Is told the number of entries checked so far, now and then.
    """
    watch = EntryWatch(heartbeat_seconds, author)
    check = _Check(directory, keys_directory, watch, progress)
    check.run()
    known = {agent_uid} if isinstance(agent_uid, int) else set(agent_uid or ())
    anchor, why = evidence(directory, keys_directory, known | watch.authors)
    if anchor == "none":
        check.note(
            "the record is signed by itself only", f"{why}: that user could sign a changed record anew"
        )
    return Verdict(
        ok=not check.broken and not check.truncated and not check.head_lost,
        entries=check.entries,
        integrity="broken" if check.broken else "intact",
        completeness="truncated" if check.truncated else "complete" if check.head_known else "unknown",
        first_bad=check.first_bad,
        anchor=anchor,
        checkpoints=check.held,
        findings=[*check.findings, *check.watch.findings],
    )


class _Check:
    """One pass over a ledger."""

    def __init__(
        self, directory: Path, keys_directory: Path, watch: EntryWatch, progress: Callable[[int], None] | None
    ) -> None:
        self.directory = directory
        self.keys_directory = keys_directory
        self.watch = watch
        self.progress = progress
        self.findings: list[Finding] = []
        self.broken = self.truncated = self.head_lost = self.head_known = False
        self.first_bad: int | None = None
        self.entries = self.held = 0
        self._codec = Codec(directory)
        self._keys: KeyRing | None = None
        self._checkpoints: dict[int, Checkpoint] = {}
        self._damaged_lines = False
        self._signed = 0
        self._expected = self._good = self._promised = 0
        self._tree: Tree | None = Tree()
        self._damage_open = False

    def note(self, what: str, why: str, place: Path | str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(what, why, str(place)))

    def run(self) -> None:
        """Do all of it."""
        # The head is read first, the segments last: what a writer adds meanwhile is newer, not missing.
        self._read_keys()
        self._read_checkpoints()
        segments = list_segments(self.directory)
        self._check_signatures()
        for number, (first, path) in enumerate(segments):
            self._check_segment(first, path, last=number == len(segments) - 1)
        self._check_end()
        self._check_own_entries()

    def _break(self, what: str, why: str, place: Path | str, seq: int | None) -> None:
        self.broken = True
        self._bad(seq)
        self.note(what, why, place)

    def _miss(self, what: str, why: str, place: Path | str, seq: int | None) -> None:
        self.truncated = True
        self._bad(seq)
        self.note(what, why, place)

    def _bad(self, seq: int | None) -> None:
        if seq is not None and (self.first_bad is None or seq < self.first_bad):
            self.first_bad = seq

    def _read_checkpoints(self) -> None:
        path = self.directory / FILE
        head = self._read_head()
        vouched, previous = 0, None
        for number, found in enumerate(read_checkpoints(path), 1):
            place = f"{path}:{number}"
            if isinstance(found, FormatError):
                self._damaged_lines = True
                self._break(found.what, found.why, place, vouched)
                previous = None
                continue
            try:
                found.tree()
            except FormatError as error:
                self._damaged_lines = True
                self._break(error.what, error.why, place, vouched)
                previous = None
                continue
            if found.tree_size <= vouched:
                self._break(
                    "checkpoints are out of order", "a tree that grew cannot shrink", place, found.tree_size
                )
            if previous is not None and found.previous != previous.digest():
                self._miss("a checkpoint is missing", "the next one names another before it", place, None)
            if previous is not None and found.at < previous.at:
                self.note(
                    "the clock went back", f"by {previous.at - found.at} ms between two checkpoints", place
                )
            self._checkpoints[found.tree_size] = previous = found
            vouched = found.tree_size
        self._compare_head(path, head)
        self._signed = max(self._checkpoints, default=0)

    def _read_head(self) -> Checkpoint | None:
        try:
            head = read_head(self.keys_directory)
            if head is not None:
                head.tree()
        except (FormatError, OSError) as error:
            self.head_lost = True
            self.note("the newest head cannot be read", str(error), self.keys_directory)
            return None
        return head

    def _compare_head(self, path: Path, head: Checkpoint | None) -> None:
        if head is None:
            if self._checkpoints and not self.head_lost:
                self.head_lost = True
                self.note(
                    "the newest head is missing", "it is kept beside the keys, outside the ledger", path
                )
            return
        if self._keys is not None and not self._holds(head):
            self.head_lost = True
            self.note("the newest head cannot be used", "its signature does not hold", self.keys_directory)
            return
        self.head_known = True
        stored = self._checkpoints.setdefault(head.tree_size, head)
        if stored is head:
            self._miss(
                "checkpoints.jsonl lacks the newest checkpoint",
                f"signed over {head.tree_size} entries",
                path,
                None,
            )
            if last_checkpoint(path)[1]:
                self._damaged_lines = True
                self._break("a checkpoint is damaged", "its line has no end", path, None)
        elif stored.digest() != head.digest():
            self._break(
                "two checkpoints of one size differ",
                "the head beside the keys is another",
                path,
                head.tree_size,
            )

    def _read_keys(self) -> None:
        try:
            self._keys = KeyRing(self.keys_directory, create_if_missing=False)
        except (FormatError, NotFoundError) as error:
            if list_segments(self.directory) or (self.directory / FILE).exists():
                self._break("no signature can be checked", str(error), self.keys_directory, 0)

    def _check_signatures(self) -> None:
        vouched, order = 0, 0
        known = [key.key_id for key in self._keys.public_keys()] if self._keys else []
        for size in sorted(self._checkpoints):
            checkpoint = self._checkpoints[size]
            if not self._holds(checkpoint):
                self._break("a checkpoint's signature does not hold", f"over {size} entries", FILE, vouched)
                del self._checkpoints[size]
                continue
            if known.index(checkpoint.key_id) < order:
                self._break("a checkpoint is signed by a key that was already replaced", "", FILE, vouched)
            order = max(order, known.index(checkpoint.key_id))
            self.held += 1
            vouched = size
        self._signed = max(self._checkpoints, default=0)

    def _holds(self, checkpoint: Checkpoint) -> bool:
        keys = self._keys
        return (
            keys is not None
            and checkpoint.host == keys.host
            and keys.verify(checkpoint.key_id, checkpoint.message(), checkpoint.signature)
        )

    def _check_segment(self, first: int, path: Path, *, last: bool) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            try:
                self._enter(first, path, read_segment_header(descriptor, path))
            except DamagedBlockError as damage:
                self._break(damage.what, damage.why, damage.place, first)
                if first > self._expected and not self._damage_open:
                    self._missing(first, path)
                self._expected = max(self._expected, first)
            for item in walk_blocks(descriptor, header_bytes(first), path, first):
                if isinstance(item, DamagedBlockError):
                    tail = os.pread(descriptor, TORN_BYTES, item.offset) if item.torn and last else None
                    self._damage(item, tail)
                elif item.kind == ENTRIES:
                    self._check_block(item, path)
                else:
                    self._check_copy(item, path)
        finally:
            os.close(descriptor)

    def _enter(self, first: int, path: Path, header: SegmentHeader) -> None:
        if self._keys is not None and header.host != self._keys.host:
            self._break("a segment is of another host", header.host, path, first)
        if first > self._expected:
            if not self._damage_open:
                self._missing(first, path)
            self._expected, self._tree = first, None
        if self._tree is None or self._tree.size != first:
            self._tree = Tree(first, header.frontier)
            self._good = max(self._good, first)
        elif self._tree.frontier() != header.frontier:
            self._break("a segment does not continue the tree", "its frontier is another", path, first)
        self._damage_open = False

    def _missing(self, first: int, place: Path | str) -> None:
        self._miss("entries are missing", f"{self._expected} to {first - 1}", place, self._expected)

    def _damage(self, damage: DamagedBlockError, tail: bytes | None) -> None:
        if tail is not None and self._expected >= self._signed and self._plausible(tail):
            self.note(
                "the last block is torn",
                "a crash, or a write that is under way; nothing signed",
                damage.place,
            )
            return
        self._break(damage.what, damage.why, damage.place, self._expected)
        self._damage_open, self._tree = True, None
        self._promised = damage.promised or 0

    def _plausible(self, tail: bytes) -> bool:
        """Whether a torn tail can be what a write left; the copy of a checkpoint is known, byte for byte."""
        newest, _torn = last_checkpoint(self.directory / FILE)
        if tail[BLOCK_KIND_OFFSET : BLOCK_KIND_OFFSET + 1] != bytes([CHECKPOINT]) or newest is None:
            return True
        return pack_block(CHECKPOINT, newest.tree_size, 0, newest.line()).startswith(tail)

    def _check_block(self, block: Block, path: Path) -> None:
        place = f"{path}:{block.offset}"
        if block.first > self._expected:
            if not self._damage_open:
                self._missing(block.first, place)
            self._tree = None
        elif block.first < self._expected:
            self._break("entries occur twice", f"{block.first} to {self._expected - 1}", place, block.first)
            self._tree = None
        self._damage_open = False
        try:
            for entry in unpack_entries(self._codec, block, path):
                self._check_entry(entry)
        except FormatError as error:
            self._break(error.what, error.why, error.place, block.first)
            self._tree = None
        self._expected = block.next_seq

    def _check_entry(self, entry: StoredEntry) -> None:
        tree = self._tree
        if tree is not None:
            tree.append(leaf_hash(entry.leaf()))
        size = entry.seq + 1
        checkpoint = self._checkpoints.get(size)
        if checkpoint is not None:
            if tree is not None and tree.root().hex() != checkpoint.root:
                why = f"the root over {size} entries is not the signed one"
                self._break("entries were changed", why, f"entries {self._good} to {entry.seq}", self._good)
            # From a signed root on, what follows is judged by itself.
            self._tree, self._good = checkpoint.tree(), size
        self.watch.see(entry)
        self.entries += 1
        if self.progress is not None and self.entries % PROGRESS_ENTRIES == 0:
            self.progress(self.entries)

    def _check_copy(self, block: Block, path: Path) -> None:
        place = f"{path}:{block.offset}"
        try:
            copy = parse_checkpoint(block.body, place)
        except FormatError as error:
            self._break(error.what, error.why, place, self._good)
            return
        if not self._holds(copy):
            self._break(
                "a checkpoint's signature does not hold", f"over {copy.tree_size} entries", place, self._good
            )
        elif copy.tree_size not in self._checkpoints and not self._damaged_lines and not self._added(copy):
            self._miss("checkpoints.jsonl lacks a checkpoint that a segment holds", "", place, None)
        elif copy.tree_size in self._checkpoints and self._checkpoints[copy.tree_size].root != copy.root:
            self._break("two checkpoints of one size differ", "", place, self._good)

    def _added(self, copy: Checkpoint) -> bool:
        """Whether a writer has signed it since this check began."""
        path = self.directory / FILE
        return copy.tree_size > self._signed and path.exists() and copy.line() in path.read_bytes()

    def _check_end(self) -> None:
        if max(self._expected, self._promised) < self._signed:
            why = f"{self._signed} were signed, {self._expected} are there"
            self._miss("the end of the ledger is missing", why, self.directory, self._expected)
        elif self._expected > self._signed:
            self.note(
                "the newest entries are not signed yet", f"{self._expected - self._signed}", self.directory
            )

    def _check_own_entries(self) -> None:
        try:
            plan = pending_erasure(self.directory)
        except FormatError as error:
            plan = None
            self.note(error.what, error.why, error.place)
        allowed = set(plan[0]) if plan else set()
        if self.watch.erased - self.watch.tombstoned - allowed and not self.broken:
            # A writer may have finished an erasure since this check began.
            for entry in LedgerReader(self.directory).entries(self._expected, on_damage=lambda _error: None):
                self.watch.see(entry)
        for seq in sorted(self.watch.erased - self.watch.tombstoned - allowed):
            self._miss("a payload was removed and no tombstone says so", f"entry {seq}", self.directory, seq)
        for key in self._keys.public_keys()[1:] if self._keys else ():
            used = any(checkpoint.key_id == key.key_id for checkpoint in self._checkpoints.values())
            if used and not self.broken and not self.truncated and key.to_json() not in self.watch.rotations:
                self._break("a key was used that no entry announces", key.key_id, self.keys_directory, None)
        for name in sorted(self.watch.dictionaries):
            try:
                self._codec.load(int(name, 16))
            except (FormatError, ValueError) as error:
                self._break("a dictionary is missing or damaged", str(error), name, None)
