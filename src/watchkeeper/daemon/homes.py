"""Makes a home's folders and keeps them to their owner; in a managed home, some may be passed through."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from watchkeeper.errors import DaemonError
from watchkeeper.managed import OWNER_ONLY, folder_mode
from watchkeeper.settings import Places

OWNER_ONLY_FILE = 0o600


def prepare_home(places: Places) -> None:
    """Create the home and its folders, each readable by its owner alone (mode 0700).

    In a managed home those that hooks pass through have the modes of `watchkeeper.managed`.

    Raises:
        ConfigError: The home's mark is there and cannot be used.
        DaemonError: A folder cannot be made, is no folder, or belongs to somebody else.
    """
    folders = (places.home, places.bin, places.spool, places.ledger, places.archive, places.keys, places.run)
    for folder in folders:
        _prepare_folder(folder, folder_mode(places, folder), parents=folder is places.home)


def _prepare_folder(folder: Path, mode: int, *, parents: bool) -> None:
    try:
        folder.mkdir(mode=OWNER_ONLY, parents=parents, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise DaemonError(
            "a folder of the home cannot be made",
            why=error.strerror or str(error),
            hint="Choose another home with WATCHKEEPER_HOME.",
            place=str(folder),
        ) from error
    if found.st_uid != os.geteuid():
        raise DaemonError(
            "a folder of the home belongs to another user",
            why=f"its owner is user {found.st_uid}, this is user {os.geteuid()}",
            hint="Give it back to its user or choose another home with WATCHKEEPER_HOME.",
            place=str(folder),
        )
    if stat.S_IMODE(found.st_mode) != mode:
        folder.chmod(mode)
