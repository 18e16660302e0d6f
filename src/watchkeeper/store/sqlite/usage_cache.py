"""Usage of transcripts that the index does not hold yet, in a small database of its own.

Whoever asks for the bill before the import is done gets it from a quick scan. What the scan found is kept here until
the index has caught up, so that the next question reads only what is new. Nothing here is a record: the file may be
removed at any time.

Requests are kept as they were scanned, to be joined with what comes later, in chunks of many: a later chunk's word on
a request is the valid one. Beside them stand sums by quarter-hour, to be read. Sums are only ever added: a request that
grew adds the difference.
"""

from __future__ import annotations

import json
import marshal
from array import array
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import apsw

from watchkeeper.errors import WatchkeeperError

VERSION = 4

DIMENSIONS = ("quarter", "session_id", "model", "agent_id", "branch", "skill", "mcp_server")
"""What sums are taken by; the first is in epoch milliseconds."""

COUNTS = (
    "requests", "input_tokens", "output_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
    "cache_read_tokens", "web_searches", "cost_micros", "reported", "computed", "unpriced_requests",
    "partial_requests", "nested_requests",
)  # fmt: skip
"""What is summed."""

_DDL = f"""
CREATE TABLE chunks (number INTEGER PRIMARY KEY, marks BLOB, facts BLOB, checksum INTEGER);
CREATE TABLE sums ({", ".join((*DIMENSIONS, *COUNTS))});
CREATE TABLE sessions (session_id TEXT PRIMARY KEY, cwd_rank INTEGER, cwd_at INTEGER, cwd TEXT, last_at INTEGER)
    WITHOUT ROWID;
CREATE TABLE copies (request_key TEXT PRIMARY KEY, sessions TEXT) WITHOUT ROWID;
CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, position INTEGER) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
_CHUNK = 1000
_TABLES = ("chunks", "sums", "sessions", "copies", "files", "meta")


class DamagedCacheError(WatchkeeperError):
    """What is kept is not what was put there. The cache is to be made anew; nobody needs to hear of it."""


DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, UnicodeDecodeError, DamagedCacheError)
"""What reading a damaged cache raises."""
UNWRITABLE = (apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.BusyError)
"""What a cache raises that takes nothing now."""


class Chunk(NamedTuple):
    """Some requests as they are kept: a small mark of each key, to find them by, and the packed facts."""

    marks: bytes
    facts: bytes

    @classmethod
    def of(cls, requests: dict[str, list[Any]]) -> Chunk:
        """Pack some requests."""
        marks = array("I", [crc32(key.encode()) for key in requests])
        return cls(marks.tobytes(), marshal.dumps(requests))

    def requests(self) -> dict[str, list[Any]]:
        """Return the requests."""
        found: dict[str, list[Any]] = marshal.loads(self.facts)  # noqa: S302 - our own, in an owner-only file
        return found


def chunked(requests: dict[str, list[Any]]) -> list[Chunk]:
    """Return requests in chunks of a size that is quick to read for a few of them."""
    items = list(requests.items())
    return [Chunk.of(dict(items[start : start + _CHUNK])) for start in range(0, len(items), _CHUNK)]


class UsageCache:
    """The cache of one home, or one in memory where the home takes no files.

    Args:
        path: The file; made where it is missing, and made anew where it is damaged or of another version. None for a
            cache in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.name = str(path)
        connection = None if path is None else _open(path)
        if connection is None:
            self.name = ":memory:"
            connection = apsw.Connection(":memory:")
            connection.execute(_DDL)
        self.connection: apsw.Connection = connection

    def files(self) -> dict[str, tuple[int, int, int]]:
        """Return for each scanned file its size, time, and the position read to."""
        return {row[0]: row[1:] for row in self.connection.execute("SELECT * FROM files")}

    @property
    def empty(self) -> bool:
        """Whether nothing is kept."""
        return not any(self.connection.execute("SELECT 1 FROM files LIMIT 1"))

    def requests(self, keys: Collection[str] | None = None) -> dict[str, list[Any]]:
        """Return the facts of the given requests that are known, or of all."""
        wanted = None if keys is None else {crc32(key.encode()) for key in keys}
        if wanted is not None and not wanted:
            return {}
        found: dict[str, list[Any]] = {}
        for number, marks in self.connection.execute("SELECT number, marks FROM chunks ORDER BY number"):
            if wanted is None:
                found.update(self._chunk(number))
            elif not wanted.isdisjoint(array("I", marks)):
                chunk = self._chunk(number)
                found.update((key, chunk[key]) for key in chunk.keys() & set(keys or ()))
        return found

    def _chunk(self, number: int) -> dict[str, list[Any]]:
        query = "SELECT facts, checksum FROM chunks WHERE number = ?"
        for facts, checksum in self.connection.execute(query, (number,)):
            if not isinstance(facts, bytes) or crc32(facts) != checksum:
                raise DamagedCacheError(self.name)
            return Chunk(b"", facts).requests()
        return {}

    def sessions(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """Return what is known of some sessions."""
        query = "SELECT * FROM sessions WHERE session_id = ?"
        return {row[0]: list(row[1:]) for name in names for row in self.connection.execute(query, (name,))}

    def names(self) -> set[str]:
        """Return all names that are kept: of sessions, models, agents, branches, skills, servers and folders."""
        columns = ("model", "agent_id", "branch", "skill", "mcp_server")
        queries = [f"SELECT DISTINCT {column} FROM sums" for column in columns]
        query = " UNION ".join((*queries, "SELECT session_id FROM sessions", "SELECT cwd FROM sessions"))
        return {name for (name,) in self.connection.execute(query) if name is not None}

    def copies(self) -> dict[str, list[str]]:
        """Return the requests that several sessions claim, with all of these."""
        return {key: json.loads(names) for key, names in self.connection.execute("SELECT * FROM copies")}

    def put(
        self,
        chunks: Iterable[Chunk],
        sums: Iterable[Sequence[Any]],
        sessions: Iterable[tuple[str, Sequence[Any]]],
        copies: dict[str, list[str]],
        files: Iterable[tuple[str, int, int, int]],
        rates: str,
        *,
        anew: bool = False,
    ) -> None:
        """Store what a scan found in one transaction.

        Args:
            chunks: Requests; those of a chunk hold against all chunks before it.
            sums: Rows of `DIMENSIONS` and `COUNTS` to be added.
            sessions: What is known of sessions.
            copies: Requests that several sessions claim.
            files: Path, size, time and position of each file.
            rates: Digest of the prices that the sums are made with.
            anew: Whether these sums replace all others.
        """
        connection = self.connection
        with connection:
            if anew:
                connection.execute("DELETE FROM sums")
            connection.executemany(
                "INSERT INTO chunks (marks, facts, checksum) VALUES (?, ?, ?)",
                ((chunk.marks, chunk.facts, crc32(chunk.facts)) for chunk in chunks),
            )
            marks = ", ".join("?" for _ in (*DIMENSIONS, *COUNTS))
            connection.executemany(f"INSERT INTO sums VALUES ({marks})", sums)
            connection.executemany(
                "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?)",
                [(name, *row) for name, row in sessions],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO copies VALUES (?, ?)",
                [(key, json.dumps(names)) for key, names in copies.items()],
            )
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", files)
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('rates', ?)", (rates,))

    @property
    def rates(self) -> str | None:
        """Digest of the prices that the sums are made with."""
        for (value,) in self.connection.execute("SELECT value FROM meta WHERE name = 'rates'"):
            return str(value)
        return None

    def clear(self) -> None:
        """Drop everything: the index holds it all."""
        with self.connection:
            for table in _TABLES:
                self.connection.execute(f"DELETE FROM {table}")

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


def _open(path: Path) -> apsw.Connection | None:
    for attempt in (1, 2):
        try:
            connection = _try(path)
        except (apsw.Error, OSError):
            if attempt == 2:
                return None
        else:
            if connection is not None:
                return connection
        discard(path)
    return None


def discard(path: Path) -> None:
    """Remove a cache, so that the next one is made anew."""
    for suffix in ("", "-journal"):
        with suppress(OSError):
            Path(f"{path}{suffix}").unlink(missing_ok=True)


def _try(path: Path) -> apsw.Connection | None:
    if not path.exists():
        path.touch(mode=0o600)
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(2000)
    # What a crash destroys here is scanned again.
    connection.pragma("synchronous", "off")
    version = int(connection.pragma("user_version"))
    if version == VERSION:
        return connection
    if version == 0 and not any(connection.execute("SELECT 1 FROM sqlite_master")):
        with connection:
            connection.execute(_DDL)
        return connection
    connection.close()
    return None
