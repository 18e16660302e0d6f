"""Where a session that was moved works now. What is on record of it stays under the folder that it was done in."""

from __future__ import annotations

import os
from functools import lru_cache

from watchkeeper.settings import Places


def folder_now(places: Places, session_id: str) -> str | None:
    """Return the folder that `wk move`, `wk fork` or `wk checkpoint` took a session to; ``None`` for any other."""
    path = places.moves / "folders.json"
    try:
        changed = os.stat(path).st_mtime_ns  # noqa: PTH116 - a long list asks this for each of its rows
    except OSError:
        return None
    return _folders(str(path), changed).get(session_id)


def moved_into(places: Places, part: str) -> list[str]:
    """Return the sessions that were taken to a folder whose path holds a text, whatever its case."""
    path = places.moves / "folders.json"
    try:
        changed = os.stat(path).st_mtime_ns  # noqa: PTH116 - as above
    except OSError:
        return []
    wanted = part.lower()
    return [session for session, folder in _folders(str(path), changed).items() if wanted in folder.lower()]


@lru_cache(maxsize=4)
def _folders(path: str, _changed: int) -> dict[str, str]:
    # Only where sessions were moved: quick commands pay for every import.
    import json

    try:
        with open(path, encoding="utf-8") as stream:  # noqa: PTH123
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
