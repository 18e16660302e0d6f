"""Finds transcript files below the agent's folders, in every layout that its versions have used.

===================================================== =======================================
place below ``projects``                              what it is
===================================================== =======================================
``<project>/<session>.jsonl``                         a session
``<project>/agent-<id>.jsonl``                        a subagent of an unnamed session (2.0)
``<project>/<session>/subagents/**/agent-<id>.jsonl`` a subagent (2.1), also of workflows
===================================================== =======================================

``journal.jsonl`` of a workflow is no transcript. The name of a project's folder says nothing certain about
its path.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_SUFFIX = ".jsonl"
_META_SUFFIX = ".meta.json"
_SUFFIXES = (_SUFFIX, _META_SUFFIX)
_AGENT_PREFIX = "agent-"
_NO_TRANSCRIPTS = frozenset({"journal.jsonl", "history.jsonl"})
_MAXIMUM_FOLDERS_DEEP = 16


class TranscriptFile(NamedTuple):
    """A transcript file as it was when listed.

    Args:
        location: Where it is; a plain string, since a walk makes thousands. ``path`` gives it as a path.
        relative: Its place below ``projects``, with forward slashes.
        config_dir: The agent's folder it belongs to.
        session_hint: The session that its place names; the lines may say otherwise.
        agent_hint: The subagent that its name gives.
        size: Bytes.
        mtime_ns: Time of the last change, in ns since 1970.
        inode: Number of the file on its device.
        device: Number of the device.
    """

    location: str
    relative: str
    config_dir: Path
    session_hint: str | None
    agent_hint: str | None
    size: int
    mtime_ns: int
    inode: int
    device: int

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.location)


class Discovery:
    """What a walk found, and what it left out with the reason.

    Attributes:
        files: The transcripts.
        metas: The sidecars ``agent-<id>.meta.json`` of subagents.
        skipped: What was left out, with the reason.
    """

    def __init__(self) -> None:
        self.files: list[TranscriptFile] = []
        self.metas: list[TranscriptFile] = []
        self.skipped: list[tuple[Path, str]] = []


def find_transcripts(folder: Path) -> Discovery:
    """List the transcripts of one of the agent's folders, of a ``projects`` folder, or of a part of one.

    A folder that holds none, or does not exist, gives an empty result. Files come sorted by folder and name, links to
    files last; a file that is reached in several ways comes once.

    Args:
        folder: The agent's folder; or any folder at or below a ``projects`` folder; or one that holds
            sessions, or folders of sessions.
    """
    found = Discovery()
    root, start = _roots(folder)
    if root is not None:
        _Walk(root, found).start(str(start), _relative(root, start))
    return found


def stat_transcript(path: Path, config_dirs: Iterable[Path]) -> TranscriptFile | None:
    """Return one file as a walk would, or None when it is no readable, regular file with such a name.

    Args:
        path: The file.
        config_dirs: The agent's folders; what is below none of them is placed by its own parents.
    """
    if not path.name.endswith(_SUFFIX) or path.name in _NO_TRANSCRIPTS:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.R_OK):
        return None
    absolute = path.absolute()
    root = next((dir_ for dir_ in _project_folders(config_dirs) if absolute.is_relative_to(dir_)), None)
    root = root or _enclosing_projects(absolute.parent) or absolute.parent.parent
    return _transcript(str(absolute), absolute.relative_to(root).as_posix(), root.parent, status)


def written(path: str) -> str:
    """Return a path as it can be written down: bytes of its name that are no UTF-8 are spelt in hexadecimal."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _project_folders(config_dirs: Iterable[Path]) -> Iterator[Path]:
    return (dir_.absolute() / "projects" for dir_ in config_dirs)


def _roots(folder: Path) -> tuple[Path | None, Path]:
    """Return the ``projects`` folder that places are relative to, and where to start below it."""
    absolute = folder.absolute()
    if (absolute / "projects").is_dir():
        return absolute / "projects", absolute / "projects"
    enclosing = _enclosing_projects(absolute)
    if enclosing is not None:
        return enclosing, absolute
    holds_sessions = absolute.is_dir() and any(
        path.name not in _NO_TRANSCRIPTS for path in absolute.glob("*" + _SUFFIX)
    )
    if holds_sessions:
        return absolute.parent, absolute
    holds_projects = absolute.is_dir() and any(absolute.glob("*/*" + _SUFFIX))
    return (absolute if holds_projects else None), absolute


