"""Reads checkpoints, which others may have made, and puts their session where the agent finds it.

A checkpoint is foreign content. Nothing in it chooses a place: names are checked, links, doubles, encrypted members and
bombs are refused, and what the manifest does not vouch for by digest is not read. Of its lines only those that make up
a conversation are taken; what would change the agent's permissions is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchkeeper.errors import FormatError, UsageError, WatchkeeperError
from watchkeeper.sources.claude_code.lines import Skip, decode
from watchkeeper.sources.claude_code.migration.checkpoint import FORMAT, Tokens
from watchkeeper.sources.claude_code.migration.folders import find_session, folder_name
from watchkeeper.sources.claude_code.migration.journal import FileStep, Journal, note_folders, read_journal
from watchkeeper.sources.claude_code.migration.moving import fork_id
from watchkeeper.sources.claude_code.migration.placing import put_in_place, temporary_of
from watchkeeper.sources.claude_code.migration.rewriting import LineRewriter, fork_line, plain_mode
from watchkeeper.sources.claude_code.migration.undoing import undo

_LARGEST_ARCHIVE = 512 << 20
_LARGEST_TOTAL = 2 << 30
_MOST_MEMBERS = 20_000
_MANIFEST_BYTES = 32 << 20
_RATIO = 300
_RATIO_FROM = 64 << 20
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,63}")
_TOKEN = re.compile(r"@@wk-(project|session|home)-[0-9a-f]{12}@@")
_TAKEN_TYPES = frozenset(
    {
        "user",
        "assistant",
        "system",
        "attachment",
        "progress",
        "summary",
        "ai-title",
        "custom-title",
        "last-prompt",
    }
)
_GUARDED = frozenset({".git", ".claude", ".mcp.json", ".envrc", ".husky", ".vscode"})
"""Parts of a path below which a file may run something by itself; no checkpoint writes there."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was looked at: its manifest, and the sizes and digests of its members by name."""

    path: Path
    manifest: Mapping[str, Any]
    members: Mapping[str, tuple[int, str]]

    @property
    def tokens(self) -> Tokens:
        """What stands for folders."""
        return Tokens(**self.manifest["tokens"])

    def read(self, name: str) -> bytes:
        """Return a member's content.

        Raises:
            FormatError: It is not what the manifest says.
        """
        size, digest = self.members[name]
        with zipfile.ZipFile(self.path) as bundle:
            data = _read_member(bundle, name, size, self.path)
        if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            raise _refused(self.path, f"{name} is not what the manifest says")
        return data


@dataclass
class Resumed:
    """What a resume did."""

    session_id: str
    journal: str
    cwd: str
    files: int = 0
    dropped_lines: int = 0
    files_written: list[str] = field(default_factory=list)
    files_kept: list[str] = field(default_factory=list)
    """Files of the project that differ from the checkpoint's; they stay as they are."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Look at a checkpoint without taking anything out of it.

    Raises:
        FormatError: It is none, or it is one that could do harm.
    """
    try:
        if path.stat().st_size > _LARGEST_ARCHIVE:
            raise _refused(path, "it is too large")
        with zipfile.ZipFile(path) as bundle:
            entries = bundle.infolist()
            _check_entries(path, entries)
            size = bundle.getinfo("manifest.json").file_size
            manifest = json.loads(_read_member(bundle, "manifest.json", min(size, _MANIFEST_BYTES), path))
    except (
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        ValueError,
        NotImplementedError,
        RecursionError,
    ) as error:
        raise _refused(path, str(error) or type(error).__name__) from error
    except OSError as error:
        raise WatchkeeperError(
            "the checkpoint cannot be read", why=error.strerror or str(error), place=str(path)
        ) from error
    members = _check_manifest(path, manifest)
    if set(members) != {entry.filename for entry in entries} - {"manifest.json"}:
        raise _refused(path, "its members are not those of the manifest")
    return Checkpoint(path, manifest, members)


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if len(entries) > _MOST_MEMBERS or len(set(map(str.casefold, names))) != len(names):
        raise _refused(path, "too many members, or two of one name")
    total = sum(entry.file_size for entry in entries)
    if total > _LARGEST_TOTAL or (total > _RATIO_FROM and total > _RATIO * path.stat().st_size):
        raise _refused(path, f"it would unpack to {total:,} bytes")
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in {0, stat.S_IFREG}:
            raise _refused(path, f"{entry.filename!a} is a link or a special file")
        if entry.flag_bits & 0x1:
            raise _refused(path, f"{entry.filename!a} is encrypted")
        if entry.filename != "manifest.json" and not _is_safe(entry.filename):
            raise _refused(path, f"{entry.filename!a} leads somewhere else")


