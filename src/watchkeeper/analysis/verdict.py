"""The verdict on a home's record, with the anchor that its own agents leave it."""

from __future__ import annotations

from collections.abc import Callable

from watchkeeper.errors import FormatError
from watchkeeper.ledger.entries import StoredEntry
from watchkeeper.ledger.verify import Verdict, verify
from watchkeeper.managed import read_managed
from watchkeeper.settings import Settings
from watchkeeper.spool.frames import FrameKind
from watchkeeper.store.envelopes import FRAME, REDACT, read_frame, read_redact


def verify_home(settings: Settings, progress: Callable[[int], None] | None = None) -> Verdict:
    """Check a home's ledger. Nothing is changed; no lock is needed.

    The record is about every user with an event on it, and beside these about those whom a managed home names,
    or about the owner of any other home. It is anchored with another user only where none of them can reach it.

    Args:
        settings: The home.
        progress: Is told the number of entries checked so far, now and then.

    Raises:
        ConfigError: The home is marked as managed, and the mark cannot be used.
    """
    places = settings.places
    managed = read_managed(places)
    return verify(
        places.ledger,
        places.keys,
        heartbeat_seconds=settings["daemon.heartbeat_seconds"],
        agent_uid=set(managed.users) if managed else _owner(settings),
        author=agent_of,
        progress=progress,
    )


def agent_of(entry: StoredEntry) -> int | None:
    """Return the user id of the agent that an entry came from; None for what the recorder itself wrote.

    A doctor's synthetic event and the packaged demo come from no agent. What came over HTTP has the user of the
    server, because who sent it is not known.
    """
    if entry.kind not in {FRAME, REDACT} or entry.source.startswith("demo:"):
        return None
    try:
        payload = entry.payload
        if entry.kind == REDACT:
            redacted, payload = read_redact(payload, entry.source)
            if redacted.kind != FRAME:
                return None
        head, _ = read_frame(payload, entry.source)
    except FormatError:
        return None
    return None if head.kind == FrameKind.SYNTHETIC else head.uid


def _owner(settings: Settings) -> int | None:
    try:
        return settings.places.home.stat().st_uid
    except OSError:
        return None
