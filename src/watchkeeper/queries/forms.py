"""Forms that every answer shares: times, projects, resume commands, witness names."""

from __future__ import annotations

import time
from typing import Any

from watchkeeper.events.entities import SEEN_NAMES, WITNESS_BITS


def rfc3339(ms: int | None) -> str | None:
    """Return epoch milliseconds as RFC 3339 in UTC with milliseconds."""
    if ms is None:
        return None
    # Ten times as quick as formatting a datetime, and a long timeline holds tens of thousands of times.
    moment = time.gmtime(ms // 1000)
    return (
        f"{moment[0]:04d}-{moment[1]:02d}-{moment[2]:02d}T{moment[3]:02d}:{moment[4]:02d}:{moment[5]:02d}"
        f".{ms % 1000:03d}Z"
    )


def dollars(micros: int | None) -> str | None:
    """Return integer micro-dollars as a decimal without trailing zeros beyond cents."""
    if micros is None:
        return None
    text = f"{micros // 1_000_000}.{micros % 1_000_000:06d}"
    return text[:-4] + text[-4:].rstrip("0")


def project_name(path: str | None) -> str | None:
    """Return the last component of a project's path; for a git worktree kept inside, repository and worktree."""
    if not path:
        return None
    parts = path.replace("\\", "/").rstrip("/").split("/")
    for inside in ([".claude", "worktrees"], [".worktrees"]):
        if len(parts) > len(inside) + 1 and parts[-1 - len(inside) : -1] == inside:
            return f"{parts[-2 - len(inside)]}/{parts[-1]}"
    return parts[-1] or path


def call_witnesses(seen: int) -> list[str]:
    """Return the names of a call's witnesses in a fixed order."""
    return [name for bit, name in SEEN_NAMES.items() if seen & bit]


def session_witnesses(seen: int | None) -> list[str]:
    """Return the names of a session's witnesses in a fixed order."""
    return [name for name, bit in WITNESS_BITS.items() if (seen or 0) & bit]


def words(text: str | None) -> list[str]:
    """Return a stored JSON list of words."""
    if not text or text == "[]":
        return []
    plain = text[2:-2].split('","')
    if text == '["' + '","'.join(plain) + '"]' and not any('"' in word or "\\" in word for word in plain):
        return plain
    # A list of sessions nearly never needs it.
    import json

    found: Any = json.loads(text)
    return [str(item) for item in found] if isinstance(found, list) else []
