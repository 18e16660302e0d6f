"""Makes the index anew beside the one in use, step by step, and puts its content in the other's place at once.

For what cannot be taken out of merged facts: they say what some observations said, but not which. The file in use stays
the same file, so whoever reads it goes on reading; afterwards nothing of the old content is left in it, nor in its log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from watchkeeper.archive.store import ArchiveReader
from watchkeeper.errors import FormatError, NotFoundError
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.merging import merge_interpretation
from watchkeeper.pipeline.places import settle_places
from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.replaying import replayed
from watchkeeper.pricing.rates import load_rates
from watchkeeper.store.interpret import Interpretation, interpret
from watchkeeper.store.sqlite.replacing import replace_content
from watchkeeper.store.sqlite.writing import Store

log = logging.getLogger("watchkeeper.recorder")

_BATCH = 500


def refill(recording: Recording) -> Iterator[tuple[int, int]]:
    """Make the index anew from ledger and archive; yield entries done and in all now and then.

    Between two steps others may record: what they add is taken in at the end.

    Raises:
        StoreWriteError: The disk is full; the old index stays as it was.
    """
    places = recording.settings.places
    path = places.database.with_suffix(".new")
    remove_database(path)
    fresh = Store(path, load_rates(recording.settings))
    archive = ArchiveReader(places.archive)
    try:
        position = 0
        with LedgerReader(places.ledger) as reader:
            while position < recording.ledger.next_seq:
                for reached in _fill(fresh, reader, archive, position):
                    position = reached
                    yield position, recording.ledger.next_seq
        recording.recover()
        settle_places(fresh, archive)
        _keep_spool_positions(recording.store, fresh)
        replace_content(recording.store, fresh)
    finally:
        fresh.close()
        remove_database(path)


def _fill(store: Store, reader: LedgerReader, archive: ArchiveReader, start: int) -> Iterator[int]:
    result, position = Interpretation(), start
    for count, stored in enumerate(replayed(reader, start, on_damage=_passed_over), 1):
        try:
            interpret(stored.seq, stored, archive.get, result)
        except (FormatError, NotFoundError) as error:
            result.skipped.append((stored.source, 0, str(error)))
        position = stored.seq + 1
        if count % _BATCH == 0 or len(result.facts) + len(result.states) >= _BATCH * 4 or result.retired:
            merge_interpretation(store, result, position)
            result = Interpretation()
            yield position
    merge_interpretation(store, result, position)
    yield position


def _passed_over(error: FormatError) -> None:
    log.warning("left out of the index: %s", error)


def _keep_spool_positions(old: Store, fresh: Store) -> None:
    """Take over how far the spool is on record: a replay also meets segments that were removed long ago."""
    with fresh.transaction():
        fresh.connection.execute("DELETE FROM meta WHERE name >= 'spool:' AND name < 'spool;'")
        for segment, position in old.spool_positions().items():
            fresh.put_meta(f"spool:{segment}", position)


def remove_database(path: Path) -> None:
    """Remove a database file with its log."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
