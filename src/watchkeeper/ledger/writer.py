"""Appending to the ledger: group commits, checkpoints, key rotation and erasure. One writer per home."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from watchkeeper.errors import WatchkeeperError
from watchkeeper.ledger.blocks import CHECKPOINT, SegmentHeader, create_segment, pack_block, pack_entries
from watchkeeper.ledger.checkpoints import FILE, HEAD, NO_PREDECESSOR, Checkpoint
from watchkeeper.ledger.codec import Codec
from watchkeeper.ledger.entries import (
    OWN_SOURCE,
    SALT_BYTES,
    Entry,
    check_entry,
    encode_leaf,
    encode_record,
)
from watchkeeper.ledger.erasure import check_erasable, finish_erasure, pending_erasure, plan_erasure, rewrite
from watchkeeper.ledger.files import sync_data, sync_folder, write_all, write_file
from watchkeeper.ledger.index import store_index
from watchkeeper.ledger.keys import KeyRing, PublicKey
from watchkeeper.ledger.recovery import recover

SEGMENT_BYTES = 32 << 20
BLOCK_BYTES = 256 << 10
BUFFER_BYTES = 64 << 20
SAMPLE_COUNT = 256
SAMPLE_BYTES = 256 << 10
LONGEST_SAMPLE = 4 << 10


class LedgerWriteError(WatchkeeperError):
    """The disk did not take what was to be written; nothing committed is lost, a later commit tries again."""

    code = "ledger_write"


def epoch_milliseconds() -> int:
    """Return the wall clock."""
    return time.time_ns() // 1_000_000


class LedgerWriter:
    """The one that appends. Opening repairs a torn tail and finishes an interrupted erasure.

    Opening writes nothing that needs room on the disk: entries about repairs wait for the first commit.

    Args:
        directory: The ledger's folder, made when missing.
        keys: Sign the checkpoints.
        checkpoint_entries: Sign when this many entries are unsigned.
        checkpoint_seconds: Sign at the first commit this long after the first unsigned entry.
        clock: Epoch milliseconds; it may jump either way.
        segment_bytes: Begin a new segment file beyond this size.
    """

    def __init__(
        self,
        directory: Path,
        keys: KeyRing,
        *,
        checkpoint_entries: int = 1000,
        checkpoint_seconds: int = 10,
        clock: Callable[[], int] = epoch_milliseconds,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self.keys = keys
        self.warnings: list[WatchkeeperError] = []
        self._checkpoint_entries = checkpoint_entries
        self._checkpoint_milliseconds = checkpoint_seconds * 1000
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._codec = Codec(directory)
        self._dictionary = self._codec.newest()
        state = recover(directory, keys, self._codec)
        self._tree = state.tree
        self._signed = state.checkpoint
        self._committed = (state.tree.size, state.tree.frontier())
        self._records: list[bytes] = []
        self._salts: list[bytes] = []
        self._buffered = 0
        self._samples: list[bytes] | None = None if self._dictionary else []
        self._samples_first = self.next_seq
        self._announced = state.checkpoint.key_id if state.checkpoint else keys.current_id
        self._segment: Path | None = None
        self._descriptor = -1
        self._size = 0
        self._dirty = False
        self._unsigned_since = clock()
        if state.segment is not None:
            self._use(state.segment)
        for repair in state.repairs:
            self._append_own("repair", repair)
        self._resume_erasure()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def next_seq(self) -> int:
        """Sequence number of the next entry."""
        return self._tree.size

    def append(self, entries: Iterable[Entry]) -> range:
        """Take entries into the buffer and return their sequence numbers; ``commit`` puts them on record.

        Raises:
            UsageError: An entry does not fit the format; then none of them is taken.
            LedgerWriteError: Commits have failed so long that the buffer is full; none is taken.
        """
        entries = list(entries)
        prepared = [(*check_entry(entry), entry.at, entry.payload) for entry in entries]
        if self._buffered > BUFFER_BYTES and self._dirty:
            raise LedgerWriteError(
                "the ledger cannot be written and its buffer is full",
                hint="Free space on the disk that holds it.",
                place=str(self.directory),
            )
        if prepared and self._unsigned() == 0:
            self._unsigned_since = self._clock()
        first, tree = self._tree.size, self._tree
        random = os.urandom(SALT_BYTES * len(prepared))
        for number, (kind, source, at, payload) in enumerate(prepared):
            salt = random[number * SALT_BYTES : (number + 1) * SALT_BYTES]
            leaf = encode_leaf(tree.size, kind, source, at, sha256(salt + payload).digest())
            tree.append(sha256(b"\x00" + leaf).digest())
            record = encode_record(kind, source, at, payload)
            self._records.append(record)
            self._salts.append(salt)
            self._buffered += len(record)
        return range(first, tree.size)

    def commit(self) -> None:
        """Make what was appended durable with one sync, then sign a checkpoint when one is due.

        Call it now and then also when nothing was appended: only so is a checkpoint signed in time.

        A group is written in blocks of some 256 KiB; a crash before the return keeps a prefix of it.

        Raises:
            LedgerWriteError: The disk is full or broken. What was committed before is safe, what is in the
                buffer stays there, and the next commit tries again.
        """
        self._flush()
        self._train()
        elapsed = self._clock() - self._unsigned_since
        # A clock that went back says nothing about the time that passed: sign now.
        late = elapsed >= self._checkpoint_milliseconds or elapsed < 0
        if self._unsigned() and (late or self._unsigned() >= self._checkpoint_entries):
            self.checkpoint()

    def checkpoint(self) -> Checkpoint | None:
        """Commit, and sign the tree if anything is new.

        Raises:
            LedgerWriteError: The disk is full or broken.
            KeyUnusableError: The signing key cannot be read.
        """
        if self._announced != self.keys.current_id:
            self._append_own("key-rotation", self.keys.public_keys()[-1].to_json())
        self._flush()
        self._announced = self.keys.current_id
        if not self._unsigned():
            return None
        unsigned = Checkpoint(
            host=self.keys.host,
            tree_size=self._tree.size,
            root=self._tree.root().hex(),
            previous=self._signed.digest() if self._signed else NO_PREDECESSOR,
            at=self._clock(),
            key_id=self.keys.current_id,
            frontier=self._tree.frontier(),
        )
        self._signed = self._store_checkpoint(unsigned.signed(self.keys.sign(unsigned.message())))
        return self._signed

    def rotate_key(self) -> PublicKey:
        """Sign with a new key from here on, with an entry ``key-rotation`` and a checkpoint by each key."""
        self.checkpoint()
        key = self.keys.rotate()
        self.checkpoint()
        return key

    def erase(self, seqs: Iterable[int], reason: str) -> None:
        """Remove payloads and their salts for good; digests stay, so that the tree still verifies.

        Blocks are rewritten segment by segment, each atomically; an entry ``tombstone`` says what and why.
        An erasure that a crash interrupts is finished when the ledger is next opened.

        Raises:
            NotFoundError: An entry is not on record.
            UsageError: An entry is one of the ledger's own.
            FormatError: A block that would have to be rewritten is damaged.
            LedgerWriteError: The disk is full or broken.
        """
        self._flush()
        wanted = sorted(set(seqs))
        check_erasable(self.directory, wanted)
        if wanted:
            plan_erasure(self.directory, wanted, reason)
            self._erase(wanted, reason)

    def remove_payload(self, seq: int, reason: str) -> None:
        """Erase one entry's payload, as ``erase`` does."""
        self.erase([seq], reason)

    def close(self) -> None:
        """Commit and sign what is new, and let go of the files."""
        try:
            self.checkpoint()
        finally:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
                self._segment = None

    def _unsigned(self) -> int:
        return self._tree.size - (self._signed.tree_size if self._signed else 0)

    def _append_own(self, kind: str, document: dict[str, Any]) -> None:
        payload = json.dumps(document, sort_keys=True).encode()
        self.append([Entry(kind, OWN_SOURCE, self._clock(), payload)])

    def _flush(self) -> None:
        if not self._records:
            return
        try:
            if self._segment is None or self._size >= self._segment_bytes:
                self._begin_segment()
            self._write(b"".join(self._pack()))
            sync_data(self._descriptor)
        except OSError as error:
            self._cut_back()
            raise _write_error(error, self.directory) from error
        self._size = os.fstat(self._descriptor).st_size
        self._sample()
        self._records, self._salts, self._buffered = [], [], 0
        self._committed = (self._tree.size, self._tree.frontier())

    def _pack(self) -> list[bytes]:
        blocks = []
        first = self._committed[0]
        start = size = 0
        for number, record in enumerate(self._records):
            if size and size + len(record) > BLOCK_BYTES:
                blocks.append(self._pack_block(first, start, number))
                start, size = number, 0
            size += len(record)
        blocks.append(self._pack_block(first, start, len(self._records)))
        return blocks

    def _pack_block(self, first: int, start: int, stop: int) -> bytes:
        salts, records = self._salts[start:stop], self._records[start:stop]
        return pack_entries(self._codec, first + start, salts, records, self._dictionary)

    def _write(self, content: bytes) -> None:
        if self._dirty:
            os.ftruncate(self._descriptor, self._size)
        self._dirty = True
        write_all(self._descriptor, content)
        self._dirty = False

    def _cut_back(self) -> None:
        """Remove what a failed write left; if that fails too, the next write or the next opening does it."""
        self._dirty = True
        if self._descriptor < 0:
            return
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError as error:
            self.warnings.append(_write_error(error, self.directory))

    def _begin_segment(self) -> None:
        if self._segment is not None:
            os.close(self._descriptor)
            self._descriptor = -1
            sealed, self._segment = self._segment, None
            store_index(sealed, int(sealed.stem, 16))
        size, frontier = self._committed
        header = SegmentHeader(size, self._clock() & 0xFFFF_FFFF_FFFF_FFFF, self.keys.host, frontier)
        self._use(create_segment(self.directory, header))
        self._dirty = False

    def _use(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        self._segment = path
        self._size = os.fstat(self._descriptor).st_size

    def _store_checkpoint(self, checkpoint: Checkpoint) -> Checkpoint:
        path = self.directory / FILE
        line = checkpoint.line()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                _append_line(descriptor, line, size)
            finally:
                os.close(descriptor)
            if size == 0:
                sync_folder(self.directory)
            self._signed = checkpoint
            write_file(self.keys.directory / HEAD, line)
        except OSError as error:
            raise _write_error(error, path) from error
        if self._segment is None:
            return checkpoint
        try:
            self._write(pack_block(CHECKPOINT, checkpoint.tree_size, 0, line))
        except OSError as error:
            self._cut_back()
            raise _write_error(error, self.directory) from error
        self._size = os.fstat(self._descriptor).st_size
        return checkpoint

    def _sample(self) -> None:
        if self._samples is not None:
            self._samples += [record[:LONGEST_SAMPLE] for record in self._records]

    def _train(self) -> None:
        """Train a dictionary once there is enough to learn from, and put its digest on record."""
        samples = self._samples
        if samples is None or len(samples) < SAMPLE_COUNT or sum(map(len, samples)) < SAMPLE_BYTES:
            return
        self._samples = None
        try:
            trained = self._codec.train(samples, self._samples_first, self._tree.size - 1)
        except OSError as error:
            raise _write_error(error, self.directory) from error
        if trained is not None:
            self._append_own("dictionary", trained.to_json())
            self._flush()
            self._dictionary = trained.id

    def _resume_erasure(self) -> None:
        try:
            pending = pending_erasure(self.directory)
            if pending is not None:
                self._erase(*pending)
        except WatchkeeperError as error:
            # The plan stays for the next opening; a ledger that cannot erase must still record.
            self.warnings.append(error)

    def _erase(self, seqs: list[int], reason: str) -> None:
        self._flush()
        try:
            dropped = rewrite(self.directory, self._codec, seqs)
        except OSError as error:
            raise _write_error(error, self.directory) from error
        finally:
            if self._segment is not None:
                os.close(self._descriptor)
                self._use(self._segment)
        if dropped:
            self._dictionary = self._codec.newest()
            self._samples, self._samples_first = (None if self._dictionary else []), self.next_seq
        names = [f"{identifier:08x}" for identifier in dropped]
        self._append_own("tombstone", {"seqs": seqs, "reason": reason, "dictionaries_dropped": names})
        self.checkpoint()
        finish_erasure(self.directory)


def _append_line(descriptor: int, line: bytes, size: int) -> None:
    try:
        write_all(descriptor, line)
        sync_data(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _write_error(error: OSError, place: Path) -> LedgerWriteError:
    return LedgerWriteError(
        "the ledger cannot be written",
        why=error.strerror or str(error),
        hint="Nothing committed is lost; free space on the disk that holds it, and it goes on.",
        place=error.filename or str(place),
    )
