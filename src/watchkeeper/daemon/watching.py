"""Follows the agent's folders by the kernel's notifications; nothing is scanned while nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from watchfiles import Change, awatch

MISSING_SECONDS = 5.0
"""How often to look for a folder of the agent that does not exist yet."""
STEP_MS = 200
"""How often the watching thread wakes to hand over changes: hooks tell at once, transcripts may take this long."""


def _wanted(_change: Change, path: str) -> bool:
    return path.endswith((".jsonl", ".meta.json")) or path.rpartition("/")[2].startswith("settings")


class FolderWatches:
    """Tells which transcripts and settings files change below the folders that were added, until closed."""

    def __init__(self) -> None:
        self.changed: Callable[[set[Path]], None] = lambda _paths: None
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, folder: Path) -> None:
        """Watch one more of the agent's folders, also one that does not exist yet."""
        self._tasks.append(asyncio.create_task(_watch_one(folder, lambda paths: self.changed(paths))))

    async def close(self) -> None:
        """Watch nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _watch_one(config_dir: Path, changed: Callable[[set[Path]], None]) -> None:
    while True:
        if not _exists(config_dir):
            await asyncio.sleep(MISSING_SECONDS)
            if _exists(config_dir):
                changed(_transcripts(config_dir))
            continue
        try:
            async for changes in awatch(
                config_dir,
                watch_filter=_wanted,
                debounce=2 * STEP_MS,
                step=STEP_MS,
                rust_timeout=60_000,
                yield_on_timeout=False,
            ):
                changed({Path(path) for _, path in changes})
        except (FileNotFoundError, RuntimeError):
            await asyncio.sleep(MISSING_SECONDS)


def _exists(folder: Path) -> bool:
    return folder.is_dir()


def _transcripts(config_dir: Path) -> set[Path]:
    return set(config_dir.glob("projects/**/*.jsonl"))
