"""Tells cheaply whether anything happened since the index was written: a walk that only looks at sizes and times.

Quick commands import it, so it takes nothing but the standard library and SQLite.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from watchkeeper.pipeline.folders import agent_folders
from watchkeeper.pipeline.tombstones import Tombstones
from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code.discovery import TranscriptFile, find_transcripts
from watchkeeper.store.sqlite.reading import Reader, open_reader


class Grown(NamedTuple):
    """A transcript that was read and has grown since.

    Attributes:
        path: Where it is.
        position: How much of it is on record, in bytes.
        size: Bytes now.
        mtime_ns: When it was changed last before it was read.
    """

    path: str
    position: int
    size: int
    mtime_ns: int


def is_stale(settings: Settings) -> bool:
    """Return whether the spool or a transcript holds something that is not on record."""
    if not settings.places.database.exists():
        return True
    with open_reader(settings.places) as reader:
        return news(settings, reader) != []


def news(settings: Settings, reader: Reader) -> list[Grown] | None:
    """Return the transcripts that have grown since they were read; ``None`` where more than that is new."""
    return None if spool_is_ahead(reader, settings.places.spool) else news_of_transcripts(settings, reader)


def prices_changed(settings: Settings, reader: Reader) -> bool:
    """Return whether costs on record were computed with other prices than the user's present ones.

    Nobody pays for the look who has never said anything of prices; a new version's own are taken with the next record.
    """
    said = any(settings.environment.get(name) for name in ("CLAUDE_RATE_INPUT", "CLAUDE_RATE_OUTPUT"))
    marks = dict(
        reader.connection.execute("SELECT name, value FROM meta WHERE name IN ('rates', 'rates_own')")
    )
    if not said and not marks.get("rates_own") and not settings.places.config.exists():
        return False
    from watchkeeper.pricing.rates import load_rates

    return bool(marks) and load_rates(settings).digest != marks.get("rates")


def news_of_transcripts(settings: Settings, reader: Reader) -> list[Grown] | None:
    """Return the same, whatever is in the spool; other prices than those on record count as news."""
    if prices_changed(settings, reader):
        return None
    rows = reader.connection.execute("SELECT path, size, mtime_ns FROM files")
    known = {path: (size, mtime_ns) for path, size, mtime_ns in rows}
    # Nearly always no more has happened, and a glance costs half of what it takes to list every file properly.
    folders = agent_folders(settings, reader.connection)
    tombstones = Tombstones.of(settings.places, reader.connection)
    found = {folder: _glance(folder, known, tombstones) for folder in folders}
    if None not in found.values():
        return [item for grown in found.values() for item in grown or ()]
    ahead = any(found.values()) or any(
        item.size and _is_ahead(item, known.get(item.location)) and not tombstones.hides(item.relative)
        for folder, grown in found.items()
        if grown is None
        for item in find_transcripts(folder).files
    )
    return None if ahead else []


def _glance(folder: Path, known: dict[str, tuple[int, int]], tombstones: Tombstones) -> list[Grown] | None:
    """Return the transcripts of one of the agent's folders that have grown; ``None`` where in doubt."""
    root = os.path.join(folder, "projects")  # noqa: PTH118
    grown: list[Grown] = []
    if not _all_known(root, known, grown):
        return None
    return [item for item in grown if not tombstones.hides(item.path.removeprefix(root + "/"))]


def spool_is_ahead(reader: Reader, spool: Path) -> bool:
    """Return whether the spool holds something that is not on record."""
    stored = sorted(
        row["value"]
        for row in reader.rows("SELECT value FROM meta WHERE name >= 'spool:' AND name < 'spool;'")
    )
    present = sorted(size for size in _segment_sizes(spool) if size > 0)
    return stored != present


def how_far(settings: Settings) -> dict[str, int]:
    """Return how much of the transcripts is on record: ``files_done``, ``files_total``, and the same in bytes."""
    with open_reader(settings.places) as reader:
        known = {row["path"]: row["position"] for row in reader.rows("SELECT path, position FROM files")}
        folders = list(agent_folders(settings, reader.connection))
        tombstones = Tombstones.of(settings.places, reader.connection)
    answer = {"files_done": 0, "files_total": 0, "bytes_done": 0, "bytes_total": 0}
    for folder in folders:
        for item in find_transcripts(folder).files:
            if tombstones.hides(item.relative):
                continue
            done = min(known.get(item.location, 0), item.size)
            answer["files_done"] += done >= item.size
            answer["files_total"] += 1
            answer["bytes_done"] += done
            answer["bytes_total"] += item.size
    return answer


def _segment_sizes(folder: Path) -> Iterator[int]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and entry.name.isdigit():
            yield from _segment_sizes(Path(entry.path))
        elif entry.name.endswith(".wks") and entry.is_file(follow_symlinks=False):
            yield entry.stat(follow_symlinks=False).st_size


def _all_known(folder: str, known: dict[str, tuple[int, int]], grown: list[Grown]) -> bool:
    """Tell whether every transcript in a folder is as it was read, or in `grown` then; in doubt it is not."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    return False
                if entry.name.endswith(".jsonl"):
                    status = entry.stat()
                    found = known.get(entry.path)
                    if found is None or status.st_size < found[0]:
                        return False
                    changed = status.st_mtime_ns != found[1]
                    if changed and status.st_size == found[0]:
                        return False
                    if changed or (status.st_size > found[0] and _holds_line_end(entry.path, found[0])):
                        grown.append(Grown(entry.path, found[0], status.st_size, found[1]))
                elif entry.is_dir() and not _all_known(entry.path, known, grown):
                    return False
    except OSError:
        return False
    return True


def _is_ahead(item: TranscriptFile, known: tuple[int, int] | None) -> bool:
    """Tell whether a file holds something new; a last line that broke off when it was read still does."""
    if known is None or item.mtime_ns != known[1] or item.size < known[0]:
        return True
    return item.size > known[0] and _holds_line_end(item.location, known[0])


def _holds_line_end(path: str, offset: int) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            file.seek(offset)
            return any(b"\n" in block for block in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return False
