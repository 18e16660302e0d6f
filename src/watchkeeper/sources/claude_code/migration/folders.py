"""Which files a project's sessions are made of, and what the agent calls their folder.

The agent keeps the sessions of a project in ``projects/<name>/``. The name is the project's real path in NFC with
every character but ASCII letters and digits as ``-``; past 200 characters it is cut and a hash follows (observed with
2.1.330). ``CLAUDE_CODE_PROJECT_DIR_NAME`` replaces it where ``CLAUDE_CONFIG_DIR`` is set. The name is lossy, so that
two projects may share a folder: whose a session is, its lines say (``cwd``, or ``relocatedCwd`` after ``/cd``).
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchkeeper.errors import UsageError
from watchkeeper.sources.claude_code.lines import Skip, decode

_LONGEST = 200
_GIVEN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEAD_BYTES = 1 << 20
_TAIL_BYTES = 64 << 10
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class FolderChange:
    """A project folder under every spelling that its sessions may name, and where it is now.

    Args:
        olds: Spellings of the old folder: as given, and with symbolic links resolved.
        new: The real path of the new folder.
    """

    olds: tuple[str, ...]
    new: str

    def moved(self, path: str) -> str | None:
        """Return where a path in the old folder is now; ``None`` for one outside of it."""
        for old in self.olds:
            if path == old:
                return self.new
            if path.startswith(old + "/"):
                return self.new + path[len(old) :]
        return None


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """One session on disk.

    Attributes:
        session_id: Its id, which is the transcript's name.
        folder: The project's folder below ``projects``.
        cwd: The project folder that its lines name; ``None`` when none does.
        files: The transcript first, then all that belongs to it: regular files only.
        left: What was not taken, with the reason.
    """

    session_id: str
    folder: Path
    cwd: str | None
    files: tuple[Path, ...]
    left: tuple[tuple[Path, str], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.files)


def change_of(old: str, new: str) -> FolderChange:
    """Return the change between two folders given on a command line.

    Raises:
        UsageError: They are the same, or one cannot be written down as text.
    """
    spellings = (os.path.realpath(Path(old).expanduser()), str(Path(old).expanduser().absolute()))
    target = os.path.realpath(Path(new).expanduser())
    for path in (*spellings, target):
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise UsageError("the folder's name is no UTF-8", place=ascii(path)) from error
    if target in spellings:
        raise UsageError("both folders are the same", place=target)
    return FolderChange(tuple(dict.fromkeys(path.rstrip("/") or "/" for path in spellings)), target)


def folder_name(path: str, environment: Mapping[str, str]) -> str:
    """Return the name of a project's folder below ``projects``, as the agent chooses it in this environment."""
    given = environment.get("CLAUDE_CODE_PROJECT_DIR_NAME", "")
    if given and environment.get("CLAUDE_CONFIG_DIR") and _GIVEN_NAME.fullmatch(given):
        return given
    return encoded_name(path)


def encoded_name(path: str) -> str:
    """Return the name that the agent makes of a path."""
    text = unicodedata.normalize("NFC", path)
    # The agent counts and hashes UTF-16 units.
    units = memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H").tolist()
    name = "".join(chr(unit) if unit < 128 and chr(unit).isalnum() else "-" for unit in units)
    if len(name) <= _LONGEST:
        return name
    number = 0
    for unit in units:
        number = (number * 31 + unit) & 0xFFFFFFFF
    number = abs(number - (1 << 32) if number >= 1 << 31 else number)
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return f"{name[:_LONGEST]}-{digits}"


def find_sessions(
    config_dir: Path, change: FolderChange, environment: Mapping[str, str]
) -> tuple[list[SessionFiles], list[tuple[Path, str]]]:
    """Return the sessions of a project folder and of the folders in it, and what was left out with the reason."""
    found: list[SessionFiles] = []
    left: list[tuple[Path, str]] = []
    own = {folder_name(old, environment) for old in change.olds}
    for folder in _project_folders(config_dir, change, own):
        agents = _flat_agents(folder)
        for transcript in sorted(folder.glob("*.jsonl")):
            if transcript.name.startswith("agent-"):
                continue
            if transcript.is_symlink() or not transcript.is_file():
                left.append((transcript, "not a regular file"))
                continue
            cwd = recorded_folder(transcript)
            if _belongs(folder.name, cwd, change, own):
                session = session_files(transcript, cwd, agents.get(transcript.stem, ()))
                found.append(session)
                left.extend(session.left)
            elif folder.name in own:
                left.append((transcript, f"it belongs to {cwd}, whose folder has the same name"))
    return found, left


