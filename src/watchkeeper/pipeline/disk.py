"""How much disk each part of a home takes, beside its budget. Only looks at sizes; takes the standard library alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.settings import Settings

BUDGETED = ("ledger", "index", "archive", "raw archive", "spool")
"""The parts that ``disk.max_bytes`` counts: what grows with use."""


class Part(NamedTuple):
    """One part of a home: what it takes in bytes and files, and its own budget (0 for none)."""

    name: str
    bytes: int
    files: int
    max_bytes: int = 0


def disk_parts(settings: Settings) -> list[Part]:
    """Return what each part takes; everything in the home is in one of them."""
    places = settings.places
    names = ("ledger", "index", "index journal", "archive", "raw archive", "spool")
    sizes = {name: [0, 0] for name in names}
    other = [0, 0]
    for path, size in _files(str(places.home)):
        part = sizes.get(_part_of(Path(path), settings), other)
        part[0] += size
        part[1] += 1
    budgets = {"archive": int(settings["archive.max_bytes"])}
    parts = [Part(name, taken, files, budgets.get(name, 0)) for name, (taken, files) in sizes.items()]
    return [*parts, Part("state and keys", other[0], other[1])]


def disk_usage(settings: Settings) -> dict[str, Any]:
    """Return the parts with what they take, their sum, and the budget; the JSON of ``wk disk``."""
    parts = disk_parts(settings)
    total = sum(part.bytes for part in parts if part.name in BUDGETED)
    budget = int(settings["disk.max_bytes"])
    return {
        "parts": [
            {
                "name": part.name,
                "bytes": part.bytes,
                "files": part.files,
                "max_bytes": part.max_bytes or None,
                "in_budget": part.name in BUDGETED,
            }
            for part in parts
        ],
        "total_bytes": total,
        "max_bytes": budget or None,
        "over_bytes": max(0, total - budget) if budget else 0,
        "retention_days": int(settings["archive.retention_days"]) or None,
    }


def _part_of(path: Path, settings: Settings) -> str:
    places = settings.places
    if path.is_relative_to(places.raw_archive):
        return "raw archive"
    for name, folder in (("archive", places.archive), ("ledger", places.ledger), ("spool", places.spool)):
        if path.is_relative_to(folder):
            return name
    if path.parent == places.home and path.name.startswith(places.database.stem + "."):
        # Beside the index itself: what was set aside or is being made anew. The journal comes and goes with writing.
        return "index journal" if path.name.endswith(("-wal", "-shm")) else "index"
    return "other"


def _files(folder: str) -> Iterator[tuple[str, int]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry.path, entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            # Segments of the spool come and go while the sizes are added up.
            continue
