"""The recording itself: redact, append to the ledger, interpret, merge; and the same again from the ledger alone.

One process at a time records: the holder of the writer lock. Every batch is first committed to the ledger, then merged
into the index in one transaction together with the ledger position, so that a crash at any point is repaired by
replaying the ledger's tail when the next writer opens.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import msgspec

from watchkeeper.archive.packs import Address
from watchkeeper.archive.store import ArchiveReader, ArchiveWriter
from watchkeeper.errors import ConfigError, FormatError, NotFoundError
from watchkeeper.ledger.entries import Entry
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.ledger.writer import LedgerWriter
from watchkeeper.pipeline.applied_rules import note_rules
from watchkeeper.pipeline.learning import LearntSecrets, secrets_shown
from watchkeeper.pipeline.locking import WriterLock
from watchkeeper.pipeline.merging import merge_interpretation
from watchkeeper.pipeline.places import settle_places
from watchkeeper.pipeline.preparing import Prepared, Preparer
from watchkeeper.pipeline.replaying import replayed
from watchkeeper.pipeline.tombstones import Tombstones
from watchkeeper.pricing.rates import load_rates
from watchkeeper.redaction.engine import Redactor
from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code.discovery import written
from watchkeeper.sources.claude_code.tail import Range
from watchkeeper.spool.follower import FrameAt
from watchkeeper.spool.frames import Frame
from watchkeeper.store import envelopes
from watchkeeper.store.interpret import Interpretation, LinesPlace, Said, interpret
from watchkeeper.store.sqlite.writing import Changes, DamagedIndexError, Store

log = logging.getLogger("watchkeeper.recorder")

REPLAY_BATCH = 2000


class Recording:
    """The open record of one home. Use as a context manager; it holds the writer lock.

    Raises:
        LockedError: Another process records.
        StoreWriteError: The disk is full.

    An index that cannot be used is set aside and made anew from the ledger.
    """

    def __init__(self, settings: Settings) -> None:
        places = settings.places
        self.settings = settings
        self.host = socket.gethostname()
        self.redactor = Redactor.from_settings(settings)
        self.preparer = Preparer(self.redactor)
        # A project can set the environment of hooks; the few values there are come with every event.
        self._masked = lru_cache(256)(self._mask)
        self._lock = WriterLock(places.writer_lock)
        try:
            self.ledger = LedgerWriter(
                places.ledger,
                KeyRing(places.keys),
                checkpoint_entries=settings["ledger.checkpoint_entries"],
                checkpoint_seconds=settings["ledger.checkpoint_seconds"],
            )
            self.archive = ArchiveWriter(places.archive)
            self.raw = _raw_writer(settings)
            self._archive_reader = ArchiveReader(places.archive)
            self._configured = _stamp(places.config)
            self.recoveries = 0
            self._behind = False
            self.store = self._open_store()
            self.tombstones = Tombstones.of(places, self.store.connection)
            self.learnt = LearntSecrets(places)
            self.redactor.learn(self.learnt.values(), certain=True)
            if not self.ledger.next_seq:
                note_rules(places, self.redactor.version)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Sign what is new, close the files, and let the next writer in."""
        try:
            self.ledger.close()
            self.archive.close()
            if self.raw is not None:
                self.raw.close()
            self.store.close()
        finally:
            self._lock.release()

    def recover(self) -> None:
        """After a failure, bring on record what was taken before it; without one, do nothing.

        Positions that are kept elsewhere are to be read anew when ``recoveries`` has grown.

        Raises:
            WatchkeeperError: The failure lasts.
        """
        if self._behind:
            self.ledger.commit()
            self._replay(self.store)
            self._behind = False
            self.recoveries += 1

    def follow_prices(self) -> None:
        """Compute costs anew where the user's configuration has changed since; a mistake in it changes nothing."""
        stamp = _stamp(self.settings.places.config)
        if stamp == self._configured:
            return
        self._configured = stamp
        try:
            rates = load_rates(Settings(self.settings.places.home, self.settings.environment))
        except ConfigError as error:
            log.warning("prices stay as they were: %s", error)
            return
        self.store.use_rates(rates)

    def spool_positions(self) -> dict[str, int]:
        """Return for each live spool segment the offset up to which it is on record."""
        self.recover()
        return self.store.spool_positions()

    def forget_segments(self, segments: Iterable[str]) -> None:
        """Drop the positions of spool segments that were removed; their ids never come again."""
        self.store.forget_segments(segments)

    def move_segment(self, segment: str, position: int | None) -> None:
        """Correct the position of a segment that somebody cut or removed."""
        if position is None:
            self.forget_segments([segment])
        else:
            self.store.put_meta(f"spool:{segment}", position)

    def record_frames(self, frames: Sequence[FrameAt]) -> tuple[Changes, Interpretation]:
        """Put frames of the spool on record; those that are there already are passed over."""
        entries: list[Entry] = []
        self._notice(item.frame.payload for item in frames if item.frame is not None)
        for item in frames:
            if item.frame is not None:
                entries.append(self._frame_entry(item, item.frame))
            elif item.damage is not None:
                entries.append(_damage_entry(item))
        return self.record(entries)

    def slice_of(self, found: Range) -> tuple[LinesPlace, bytes]:
        """Return new lines as they are prepared: where they stand, and their bytes without forgotten sessions."""
        relative = written(found.relative)
        at = LinesPlace(found.file_key, found.generation, found.first_line, relative)
        return at, self.tombstones.cleared(found.data)

    def record_prepared(self, slices: Sequence[tuple[Range, Prepared]]) -> tuple[Changes, Interpretation]:
        """Put prepared slices on record together: archive first, then the ledger entries that name them."""
        for _, prepared in slices:
            if prepared.shown:
                self.learn(prepared.shown)
        addresses = [prepared.packed and self.archive.put_frame(prepared.packed) for _, prepared in slices]
        self.archive.commit()
        entries: list[Entry] = []
        said: dict[str, Said] = {}
        for (found, prepared), address in zip(slices, addresses, strict=True):
            entry = self._range_entry(found, prepared, address)
            entries.append(entry)
            said[entry.source] = prepared.said
        return self.record(entries, said)

    def _range_entry(self, found: Range, prepared: Prepared, address: Address | None) -> Entry:
        head = envelopes.RangeHead(
            file_key=found.file_key,
            path=written(found.path),
            relative=written(found.relative),
            generation=found.generation,
            inode=found.inode,
            device=found.device,
            first_line=found.first_line,
            line_count=found.line_count,
            start=found.start,
            end=found.end,
            size=found.size,
            mtime_ns=found.mtime_ns,
            head_digest=found.head_digest,
            digest=address.digest if address else "",
            pack=address.pack if address else "",
            position=address.offset if address else 0,
            skipped=[(number, reason) for number, reason in found.skipped],
            masked=prepared.hits,
            raw_digest=self.keep_raw(self.slice_of(found)[1]) if self.raw is not None else "",
        )
        source = f"transcript:{found.file_key}:{found.generation}:{found.first_line}+{found.line_count}"
        return envelopes.range_entry(source, now_ms(), head)

    def keep_raw(self, data: bytes) -> str:
        """Seal bytes as they came, where the settings ask for it, and return their digest; else nothing."""
        if self.raw is None or not data:
            return ""
        address = self.raw.put(data)
        self.raw.commit()
        return address.digest

    def note(
        self, kind: str, body: dict[str, object], source: str = "recorder"
    ) -> tuple[Changes, Interpretation]:
        """Put something about the recorder itself on record."""
        return self.record([envelopes.note_entry(kind, source, now_ms(), body)])

    def record(
        self, entries: Sequence[Entry], said: Mapping[str, Said] = MappingProxyType({})
    ) -> tuple[Changes, Interpretation]:
        """Append entries, make them durable, and merge what they say.

        Args:
            entries: The entries.
            said: By source, what the lines of ranges say that were read already.

        Raises:
            WatchkeeperError: The disk is full or broken. Entries that were taken by then must not be handed in
                again: `recover` brings them on record, and `spool_positions` says which.
        """
        if not entries:
            return Changes(), Interpretation()
        self.recover()
        seqs = self.ledger.append(entries)
        self._behind = True
        self.ledger.commit()
        result = Interpretation()
        for seq, entry in zip(seqs, entries, strict=True):
            interpret(seq, entry, self._archive_reader.get, result, said.get(entry.source))
        changes = merge_interpretation(self.store, result, self.ledger.next_seq)
        self._behind = False
        return changes, result

    def _open_store(self) -> Store:
        """Open the index and bring it up to the ledger; one that cannot be used is set aside first."""
        database = self.settings.places.database
        try:
            store = Store(database, load_rates(self.settings))
            self._replay(store)
        except DamagedIndexError as error:
            log.warning("the index is made anew from the ledger: %s", error)
            set_index_aside(database)
            store = Store(database, load_rates(self.settings))
            self._replay(store)
        return store

    def _replay(self, store: Store) -> None:
        """Merge what the ledger holds and the index does not yet.

        What is damaged is left out: whoever harms one byte of old evidence must not stop the recording of new.
        `wk verify` names the damage each time, and so does the log.
        """
        start = int(store.get_meta("ledger_next", 0))
        result, count = Interpretation(), 0
        if start >= self.ledger.next_seq:
            return
        with LedgerReader(self.settings.places.ledger) as reader:
            for stored in replayed(reader, start, on_damage=_warn):
                try:
                    interpret(stored.seq, stored, self._archive_reader.get, result)
                except (FormatError, NotFoundError, FileNotFoundError) as error:
                    _warn(error)
                    result.skipped.append((stored.source, 0, str(error)))
                count += 1
                if count % REPLAY_BATCH == 0 or result.retired:
                    merge_interpretation(store, result, stored.seq + 1)
                    result = Interpretation()
        merge_interpretation(store, result, self.ledger.next_seq)
        if start == 0:
            settle_places(store, self._archive_reader)

    def learn(self, values: Iterable[bytes], *, again: bool = False, once: bool = False) -> list[bytes]:
        """Mask these values from now on, and mark older data to be searched for them; return those that are new.

        Args:
            values: The values.
            again: Search older data for them even when they are known.
            once: Do not keep them when that is done.
        """
        new = self.learnt.learn(values, again=again, once=once)
        self.redactor.learn(new, certain=True)
        self._masked.cache_clear()
        return new

    def _notice(self, payloads: Iterable[bytes]) -> None:
        """Learn the secrets of env-like files that were read, before anything of these payloads is stored."""
        for payload in payloads:
            values = secrets_shown(payload)
            if values:
                self.learn(values)

    def without_secrets(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the object of a file that is put on record as such, redacted."""
        redacted: dict[str, Any] = msgspec.json.decode(self.redactor.redact(msgspec.json.encode(body)).data)
        return redacted

    def _mask(self, text: str) -> str:
        return self.redactor.redact_text(text)

    def _frame_entry(self, item: FrameAt, frame: Frame) -> Entry:
        redacted = self.redactor.redact(frame.payload)
        head = envelopes.FrameHead(
            kind=frame.kind,
            wall_ns=frame.wall_ns,
            monotonic_ns=frame.monotonic_ns,
            boot=frame.boot_id.hex(),
            uid=frame.uid,
            pid=frame.pid,
            parent_pid=frame.parent_pid,
            host=self.host,
            end=item.end,
            flags=frame.flags,
            environment={name: self._masked(value) for name, value in frame.environment.items()},
            masked=redacted.hits,
        )
        return envelopes.frame_entry(item.source, head, redacted.data)


def _raw_writer(settings: Settings) -> ArchiveWriter | None:
    if not settings["archive.raw"]:
        return None
    # Few homes keep it, and a command that catches up is waited for.
    from watchkeeper.archive.sealed import open_sealed_writer

    return open_sealed_writer(settings)


def _damage_entry(item: FrameAt) -> Entry:
    assert item.damage is not None
    body: dict[str, object] = {
        "segment": item.segment or None,
        "offset": item.damage.offset,
        "length": item.damage.length,
        "end": item.end,
        "reason": item.damage.reason,
    }
    return envelopes.note_entry(envelopes.DAMAGE, item.source, now_ms(), body)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size)


def _warn(error: Exception) -> None:
    log.warning("left out of the index: %s", error)


def set_index_aside(database: Path) -> None:
    """Rename a damaged index, so that nobody takes it for a good one and somebody may look at it."""
    for suffix in ("-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    if database.exists():
        database.replace(database.with_name(f"{database.name}.damaged"))


def now_ms() -> int:
    """Return the wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def process_facts() -> dict[str, object]:
    """Return what a start, heartbeat or stop entry says about the recorder's process."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "monotonic_ns": time.monotonic_ns()}
