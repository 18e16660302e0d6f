"""The throw-away home of ``wk demo``: made in the folder for temporary files, marked, and removed again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchkeeper.settings import Places, Settings

_PREFIX = "watchkeeper-demo-"
_MARK = "throw-away"
"""A file of this name in a home allows ``wk down`` to remove it."""


def make_demo_home(settings: Settings) -> Settings:
    """Return settings for a fresh home that knows none of this user's transcripts.

    Args:
        settings: What the demo shares with the user's own home: the port.
    """
    import tempfile

    from watchkeeper.settings import Settings as Fresh

    home = Path(tempfile.mkdtemp(prefix=_PREFIX))
    (home / _MARK).touch(mode=0o600)
    agent = home / "agent"
    agent.mkdir(mode=0o700)
    environment = {
        **settings.environment,
        "WATCHKEEPER_HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(agent),
        "WATCHKEEPER_PORT": str(settings["server.port"]),
    }
    return Fresh(home, environment)


def is_demo_home(places: Places) -> bool:
    """Return whether the home was made by `make_demo_home` for this user."""
    home, mark = places.home, places.home / _MARK
    if not home.name.startswith(_PREFIX) or home.is_symlink() or not mark.is_file():
        return False
    return home.stat().st_uid == os.geteuid() == mark.lstat().st_uid


def remove_demo_home(places: Places) -> None:
    """Remove a demo's home with everything in it; any other home is left alone."""
    import shutil

    if is_demo_home(places):
        shutil.rmtree(places.home)


def free_port(wanted: int) -> int:
    """Return the wanted port of 127.0.0.1, or some free one where it is taken."""
    import socket

    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return wanted
