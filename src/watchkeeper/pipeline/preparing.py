"""What can be done with a slice of a transcript before it is put on record, in this process or in others beside it.

Redaction, compression and mapping take most of an import's time and need nothing but the bytes. So while the one
writer appends and merges one slice, other processes prepare the next.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from watchkeeper.archive.codecs import Packed, PlainCodec
from watchkeeper.pipeline.learning import SHORTEST, secrets_shown
from watchkeeper.redaction.engine import Redactor
from watchkeeper.settings import Settings
from watchkeeper.store.interpret import LinesPlace, Said, read_lines

if TYPE_CHECKING:
    from concurrent.futures import Future

MOST_PROCESSES = 3
_NICE = 10


@dataclass(frozen=True)
class Prepared:
    """A slice without its secrets.

    Attributes:
        hits: How many were masked, by rule.
        packed: The lines as a frame of the archive; none where there are no lines.
        said: What the lines say.
        shown: Values of env-like files that the lines show: secrets, to be masked from now on wherever they stand.
    """

    hits: dict[str, int]
    packed: Packed | None
    said: Said
    shown: tuple[bytes, ...]


class Preparer:
    """Prepares slices in this process.

    Args:
        redactor: Takes the secrets out, and learns those that lines show.
    """

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self._codec = PlainCodec()

    def prepare(self, at: LinesPlace, data: bytes) -> Prepared:
        """Return lines ready to be put on record.

        Args:
            at: Where they stand.
            data: The lines as they are in the file.
        """
        shown = tuple(value for value in secrets_shown(data) if len(value) >= SHORTEST)
        self.redactor.learn(shown, certain=True)
        redacted = self.redactor.redact(data)
        packed = None
        if redacted.data:
            digest = self._codec.digest(redacted.data)
            packed = Packed(digest, len(redacted.data), self._codec.pack(redacted.data, digest))
        return Prepared(redacted.hits, packed, read_lines(at, redacted.data), shown)


class PreparingProcesses:
    """Prepares slices in processes of their own; results are asked for in any order.

    Args:
        settings: The home, whose redaction they follow.
        idle: Whether they are to give way to everything else on the machine.
    """

    def __init__(self, settings: Settings, *, idle: bool) -> None:
        # Nearly every command that catches up has too little to read for other processes.
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        self.depth = 2 * _processes() + 2
        """Slices that may be under way, so that every process has one waiting."""
        self._pool = ProcessPoolExecutor(
            _processes(), get_context("spawn"), _begin, (settings.places.home, settings.environment, idle)
        )

    def submit(self, at: LinesPlace, data: bytes, learnt: Sequence[bytes]) -> Future[Prepared]:
        """Begin to prepare a slice; `learnt` are values that are masked beside what the rules find."""
        return self._pool.submit(_prepare, at, data, learnt)

    def close(self) -> None:
        """End the processes; what is under way is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def worth_processes(pending_bytes: int) -> bool:
    """Tell whether so much is waiting that other processes are worth their start."""
    return pending_bytes > 16 << 20 and _processes() > 0


def _processes() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_PROCESSES, cores - 1)


_here: list[Preparer] = []
"""The preparer of a process that `PreparingProcesses` started."""


def _begin(home: object, environment: dict[str, str], idle: bool) -> None:
    from pathlib import Path
    from threading import Thread

    Thread(target=_end_with_the_writer, daemon=True).start()
    if idle:
        os.nice(_NICE)
    _here.append(Preparer(Redactor.from_settings(Settings(Path(str(home)), environment))))


def _end_with_the_writer() -> None:
    # Killed, it can tell nobody; and a queue never ends whose other end is open in this process as well.
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _prepare(at: LinesPlace, data: bytes, learnt: Sequence[bytes]) -> Prepared:
    preparer = _here[0]
    preparer.redactor.learn(learnt, certain=True)
    return preparer.prepare(at, data)
