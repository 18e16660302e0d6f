"""Where Claude Code looks for settings, and where an install writes.

Levels, strongest first: managed (one base file, then drop-ins by name), the project's local and shared files,
the user's file.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from watchkeeper.errors import UsageError

Scope = Literal["user", "project", "managed"]
SCOPES: tuple[Scope, ...] = ("user", "project", "managed")

DROP_IN = "50-watchkeeper.json"


@dataclass(frozen=True)
class Locations:
    """The folders that settings are read from.

    Attributes:
        config_dir: The user's Claude folder (``CLAUDE_CONFIG_DIR``, by default ``~/.claude``).
        project: The project's folder, or None where none is meant.
        managed_dir: The machine's folder.
    """

    config_dir: Path
    project: Path | None = None
    managed_dir: Path | None = None

    @property
    def managed(self) -> Path:
        """The machine's folder: the one given, else the platform's."""
        return self.managed_dir or default_managed_dir()

    def levels(self) -> list[tuple[str, Path]]:
        """Return all settings files that a session would read, weakest first, existing or not."""
        found = [("user", self.config_dir / "settings.json")]
        if self.project is not None:
            shared = self.project / ".claude" / "settings.json"
            if shared != found[0][1]:
                found.append(("project", shared))
            found.append(("local", self.project / ".claude" / "settings.local.json"))
        found.append(("managed", self.managed / "managed-settings.json"))
        drop_ins = sorted((self.managed / "managed-settings.d").glob("*.json"))
        return found + [("managed", path) for path in drop_ins if not path.name.startswith(".")]


def default_managed_dir(platform: str = sys.platform) -> Path:
    """Return the platform's folder of managed settings; no variable moves it."""
    if platform == "darwin":
        return Path("/Library/Application Support/ClaudeCode")
    return Path("/etc/claude-code")


def settings_file(scope: Scope, locations: Locations, *, shared: bool = False) -> Path:
    """Return the file that an install in this scope edits.

    In managed scope this is a drop-in of our own beside the administrator's file.

    Raises:
        UsageError: The scope needs a project, or ``shared`` does not fit it.
    """
    if shared and scope != "project":
        raise UsageError("--shared fits only --scope project", hint="Leave it out.")
    if scope == "user":
        return locations.config_dir / "settings.json"
    if scope == "managed":
        return locations.managed / "managed-settings.d" / DROP_IN
    if locations.project is None:
        raise UsageError("--scope project needs a project", hint="Name its folder with --project.")
    if not locations.project.is_dir():
        raise UsageError("the project is no folder", place=str(locations.project))
    return locations.project / ".claude" / ("settings.json" if shared else "settings.local.json")


def new_file_mode(scope: Scope, *, shared: bool) -> int:
    """Return the mode of a settings file that an install creates: others read managed and shared ones."""
    return 0o644 if shared or scope == "managed" else 0o600