def _belongs(name: str, cwd: str | None, change: FolderChange, own: set[str]) -> bool:
    if cwd is None:
        return name in own
    if change.moved(cwd) is not None:
        return True
    # Somebody put it there by hand: the agent, too, then goes by the folder.
    return name in {encoded_name(old) for old in change.olds} and name != encoded_name(cwd)


def _project_folders(config_dir: Path, change: FolderChange, own: set[str]) -> Iterator[Path]:
    """Yield the folders below ``projects`` that may hold sessions of the project or of a folder in it."""
    prefixes = tuple(encoded_name(old)[:_LONGEST] for old in change.olds)
    projects = config_dir / "projects"
    if not projects.is_dir():
        return
    for folder in sorted(projects.iterdir()):
        if folder.is_dir() and (folder.name in own or folder.name.startswith(prefixes)):
            yield folder


def find_session(config_dir: Path, session_id: str) -> SessionFiles | None:
    """Return one session wherever it is below an agent's folder."""
    fitting = sessions_beginning(config_dir, session_id)
    return next((session for session in fitting if session.session_id == session_id), None)


def sessions_beginning(config_dir: Path, beginning: str) -> list[SessionFiles]:
    """Return the sessions whose id begins so, wherever they are below an agent's folder."""
    projects = config_dir / "projects"
    if not beginning or not projects.is_dir():
        return []
    return [
        session_files(transcript, recorded_folder(transcript), _flat_agents(folder).get(transcript.stem, ()))
        for folder in sorted(path for path in projects.iterdir() if path.is_dir())
        for transcript in sorted(folder.glob("*.jsonl"))
        if transcript.name.startswith(beginning) and not transcript.name.startswith("agent-")
        if transcript.is_file() and not transcript.is_symlink()
    ]


def session_files(transcript: Path, cwd: str | None, agents: tuple[Path, ...] | list[Path]) -> SessionFiles:
    """Return a session's files: its transcript, the agents beside it, and all below the folder of its name."""
    files, left = [transcript, *agents], list[tuple[Path, str]]()
    beside = transcript.with_suffix("")
    if beside.is_dir() and not beside.is_symlink():
        for path in sorted(beside.rglob("*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                left.append((path, "not a regular file"))
            elif path.is_file():
                files.append(path)
    return SessionFiles(transcript.stem, transcript.parent, cwd, tuple(files), tuple(left))


def other_files(folder: Path) -> list[Path]:
    """Return the regular files below a project's folder that belong to no session, such as its memory."""
    found = []
    for path in sorted(folder.glob("*/**/*")):
        first = path.relative_to(folder).parts[0]
        if path.is_file() and not path.is_symlink() and not (folder / f"{first}.jsonl").exists():
            found.append(path)
    return found


def recorded_folder(transcript: Path) -> str | None:
    """Return the project folder that a transcript's lines name: the latest ``/cd``, else the first line's."""
    with transcript.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _TAIL_BYTES))
        for line in reversed(stream.read().splitlines()):
            if b'"relocatedCwd"' in line:
                moved = _object(line).get("relocatedCwd")
                if isinstance(moved, str) and moved:
                    return moved
        stream.seek(0)
        while stream.tell() < _HEAD_BYTES and (line := stream.readline()):
            if b'"cwd"' in line:
                cwd = _object(line).get("cwd")
                if isinstance(cwd, str) and cwd:
                    return cwd
    return None


def live_process(config_dir: Path, session_id: str) -> int | None:
    """Return the process that runs a session now, as the agent's own list of running sessions says."""
    folder = config_dir / "sessions"
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            body = _object(path.read_bytes())
        except OSError:
            continue
        number = body.get("pid")
        if body.get("sessionId") == session_id and isinstance(number, int) and _alive(number):
            return number
    return None


def _alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return number > 0


def _flat_agents(folder: Path) -> dict[str, list[Path]]:
    """Return the subagents' files that lie beside the sessions (2.0), by the session that their lines name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("agent-*.jsonl")):
        if not stat.S_ISREG(path.lstat().st_mode):
            continue
        with path.open("rb") as stream:
            session = _object(stream.readline(_HEAD_BYTES)).get("sessionId")
        if isinstance(session, str):
            sidecar = path.with_suffix(".meta.json")
            found.setdefault(session, []).extend([path, sidecar] if sidecar.is_file() else [path])
    return found


def _object(line: bytes) -> dict[str, Any]:
    body = decode(line)
    return {} if isinstance(body, Skip) else body
