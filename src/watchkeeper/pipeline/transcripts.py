"""Takes transcript files in: which have changed, and their new lines in slices.

A file whose size, time and inode are as recorded is not opened. What a slice holds is decided by
`sources.claude_code.tail`; a slice is small enough that hook events never wait long behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.pipeline.preparing import Prepared, PreparingProcesses, worth_processes
from watchkeeper.pipeline.recording import Recording, now_ms
from watchkeeper.sources.claude_code.discovery import (
    TranscriptFile,
    find_transcripts,
    stat_transcript,
    written,
)
from watchkeeper.sources.claude_code.tail import Cursor, Range, TranscriptTail, read_meta
from watchkeeper.store import envelopes
from watchkeeper.store.interpret import LinesPlace, hints
from watchkeeper.store.rows import FileRow
from watchkeeper.store.sqlite.writing import Changes

if TYPE_CHECKING:
    from concurrent.futures import Future

SLICE_BYTES = 512 << 10
IDLE_PATIENCE = 0.02
"""Seconds that a slice is waited for by a recorder that has other things to do as well."""


@dataclass
class _Ahead:
    """A slice that was read and is being prepared, or the end of a file that holds nothing more."""

    file: TranscriptFile
    found: Range | None
    result: Callable[[], Prepared] | None
    final: bool
    future: Future[Prepared] | None = None

    def ready(self, patience: float | None) -> bool:
        """Tell whether the slice is prepared, after waiting so many seconds at the most, or for as long as it takes."""
        if self.future is None:
            return True
        # Only a large import prepares slices in other processes.
        from concurrent.futures import wait

        return bool(wait([self.future], patience).done)

    def prepared(self) -> Prepared:
        """Return the slice ready to be put on record, as soon as it is."""
        assert self.result is not None
        return self.result()


@dataclass
class IntakeReport:
    """What an import read; the JSON of ``wk import``."""

    files: int = 0
    lines: int = 0
    observations: int = 0
    skipped: list[dict[str, Any]] = field(default_factory=list)
    unfinished: dict[str, int] = field(default_factory=dict)
    """Per file the number of a last line that breaks off: torn, or still being written."""

    def skip(self, file: str, line: int, reason: str) -> None:
        """Note something that could not be read, with its place."""
        self.skipped.append({"file": written(file), "line": line, "reason": written(reason)})

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        torn = [
            {"file": written(file), "line": line, "reason": "the last line breaks off: not complete yet"}
            for file, line in sorted(self.unfinished.items())
        ]
        return {
            "files": self.files,
            "lines": self.lines,
            "observations": self.observations,
            "skipped": self.skipped + torn,
        }


@dataclass
class IntakeProgress:
    """How far the queue has come, in files and bytes."""

    files_total: int = 0
    files_done: int = 0
    bytes_total: int = 0
    bytes_done: int = 0


class TranscriptIntake:
    """A queue of transcript files and the positions up to which they are on record."""

    def __init__(self, recording: Recording, *, batch_bytes: int = SLICE_BYTES, idle: bool = True) -> None:
        self.recording = recording
        self.report = IntakeReport()
        self.progress = IntakeProgress()
        self._batch_bytes = batch_bytes
        self._idle = idle
        self._patience = IDLE_PATIENCE if idle else None
        self._tail = TranscriptTail()
        self._known: dict[str, FileRow] = {}
        self._recoveries = -1
        self._queue: deque[TranscriptFile] = deque()
        self._queued: set[Path] = set()
        self._metas: dict[str, tuple[int, int]] = {}
        self._ahead: deque[_Ahead] = deque()
        self._open: tuple[TranscriptFile, Cursor] | None = None
        self._processes: PreparingProcesses | None = None
        self._alone = False
        self._learn_positions()

    def reload(self) -> None:
        """Read the positions anew, after somebody else has put transcripts on record."""
        self._start_over()
        self._known = {row.file_key: row for row in self.recording.store.files()}
        hides = self.recording.tombstones.hides
        self._queue = deque(file for file in self._queue if not hides(written(file.relative)))
        self._queued = {file.path for file in self._queue}

    def close(self) -> None:
        """End the processes that prepare slices."""
        if self._processes is not None:
            self._processes.close()
            self._processes = None

    @property
    def pending(self) -> bool:
        """Tell whether files wait to be read."""
        return bool(self._queue or self._ahead or self._open)

    def discover(self, config_dirs: Iterable[Path]) -> int:
        """Queue every transcript below the agent's folders that is new or has changed; return how many."""
        queued = 0
        for config_dir in config_dirs:
            if not (config_dir / "projects").is_dir():
                continue
            found = find_transcripts(config_dir)
            for file, reason in found.skipped:
                self.report.skip(str(file), 0, reason)
            for item in found.files:
                queued += self.enqueue(item)
        return queued

    def discover_paths(self, paths: Iterable[Path], *, first: bool = False) -> int:
        """Queue the given files, and the transcripts in the given folders, where they have changed."""
        queued = 0
        for path in paths:
            for item in self._files_at(path):
                queued += self.enqueue(item, first=first)
        return queued

    def enqueue(self, file: TranscriptFile, *, first: bool = False) -> int:
        """Queue one file unless it is unchanged or queued; return 1 when it was queued."""
        if not file.size or file.path in self._queued or self._unchanged(file):
            return 0
        if self.recording.tombstones.hides(written(file.relative)):
            self.report.skip(str(file.path), 0, "its session was forgotten")
            return 0
        self._queued.add(file.path)
        if first:
            self._queue.appendleft(file)
        else:
            self._queue.append(file)
        self.progress.files_total += 1
        self.progress.bytes_total += file.size
        return 1

    def read_slice(self) -> Changes:
        """Put the next slices on record, as many as make up a batch and are prepared."""
        self._learn_positions()
        try:
            return self._record_batch()
        except BaseException:
            # What of it is on record is known after the recovery alone.
            self._start_over()
            raise
        finally:
            if not self.pending:
                self.close()

    def _record_batch(self) -> Changes:
        batch: list[_Ahead] = []
        size = 0
        while size < self._batch_bytes:
            self._look_ahead()
            if not self._ahead or not self._ahead[0].ready(0 if batch and self._idle else self._patience):
                break
            item = self._ahead.popleft()
            batch.append(item)
            size += len(item.found.data) if item.found is not None else 0
        changes = Changes()
        slices = [(item.found, item.prepared()) for item in batch if item.found is not None]
        if slices:
            changes, result = self.recording.record_prepared(slices)
            for moved in result.files:
                self._known[moved.file_key] = moved
            self.report.lines += result.lines
            self.report.observations += result.observations
            for name, line, reason in result.skipped:
                self.report.skip(name, line, reason)
            self.progress.bytes_done += sum(found.end - found.start for found, _ in slices)
        for item in batch:
            if item.final:
                changes.update(self._finish(item.file))
        return changes

    def _look_ahead(self) -> None:
        """Read slices until as many are being prepared as can be, at least one where there is any."""
        waiting = self.progress.bytes_total - self.progress.bytes_done
        if self._processes is None and not self._alone and worth_processes(waiting):
            self._processes = PreparingProcesses(self.recording.settings, idle=self._idle)
        depth = 1 if self._processes is None else self._processes.depth
        while len(self._ahead) < depth and (self._open or self._queue):
            self._ahead.append(self._read_next())

    def _read_next(self) -> _Ahead:
        """Read the next slice of the file that is open, or of the next in the queue."""
        if self._open is None:
            file = self._queue.popleft()
            cursor = _cursor(self._known.get(self._tail.file_key(file)))
        else:
            file, cursor = self._open
        self._open = None
        try:
            found = self._tail.read_new(file, cursor, SLICE_BYTES, settled=True)
        except OSError as error:
            self.report.skip(str(file.path), 0, error.strerror or str(error))
            found = None
        if found is None:
            return _Ahead(file, None, None, final=True)
        if not found.final:
            self._open = (file, found.cursor)
        at, data = self.recording.slice_of(found)
        here = partial(self.recording.preparer.prepare, at, data)
        future = self._submit(at, data)
        result = here if future is None else partial(self._result, future, here)
        return _Ahead(file, found, result, final=found.final, future=future)

    def _submit(self, at: LinesPlace, data: bytes) -> Future[Prepared] | None:
        """Let another process prepare a slice; ``None`` where there is none."""
        if self._processes is None:
            return None
        from concurrent.futures import BrokenExecutor

        try:
            return self._processes.submit(at, data, self.recording.redactor.learnt())
        except BrokenExecutor:
            self._do_without_processes()
            return None

    def _result(self, future: Future[Prepared], here: Callable[[], Prepared]) -> Prepared:
        from concurrent.futures import BrokenExecutor, CancelledError

        try:
            return future.result()
        except (BrokenExecutor, CancelledError):
            self._do_without_processes()
            return here()

    def _do_without_processes(self) -> None:
        """Somebody killed a process beside us: what it had is done here, and so is the rest."""
        self.close()
        self._alone = True

    def _start_over(self) -> None:
        """Put what is under way back into the queue, to be read from where the record then says."""
        files = [item.file for item in self._ahead] + ([self._open[0]] if self._open else [])
        self._ahead.clear()
        self._open = None
        self._queue.extendleft(reversed(list(dict.fromkeys(files))))

    def _learn_positions(self) -> None:
        """Read the positions on record, at first and when a failure made what is known here doubtful."""
        self.recording.recover()
        if self._recoveries != self.recording.recoveries:
            self._recoveries = self.recording.recoveries
            self._start_over()
            self._known = {row.file_key: row for row in self.recording.store.files()}

    def _finish(self, file: TranscriptFile) -> Changes:
        self._queued.discard(file.path)
        self.report.files += 1
        self.progress.files_done += 1
        row = self._known.get(self._tail.file_key(file))
        self.report.unfinished.pop(file.relative, None)
        if (row.position if row else 0) < file.size:
            self.report.unfinished[file.relative] = row.lines if row else 1
        return self._take_meta(file)

    def _take_meta(self, file: TranscriptFile) -> Changes:
        """Record a subagent's sidecar when it has changed."""
        relative = written(file.relative)
        session, agent = hints(relative)
        if agent is None:
            return Changes()
        path = file.path.with_suffix(".meta.json")
        try:
            status = path.stat()
        except OSError:
            return Changes()
        stamp = (status.st_mtime_ns, status.st_size)
        if self._metas.get(str(path)) == stamp:
            return Changes()
        self._metas[str(path)] = stamp
        body = read_meta(path)
        if body is None:
            return Changes()
        head = envelopes.MetaHead(
            relative=relative, session_id=session, agent_id=agent, body=self.recording.without_secrets(body)
        )
        name = f"meta:{relative}"
        if self.recording.store.get_meta(name) == envelopes.digest_of(head):
            return Changes()
        # A source stays when its entry is erased, so it must not name the session.
        source = f"meta:{self._tail.file_key(file)}"
        changes, _ = self.recording.record([envelopes.meta_entry(source, now_ms(), head)])
        return changes

    def _files_at(self, path: Path) -> Iterator[TranscriptFile]:
        if path.is_dir():
            found = find_transcripts(path)
            for file, reason in found.skipped:
                self.report.skip(str(file), 0, reason)
            yield from found.files
            return
        item = stat_transcript(path, self.recording.settings.claude_config_dirs)
        if item is None:
            if not path.name.endswith(".meta.json"):
                self.report.skip(str(path), 0, "not a readable transcript file")
            return
        yield item

    def _unchanged(self, file: TranscriptFile) -> bool:
        row = self._known.get(self._tail.file_key(file))
        return row is not None and (row.size, row.mtime_ns, row.inode) == (
            file.size,
            file.mtime_ns,
            file.inode,
        )


def _cursor(row: FileRow | None) -> Cursor | None:
    if row is None:
        return None
    return Cursor(
        file_key=row.file_key,
        path=row.path,
        relative=row.relative,
        generation=row.generation,
        inode=row.inode,
        offset=row.position,
        lines=row.lines,
        head_digest=row.head_digest,
    )
