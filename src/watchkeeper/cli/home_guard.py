"""Says whose home it is, before a command of another user fails at its first file."""

from __future__ import annotations

import os
from pathlib import Path

from watchkeeper.errors import ConfigError

AS_ROOT = frozenset({"install", "uninstall", "verify", "config"})
"""Commands that root may run on another's managed home: they leave no file there that its owner cannot use."""
WITHOUT_HOME = frozenset({"demo"})
"""Commands that use a home of their own."""

_OURS = frozenset(
    (
        "config.toml",
        "managed.json",
        "bin",
        "spool",
        "ledger",
        "archive",
        "keys",
        "run",
        "backups",
        "moves",
        "checkpoints",
        "daemon.log",
    )
)
_OF_THE_SYSTEM = frozenset(("lost+found", ".DS_Store"))


def refuse_foreign_home(command: str, home: Path, arguments: object = None) -> None:
    """Refuse a command on a home that this user cannot use.

    An auditor to whom the owner has opened the ledger may read; root may install and verify.

    Raises:
        ConfigError: The home is another user's; says whose.
    """
    if command in WITHOUT_HOME or getattr(arguments, "bundle", None):
        return
    try:
        owner = home.stat().st_uid
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(
            "this home is closed to you", why=error.strerror or str(error), place=str(home)
        ) from error
    if owner == os.geteuid():
        return
    from watchkeeper.managed import MARK, user_name

    managed = os.access(home / MARK, os.F_OK)
    if os.geteuid() == 0 and (command in AS_ROOT or not managed):
        return
    if os.geteuid() != 0 and os.access(home / "ledger", os.R_OK | os.X_OK):
        return
    name = user_name(owner)
    kind = "managed home" if managed else "home"
    raise ConfigError(
        f"this {kind} belongs to {name}",
        why=f"you are {user_name(os.geteuid())}, and what is recorded in it is for its owner alone",
        hint=f"Ask its owner, or as root run: sudo -u {_account(name)} wk {command} --home {home}",
        place=str(home),
    )


def refuse_other_folder(command: str, home: Path) -> None:
    """Refuse a folder that holds something else: a home is closed to others, and its folders are made there.

    Raises:
        ConfigError: The folder is not empty and no Watchkeeper home, or it is no folder.
    """
    if command in WITHOUT_HOME or (os.access(home / "keys", os.F_OK) and os.access(home / "ledger", os.F_OK)):
        return
    try:
        foreign = sorted(entry.name for entry in home.iterdir() if not _is_ours(entry.name))
    except (FileNotFoundError, PermissionError):
        return
    except NotADirectoryError as error:
        raise ConfigError("the home is no folder", hint="Choose another one.", place=str(home)) from error
    if foreign:
        raise ConfigError(
            "this folder is no Watchkeeper home",
            why=f"it holds other things, such as {foreign[0]}, and a home is closed to everybody else",
            hint="Name an empty or a new folder.",
            place=str(home),
        )


def _is_ours(name: str) -> bool:
    return name in _OURS or name in _OF_THE_SYSTEM or name.startswith(("watchkeeper.db", "state.db"))


def _account(name: str) -> str:
    return name.partition(" (")[0] if not name.startswith("user ") else f"'#{name.removeprefix('user ')}'"
