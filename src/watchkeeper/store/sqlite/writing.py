"""The one writer of the index: merges facts, derives rows, and moves the positions, all in one transaction.

What is in the database always equals what its facts say, and the ledger position is part of the same transaction, so
a crash at any point leaves the index a prefix of the ledger.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from watchkeeper.errors import FormatError, WatchkeeperError
from watchkeeper.events.entities import ENTITIES
from watchkeeper.events.merge import Facts, State, decode_state, encode_state, join, joined
from watchkeeper.events.ownership import contested_by, end_of, owned_by
from watchkeeper.pricing.rates import RateCard
from watchkeeper.store.projections import PROJECTIONS
from watchkeeper.store.rows import FileRow, RangeRow, TextRow
from watchkeeper.store.snapshots import Retirement
from watchkeeper.store.sqlite import search_index
from watchkeeper.store.sqlite.contested import Contested, Place
from watchkeeper.store.sqlite.costs import fill_cost, price_anew
from watchkeeper.store.sqlite.schema import SCHEMA_VERSION, connect_for_writing, ddl, version_of
from watchkeeper.store.tables import ENTITY_NUMBERS, TABLES

_CACHE_LIMIT = 1_000
_PUT_STATE = "INSERT OR REPLACE INTO facts (entity, key, state) VALUES (?, ?, ?)"

UNMERGEABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a value raises that no mapping should have let through: an endless number, half a character, a wrong type."""


UNCOLLECTED = "uncollected:"
"""Begins the names of the marks that hold which frames a retirement wants removed; the number of its entry follows."""


class StoreWriteError(WatchkeeperError):
    """The disk did not take a transaction; nothing of it remains, and it may be tried again."""

    code = "store_write"


class DamagedIndexError(FormatError):
    """The index cannot be used as it is; everything in it can be made anew from ledger and archive."""


@dataclass
class Changes:
    """What a batch changed, for those who show it live."""

    sessions: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)

    def update(self, other: Changes) -> None:
        """Add another batch's changes."""
        self.sessions |= other.sessions
        self.calls |= other.calls


@dataclass
class _Rows:
    """The rows that follow from a batch, by table, and the keys that have none there."""

    rates: RateCard
    there: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    gone: dict[str, list[tuple[str]]] = field(default_factory=dict)

    def project(self, entity: str, key: str, state: State) -> None:
        """Add what follows from one state."""
        for table, row in PROJECTIONS[entity](key, state).items():
            if row is None:
                self.gone.setdefault(table, []).append((key,))
            else:
                if table == "requests":
                    fill_cost(row, self.rates)
                self.there.setdefault(table, []).append(TABLES[table].bind(row))


