"""Puts a finished file in its place without overwriting anything."""

from __future__ import annotations

import os
from pathlib import Path


def temporary_of(target: Path, identity: str) -> Path:
    """Return the name under which a file is made before it is put in its place; to the agent it is no transcript."""
    return target.with_name(f".{target.name}.{identity}.tmp")


def put_in_place(temporary: Path, target: Path, *, replaces: bool) -> None:
    """Give a finished file its name; what is there already stays, and that is an error.

    Raises:
        FileExistsError: Something has this name.
    """
    if replaces:
        temporary.replace(target)
    else:
        os.link(temporary, target)
        temporary.unlink()
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
