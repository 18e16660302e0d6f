"""``state.db``: what a person decided or the client said once, and no rebuild could make again.

Every part of the program that keeps something here owns tables of its own and a line in `PARTS`: the statements of
its first version, then those that bring each version to the next. Statements that have been released never change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from watchkeeper.errors import FormatError, LockedError
from watchkeeper.settings import Places

PARTS: dict[str, tuple[str, ...]] = {
    "budgets": (
        """
        CREATE TABLE budgets (
            period TEXT NOT NULL, project TEXT NOT NULL, unit TEXT NOT NULL, amount INTEGER NOT NULL,
            set_at INTEGER NOT NULL, PRIMARY KEY (period, project, unit)
        ) WITHOUT ROWID;
        """,
    ),
    "tags": (
        """
        CREATE TABLE tags (
            tag TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, added_at INTEGER NOT NULL,
            PRIMARY KEY (tag, kind, target)
        ) WITHOUT ROWID;
        CREATE INDEX tags_by_target ON tags (kind, target);
        """,
    ),
    "client_status": (
        """
        CREATE TABLE quota (
            window TEXT PRIMARY KEY, used INTEGER, resets_at INTEGER, seen_at INTEGER NOT NULL, session_id TEXT
        ) WITHOUT ROWID;
        CREATE TABLE quota_history (
            window TEXT NOT NULL, at INTEGER NOT NULL, used INTEGER, resets_at INTEGER, PRIMARY KEY (window, at)
        ) WITHOUT ROWID;
        CREATE TABLE session_status (
            session_id TEXT PRIMARY KEY, seen_at INTEGER NOT NULL, model TEXT, cost_micros INTEGER,
            context_used INTEGER, context_size INTEGER, lines_added INTEGER, lines_removed INTEGER,
            api_duration_ms INTEGER, has_quota INTEGER NOT NULL
        ) WITHOUT ROWID;
        """,
    ),
}
"""Name of each part -> its statements, one string per version, oldest first.

``quota.used`` and ``quota_history.used`` are hundredths of a per cent; times are epoch milliseconds; a budget's
amount is in micro-dollars (unit ``usd``) or hundredths of a per cent (unit ``quota``).
"""

_MARKS = "CREATE TABLE parts (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID"


class State:
    """An open ``state.db``. Not to be shared between threads.

    Args:
        connection: A connection whose parts are all of the newest version.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection

    def rows(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query."""
        yield from self.connection.execute(sql, bindings)

    def change(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> int:
        """Run one statement in a transaction of its own and return how many rows it changed."""
        before = self.connection.total_changes()
        self.connection.execute(sql, bindings)
        return self.connection.total_changes() - before

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several changes at once: all or none."""
        with self.connection:
            yield


@contextmanager
def open_state(places: Places, *, wait_ms: int = 2000) -> Iterator[State]:
    """Open the file for reading and writing; it is made owner-only, and brought to the newest version.

    Raises:
        LockedError: It stayed busy for `wait_ms`.
        FormatError: It is damaged, or a newer version of this program wrote it.
    """
    path = places.state
    with _failures(path):
        places.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        connection = apsw.Connection(str(path))
        try:
            connection.set_busy_timeout(wait_ms)
            if int(connection.pragma("user_version")) != _newest():
                _migrate(connection, path)
            connection.pragma("synchronous", "normal")
            yield State(connection)
        finally:
            connection.close()


@contextmanager
def read_state(places: Places, *, wait_ms: int = 2000) -> Iterator[State]:
    """Open the file for reading; where there is none yet, all its tables are empty.

    Raises:
        LockedError: It stayed busy for `wait_ms`.
        FormatError: It is damaged, or a newer version of this program wrote it.
    """
    path = places.state
    if path.exists() and path.stat().st_size:
        with open_state(places, wait_ms=wait_ms) as state:
            state.connection.pragma("query_only", 1)
            yield state
        return
    connection = apsw.Connection(":memory:")
    _migrate(connection, path)
    yield State(connection)
    connection.close()


def _newest() -> int:
    return sum(map(len, PARTS.values()))


def _migrate(connection: apsw.Connection, path: Path) -> None:
    if path.exists():
        connection.pragma("journal_mode", "wal")
    connection.execute("BEGIN IMMEDIATE")
    try:
        _bring_up(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _bring_up(connection: apsw.Connection, path: Path) -> None:
    if not any(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'parts'")):
        connection.execute(_MARKS)
    present = dict(connection.execute("SELECT name, version FROM parts"))
    for name, version in present.items():
        if version > len(PARTS.get(name, ())):
            raise FormatError(
                f"a newer version of Watchkeeper has written {name} here",
                hint="Update Watchkeeper, or use another home.",
                place=str(path),
            )
    for name, versions in PARTS.items():
        for statements in versions[present.get(name, 0) :]:
            connection.execute(statements)
        connection.execute("INSERT OR REPLACE INTO parts VALUES (?, ?)", (name, len(versions)))
    connection.pragma("user_version", _newest())


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as error:
        raise LockedError(
            "the state file is busy", why=str(error), hint="Ask again in a moment.", place=str(path)
        ) from error
    except apsw.Error as error:
        raise FormatError(
            "the state file cannot be used",
            why=str(error),
            hint="Move it away; budgets and tags in it are lost, what is recorded is not.",
            place=str(path),
        ) from error
