"""What the watched timelines looked like when they were last told, so that only differences are sent."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import msgspec

from watchkeeper.queries.timeline import all_items
from watchkeeper.store.sqlite.reading import Reader

_encoder = msgspec.msgpack.Encoder()


class WatchedTimelines:
    """A digest of each item of each watched session. Not to be shared between threads.

    Comparing whole timelines catches what no notice names: a message that a transcript brings late, a
    subagent that ends, a gap that closes, a neighbour's changed order.
    """

    def __init__(self) -> None:
        self._digests: dict[str, dict[str, int]] = {}

    def start(self, reader: Reader, session_id: str) -> None:
        """Begin with a timeline as it is now, unless it is watched already."""
        if session_id not in self._digests:
            self._digests[session_id] = {}
            self.changes(reader, session_id)

    def stop(self, session_id: str) -> None:
        """Forget a timeline."""
        self._digests.pop(session_id, None)

    def changes(self, reader: Reader, session_id: str) -> list[dict[str, Any]]:
        """Return the items that are new or differ since the last call, oldest first; none if unwatched."""
        known = self._digests.get(session_id)
        if known is None:
            return []
        changed = []
        for item in all_items(reader, session_id):
            digest = hash(_encoder.encode(item))
            if known.get(item["key"]) != digest:
                known[item["key"]] = digest
                changed.append(item)
        return sorted(changed, key=itemgetter("order", "key"))
