"""Bring the store up to date before it is read.

With a daemon alive it is asked to sync, for at most two seconds; otherwise this process takes the writer lock
and ingests what is new itself. Where neither works in time, the answer comes from what there is and says how
old it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.errors import DaemonError, LockedError, WatchkeeperError

if TYPE_CHECKING:
    from watchkeeper.store.sqlite.reading import Reader

SYNC_MS = 2000
"""How long a reading command waits for the daemon."""


def bring_up_to_date(context: Context) -> int | None:
    """Let the store take in what is new, and say so on standard error where that did not happen.

    Returns:
        The age in milliseconds of what will be answered: 0 when it is current, ``None`` when it is not and
        nobody knows by how much.
    """
    places = context.settings.places
    age = _ask_daemon(context) if places.recorder_socket.exists() else None
    if age is None:
        age = _by_ourselves(context)
    if age:
        context.note(f"wk: this answer is {age / 1000:.0f} seconds old")
    return age


@contextmanager
def fresh_reader(context: Context) -> Iterator[tuple[Reader, int | None]]:
    """Bring the store up to date and open it; yield the reader and the age as `bring_up_to_date` returns it.

    Raises:
        FormatError: The database is damaged.
        LockedError: It stayed busy.
    """
    from watchkeeper.store.sqlite.reading import open_reader, store_failures

    places = context.settings.places
    with store_failures(places.database):
        age = bring_up_to_date(context)
        with open_reader(places) as reader:
            yield reader, age


def with_age(document: dict[str, Any], age_ms: int | None) -> dict[str, Any]:
    """Return the document with ``stale_ms`` where it does not show the present state."""
    return document if age_ms == 0 else {**document, "stale_ms": age_ms}


def _ask_daemon(context: Context) -> int | None:
    from watchkeeper.client.recorder import RecorderClient

    try:
        answer = RecorderClient(context.settings.places).sync(SYNC_MS)
    except DaemonError:
        return None
    return int(answer.get("stale_ms") or 0)


def _by_ourselves(context: Context) -> int | None:
    from watchkeeper.pipeline.freshness import is_stale

    if not is_stale(context.settings):
        return 0
    from watchkeeper.daemon.homes import prepare_home
    from watchkeeper.pipeline.catch_up import catch_up

    try:
        prepare_home(context.settings.places)
        with context.progress as progress:
            catch_up(
                context.settings,
                None,
                lambda now: progress(now.bytes_done, now.bytes_total, f"{now.files_done:,} transcripts read"),
            )
    except LockedError:
        context.note("wk: another process is writing; this answer may miss the newest events")
        return None
    except WatchkeeperError as error:
        context.note(f"wk: what is new could not be read: {error}")
        return None
    return 0
