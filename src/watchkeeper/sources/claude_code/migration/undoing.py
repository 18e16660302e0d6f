"""Puts back what a move or fork did, from its journal: what was begun, what was done, and what was written since."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from watchkeeper.sources.claude_code.migration.journal import FileStep, Recorded, note_folders
from watchkeeper.sources.claude_code.migration.placing import put_in_place, temporary_of
from watchkeeper.sources.claude_code.migration.rewriting import LineRewriter, apply, inverse, stamp


@dataclass
class Undone:
    """What an undo did."""

    files: int = 0
    continued: list[str] = field(default_factory=list)
    """Files that were written to since; what was added went back too."""
    kept: list[tuple[str, str]] = field(default_factory=list)
    """Files that were left alone, with the reason."""


def undo(journal: Recorded, *, force: bool = False) -> Undone:
    """Put everything back; what cannot be is left where it is and named.

    Args:
        journal: What was done.
        force: Remove also forked sessions that went on since.
    """
    result = Undone()
    for step in reversed(journal.steps):
        _make_folders_again(Path(step.source).parent, journal)
        if journal.kind == "move":
            _undo_move(step, journal, result)
        else:
            _undo_copy(step, result, force=force)
    _sweep(journal)
    for path, mode in reversed(journal.emptied):
        _make_folders_again(Path(path), journal)
        with suppress(FileNotFoundError):
            Path(path).chmod(mode)
    for path in reversed(journal.made):
        with suppress(OSError):
            Path(path).rmdir()
    if not result.kept:
        journal.mark_undone()
        note_folders(journal.path.parent)
    return result


def _undo_move(step: FileStep, journal: Recorded, result: Undone) -> None:
    source, target = Path(step.source), Path(step.target)
    if not target.exists():
        if not source.exists():
            result.kept.append((step.target, "it is at neither place any more"))
        return
    data = target.read_bytes()
    if source == target and hashlib.sha256(data).hexdigest() == step.before:
        return
    if hashlib.sha256(data[: step.size]).hexdigest() != step.after:
        result.kept.append((step.target, "it is not the file that was moved"))
        return
    if source != target and source.exists():
        if hashlib.sha256(source.read_bytes()).hexdigest() == step.before and len(data) == step.size:
            target.unlink()
            result.files += 1
        else:
            result.kept.append((step.target, f"{step.source} is there too"))
        return
    back = LineRewriter(*(step.session or ("", ""))).inverted()
    added = data[step.size :]
    original = apply(data[: step.size], inverse(step.edits))
    if hashlib.sha256(original).hexdigest() != step.before:
        result.kept.append((step.target, "the journal does not lead back to the original"))
        return
    original += b"\n" if added and original[-1:] not in {b"", b"\n"} else b""
    original += b"".join(apply(line, back.edits(line)) for line in added.splitlines(keepends=True))
    folder = journal.folders.get(source.stem)
    if added and folder is not None:
        # The agent has noted the new folder again in what it wrote.
        original += (b"" if original.endswith(b"\n") else b"\n") + stamp(source.stem, folder)
    _restore(step, original, journal.identity, keep_times=not added)
    if added:
        result.continued.append(step.source)
    result.files += 1


def _restore(step: FileStep, data: bytes, identity: str, *, keep_times: bool) -> None:
    source, target = Path(step.source), Path(step.target)
    temporary = temporary_of(source, identity)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        os.fchmod(descriptor, step.mode)
        stream.flush()
        os.fsync(descriptor)
    if keep_times:
        os.utime(temporary, ns=step.times)
    put_in_place(temporary, source, replaces=source == target)
    if source != target:
        target.unlink()


def _undo_copy(step: FileStep, result: Undone, *, force: bool) -> None:
    target = Path(step.target)
    if not target.exists():
        return
    data = target.read_bytes()
    if hashlib.sha256(data).hexdigest() == step.after or force:
        target.unlink()
        result.files += 1
    else:
        result.kept.append((step.target, "it was written to since; --force removes it"))


def _make_folders_again(folder: Path, journal: Recorded) -> None:
    modes = dict(journal.emptied)
    for parent in reversed([folder, *folder.parents]):
        if not parent.exists():
            parent.mkdir(mode=modes.get(str(parent), 0o700))


def _sweep(journal: Recorded) -> None:
    """Remove what a crash left half made."""
    folders = {Path(path).parent for step in journal.steps for path in (step.source, step.target)}
    folders |= {Path(path) for path in journal.into}
    for folder in folders:
        for path in folder.glob(f".*.{journal.identity}.tmp") if folder.is_dir() else ():
            path.unlink()
