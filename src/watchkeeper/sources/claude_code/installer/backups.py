"""What was there before us: one folder per change, with the bytes and what is needed to go back.

``backups/<UTC time>-<scope>/`` holds ``manifest.json``, ``before.json`` (the file as it was) and
``pristine.json`` (the file as it would be without us), the last two only where there was such a file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from watchkeeper.errors import FormatError
from watchkeeper.sources.claude_code.installer.files import sync_directory, write_private

Action = Literal["install", "uninstall"]


@dataclass(frozen=True)
class Manifest:
    """One change of a settings file.

    Attributes:
        file: The settings file, behind all links.
        pristine: Its bytes without us; None where there was no file.
        written: SHA-256 (hexadecimal) of what the change wrote; None where it removed the file.
        created: Containers that installs made in the file (``hooks``, ``hooks.Stop``).
        directories: Folders that installs made for the file, outermost first.
    """

    scope: str
    action: Action
    file: Path
    pristine: bytes | None
    written: str | None
    created: frozenset[str]
    directories: tuple[Path, ...]


def digest(data: bytes | None) -> str | None:
    """Return the SHA-256 of a file's bytes, None for no file."""
    return None if data is None else hashlib.sha256(data).hexdigest()


def latest_manifest(home: Path, file: Path) -> Manifest | None:
    """Return the newest change of a settings file made from this home, or None.

    Raises:
        FormatError: A manifest cannot be read.
    """
    return next((manifest for manifest in manifests(home) if manifest.file == file), None)


def manifests(home: Path) -> Iterator[Manifest]:
    """Yield all recorded changes, newest first.

    Raises:
        FormatError: A manifest cannot be read.
    """
    for path in sorted((home / "backups").glob("*/manifest.json"), reverse=True):
        yield _load(path)


def _load(path: Path) -> Manifest:
    try:
        fields = json.loads(path.read_bytes())
        pristine = (path.parent / "pristine.json").read_bytes() if fields["has_pristine"] else None
        return Manifest(
            scope=fields["scope"],
            action=fields["action"],
            file=Path(fields["file"]),
            pristine=pristine,
            written=fields["written_sha256"],
            created=frozenset(fields["created"]),
            directories=tuple(Path(each) for each in fields["directories"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            "the record of an install cannot be read",
            why=str(error),
            hint="Move this folder away; uninstalling then removes our entries from the current settings.",
            place=str(path),
        ) from error


def write_backup(home: Path, manifest: Manifest, before: bytes | None, now: datetime) -> Path:
    """Record a change before it is made, and return its folder.

    Raises:
        ConfigError: The home cannot be written.
    """
    folder = _new_folder(home, f"{now.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}", manifest.scope)
    if before is not None:
        write_private(folder / "before.json", before)
    if manifest.pristine is not None:
        write_private(folder / "pristine.json", manifest.pristine)
    fields: dict[str, Any] = {
        "version": 1,
        "scope": manifest.scope,
        "action": manifest.action,
        "at": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "file": str(manifest.file),
        "has_before": before is not None,
        "has_pristine": manifest.pristine is not None,
        "written_sha256": manifest.written,
        "created": sorted(manifest.created),
        "directories": [str(each) for each in manifest.directories],
    }
    write_private(folder / "manifest.json", json.dumps(fields, indent=2).encode() + b"\n")
    sync_directory(folder.parent)
    return folder


def _new_folder(home: Path, time: str, scope: str) -> Path:
    (home / "backups").mkdir(mode=0o700, exist_ok=True)
    number = 0
    while True:
        folder = home / "backups" / (f"{time}.{number}-{scope}" if number else f"{time}-{scope}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return folder


def discard_backup(folder: Path) -> None:
    """Remove the record of a change that did not happen."""
    shutil.rmtree(folder, ignore_errors=True)
