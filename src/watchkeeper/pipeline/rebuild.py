"""Makes the index anew from ledger and archive.

The new file is written beside the old one and takes its place in one step; readers that have the old one open keep it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from watchkeeper.archive.store import ArchiveReader
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.locking import WriterLock
from watchkeeper.pipeline.merging import merge_interpretation
from watchkeeper.pipeline.places import settle_places
from watchkeeper.pipeline.replaying import replayed
from watchkeeper.pricing.rates import load_rates
from watchkeeper.settings import Settings
from watchkeeper.store.interpret import Interpretation, interpret
from watchkeeper.store.sqlite.writing import Store

_BATCH = 2000


@dataclass(frozen=True)
class RebuildReport:
    """What a rebuild read and wrote."""

    entries: int
    observations: int
    sessions: int
    tool_calls: int


def rebuild(settings: Settings, progress: Callable[[int, int], None] | None = None) -> RebuildReport:
    """Write a new index from everything the ledger holds, and put it in the old one's place.

    Args:
        settings: The home.
        progress: Called with (entries done, entries in all) now and then.

    Raises:
        LockedError: The daemon or another command records at the moment.
        FormatError: Ledger or archive are damaged; the old index stays.
    """
    places = settings.places
    lock = WriterLock(places.writer_lock)
    fresh = places.database.with_suffix(".new")
    try:
        _remove(fresh)
        store = Store(fresh, load_rates(settings))
        try:
            report = _fill(settings, store, progress)
            store.connection.pragma("wal_checkpoint", "truncate")
            store.connection.pragma("journal_mode", "delete")
        finally:
            store.close()
        _replace(fresh, places.database)
        return report
    finally:
        _remove(fresh)
        lock.release()


def _fill(settings: Settings, store: Store, progress: Callable[[int, int], None] | None) -> RebuildReport:
    places = settings.places
    archive = ArchiveReader(places.archive)
    result, entries, observations = Interpretation(), 0, 0
    with LedgerReader(places.ledger) as reader:
        total = reader.last_seq + 1
        for stored in replayed(reader):
            interpret(stored.seq, stored, archive.get, result)
            entries += 1
            if len(result.facts) + len(result.states) >= _BATCH or result.retired:
                merge_interpretation(store, result, stored.seq + 1)
                observations += result.observations
                result = Interpretation()
                if progress is not None:
                    progress(entries, total)
    merge_interpretation(store, result, entries)
    settle_places(store, archive)
    observations += result.observations
    count = "SELECT count(*) FROM "
    return RebuildReport(
        entries=entries,
        observations=observations,
        sessions=next(store.connection.execute(count + "sessions"))[0],
        tool_calls=next(store.connection.execute(count + "calls"))[0],
    )


def _replace(fresh: Path, database: Path) -> None:
    for suffix in ("-wal", "-shm"):
        Path(str(database) + suffix).unlink(missing_ok=True)
    os.replace(fresh, database)  # noqa: PTH105


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(str(path) + suffix).unlink(missing_ok=True)
