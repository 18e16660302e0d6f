"""What the archive no longer holds as it was, by digest: why it went, or by which content it was replaced.

Entries of the ledger name archived contents by digest. When a content goes (retention, forgetting) or is rewritten
(a secret learnt later), the digest stays in the ledger, and this file says what became of it: one JSON object a line,
``{"digest", "to", "reason", "at"}``, with ``to`` the digest of the content in its place or null. It only grows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from watchkeeper.archive.packs import sync_data, sync_directory, write_whole
from watchkeeper.errors import NotFoundError

FILE = "departures.jsonl"


class GoneError(NotFoundError):
    """The content was taken out of the archive on purpose.

    Attributes:
        reason: Why, as one word: ``retention``, ``forgotten``, ...
    """

    code = "gone"

    def __init__(self, reason: str, *, place: str = "") -> None:
        why = "it was older than the archive keeps" if reason == "retention" else reason
        super().__init__("the archive no longer holds this content", why=why, place=place)
        self.reason = reason


class Departure(NamedTuple):
    """One content that went: its digest, the one in its place if any, why, and when in epoch milliseconds."""

    digest: str
    to: str | None
    reason: str
    at: int


def read_departures(directory: Path) -> dict[str, Departure]:
    """Return what went, by digest; the latest word counts, and a torn last line is passed over."""
    found: dict[str, Departure] = {}
    try:
        lines = (directory / FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return found
    for line in lines[:-1]:
        try:
            departure = Departure(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[departure.digest] = departure
    return found


def departures_size(directory: Path) -> int:
    """Return the size of the file in bytes, by which a change is noticed; 0 for none."""
    try:
        return (directory / FILE).stat().st_size
    except FileNotFoundError:
        return 0


def append_departures(directory: Path, departures: Iterable[Departure]) -> None:
    """Add departures, durably.

    Raises:
        OSError: The disk refuses; what stood there before stays readable.
    """
    data = b"".join(json.dumps(item._asdict()).encode() + b"\n" for item in departures)
    if not data:
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(directory / FILE, flags, 0o600)
    try:
        end = os.fstat(descriptor).st_size
        if end and os.pread(descriptor, 1, end - 1) != b"\n":
            data = b"\n" + data
        write_whole(descriptor, data, end)
        sync_data(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(directory)
