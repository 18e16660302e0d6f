"""The full-text index: one document for each session in an archived slice of a transcript, or for one hook event.

A document is a set of positions, not a text: the texts stay in archive and ledger, where the context of a hit is read.
So documents are few, and what is asked of a whole session is a set operation on them. What a hook said is kept here
only until the transcript has come so far: whatever the order in which both arrive, the same documents remain.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from watchkeeper.store.rows import TextRow

DDL = """
CREATE TABLE search_docs (
    doc INTEGER PRIMARY KEY, place TEXT, generation INTEGER, first_line INTEGER, session_id TEXT, agent_id TEXT,
    by_hook INTEGER, first_at INTEGER, last_at INTEGER, UNIQUE (place, generation, first_line, session_id)
);
CREATE INDEX search_docs_by_session ON search_docs (session_id, agent_id, by_hook, last_at);
CREATE VIRTUAL TABLE search USING fts5(
    text, content='', contentless_delete=1, detail=full, tokenize='unicode61 remove_diacritics 2'
);
"""
TOKENIZER = ("unicode61", ("remove_diacritics", "2"))
"""The tokenizer of the table, for those who must see a text as the index does."""

_UPSERT = """
INSERT INTO search_docs (place, generation, first_line, session_id, agent_id, by_hook, first_at, last_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (place, generation, first_line, session_id) DO UPDATE SET
    agent_id = excluded.agent_id, by_hook = excluded.by_hook,
    first_at = excluded.first_at, last_at = excluded.last_at
RETURNING doc
"""
_OVERTAKEN = """
SELECT 1 FROM search_docs WHERE session_id = ? AND agent_id = ? AND by_hook = 0 AND last_at >= ? LIMIT 1
"""
_OVERTAKES = """
SELECT doc FROM search_docs WHERE session_id = ? AND agent_id = ? AND by_hook = 1 AND last_at <= ?
"""
_SAME_PLACE = (
    "SELECT doc FROM search_docs WHERE place = ? AND generation = ? AND first_line = ? AND session_id = ?"
)


def put(connection: apsw.Connection, rows: Iterable[TextRow]) -> None:
    """Index texts; one from the same place takes the place of the former. To be called within a transaction."""
    for row in rows:
        if row.by_hook and _overtaken(connection, row):
            continue
        if not row.text:
            place = (row.place, row.generation, row.first_line, row.session_id)
            _drop(connection, _documents(connection, _SAME_PLACE, place))
            continue
        _put(connection, row)
        if not row.by_hook:
            known = (row.session_id, row.agent_id or "", row.last_at)
            _drop(connection, _documents(connection, _OVERTAKES, known))


def delete_place(connection: apsw.Connection, place: str) -> int:
    """Take out what came from one file (its key) or one hook event (its source); return how many documents."""
    found = _documents(connection, "SELECT doc FROM search_docs WHERE place = ?", (place,))
    return _drop(connection, found)


def delete_session(connection: apsw.Connection, session_id: str) -> int:
    """Take out everything of one session; return how many documents that were."""
    found = _documents(connection, "SELECT doc FROM search_docs WHERE session_id = ?", (session_id,))
    return _drop(connection, found)


def delete_hooks(connection: apsw.Connection, session_id: str) -> int:
    """Take out what hooks said of one session; return how many documents that were."""
    query = "SELECT doc FROM search_docs WHERE session_id = ? AND by_hook = 1"
    return _drop(connection, _documents(connection, query, (session_id,)))


def purge(connection: apsw.Connection) -> None:
    """Write the whole index anew without what was deleted: until then its words still stand in the file.

    Takes about a second for a gigabyte of transcripts. Free pages keep their bytes: `VACUUM` clears them.
    """
    connection.execute("INSERT INTO search (search) VALUES ('optimize')")


def _put(connection: apsw.Connection, row: TextRow) -> None:
    ((doc,),) = connection.execute(
        _UPSERT,
        (
            row.place,
            row.generation,
            row.first_line,
            row.session_id,
            row.agent_id or "",
            int(row.by_hook),
            row.first_at,
            row.last_at,
        ),
    )
    insert = "INSERT OR REPLACE INTO search (rowid, text) VALUES (?, ?)"
    try:
        connection.execute(insert, (doc, row.text))
    except UnicodeEncodeError:
        # Half a character that an escape left behind; the rest of the text is good.
        connection.execute(insert, (doc, row.text.encode("utf-8", "replace").decode()))


def _overtaken(connection: apsw.Connection, row: TextRow) -> bool:
    known = (row.session_id, row.agent_id or "", row.last_at)
    return any(True for _ in connection.execute(_OVERTAKEN, known))


def _documents(connection: apsw.Connection, query: str, bindings: tuple[object, ...]) -> list[int]:
    return [doc for (doc,) in connection.execute(query, bindings)]


def _drop(connection: apsw.Connection, documents: list[int]) -> int:
    keys = [(doc,) for doc in documents]
    connection.executemany("DELETE FROM search WHERE rowid = ?", keys)
    connection.executemany("DELETE FROM search_docs WHERE doc = ?", keys)
    return len(keys)
