"""Durable file operations of the ledger: replace a file whole, sync a folder, write all bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

TEMPORARY = ".tmp"

# What macOS does not offer.
sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write every byte at the descriptor's position, however many calls it takes."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file with ``content``: after a crash the old or the new one is there, never a part."""
    temporary = path.with_name(path.name + TEMPORARY)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, mode)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    temporary.rename(path)
    sync_folder(path.parent)
