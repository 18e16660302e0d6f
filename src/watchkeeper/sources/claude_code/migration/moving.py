"""Carries a plan out, so that nothing is ever overwritten and every step can be undone, also after a crash halfway.

Each new file is made beside its place and synced; the journal says what it is; then it is linked to its name, which
fails where something is there already; only then the original goes.
"""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from watchkeeper.errors import LockedError, WatchkeeperError
from watchkeeper.sources.claude_code.migration.folders import FolderChange, SessionFiles
from watchkeeper.sources.claude_code.migration.journal import FileStep, Journal, note_folders, read_journal
from watchkeeper.sources.claude_code.migration.placing import put_in_place, temporary_of
from watchkeeper.sources.claude_code.migration.rewriting import Edit, LineRewriter, apply, fork_line, stamp
from watchkeeper.sources.claude_code.migration.undoing import undo

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class PlannedSession:
    """One session, and where each of its files goes."""

    session: SessionFiles
    new_id: str
    cwd: str
    folder: Path
    files: tuple[tuple[Path, Path], ...]

    @property
    def spill(self) -> tuple[str, str]:
        """Where the session's own files were and will be, each with a slash."""
        return f"{self.session.folder / self.session.session_id}/", f"{self.folder / self.new_id}/"

    @property
    def rewriter(self) -> LineRewriter:
        """What happens to the lines of its files."""
        return LineRewriter(*self.spill)


@dataclass
class Plan:
    """What a move or fork is going to do."""

    kind: str
    change: FolderChange
    sessions: list[PlannedSession] = field(default_factory=list)
    others: list[tuple[Path, Path]] = field(default_factory=list)
    """Files of the project that belong to no session, such as its memory."""
    left: list[tuple[Path, str]] = field(default_factory=list)
    """What stays where it is, with the reason."""

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        sources = [source for item in self.sessions for source, _ in item.files]
        return sum(path.stat().st_size for path in [*sources, *(source for source, _ in self.others)])


def plan_session(plan: Plan, session: SessionFiles, cwd: str, target_folder: Path) -> None:
    """Add a session to a plan, or to what stays when its target has it already."""
    new_id = fork_id(session.session_id) if plan.kind == "fork" else session.session_id
    files = []
    for source in session.files:
        inside = source.relative_to(session.folder)
        name = inside.parts[0]
        if name in {session.session_id, f"{session.session_id}.jsonl"}:
            name = new_id + name.removeprefix(session.session_id)
        elif plan.kind == "fork":
            # Beside a transcript a name is all that tells an agent's file; below the session it has a place of its own.
            files.append((source, target_folder / new_id / "subagents" / inside.name))
            continue
        files.append((source, target_folder.joinpath(name, *inside.parts[1:])))
    taken = [target for source, target in files if target != source and os.path.lexists(target)]
    if taken:
        plan.left.append((session.files[0], f"the target has it already ({taken[0].name})"))
        return
    plan.sessions.append(PlannedSession(session, new_id, cwd, target_folder, tuple(files)))


def fork_id(origin: str) -> str:
    """Return a new session id that sorts behind the origin's: of what both claim, the first one is the owner."""
    for _ in range(1000):
        made = str(uuid.uuid4())
        if made > origin:
            return made
    return made


def carry_out(plan: Plan, journals: Path, progress: Callable[[int, int], None] | None = None) -> str:
    """Do what the plan says and return the journal's id; after a failure everything is put back first.

    Raises:
        LockedError: A session was written to meanwhile.
        WatchkeeperError: Something stands in the way; nothing is changed.
    """
    journal = Journal(journals, plan.kind, plan.change.olds, plan.change.new)
    mover = _Mover(plan, journal)
    try:
        for number, item in enumerate(plan.sessions):
            if progress is not None:
                progress(number, len(plan.sessions))
            mover.session(item)
        for source, target in plan.others:
            mover.file(source, target, None)
        if plan.kind == "move":
            mover.remove_empty_folders()
        journal.write({"finished": True})
    except KeyboardInterrupt:
        undo(read_journal(journal.path))
        raise
    except (WatchkeeperError, OSError) as error:
        undo(read_journal(journal.path))
        raise WatchkeeperError(
            f"the {plan.kind} failed", why=str(error), hint="Everything was put back as it was."
        ) from error
    finally:
        journal.close()
    note_folders(journals)
    return journal.identity


