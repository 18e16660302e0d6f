"""Portable checkpoints of a session: one zip file that names no folder of the machine it was made on.

=========================== ===========================================================================================
member                      what it is
=========================== ===========================================================================================
``manifest.json``           what is in it: name, session, tokens, git state, digests, what was masked where
``session/transcript.jsonl`` the transcript; folders are replaced by the manifest's tokens
``session/...``             what belongs to it: subagents, spilled tool output
``files/...``               on demand, files that the session edited, as they were at that moment
=========================== ===========================================================================================

Secrets are masked unless that is declined.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import subprocess
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchkeeper.errors import UsageError, WatchkeeperError
from watchkeeper.redaction.engine import Redactor
from watchkeeper.sources.claude_code.lines import Skip, decode
from watchkeeper.sources.claude_code.migration.audit import git_remotes, without_password
from watchkeeper.sources.claude_code.migration.folders import SessionFiles

FORMAT = "watchkeeper.checkpoint.v1"
SUFFIX = ".wkcheckpoint"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TEXT_SUFFIXES = frozenset({".jsonl", ".json", ".txt", ".md"})
_EDITING = frozenset({"Edit", "MultiEdit", "Write", "NotebookEdit"})
_LARGEST_FILE = 5 << 20
_GIT_SECONDS = 10


@dataclass
class Content:
    """What goes into a checkpoint."""

    members: dict[str, bytes] = field(default_factory=dict)
    masked: Counter[str] = field(default_factory=Counter)
    places: list[dict[str, str]] = field(default_factory=list)
    left: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Tokens:
    """What stands for a folder; made anew for each checkpoint, so that no text holds one by chance."""

    project: str
    session: str
    home: str

    @staticmethod
    def new() -> Tokens:
        """Return three that nobody has used."""
        mark = secrets.token_hex(6)
        return Tokens(f"@@wk-project-{mark}@@", f"@@wk-session-{mark}@@", f"@@wk-home-{mark}@@")

    def hide(self, data: bytes, project: str, session: str, home: str) -> bytes:
        """Return the bytes with the folders replaced, as they are written in JSON and in plain text."""
        folders = ((session, self.session), (project, self.project), (home, self.home))
        for folder, token in folders:
            if folder in {"", "/"}:
                continue
            for form in _forms(folder):
                data = re.sub(re.escape(form) + rb"(?![A-Za-z0-9_-])", token.encode(), data)
        return data

    def show(self, data: bytes, project: str, session: str, home: str, *, as_json: bool) -> bytes:
        """Return the bytes with the folders of this machine."""
        for token, folder in ((self.session, session), (self.project, project), (self.home, home)):
            text = json.dumps(folder, ensure_ascii=False)[1:-1] if as_json else folder
            data = data.replace(token.encode(), text.encode())
        return data


def _forms(folder: str) -> list[bytes]:
    forms = (folder, json.dumps(folder, ensure_ascii=False)[1:-1], json.dumps(folder)[1:-1])
    return [form.encode() for form in dict.fromkeys(forms)]


def checkpoint_path(folder: Path, name: str) -> Path:
    """Return where the checkpoint of a name is kept.

    Raises:
        UsageError: The name is no name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            "this is no name for a checkpoint", hint="Use letters, digits, dots, dashes.", place=repr(name)
        )
    return folder / f"{name}{SUFFIX}"


