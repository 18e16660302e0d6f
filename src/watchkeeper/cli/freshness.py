"""Bring the store up to date before it is read.

With a daemon alive it is asked to sync, for at most two seconds; otherwise this process takes the writer lock
and ingests what is new itself. Where neither works in time, the answer comes from what there is and says how
old it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.errors import DaemonError, LockedError, WatchkeeperError

if TYPE_CHECKING:
    from watchkeeper.pipeline.freshness import Grown
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
    _say_age(context, age)
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


@contextmanager
def quick_reader(
    context: Context, words: Sequence[str] = (), since_ms: int | None = None
) -> Iterator[tuple[Reader, int | None, Mapping[str, int]]]:
    """Open the store for the list of sessions or a search, which do not wait for the last lines of running sessions.

    Where a daemon runs, and where more is new than a few lines of known transcripts, this is `fresh_reader`.

    Yields:
        The reader, the age as `bring_up_to_date` returns it, and by session the time of an event that the store does
        not hold yet.

    Raises:
        FormatError: The database is damaged.
        LockedError: It stayed busy.
    """
    from watchkeeper.store.sqlite.reading import open_reader, store_failures

    places = context.settings.places
    with store_failures(places.database):
        age = _ask_daemon(context) if places.recorder_socket.exists() else None
        if age is None:
            grown = None
            if places.database.exists():
                with open_reader(places) as reader:
                    grown, spool = _news(context, reader)
                    waiting = _waiting(context, reader, (grown, spool), words, since_ms)
                    if waiting is not None:
                        yield reader, *waiting
                        return
                    grown = None if spool else grown
            age = _take_in(context, grown)
        _say_age(context, age)
        with open_reader(places) as reader:
            yield reader, age, {}


def with_age(document: dict[str, Any], age_ms: int | None) -> dict[str, Any]:
    """Return the document with ``stale_ms`` where it does not show the present state."""
    return document if age_ms == 0 else {**document, "stale_ms": age_ms}


def _say_age(context: Context, age_ms: int | None) -> None:
    if age_ms:
        context.note(f"wk: this answer is {age_ms / 1000:.0f} seconds old")


def _news(context: Context, reader: Reader) -> tuple[list[Grown] | None, Path | None]:
    """Return the transcripts that have grown, ``None`` where others are new, and the spool where it is ahead."""
    from watchkeeper.pipeline.freshness import news_of_transcripts, spool_is_ahead

    spool = context.settings.places.spool
    ahead = spool_is_ahead(reader, spool)
    return news_of_transcripts(context.settings, reader), spool if ahead else None


def _waiting(
    context: Context,
    reader: Reader,
    news: tuple[list[Grown] | None, Path | None],
    words: Sequence[str],
    since_ms: int | None,
) -> tuple[int, Mapping[str, int]] | None:
    """Return the age of what the store holds and the later times; ``None`` where it must take in what is new."""
    grown, spool = news
    if grown is None:
        return None
    if not grown and spool is None:
        return 0, {}
    import time

    from watchkeeper.pipeline.tails import may_wait, read_tails

    now = time.time_ns() // 1_000_000
    tails = read_tails(reader, grown, now, spool)
    if tails is None or not may_wait(reader, tails, words, since_ms):
        return None
    if not tails.last_at:
        return 0, {}
    age = max(1, now - tails.since)
    context.note(f"wk: what running sessions wrote in the last {-(-age // 1000)} s is not counted yet")
    return age, tails.last_at


def _ask_daemon(context: Context) -> int | None:
    from watchkeeper.client.recorder import RecorderClient

    try:
        answer = RecorderClient(context.settings.places).sync(SYNC_MS)
    except DaemonError:
        return None
    return int(answer.get("stale_ms") or 0)


def _by_ourselves(context: Context) -> int | None:
    from watchkeeper.pipeline.freshness import news
    from watchkeeper.store.sqlite.reading import open_reader

    grown = None
    if context.settings.places.database.exists():
        with open_reader(context.settings.places) as reader:
            grown = news(context.settings, reader)
    return 0 if grown == [] else _take_in(context, grown)


def _take_in(context: Context, grown: list[Grown] | None) -> int | None:
    """Put on record what is new: these transcripts, or whatever is found."""
    from watchkeeper.daemon.homes import prepare_home
    from watchkeeper.pipeline.catch_up import catch_up

    try:
        prepare_home(context.settings.places)
        with context.progress as progress:
            catch_up(
                context.settings,
                _paths(context, grown),
                lambda now: progress(now.bytes_done, now.bytes_total, f"{now.files_done:,} transcripts read"),
            )
    except LockedError:
        context.note("wk: another process is writing; this answer may miss the newest events")
        return None
    except (WatchkeeperError, OSError) as error:
        context.note(f"wk: what is new could not be read: {error}")
        return None
    return 0


def _paths(context: Context, grown: list[Grown] | None) -> list[Path] | None:
    """Return the transcripts to be read; ``None`` where everything is to be looked at.

    A folder that only a session names is always looked through: a path below it alone does not say where it begins.
    """
    roots = tuple(f"{folder.absolute()}/projects/" for folder in context.settings.claude_config_dirs)
    if grown is None or not all(item.path.startswith(roots) for item in grown):
        return None
    return [Path(item.path) for item in grown]
