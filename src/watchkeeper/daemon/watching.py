"""Follows the agent's folders by the kernel's notifications; nothing is scanned while nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from watchfiles import Change, awatch

from watchkeeper.settings import Settings

MISSING_SECONDS = 5.0
"""How often to look for a folder of the agent that does not exist yet."""
STEP_MS = 200
"""How often the watching thread wakes to hand over changes: hooks tell at once, transcripts may take this long."""


def _wanted(_change: Change, path: str) -> bool:
    return path.endswith((".jsonl", ".meta.json")) or path.rpartition("/")[2].startswith("settings")


async def watch_files(settings: Settings, changed: Callable[[set[Path]], None]) -> None:
    """Tell which transcripts and settings files change, until cancelled."""
    await asyncio.gather(*(_watch_one(config_dir, changed) for config_dir in settings.claude_config_dirs))


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