def _is_safe(name: str) -> bool:
    parts = name.split("/")
    return (
        parts[0] in {"session", "files"}
        and len(parts) > 1
        and name.isprintable()
        and not any(part in {"", ".", ".."} or len(part.encode()) > 200 for part in parts)
        and not set(name) & set('\\:*?"<>|')
        and (parts[0] == "files" or parts[-1].endswith((".jsonl", ".json", ".txt", ".md")))
    )


def _check_manifest(path: Path, manifest: Any) -> dict[str, tuple[int, str]]:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _refused(path, "its manifest is not one of ours")
    tokens = manifest.get("tokens")
    if not isinstance(tokens, dict) or set(tokens) != {"project", "session", "home"}:
        raise _refused(path, "its manifest names no tokens")
    if not all(isinstance(token, str) and _TOKEN.fullmatch(token) for token in tokens.values()):
        raise _refused(path, "its tokens are not ours")
    if not _IDENTITY.fullmatch(str(manifest.get("session_id"))):
        raise _refused(path, "its session has no proper id")
    cwd = manifest.get("cwd")
    if not isinstance(cwd, str) or cwd.startswith("/") or ".." in cwd.split("/") or "\0" in cwd:
        raise _refused(path, "its working folder leads somewhere else")
    rows = manifest.get("members")
    members = {}
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict) or not isinstance(row.get("size"), int):
            raise _refused(path, "its manifest is damaged")
        members[str(row.get("name"))] = (row["size"], str(row.get("sha256")))
    if "session/transcript.jsonl" not in members:
        raise _refused(path, "it holds no transcript")
    return members


def _read_member(bundle: zipfile.ZipFile, name: str, size: int, path: Path) -> bytes:
    try:
        with bundle.open(name) as stream:
            # One byte more than it says, so that a member that lies about its size is found out.
            data = stream.read(size + 1)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise _refused(path, f"{name}: {error}") from error
    if len(data) > size:
        raise _refused(path, f"{name} is larger than it says")
    return data


def _refused(path: Path, why: str) -> FormatError:
    return FormatError("this checkpoint is refused", why=why, hint="Nothing was unpacked.", place=str(path))


