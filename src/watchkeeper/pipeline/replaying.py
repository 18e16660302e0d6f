"""Reads the ledger as it is to be understood: an erased entry that has a redacted copy says what the copy says.

A copy stands further back in the ledger, as an entry ``redact`` that names the entry it stands for. Here its payload is
handed out at that entry's own place, so that what follows from the order of entries follows as before. Copies of
copies name the first entry; the last one that still has its payload counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from watchkeeper.ledger.entries import StoredEntry
from watchkeeper.ledger.reader import LedgerReader, OnDamage
from watchkeeper.store import envelopes


def replayed(
    reader: LedgerReader, start: int = 0, stop: int | None = None, on_damage: OnDamage | None = None
) -> Iterator[StoredEntry]:
    """Yield the entries from ``start`` up to and without ``stop``, those with a redacted copy as the copy says.

    Args:
        reader: The ledger; it is read a second time for the copies where something was erased, and only then.
        start: First sequence number wanted.
        stop: The one to stop before; without it all that is committed.
        on_damage: Is told of each damaged or missing stretch, which is then left out.

    Raises:
        FormatError: As `LedgerReader.entries`; or a copy is not what this program writes.
    """
    copies: dict[int, int] | None = None
    for entry in reader.entries(start, stop, on_damage):
        if not entry.erased or entry.kind == envelopes.REDACT:
            yield entry
            continue
        if copies is None:
            copies = copies_of(reader, entry.seq + 1, on_damage)
        copy = copies.get(entry.seq)
        yield entry if copy is None else _as_original(entry, reader.get(copy))


def copies_of(reader: LedgerReader, start: int = 0, on_damage: OnDamage | None = None) -> dict[int, int]:
    """Return for each entry that has a redacted copy the number of the newest, looking from ``start`` on.

    Raises:
        FormatError: As `LedgerReader.entries`; or a copy is not what this program writes.
    """
    found: dict[int, int] = {}
    for entry in reader.entries(start, None, on_damage):
        if entry.kind == envelopes.REDACT and not entry.erased:
            head, _ = envelopes.read_redact(entry.payload, entry.source)
            found[head.of] = entry.seq
    return found


def _as_original(entry: StoredEntry, copy: StoredEntry) -> StoredEntry:
    _, payload = envelopes.read_redact(copy.payload, copy.source)
    return replace(entry, payload=payload)
