"""The database file: tables, version, and how a connection is opened.

The index can be made anew from ledger and archive at any time, so a file of another version is rebuilt, not patched.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from watchkeeper.store.sqlite.search_index import DDL as SEARCH_TABLES

SCHEMA_VERSION = 3

_OWN_TABLES = """
CREATE TABLE facts (entity INTEGER, key TEXT, state BLOB, PRIMARY KEY (entity, key)) WITHOUT ROWID;
CREATE TABLE sources (source TEXT PRIMARY KEY, seq INTEGER) WITHOUT ROWID;
CREATE TABLE files (
    file_key TEXT PRIMARY KEY, path TEXT, relative TEXT, generation INTEGER, inode INTEGER, device INTEGER,
    position INTEGER, lines INTEGER, head_digest TEXT, size INTEGER, mtime_ns INTEGER
) WITHOUT ROWID;
CREATE TABLE ranges (
    file_key TEXT, generation INTEGER, first_line INTEGER, line_count INTEGER, pack TEXT, position INTEGER,
    seq INTEGER, digest TEXT, raw_digest TEXT, PRIMARY KEY (file_key, generation, first_line)
) WITHOUT ROWID;
CREATE TABLE skipped (
    file TEXT, line INTEGER, reason TEXT, PRIMARY KEY (file, line, reason)
) WITHOUT ROWID;
CREATE TABLE masked (source TEXT, rule TEXT, hits INTEGER, PRIMARY KEY (source, rule)) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE contested (entity TEXT, key TEXT, sessions TEXT, PRIMARY KEY (entity, key)) WITHOUT ROWID;
CREATE INDEX contested_by_sessions ON contested (sessions);
CREATE TABLE owners (sessions TEXT PRIMARY KEY, owner TEXT) WITHOUT ROWID;
"""


def ddl() -> str:
    """Return the statements that create every table of the index."""
    # Only needed to create one: a quick command that reads must not pay for the projections' code.
    from watchkeeper.store.tables import TABLES

    return (
        _OWN_TABLES
        + SEARCH_TABLES
        + "\n".join(table.ddl for table in TABLES.values())
        + f"\nPRAGMA user_version = {SCHEMA_VERSION};"
    )


def version_of(connection: apsw.Connection) -> int:
    """Return the schema version of an open database; 0 for an empty one."""
    return int(connection.pragma("user_version"))


def connect_for_writing(path: Path) -> apsw.Connection:
    """Open the database for the one writer, creating it owner-only where it is missing."""
    if not path.exists():
        path.touch(mode=0o600)
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5000)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "normal")
    connection.pragma("wal_autocheckpoint", 4000)
    connection.pragma("cache_size", -16000)
    connection.pragma("journal_size_limit", 64 << 20)
    return connection


def connect_for_reading(path: Path) -> apsw.Connection:
    """Open the database for queries only; an absent or empty one gives an empty index in memory."""
    connection = connect_to_present(path)
    if connection is None:
        connection = apsw.Connection(":memory:")
        connection.execute(ddl())
    return connection


def connect_to_present(path: Path) -> apsw.Connection | None:
    """Open the database for queries only; None where there is none of this version."""
    if not path.exists() or not path.stat().st_size:
        return None
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(2000)
    try:
        version = version_of(connection)
    except apsw.CantOpenError:
        connection.close()
        connection = _connect_unwritable(path)
        version = version_of(connection)
    connection.pragma("query_only", 1)
    connection.pragma("cache_size", -8000)
    if version == SCHEMA_VERSION:
        return connection
    connection.close()
    return None


def _connect_unwritable(path: Path) -> apsw.Connection:
    """Open a database in a place that takes no file beside it, such as a backup that is mounted to be read.

    Raises:
        apsw.CantOpenError: The place takes files, or what was written last is still beside the database.
    """
    beside = path.with_name(f"{path.name}-wal")
    if os.access(path.parent, os.W_OK) or (beside.exists() and beside.stat().st_size):
        raise apsw.CantOpenError(f"unable to open {path}")
    from urllib.parse import quote

    # Nobody writes there: without this SQLite asks for files in which readers and writers find each other.
    address = f"file:{quote(str(path))}?immutable=1"
    return apsw.Connection(address, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)