def create(
    session: SessionFiles,
    project: Path,
    home: Path,
    name: str,
    path: Path,
    *,
    redactor: Redactor | None,
    with_files: bool,
) -> dict[str, Any]:
    """Write a checkpoint and return its manifest.

    Args:
        session: The session.
        project: The project's folder; the session's working folder is in it.
        home: The user's home, which is hidden as well.
        name: The checkpoint's name.
        path: The file to make; its folder is made where need be.
        redactor: Masks secrets; ``None`` keeps them.
        with_files: Take the files along that the session edited.

    Raises:
        WatchkeeperError: The file is there already, or cannot be written.
    """
    tokens = Tokens.new()
    folders = (str(project), str(session.folder / session.session_id), str(home))
    content = Content()
    for source in session.files:
        _take(content, tokens, folders, source, _member_name(session, source), redactor)
    edited = _edited_files(session, project, content, redactor if with_files else None, with_files=with_files)
    cwd = Path(session.cwd or project)
    manifest = {
        "format": FORMAT,
        "name": name,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "agent": "claude-code",
        "session_id": session.session_id,
        "cwd": cwd.relative_to(project).as_posix() if cwd.is_relative_to(project) else ".",
        "tokens": {"project": tokens.project, "session": tokens.session, "home": tokens.home},
        "first_prompt": tokens.hide(_first_prompt(content).encode(), *folders).decode(errors="replace"),
        "git": git_state(project),
        "redacted": redactor is not None,
        "masked": dict(sorted(content.masked.items())),
        "masked_places": content.places,
        "edited_files": edited,
        "left": content.left,
        "members": [
            {"name": member, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for member, data in content.members.items()
        ],
    }
    _write(path, manifest, content.members)
    return manifest


def _member_name(session: SessionFiles, source: Path) -> str:
    inside = source.relative_to(session.folder).parts
    if inside == (f"{session.session_id}.jsonl",):
        return "session/transcript.jsonl"
    if inside[0] == session.session_id:
        return "/".join(("session", *inside[1:]))
    return f"session/subagents/{inside[-1]}"


def _take(
    content: Content,
    tokens: Tokens,
    folders: tuple[str, str, str],
    source: Path,
    member: str,
    redactor: Redactor | None,
) -> None:
    if source.suffix not in _TEXT_SUFFIXES:
        content.left.append({"file": member, "reason": "no text, so its secrets could not be masked"})
        return
    data = source.read_bytes()
    if redactor is not None:
        data = _masked(content, member, data, redactor)
    content.members[member] = tokens.hide(data, *folders)


def _masked(content: Content, member: str, data: bytes, redactor: Redactor) -> bytes:
    found = redactor.redact(data)
    if not found.hits:
        return data
    content.masked.update(found.hits)
    for number, line in enumerate(data.split(b"\n"), 1):
        hits = redactor.redact(line).hits
        if hits:
            content.places.append({"place": f"{member}:{number}", "rules": ", ".join(sorted(hits))})
    return found.data


def _edited_files(
    session: SessionFiles, project: Path, content: Content, redactor: Redactor | None, *, with_files: bool
) -> list[dict[str, Any]]:
    rows = []
    for path in sorted(set(_edits(session, project))):
        relative = path.relative_to(project).as_posix()
        row: dict[str, Any] = {"path": relative, "sha256": None, "size": None, "included": False}
        if path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(project.resolve()):
            data = path.read_bytes()
            row |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            if with_files and len(data) <= _LARGEST_FILE:
                member = f"files/{relative}"
                content.members[member] = _masked(content, member, data, redactor) if redactor else data
                row["included"] = True
        rows.append(row)
    return rows


def _edits(session: SessionFiles, project: Path) -> Iterator[Path]:
    for file in session.files:
        if file.suffix != ".jsonl":
            continue
        for line in file.read_bytes().split(b"\n"):
            if b'"file_path"' in line or b'"notebook_path"' in line:
                yield from (
                    path for path in _edits_in(line) if path.is_relative_to(project) and path != project
                )


def _edits_in(line: bytes) -> Iterator[Path]:
    body = decode(line)
    message = None if isinstance(body, Skip) else body.get("message")
    blocks = message.get("content") if isinstance(message, dict) else None
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and block.get("type") == "tool_use" and block.get("name") in _EDITING:
            arguments = block.get("input")
            named = (
                arguments.get("file_path") or arguments.get("notebook_path")
                if isinstance(arguments, dict)
                else None
            )
            if isinstance(named, str) and "\0" not in named:
                yield Path(os.path.normpath(named))


def _first_prompt(content: Content) -> str:
    for line in content.members.get("session/transcript.jsonl", b"").split(b"\n"):
        if b'"user"' not in line:
            continue
        body = decode(line)
        message = None if isinstance(body, Skip) or body.get("isMeta") else body.get("message")
        text = message.get("content") if isinstance(message, dict) and message.get("role") == "user" else None
        if isinstance(text, str) and not text.startswith("<"):
            return text[:200]
    return ""


def git_state(project: Path) -> dict[str, Any] | None:
    """Return branch, commit, remotes and the names of changed files; ``None`` where git knows nothing."""
    commit = _git(project, "rev-parse", "HEAD")
    if commit is None:
        return None
    dirty = _git(project, "status", "--porcelain", "-z", "--untracked-files=normal") or ""
    return {
        "commit": commit.strip(),
        "branch": (_git(project, "rev-parse", "--abbrev-ref", "HEAD") or "").strip() or None,
        "remotes": {name: without_password(url) for name, url in git_remotes(project).items()},
        "dirty": [entry for entry in dirty.split("\0") if entry],
    }


def _git(project: Path, *arguments: str) -> str | None:
    # Neither the repository's hooks nor its helpers are to run by this.
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        done = subprocess.run(
            command, cwd=project, capture_output=True, timeout=_GIT_SECONDS, check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _write(path: Path, manifest: dict[str, Any], members: dict[str, bytes]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as bundle:
                _add(bundle, "manifest.json", json.dumps(manifest, indent=2).encode())
                for name, data in members.items():
                    _add(bundle, name, data)
            stream.flush()
            os.fsync(descriptor)
        os.link(temporary, path)
    except FileExistsError as error:
        raise WatchkeeperError(
            "a checkpoint of this name is there already", hint="Choose another name.", place=str(path)
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _add(bundle: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, time.gmtime()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | 0o600) << 16
    bundle.writestr(entry, data)
