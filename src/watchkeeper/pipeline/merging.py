"""Writes what ledger entries say into the index, with the ledger position, in one transaction."""

from __future__ import annotations

import logging

from watchkeeper.store.interpret import Interpretation
from watchkeeper.store.sqlite.writing import UNMERGEABLE, Changes, Store

log = logging.getLogger("watchkeeper.recorder")


def merge_interpretation(store: Store, result: Interpretation, next_seq: int) -> Changes:
    """Merge facts and move positions.

    Args:
        store: The index.
        result: What the entries before `next_seq` say.
        next_seq: The first ledger entry that the index does not hold yet.
    """
    try:
        return _merge(store, result, next_seq)
    except UNMERGEABLE:
        # It stands in the ledger: without a way around it, recording would stop here for everybody and for good.
        log.exception("a batch cannot be merged, so its facts are merged one by one")
        return _merge(store, result, next_seq, singly=True)


def _merge(store: Store, result: Interpretation, next_seq: int, *, singly: bool = False) -> Changes:
    with store.transaction():
        if singly:
            changes, refused = store.merge_singly(result.facts, result.states)
            store.put_skipped((f"{entity} {key}", 0, reason) for entity, key, reason in refused)
        else:
            changes = store.merge(result.facts, result.states)
        store.put_sources(result.sources)
        store.put_masked(result.masked)
        store.put_skipped(result.skipped)
        for found in result.ranges:
            store.put_range(found)
        store.put_texts(result.texts)
        for retirement in result.retired:
            store.retire(retirement)
        for file in result.files:
            store.put_file(file)
        for segment, end in result.spool.items():
            store.put_meta(f"spool:{segment}", end)
        for name, mark in result.marks.items():
            store.put_meta(name, mark)
        store.put_meta("ledger_next", next_seq)
    return changes
