"""Managed homes: daemon, keys and record belong to one user, the agents run as others.

``HOME/managed.json`` (``{"users": [uids]}``) marks such a home and names the agents' users. The daemon and the
commands read it; the hook does not, it goes by who owns which folder. Why each mode is what it is:
``docs/decisions/managed-scope.md``.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from watchkeeper.errors import ConfigError
from watchkeeper.settings import Places

MARK = "managed.json"
FOLDER_MODES = {"": 0o711, "bin": 0o755, "spool": 0o711, "run": 0o711}
"""Modes of the folders that the agents' users pass through, below the home; all others are the owner's alone."""
OWNER_ONLY = 0o700
USER_SPOOL_MODE = 0o2770
"""A user's own spool folder: that user writes, the group of the home's owner reads and removes."""
_LONGEST = 1 << 20


class Managed(NamedTuple):
    """What a managed home's mark says.

    Attributes:
        owner: The user id that daemon, keys and record belong to.
        users: The user ids that agents run as, sorted.
    """

    owner: int
    users: tuple[int, ...]


def read_managed(places: Places) -> Managed | None:
    """Return what the home's mark says, or None for a home that is not managed.

    Raises:
        ConfigError: The mark is not the home's owner's alone to write, or is not what `mark_managed` writes; it
            is never half believed.
    """
    path = places.home / MARK
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    try:
        found, owner = os.fstat(descriptor), places.home.stat().st_uid
        if not stat.S_ISREG(found.st_mode) or found.st_uid != owner or found.st_mode & 0o022:
            raise _refused(path, f"it must be a file that user {owner} owns and nobody else can write")
        text = os.read(descriptor, _LONGEST)
    finally:
        os.close(descriptor)
    return Managed(owner, _users(text, path))


def _users(text: bytes, path: Path) -> tuple[int, ...]:
    import json  # the decider of a home that is not managed must not carry it

    try:
        users = json.loads(text)["users"]
    except (ValueError, KeyError, TypeError) as error:
        raise _refused(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(users, list) or not all(type(uid) is int and uid > 0 for uid in users):
        raise _refused(path, "users must be a list of user ids above 0")
    return tuple(sorted(set(users)))


def encode_mark(users: Iterable[int]) -> bytes:
    """Return the content of the mark for these users."""
    import json

    return json.dumps({"users": sorted(set(users))}).encode() + b"\n"


def folder_mode(places: Places, folder: Path) -> int:
    """Return the mode that a home or a folder directly below it must have.

    Raises:
        ConfigError: The home's mark is there and cannot be used.
    """
    if read_managed(places) is None:
        return OWNER_ONLY
    return FOLDER_MODES.get("" if folder == places.home else folder.name, OWNER_ONLY)


def hook_socket_mode(places: Places) -> int:
    """Return the mode of the sockets that hooks use: the owner's alone, in a managed home everybody's.

    Raises:
        ConfigError: The home's mark is there and cannot be used.
    """
    return 0o600 if read_managed(places) is None else 0o666


def user_name(uid: int) -> str:
    """Return a user's name with its id, or only the id where the system knows no name."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(
        "the mark of a managed home cannot be used",
        why=why,
        hint="Run `wk install --scope managed --users ...` again, as root.",
        place=str(path),
    )