def _enclosing_projects(folder: Path) -> Path | None:
    return next((parent for parent in (folder, *folder.parents) if parent.name == "projects"), None)


def _relative(root: Path, start: Path) -> str:
    return "" if root == start else start.relative_to(root).as_posix() + "/"


class _Walk:
    def __init__(self, root: Path, found: Discovery) -> None:
        self._config_dir = root.parent
        self._found = found
        self._folders: set[int] = set()
        self._files: set[tuple[int, int]] = set()
        self._linked: list[tuple[os.DirEntry[str], str]] = []
        self._device = -1

    def start(self, path: str, relative: str) -> None:
        """Take in a folder and all below it."""
        try:
            status = os.stat(path)  # noqa: PTH116 - paths are plain strings here
        except OSError:
            return
        self._device = status.st_dev
        self._folders.add(status.st_ino)
        self._folder(path, relative)
        for entry, place in self._linked:
            self._file(entry, place)

    def _folder(self, path: str, relative: str) -> None:
        try:
            with os.scandir(path) as listing:
                entries = sorted(listing, key=_entry_name)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._skip(path, error.strerror or str(error))
            return
        below: list[os.DirEntry[str]] = []
        for entry in entries:
            if entry.name.endswith(_SUFFIXES):
                if entry.is_symlink():
                    self._linked.append((entry, relative))
                else:
                    self._file(entry, relative)
            elif self._is_folder(entry):
                below.append(entry)
        if relative.count("/") >= _MAXIMUM_FOLDERS_DEEP:
            return
        # Real folders before links, so that a place does not depend on a link.
        for entry in below:
            if not entry.is_symlink():
                self._folders.add(entry.inode())
                self._folder(entry.path, f"{relative}{entry.name}/")
        for entry in below:
            if entry.is_symlink():
                self._link(entry, f"{relative}{entry.name}/")

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError as error:  # a link to itself
            self._skip(entry.path, error.strerror or str(error))
            return False

    def _link(self, entry: os.DirEntry[str], relative: str) -> None:
        status = entry.stat()
        if status.st_dev == self._device and status.st_ino in self._folders:
            self._skip(entry.path, "a link to a folder that is read already")
        else:
            self._folders.add(status.st_ino)
            self._folder(entry.path, relative)

    def _file(self, entry: os.DirEntry[str], relative: str) -> None:
        name = entry.name
        agent = name.startswith(_AGENT_PREFIX)
        depth = relative.count("/")
        if name in _NO_TRANSCRIPTS or (name.endswith(_META_SUFFIX) and not agent):
            return
        try:
            status = entry.stat()
        except OSError as error:
            dangling = entry.is_symlink() and isinstance(error, FileNotFoundError)
            self._skip(entry.path, "a link to nothing" if dangling else error.strerror or str(error))
            return
        if not stat.S_ISREG(status.st_mode):
            self._skip(entry.path, "not a regular file")
        elif depth == 0 or (depth > 1 and not agent):
            self._skip(entry.path, "not where transcripts are")
        elif (status.st_dev, status.st_ino) in self._files:
            self._skip(entry.path, "a link to a file that is read already")
        else:
            self._files.add((status.st_dev, status.st_ino))
            item = _transcript(entry.path, relative + name, self._config_dir, status)
            (self._found.files if name.endswith(_SUFFIX) else self._found.metas).append(item)

    def _skip(self, path: str, reason: str) -> None:
        self._found.skipped.append((Path(path), reason))


def _entry_name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _transcript(location: str, relative: str, config_dir: Path, status: os.stat_result) -> TranscriptFile:
    parts = relative.split("/")
    stem = parts[-1].removesuffix(_SUFFIX).removesuffix(_META_SUFFIX)
    session: str | None = stem
    agent = None
    if stem.startswith(_AGENT_PREFIX):
        agent = stem.removeprefix(_AGENT_PREFIX)
        session = parts[1] if len(parts) > 2 else None
    return TranscriptFile(
        location=location,
        relative=relative,
        config_dir=config_dir,
        session_hint=session,
        agent_hint=agent,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
        device=status.st_dev,
    )