def resume(
    checkpoint: Checkpoint,
    project: Path,
    config_dir: Path,
    environment: Mapping[str, str],
    journals: Path,
    *,
    keep_id: bool = False,
    with_files: bool = False,
) -> Resumed:
    """Put a checkpoint's session into the agent's folder for a project; ``wk move --undo`` takes it out again.

    Raises:
        UsageError: The folder does not exist, or the session's own id is taken.
        FormatError: The checkpoint is not what its manifest says.
    """
    if not project.is_dir():
        raise UsageError("the folder does not exist", hint="Make it or name another.", place=str(project))
    origin = str(checkpoint.manifest["session_id"])
    if keep_id and find_session(config_dir, origin) is not None:
        raise UsageError(
            "this session is there already", hint="Leave out --keep-id: it gets an id of its own."
        )
    identity = origin if keep_id else fork_id(origin)
    cwd = (project / checkpoint.manifest["cwd"]).resolve()
    if not cwd.is_dir() or not cwd.is_relative_to(project):
        cwd = project
    folder = config_dir / "projects" / folder_name(str(cwd), environment)
    contents = {name: checkpoint.read(name) for name in checkpoint.members}
    journal = Journal(journals, "checkpoint", (checkpoint.path.name,), str(project))
    done = Resumed(identity, journal.identity, str(cwd))
    writer = _Writer(journal, done)
    journal.write({"session": identity, "from": None, "cwd": str(cwd)})
    home = environment.get("HOME") or str(Path.home())
    folders = (str(project), str(folder / identity), home)
    try:
        for name, data in contents.items():
            if name.startswith("session/"):
                inside = name.removeprefix("session/")
                target = (
                    folder / f"{identity}.jsonl"
                    if inside == "transcript.jsonl"
                    else folder / identity / inside
                )
                as_json = name.endswith((".json", ".jsonl"))
                shown = checkpoint.tokens.show(data, *folders, as_json=as_json)
                if name.endswith(".jsonl"):
                    shown = b"".join(writer.lines(shown, origin, identity))
                writer.write(target, shown)
            elif with_files:
                writer.project_file(project, name.removeprefix("files/"), data)
        journal.write({"finished": True})
    except (WatchkeeperError, OSError):
        undo(read_journal(journal.path))
        raise
    finally:
        journal.close()
    note_folders(journals)
    return done


class _Writer:
    def __init__(self, journal: Journal, done: Resumed) -> None:
        self._journal = journal
        self._done = done

    def lines(self, data: bytes, origin: str, identity: str) -> Iterator[bytes]:
        """Yield the lines of a conversation, under the new id where it is another one."""
        for line in data.split(b"\n"):
            body = decode(line)
            if isinstance(body, Skip) or body.get("type") not in _TAKEN_TYPES:
                self._done.dropped_lines += bool(line.strip())
                continue
            bare = plain_mode(line.strip(b"\r\n\x00 \t"))
            changed = bare if origin == identity else fork_line(bare, origin, identity, LineRewriter())
            if changed is not None:
                yield changed + b"\n"

    def project_file(self, project: Path, relative: str, data: bytes) -> None:
        """Write a file that the session edited, unless another one is there."""
        target = project / relative
        existing = next(parent for parent in (target, *target.parents) if os.path.lexists(parent))
        if set(Path(relative).parts) & _GUARDED or not existing.resolve().is_relative_to(project.resolve()):
            self._done.files_kept.append(f"{relative}: no checkpoint writes there")
        elif not os.path.lexists(target):
            self.write(target, data, mode=0o644)
            self._done.files_written.append(relative)
        elif target.is_symlink() or not target.is_file() or target.read_bytes() != data:
            self._done.files_kept.append(relative)

    def write(self, target: Path, data: bytes, mode: int = 0o600) -> None:
        """Write one file, through the journal."""
        for parent in reversed(
            [parent for parent in (target.parent, *target.parent.parents) if not parent.exists()]
        ):
            self._journal.write({"made": str(parent)})
            parent.mkdir(mode=0o700)
        self._journal.write({"into": str(target.parent)})
        temporary = temporary_of(target, self._journal.identity)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                os.fchmod(descriptor, mode)
                stream.flush()
                os.fsync(descriptor)
            digest = hashlib.sha256(data).hexdigest()
            times = temporary.stat()
            step = FileStep(
                source=str(target),
                target=str(target),
                before="",
                after=digest,
                size=len(data),
                mode=mode,
                times=(times.st_atime_ns, times.st_mtime_ns),
            )
            self._journal.write({"file": step.to_json()})
            try:
                put_in_place(temporary, target, replaces=False)
            except FileExistsError:
                self._journal.write({"refused": str(target)})
                raise
            self._done.files += 1
        finally:
            temporary.unlink(missing_ok=True)
