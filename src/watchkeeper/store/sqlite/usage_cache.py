"""Usage of transcripts that the index does not hold yet, in a small database of its own.

Whoever asks for the bill before the import is done gets it from a quick scan. What the scan found is kept here until
the index has caught up, so that the next question reads only what is new. Nothing here is a record: the file may be
removed at any time.

Requests are kept as they were scanned, to be joined with what comes later, and as sums by quarter-hour, to be read.
Sums are only ever added: a request that grew adds the difference.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

VERSION = 1

DIMENSIONS = ("quarter", "session_id", "model", "agent_id", "branch", "skill", "mcp_server")
"""What sums are taken by; the first is in epoch milliseconds."""

COUNTS = (
    "requests", "input_tokens", "output_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
    "cache_read_tokens", "web_searches", "cost_micros", "reported", "computed", "unpriced_requests",
    "partial_requests", "nested_requests",
)  # fmt: skip
"""What is summed."""

_DDL = f"""
CREATE TABLE requests (request_key TEXT PRIMARY KEY, facts BLOB) WITHOUT ROWID;
CREATE TABLE sums ({", ".join((*DIMENSIONS, *COUNTS))});
CREATE TABLE sessions (session_id TEXT PRIMARY KEY, cwd_rank INTEGER, cwd_at INTEGER, cwd TEXT, last_at INTEGER)
    WITHOUT ROWID;
CREATE TABLE copies (request_key TEXT PRIMARY KEY, sessions TEXT) WITHOUT ROWID;
CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, position INTEGER) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
_TABLES = ("requests", "sums", "sessions", "copies", "files", "meta")


class UsageCache:
    """The cache of one home, or one in memory where the home takes no files.

    Args:
        path: The file; made where it is missing, and made anew where it is damaged or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        connection = _open(path)
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

    def requests(self, keys: Iterable[str] | None = None) -> Iterator[tuple[str, list[Any]]]:
        """Yield the facts of the given requests that are known, or of all."""
        if keys is None:
            for key, facts in self.connection.execute("SELECT * FROM requests"):
                yield key, unpacked(facts)
            return
        for key in keys:
            for _, facts in self.connection.execute("SELECT * FROM requests WHERE request_key = ?", (key,)):
                yield key, unpacked(facts)

    def sessions(self, names: Iterable[str]) -> dict[str, list[Any]]:
        """Return what is known of some sessions."""
        query = "SELECT * FROM sessions WHERE session_id = ?"
        return {row[0]: list(row[1:]) for name in names for row in self.connection.execute(query, (name,))}

    def copies(self) -> dict[str, list[str]]:
        """Return the requests that several sessions claim, with all of these."""
        return {key: json.loads(names) for key, names in self.connection.execute("SELECT * FROM copies")}

    def put(
        self,
        requests: Iterable[tuple[str, bytes]],
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
            requests: By key the packed facts (see `packed`).
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
            connection.executemany("INSERT OR REPLACE INTO requests VALUES (?, ?)", requests)
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


def packed(facts: list[Any]) -> bytes:
    """Return a request's facts as they are kept."""
    return marshal.dumps(facts)


def unpacked(data: bytes) -> list[Any]:
    """Return the facts that `packed` wrote."""
    facts: list[Any] = marshal.loads(data)  # noqa: S302 - in an owner-only file, or from our own child
    return facts


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
        for suffix in ("", "-journal"):
            with suppress(OSError):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
    return None


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