class _Mover:
    def __init__(self, plan: Plan, journal: Journal) -> None:
        self._plan = plan
        self._journal = journal
        self._into: set[Path] = set()

    def session(self, item: PlannedSession) -> None:
        self._journal.write({"session": item.new_id, "from": item.session.cwd, "cwd": item.cwd})
        for source, target in item.files:
            self.file(source, target, item)

    def file(self, source: Path, target: Path, item: PlannedSession | None) -> None:
        """Bring one file to its place."""
        self._make_folders(target.parent)
        before = source.stat()
        temporary = temporary_of(target, self._journal.identity)
        try:
            with source.open("rb") as stream, _create(temporary) as made:
                step = self._copy(stream, made, source, target, item, before)
                os.fchmod(made.fileno(), step.mode)
                made.flush()
                os.fsync(made.fileno())
            os.utime(temporary, ns=step.times)
            now = source.stat()
            if (now.st_size, now.st_mtime_ns, now.st_ino) != (
                before.st_size,
                before.st_mtime_ns,
                before.st_ino,
            ):
                raise LockedError(
                    "the session was written to meanwhile", hint="End it first.", place=str(source)
                )
            self._journal.write({"file": step.to_json()})
            try:
                put_in_place(temporary, target, replaces=source == target)
            except FileExistsError:
                self._journal.write({"refused": str(target)})
                raise
            if self._plan.kind == "move" and source != target:
                source.unlink()
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()

    def _copy(
        self,
        stream: BinaryIO,
        made: BinaryIO,
        source: Path,
        target: Path,
        item: PlannedSession | None,
        before: os.stat_result,
    ) -> FileStep:
        old, new = hashlib.sha256(), hashlib.sha256()
        edits: list[Edit] = []
        size = position = 0
        last = b""
        rewritten = item is not None and source.suffix == ".jsonl"
        for piece in stream if rewritten else iter(lambda: stream.read(_PIECE), b""):
            old.update(piece)
            changed: bytes = piece
            if rewritten and item is not None:
                changed, found = self._changed(piece, item)
                edits.extend(Edit(position + edit.start, edit.old, edit.new) for edit in found)
            new.update(changed)
            made.write(changed)
            position += len(piece)
            size += len(changed)
            last = changed or last
        if item is not None and source == item.session.files[0]:
            ending = (b"" if last.endswith(b"\n") or not last else b"\n") + stamp(item.new_id, item.cwd)
            new.update(ending)
            made.write(ending)
            size += len(ending)
            edits.append(Edit(position, b"", ending))
        return FileStep(
            source=str(source),
            target=str(target),
            before=old.hexdigest(),
            after=new.hexdigest(),
            size=size,
            mode=stat.S_IMODE(before.st_mode),
            times=(before.st_atime_ns, before.st_mtime_ns),
            session=item.spill if item is not None else None,
            edits=edits if self._plan.kind == "move" else [],
        )

    def _changed(self, line: bytes, item: PlannedSession) -> tuple[bytes, list[Edit]]:
        if self._plan.kind == "move":
            edits = item.rewriter.edits(line)
            return (apply(line, edits) if edits else line), edits
        bare = line.rstrip(b"\r\n")
        changed = fork_line(bare, item.session.session_id, item.new_id, item.rewriter)
        return (b"" if changed is None else changed + line[len(bare) :]), []

    def _make_folders(self, folder: Path) -> None:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        for parent in reversed(missing):
            self._journal.write({"made": str(parent)})
            parent.mkdir(mode=0o700)
        if folder not in self._into:
            self._into.add(folder)
            self._journal.write({"into": str(folder)})

    def remove_empty_folders(self) -> None:
        """Remove the folders that the move has emptied, innermost first."""
        targets = {item.folder for item in self._plan.sessions}
        roots = {item.session.folder for item in self._plan.sessions} - targets
        # The agent makes folders, such as that of its memory, before there is anything in them.
        folders = {
            path for root in roots for path in root.rglob("*") if path.is_dir() and not path.is_symlink()
        }
        for folder in sorted(folders | roots, key=lambda path: -len(path.parts)):
            if folder.is_dir() and not any(folder.iterdir()):
                self._journal.write({"emptied": str(folder), "mode": stat.S_IMODE(folder.stat().st_mode)})
                folder.rmdir()


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")
