"""Where the agent keeps its transcripts: the folders of the settings, and those that its sessions name themselves.

An agent may run with another ``CLAUDE_CONFIG_DIR`` than the daemon was started with; its hooks say where its
transcript is. Quick commands import this, so it takes nothing but the standard library.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from watchkeeper.managed import read_managed
from watchkeeper.settings import Settings

NAMED_FOLDERS = 50
"""Folders beyond those of the settings that are followed; the latest sessions' come first."""

_TRANSCRIPTS = (
    "SELECT transcript_path FROM sessions WHERE transcript_path IS NOT NULL ORDER BY last_at DESC LIMIT 2000"
)


def agent_folders(settings: Settings, connection: Any) -> list[Path]:
    """Return the agent's folders, those of the settings first.

    A managed home follows only what its settings name: its agents are other users, who must not point the daemon
    at files that they may not read themselves.

    Args:
        settings: The home.
        connection: An open index.
    """
    named = [folder.absolute() for folder in settings.claude_config_dirs]
    if read_managed(settings.places):
        return named
    known = {os.path.realpath(folder) for folder in named}
    return named + _others((row[0] for row in connection.execute(_TRANSCRIPTS)), known)


def _others(transcripts: Iterable[str], known: set[str]) -> list[Path]:
    found: list[Path] = []
    looked_at: set[str] = set()
    for transcript in transcripts:
        folder = folder_of(transcript)
        if folder is None or folder in looked_at:
            continue
        looked_at.add(folder)
        real = os.path.realpath(folder)
        if real not in known and os.path.isdir(os.path.join(folder, "projects")):  # noqa: PTH112, PTH118
            known.add(real)
            found.append(Path(folder))
        if len(found) == NAMED_FOLDERS:
            break
    return found


def folder_of(transcript: str) -> str | None:
    """Return the agent's folder that a transcript's path names, or ``None`` when it is in none."""
    head, projects, _ = transcript.rpartition("/projects/")
    return head if projects and head.startswith("/") and "\0" not in head else None
