"""Puts the content of another index in the place of one that is in use, leaving no page of the old."""

from __future__ import annotations

from collections.abc import Iterable

import apsw

from watchkeeper.store.sqlite.writing import Store, StoreWriteError

_HINT = "Ask again in a moment, with some free space on the disk that holds it."


def count_states(store: Store, texts: Iterable[bytes]) -> int:
    """Return in how many merged states any of these texts stands."""
    wanted = list(texts)
    if not wanted:
        return 0
    either = " OR ".join("instr(state, ?) OR instr(CAST(key AS BLOB), ?)" for _ in wanted)
    bindings = [text for text in wanted for _ in range(2)]
    return int(next(store.connection.execute(f"SELECT count(*) FROM facts WHERE {either}", bindings))[0])


def replace_content(store: Store, fresh: Store) -> None:
    """Put the content of ``fresh`` in the place of all that ``store`` holds, in one transaction, and clear the log.

    Whoever reads the file keeps what it sees until it asks anew. Afterwards no page of the old content is left.

    Raises:
        StoreWriteError: The disk is full, or a reader holds on to the old content; the call may be repeated.
    """
    try:
        with store.connection.backup("main", fresh.connection, "main") as backup:
            while not backup.done:
                backup.step(-1)
        store.forget_states()
        busy, _, _ = next(store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    except apsw.Error as error:
        raise StoreWriteError(
            "the index cannot be replaced", why=str(error), hint=_HINT, place=str(store.path)
        ) from error
    if busy:
        raise StoreWriteError(
            "the index cannot be cleared",
            why="somebody reads the old content",
            hint=_HINT,
            place=str(store.path),
        )