class Store:
    """The index, opened for writing. The caller holds the writer lock.

    Args:
        path: The database.
        rates: The prices that costs are computed with; the packaged ones when absent.

    Raises:
        DamagedIndexError: The file is not a database, or one of another version; `wk rebuild` makes it anew.
        StoreWriteError: The disk is full or broken.
    """

    def __init__(self, path: Path, rates: RateCard | None = None) -> None:
        self.path = path
        self._rates = rates or RateCard()
        with _explained(path):
            self.connection = connect_for_writing(path)
            version = version_of(self.connection)
            if version == 0:
                with self.connection:
                    self.connection.execute(ddl())
        if version not in {0, SCHEMA_VERSION}:
            self.connection.close()
            raise DamagedIndexError(
                f"the index has version {version}, this program writes {SCHEMA_VERSION}",
                hint="Run `wk rebuild`.",
                place=str(path),
            )
        with _explained(path):
            price_anew(self.connection, self._rates)
        self._cache: OrderedDict[tuple[str, str], State] = OrderedDict()
        self._contested = Contested(self.connection, self._end_of)

    def use_rates(self, rates: RateCard) -> None:
        """Compute costs with these prices from now on, and those on record anew where they differ."""
        self._rates = rates
        with _explained(self.path):
            price_anew(self.connection, rates)

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run one transaction; on any error nothing of it remains, in the file or in the cache.

        Raises:
            StoreWriteError: The disk is full or broken.
            DamagedIndexError: The file is not what was written to it.
        """
        with _explained(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                self._cache.clear()
                self._contested.forget()
                # A full disk may have ended the transaction by itself.
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def forget_states(self) -> None:
        """Drop the merged states and pages kept in memory; they are read again when needed."""
        self._cache.clear()
        self._contested.forget()
        self.connection.execute("PRAGMA shrink_memory")

    def merge(self, facts: Iterable[Facts], states: Iterable[tuple[str, str, State]] = ()) -> Changes:
        """Merge facts, and facts joined before, and rewrite the rows that follow. To be called in a transaction."""
        deltas = joined(facts)
        for entity, key, state in states:
            known = deltas.get((entity, key))
            deltas[entity, key] = state if known is None else join(known, state, ENTITIES[entity])
        return self._join(deltas)

    def _join(self, deltas: dict[tuple[str, str], State]) -> Changes:
        changes = Changes()
        states: list[tuple[int, str, bytes]] = []
        rows = _Rows(self._rates)
        claimed: dict[Place, tuple[str, ...]] = {}
        settled: list[Place] = []
        ended: list[str] = []
        for (entity, key), delta in deltas.items():
            state = self._state(entity, key)
            before, end = encode_state(state) if state else b"", end_of(state)
            after = encode_state(join(state, delta, ENTITIES[entity]))
            if after == before:
                continue
            states.append((ENTITY_NUMBERS[entity], key, after))
            _note(changes, entity, key, state)
            if entity == "session" and end_of(state) != end:
                ended.append(key)
            if len(state.get("sessions", ())) > 1:
                group = contested_by(state)
                if group:
                    claimed[entity, key] = group
                    continue
                settled.append((entity, key))
            rows.project(entity, key, state)
        # What is claimed is looked up again below, and may have left the cache by then.
        self.connection.executemany(_PUT_STATE, states)
        for (entity, key), owner in self._contested.settle(claimed, settled, ended):
            state = self._state(entity, key)
            if contested_by(state):
                rows.project(entity, key, owned_by(state, owner))
                _note(changes, entity, key, state)
        self._write(rows)
        return changes

    def merge_singly(
        self, facts: Iterable[Facts], states: Iterable[tuple[str, str, State]] = ()
    ) -> tuple[Changes, list[tuple[str, str, str]]]:
        """Merge one by one and pass over what cannot be; return entity, key and reason of these.

        For a batch that `merge` refuses, in a transaction of its own: one observation that nobody thought of must
        not keep all others out of the index. It is slow.
        """
        changes, refused = Changes(), list[tuple[str, str, str]]()
        single = [(item.entity, item.key, partial(self.merge, [item])) for item in facts]
        single += [
            (entity, key, partial(self.merge, (), [(entity, key, state)])) for entity, key, state in states
        ]
        for entity, key, merge in single:
            self.connection.execute("SAVEPOINT single")
            try:
                changes.update(merge())
            except UNMERGEABLE as error:
                self.connection.execute("ROLLBACK TO single")
                self._cache.pop((entity, key), None)
                self._contested.forget()
                refused.append((entity, key, f"not merged: {type(error).__name__}: {error}"))
            self.connection.execute("RELEASE single")
        return changes, refused

    def retire(self, retirement: Retirement) -> None:
        """Let go of what has left the archive, and keep what it said. To be called within a transaction.

        Texts of messages and what is searched for go, places in the archive are cleared; everything else stays.
        """
        self._join({(item.entity, item.key): item.state for item in retirement.states})
        self.put_skipped(retirement.skipped)
        for key in retirement.messages:
            state = self._state("message", key)
            if state.pop("text", None) is not None:
                number = ENTITY_NUMBERS["message"]
                self.connection.execute(_PUT_STATE, (number, key, encode_state(state)))
                self.connection.execute("UPDATE messages SET text = NULL WHERE message_key = ?", (key,))
        self.put_meta(f"{UNCOLLECTED}{retirement.seq}", json.dumps(retirement.digests))
        clear = "UPDATE ranges SET pack = '', position = 0 WHERE file_key = ? AND seq < ?"
        self.connection.executemany(clear, [(key, retirement.seq) for key in retirement.files])
        for session in retirement.sessions:
            search_index.delete_hooks(self.connection, session)
        for key in retirement.files:
            search_index.delete_place(self.connection, key)

    def state(self, entity: str, key: str) -> State:
        """Return what is known of an entity; not to be changed by the caller."""
        with _explained(self.path):
            return self._state(entity, key)

    def uncollected(self) -> dict[str, list[str]]:
        """Return by mark the digests of frames that retirements want removed from the archive."""
        query = "SELECT name, value FROM meta WHERE name >= 'uncollected:' AND name < 'uncollected;'"
        with _explained(self.path):
            return {name: json.loads(value) for name, value in self.connection.execute(query)}

    def forget_uncollected(self, names: Iterable[str]) -> None:
        """Drop such marks, once the frames are removed."""
        with self.transaction():
            self.connection.executemany("DELETE FROM meta WHERE name = ?", [(name,) for name in names])

    def move_ranges(self, pack: str, places: Mapping[int, tuple[str, int]]) -> None:
        """Follow the contents of a pack that was rewritten, from their offsets to their new pack and offset."""
        query = "SELECT file_key, generation, first_line, position FROM ranges WHERE pack = ?"
        with self.transaction():
            moved = [
                (*places[position], *key)
                for *key, position in self.connection.execute(query, (pack,))
                if position in places
            ]
            update = "UPDATE ranges SET pack = ?, position = ? WHERE file_key = ? AND generation = ? AND first_line = ?"
            self.connection.executemany(update, moved)

    def _write(self, rows: _Rows) -> None:
        execute = self.connection.executemany
        for table, bindings in rows.there.items():
            execute(TABLES[table].upsert, bindings)
        for table, keys in rows.gone.items():
            execute(f"DELETE FROM {table} WHERE {TABLES[table].key} = ?", keys)

    def _end_of(self, session: str) -> int | None:
        return end_of(self._state("session", session))

    def _state(self, entity: str, key: str) -> State:
        place = (entity, key)
        state = self._cache.get(place)
        if state is None:
            state = {}
            query = "SELECT state FROM facts WHERE entity = ? AND key = ?"
            for (data,) in self.connection.execute(query, (ENTITY_NUMBERS[entity], key)):
                state = decode_state(data)
            self._cache[place] = state
            if len(self._cache) > _CACHE_LIMIT:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(place)
        return state

    def known_source(self, source: str) -> bool:
        """Tell whether an observation of the spool is on record already."""
        query = "SELECT 1 FROM sources WHERE source = ?"
        with _explained(self.path):
            return any(True for _ in self.connection.execute(query, (source,)))

    def put_sources(self, sources: Iterable[tuple[str, int]]) -> None:
        """Remember in which ledger entry each observation of the spool is."""
        self.connection.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?)", sources)

    def put_masked(self, masked: Iterable[tuple[str, str, int]]) -> None:
        """Remember how many secrets of which rule were masked in an observation."""
        self.connection.executemany("INSERT OR REPLACE INTO masked VALUES (?, ?, ?)", masked)

    def put_range(self, row: RangeRow) -> None:
        """Remember where the archive holds a range of lines."""
        self.connection.execute(
            "INSERT OR REPLACE INTO ranges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.file_key,
                row.generation,
                row.first_line,
                row.line_count,
                row.pack,
                row.position,
                row.seq,
                row.digest,
                row.raw_digest,
            ),
        )

    def put_texts(self, rows: Iterable[TextRow]) -> None:
        """Make texts searchable."""
        search_index.put(self.connection, rows)

    def put_file(self, row: FileRow) -> None:
        """Remember how far a transcript file is on record."""
        self.connection.execute(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.file_key,
                row.path,
                row.relative,
                row.generation,
                row.inode,
                row.device,
                row.position,
                row.lines,
                row.head_digest,
                row.size,
                row.mtime_ns,
            ),
        )

    def files(self) -> Iterator[FileRow]:
        """Yield every transcript file on record."""
        with _explained(self.path):
            for row in self.connection.execute("SELECT * FROM files"):
                yield FileRow(*row)

    def put_skipped(self, rows: Iterable[tuple[str, int, str]]) -> None:
        """Remember the lines that could not be read, with their reasons."""
        self.connection.executemany("INSERT OR REPLACE INTO skipped VALUES (?, ?, ?)", rows)

    def get_meta(self, name: str, default: Any = None) -> Any:
        """Return a stored position or mark."""
        with _explained(self.path):
            for (value,) in self.connection.execute("SELECT value FROM meta WHERE name = ?", (name,)):
                return value
        return default

    def spool_positions(self) -> dict[str, int]:
        """Return for each live spool segment the offset up to which it is on record."""
        query = "SELECT name, value FROM meta WHERE name >= 'spool:' AND name < 'spool;'"
        with _explained(self.path):
            return {name.removeprefix("spool:"): int(value) for name, value in self.connection.execute(query)}

    def forget_segments(self, segments: Iterable[str]) -> None:
        """Drop the positions of spool segments that were removed; their ids never come again."""
        names = [(f"spool:{segment}",) for segment in segments]
        if names:
            with self.transaction():
                self.connection.executemany("DELETE FROM meta WHERE name = ?", names)

    def put_meta(self, name: str, value: Any) -> None:
        """Store a position or mark."""
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what the engine raises into errors with a remedy."""
    try:
        yield
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise DamagedIndexError(
            "the index is damaged", why=str(error), hint="Run `wk rebuild`.", place=str(path)
        ) from error
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.BusyError) as error:
        raise StoreWriteError(
            "the index cannot be written",
            why=str(error),
            hint="Free space on the disk that holds it.",
            place=str(path),
        ) from error


def _note(changes: Changes, entity: str, key: str, state: State) -> None:
    if entity == "session":
        changes.sessions.add(key)
        return
    tagged = state.get("session_id")
    if tagged:
        changes.sessions.add(tagged[2])
        changes.sessions.update(state.get("sessions", ()))
    if entity == "call":
        changes.calls.add(key)
