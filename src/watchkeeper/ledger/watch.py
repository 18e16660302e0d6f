"""What the entries themselves tell a verifier: silent times, tombstones, announced keys, repairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from watchkeeper.ledger.entries import OWN_SOURCE, StoredEntry

ALIVE = frozenset({"start", "heartbeat"})
NOTED = frozenset({"finding", "damage"})
"""What the recorder itself found wrong with its sources."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader of the verdict should know.

    Attributes:
        what: What was noticed.
        why: The detail.
        place: File, offset or entry.
    """

    what: str
    why: str
    place: str


class EntryWatch:
    """Sees every entry once, in order.

    Args:
        heartbeat_seconds: How often the recorder writes a heartbeat.
        author: Tells the user id of the agent that an entry came from, or None for one that came from none.
    """

    def __init__(
        self, heartbeat_seconds: int, author: Callable[[StoredEntry], int | None] | None = None
    ) -> None:
        self.authors: set[int] = set()
        self._author = author
        self.findings: list[Finding] = []
        self.erased: set[int] = set()
        self.tombstoned: set[int] = set()
        self.rotations: list[dict[str, Any]] = []
        self.dictionaries: set[str] = set()
        self._longest = heartbeat_seconds * 2000
        self._alive: StoredEntry | None = None

    def see(self, entry: StoredEntry) -> None:
        """Take note of an entry."""
        if entry.erased:
            self.erased.add(entry.seq)
        elif self._author is not None and (uid := self._author(entry)) is not None:
            self.authors.add(uid)
        if entry.kind in ALIVE:
            self._pulse(entry)
        elif entry.kind == "stop":
            self._alive = None
        elif entry.source == OWN_SOURCE:
            self._own(entry)
        elif entry.kind in NOTED and not entry.erased:
            self._noted(entry)

    def _pulse(self, entry: StoredEntry) -> None:
        before, self._alive = self._alive, entry
        if before is not None and entry.at - before.at > self._longest:
            seconds = (entry.at - before.at) // 1000
            self.findings.append(
                Finding(
                    "the recorder was silent",
                    f"{seconds} s between two signs of life and no stop between them",
                    f"entries {before.seq} to {entry.seq}",
                )
            )

    def _noted(self, entry: StoredEntry) -> None:
        try:
            document = json.loads(entry.payload)
            if document.get("severity") == "low":
                return
            why = str(document.get("what") or document.get("reason") or "")
        except (ValueError, AttributeError) as error:
            why = f"the entry cannot be read: {error}"
        self.findings.append(Finding("the recorder noticed something", why, f"entry {entry.seq}"))

    def _own(self, entry: StoredEntry) -> None:
        try:
            document = json.loads(entry.payload)
            if entry.kind == "tombstone":
                self.tombstoned.update(document["seqs"])
                self.dictionaries.difference_update(document["dictionaries_dropped"])
            elif entry.kind == "key-rotation":
                self.rotations.append(document)
            elif entry.kind == "dictionary":
                self.dictionaries.add(document["id"])
            elif entry.kind == "repair":
                self.findings.append(
                    Finding("the ledger was repaired", document["what"], f"entry {entry.seq}")
                )
        except (ValueError, KeyError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
            self.findings.append(Finding(f"a {entry.kind} entry cannot be read", why, f"entry {entry.seq}"))
