"""Threads that read the store, so that a slow query never holds up the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from watchkeeper.errors import FormatError
from watchkeeper.settings import Places
from watchkeeper.store.sqlite.reading import Reader, open_reader, store_failures

Answer = TypeVar("Answer")

CACHE_KIB = 2048
"""Page cache of each connection."""


class Readers:
    """A few threads, each with a connection of its own.

    Args:
        places: The home whose index is read.
        threads: How many queries run at once.
        name: Of the threads.
    """

    def __init__(self, places: Places, threads: int, name: str) -> None:
        self._places = places
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._local = threading.local()
        self._open: list[Reader] = []

    async def run(self, query: Callable[[Reader], Answer]) -> Answer:
        """Return what a query makes of a reader; it may raise whatever the query raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, query)

    def close(self) -> None:
        """Wait for the queries that run and close the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for reader in self._open:
            reader.close()

    def _run(self, query: Callable[[Reader], Answer]) -> Answer:
        database = self._places.database
        try:
            with store_failures(database):
                return query(self._reader())
        except FormatError:
            self._drop()
            raise
        except msgspec.ValidationError as error:
            self._drop()
            raise FormatError(
                "the index does not hold what this program wrote",
                why=str(error),
                hint="Run `wk rebuild`, which makes it anew from the ledger.",
                place=str(database),
            ) from error

    def _reader(self) -> Reader:
        identity = self._identity()
        reader: Reader | None = getattr(self._local, "reader", None)
        # A rebuild swaps the file; and what was opened before there was one is an empty index in memory.
        if reader is not None and identity is not None and self._local.identity == identity:
            return reader
        self._drop()
        reader = open_reader(self._places)
        reader.connection.pragma("cache_size", -CACHE_KIB)
        self._open.append(reader)
        self._local.reader = reader
        self._local.identity = identity if reader.connection.filename else None
        return reader

    def _drop(self) -> None:
        reader: Reader | None = getattr(self._local, "reader", None)
        if reader is not None:
            self._local.reader = None
            self._open.remove(reader)
            reader.close()

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._places.database.stat()
        except FileNotFoundError:
            return None
        return (found.st_dev, found.st_ino) if found.st_size else None
