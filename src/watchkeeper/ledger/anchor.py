"""What stands between the record and the one it is about.

The agent runs as some user. Whoever can read the signing key can re-sign a changed ledger, so a record whose
keys the agent's user can reach is self-signed and proves nothing against that user.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal

Anchor = Literal["none", "other-user", "collector", "object-lock"]

ROOT = 0
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


def reach(directory: Path, keys_directory: Path, agent_uid: int) -> list[str]:
    """Return each way in which a user could change the ledger or sign in its name.

    Ownership and mode bits are judged, the group's as if the user were in it. What else may help (sudo, a
    debugger, the disk itself) is not looked at.
    """
    if agent_uid == ROOT:
        return ["the agent's user is root, who can change every file"]
    ways = [way for path in _ancestors(directory, keys_directory) for way in _replaceable(path, agent_uid)]
    for folder in (directory, keys_directory):
        for path in (folder, *sorted(folder.rglob("*"))):
            ways += _changeable(path, agent_uid)
    for path in sorted(keys_directory.glob("*.private")):
        if path.stat().st_mode & _OTHERS_READ:
            ways.append(f"{path} can be read by others")
    return ways


def evidence(
    directory: Path, keys_directory: Path, agent_uid: int | Collection[int] | None = None
) -> tuple[Anchor, str]:
    """Return the anchor that can be shown, and why it is no better.

    Args:
        directory: The ledger's folder.
        keys_directory: The folder of its keys.
        agent_uid: The user the agent runs as, or all such users; without any the user of this process.
    """
    agents = [agent_uid] if isinstance(agent_uid, int) else sorted(agent_uid or ())
    try:
        for uid in agents or [os.getuid()]:
            ways = reach(directory, keys_directory, uid)
            if ways:
                return "none", ways[0]
    except OSError as error:
        return "none", f"ledger and keys cannot be examined: {error}"
    names = ", ".join(map(str, agents or [os.getuid()]))
    return "other-user", f"of user {names} none can write the ledger, or read or write its keys"


def _ancestors(*folders: Path) -> Iterable[Path]:
    return sorted({parent for folder in folders for parent in folder.resolve().parents})


def _replaceable(path: Path, uid: int) -> list[str]:
    status = path.stat()
    if status.st_uid == uid:
        return [f"{path} belongs to user {uid}, who can replace what is in it"]
    if status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
        return [f"{path} can be written by others, who can replace what is in it"]
    return []


def _changeable(path: Path, uid: int) -> list[str]:
    status = path.lstat()
    if status.st_uid == uid:
        return [f"{path} belongs to user {uid}"]
    if status.st_mode & _OTHERS_WRITE:
        return [f"{path} can be written by others"]
    return []
