"""Writes what ledger entries say into the index, with the ledger position, in one transaction."""

from __future__ import annotations

from watchkeeper.store.interpret import Interpretation
from watchkeeper.store.sqlite.writing import Changes, Store


def merge_interpretation(store: Store, result: Interpretation, next_seq: int) -> Changes:
    """Merge facts and move positions.

    Args:
        store: The index.
        result: What the entries before `next_seq` say.
        next_seq: The first ledger entry that the index does not hold yet.
    """
    with store.transaction():
        changes = store.merge(result.facts)
        store.put_sources(result.sources)
        store.put_masked(result.masked)
        store.put_skipped(result.skipped)
        for found in result.ranges:
            store.put_range(found)
        for file in result.files:
            store.put_file(file)
        for segment, end in result.spool.items():
            store.put_meta(f"spool:{segment}", end)
        for name, mark in result.marks.items():
            store.put_meta(name, mark)
        store.put_meta("ledger_next", next_seq)
    return changes
