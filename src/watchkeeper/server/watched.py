"""What the watched timelines looked like when they were last told, so that only differences are sent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec

from watchkeeper.queries.timeline import all_items, timeline_items_for
from watchkeeper.store.sqlite.reading import Reader

Item = dict[str, Any]

PAUSE_FACTOR = 19
"""Whole timelines are compared at most a twentieth of the time: one is followed by a pause of this many durations."""
RECENT_MS = 15_000
"""Between two comparisons, items of this age are looked at beside the calls that a notice names."""

_encoder = msgspec.msgpack.Encoder()


@dataclass
class _Watched:
    digests: dict[str, int] = field(default_factory=dict)
    due: float = 0.0

    def differing(self, items: Iterable[Item]) -> list[Item]:
        changed = []
        for item in items:
            digest = hash(_encoder.encode(item))
            if self.digests.get(item["key"]) != digest:
                self.digests[item["key"]] = digest
                changed.append(item)
        return sorted(changed, key=itemgetter("order", "key"))


class WatchedTimelines:
    """A digest of each item of each watched session. Not to be shared between threads.

    Comparing whole timelines catches what no notice names: a message that a transcript brings late, a subagent that
    ends, a gap that closes, a neighbour's changed order. In a long session that takes its time, so it is done at
    intervals and never before what a notice names has been told; between them, only that and what is recent counts.
    """

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}

    def start(self, reader: Reader, session_id: str) -> None:
        """Begin with a timeline as it is now, unless it is watched already."""
        if session_id not in self._watched:
            watched = self._watched[session_id] = _Watched()
            _compare(reader, session_id, watched)

    def stop(self, session_id: str) -> None:
        """Forget a timeline."""
        self._watched.pop(session_id, None)

    def changes(
        self, reader: Reader, session_id: str, tool_use_ids: Sequence[str]
    ) -> tuple[list[Item], float | None]:
        """Return what is new or differs since the last call.

        Returns:
            The items, oldest first, none if the session is not watched; and in how many seconds to ask again, because
            not everything could be looked at, or ``None``.
        """
        watched = self._watched.get(session_id)
        if watched is None:
            return [], None
        wait = watched.due - time.monotonic()
        if wait <= 0 and not tool_use_ids:
            return _compare(reader, session_id, watched), None
        since = int(time.time() * 1000) - RECENT_MS
        return watched.differing(timeline_items_for(reader, session_id, tool_use_ids, since)), max(0.0, wait)


def _compare(reader: Reader, session_id: str, watched: _Watched) -> list[Item]:
    begun = time.monotonic()
    changed = watched.differing(all_items(reader, session_id))
    ended = time.monotonic()
    watched.due = ended + (ended - begun) * PAUSE_FACTOR
    return changed
