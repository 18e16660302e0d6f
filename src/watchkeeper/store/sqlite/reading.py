"""Reading access to the index: many readers, none of which needs the daemon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw

from watchkeeper.errors import FormatError, LockedError, WatchkeeperError
from watchkeeper.settings import Places
from watchkeeper.store.sqlite.schema import connect_for_reading, connect_to_present


class Reader:
    """A read-only connection that answers with dictionaries. Not to be shared between threads."""

    def __init__(self, connection: apsw.Connection, places: Places) -> None:
        self.connection = connection
        self.places = places

    def rows(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> Iterator[dict[str, Any]]:
        """Yield the rows of a query, column names as keys."""
        cursor = self.connection.execute(sql, bindings)
        try:
            names = [column[0] for column in cursor.getdescription()]
        except apsw.ExecutionCompleteError:
            return
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def row(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> dict[str, Any] | None:
        """Return the first row of a query, or ``None``."""
        return next(self.rows(sql, bindings), None)

    def value(self, sql: str, bindings: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """Return the first column of the first row, or ``None``."""
        for row in self.connection.execute(sql, bindings):
            return row[0]
        return None

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_reader(places: Places) -> Reader:
    """Open the index of a home for queries; a home without one reads as empty."""
    return Reader(connect_for_reading(places.database), places)


def open_present(places: Places) -> Reader | None:
    """Open the index of a home for queries; None where there is none of this version.

    For the quickest commands: making an empty one costs more time than they have.
    """
    connection = connect_to_present(places.database)
    return None if connection is None else Reader(connection, places)


@contextmanager
def store_failures(database: Path) -> Iterator[None]:
    """Turn what the engine raises into errors with a remedy.

    Raises:
        LockedError: The database stayed busy.
        WatchkeeperError: The disk is full, or takes nothing.
        FormatError: It is damaged, or not what this program wrote.
    """
    try:
        yield
    except apsw.BusyError as error:
        raise LockedError(
            "the database is busy", why=str(error), hint="Ask again in a moment.", place=str(database)
        ) from error
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as error:
        raise WatchkeeperError(
            "the database cannot be opened or written now",
            why=str(error),
            hint="Look whether the disk is full, and whether this folder may be written.",
            place=str(database),
        ) from error
    except apsw.Error as error:
        raise FormatError(
            "the database cannot be read",
            why=str(error),
            hint="Run `wk rebuild`: it makes a new one from ledger and archive.",
            place=str(database),
        ) from error
