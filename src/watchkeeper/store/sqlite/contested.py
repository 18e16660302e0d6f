"""Keeps the owner of what several sessions claim, as the facts of those sessions change.

Things with the same claimants have the same owner, so owners are kept by group of claimants: there are as many groups
as resumed sessions. While nothing is claimed twice, nothing is read or written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

import apsw

from watchkeeper.events.ownership import owner_of

Place = tuple[str, str]
"""An entity's name and its key."""


class Contested:
    """The groups of claimants and what they claim.

    Args:
        connection: The index, opened for writing.
        end_of: Returns the latest time in a session's transcript, as its facts in this transaction say.
    """

    def __init__(self, connection: apsw.Connection, end_of: Callable[[str], int | None]) -> None:
        self._connection = connection
        self._end_of = end_of
        self._owners: dict[tuple[str, ...], str] | None = None

    def forget(self) -> None:
        """Drop what is kept in memory, after a transaction that failed."""
        self._owners = None

    def settle(
        self, claimed: dict[Place, tuple[str, ...]], settled: Iterable[Place], sessions: Iterable[str]
    ) -> Iterator[tuple[Place, str]]:
        """Take in a batch, and yield what needs new rows because its owner is new, with the owner.

        Args:
            claimed: What changed in this batch and is contested, with the claimants.
            settled: What was claimed by several sessions but has a certain owner now.
            sessions: Sessions whose end moved in this batch.
        """
        owners = self._known()
        self._connection.executemany("DELETE FROM contested WHERE entity = ? AND key = ?", settled)
        if not owners and not claimed:
            return
        moved = set(sessions)
        stale = [group for group in owners if not moved.isdisjoint(group)]
        for group in {*stale, *claimed.values()}:
            owner = owner_of(group, {session: self._end_of(session) for session in group})
            before = owners.get(group)
            if before == owner:
                continue
            owners[group] = owner
            name = json.dumps(group)
            self._connection.execute("INSERT OR REPLACE INTO owners VALUES (?, ?)", (name, owner))
            if before is not None:
                for place in self._held(name):
                    if place not in claimed:
                        yield place, owner
        rows = [(*place, json.dumps(group)) for place, group in claimed.items()]
        self._connection.executemany("INSERT OR REPLACE INTO contested VALUES (?, ?, ?)", rows)
        for place, group in claimed.items():
            yield place, owners[group]

    def _held(self, group: str) -> list[Place]:
        query = "SELECT entity, key FROM contested WHERE sessions = ?"
        return [(entity, key) for entity, key in self._connection.execute(query, (group,))]

    def _known(self) -> dict[tuple[str, ...], str]:
        if self._owners is None:
            rows = self._connection.execute("SELECT sessions, owner FROM owners")
            self._owners = {tuple(json.loads(name)): owner for name, owner in rows}
        return self._owners


def copied_from(connection: apsw.Connection, sessions: Iterable[str]) -> list[str]:
    """Return the keys of what belongs to these sessions and also stands in others' transcripts."""
    query = "SELECT c.key FROM contested c JOIN owners o ON o.sessions = c.sessions WHERE o.owner = ?"
    return sorted({key for session in sessions for (key,) in connection.execute(query, (session,))})
