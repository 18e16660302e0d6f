"""Where the native hook of this package is."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from watchkeeper.errors import NotFoundError

NAME = "watchkeeper-hook"


def packaged_hook() -> Path:
    """Return the path of the native hook that was built with this package.

    Raises:
        NotFoundError: This installation has none, or it cannot be executed.
    """
    path = Path(str(resources.files("watchkeeper") / "_bin" / NAME))
    if not os.access(path, os.X_OK):
        raise NotFoundError(
            "this installation has no native hook",
            why="it was not built, or not kept executable" if path.exists() else "it was not built",
            hint="Install again: pip install --force-reinstall --no-deps watchkeeper",
            place=str(path),
        )
    return path
