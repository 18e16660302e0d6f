"""The recorder's work on what is already on record: what somebody wants forgotten, and new rules for old data.

What is due by itself is done when nothing else is, one small step at a time, and may be dropped at any point: what is
left is found again. What somebody asked for goes first, and hook events are taken in between its steps.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from watchkeeper.errors import UsageError, WatchkeeperError
from watchkeeper.pipeline.forgetting import Forgetting, read_job
from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.reredaction import Request, begin, due_job, steps_of
from watchkeeper.store.sqlite.writing import DamagedIndexError

log = logging.getLogger("watchkeeper.recorder")

REST_SECONDS = 600.0
"""Pause after a failure, before a job that nobody waits for is tried again."""

Step = tuple[str, int, int]


class Rewriting:
    """The jobs of one recorder.

    Args:
        recording: The open record.
        settle: Called where a job begins and ends: takes in what is spooled, and reads positions anew.
    """

    def __init__(self, recording: Recording, settle: Callable[[], None]) -> None:
        self._recording = recording
        self._settle = settle
        self._steps: Generator[Step, None, None] | None = None
        self._job: Forgetting | None = None
        self._asked = asyncio.Lock()
        self._look = True
        self._rest_until = 0.0
        self._done, self._total = 0, 0

    def step(self) -> bool:
        """Do a step of what is due, unless somebody's own job is at work; return whether there was any.

        A job that fails is tried again later: it must not hold up the recording.

        Raises:
            DamagedIndexError: The index cannot be used.
        """
        if self._asked.locked() or time.monotonic() < self._rest_until:
            return False
        try:
            if not self._begin_due():
                return False
            self._advance()
        except DamagedIndexError:
            raise
        except (OSError, WatchkeeperError) as error:
            log.warning("old data could not be redacted anew or forgotten, to be tried again: %s", error)
            self._drop()
            self._look = True
            self._rest_until = time.monotonic() + REST_SECONDS
            return False
        return True

    async def forget(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what somebody asks for, to its end, and return the report.

        Raises:
            UsageError: The request makes no sense.
            WatchkeeperError: The disk is full or broken; the recorder goes on with it later.
        """
        wanted = _request(request)
        async with self._asked:
            self._drop()
            try:
                if read_job(self._recording.settings.places) is not None:
                    await self._finish(due_job(self._recording))
                job = begin(self._recording, wanted)
                await self._finish(job)
                return job.report()
            finally:
                self._drop()
                self._look = True

    def status(self) -> dict[str, Any] | None:
        """Return what is being rewritten and how far that is, or ``None``."""
        if self._job is None:
            return None
        job = self._job.job
        return {"what": job.what, "phase": job.phase, "done": self._done, "total": self._total}

    def _begin_due(self) -> bool:
        if self._steps is None and (self._look or self._recording.learnt.pending()):
            self._look = False
            job = due_job(self._recording)
            if job is not None:
                self._start(job)
        return self._steps is not None

    def _start(self, job: Forgetting) -> None:
        self._recording.tombstones.add(job.job.hidden)
        self._settle()
        self._job, self._steps = job, steps_of(job)

    def _advance(self) -> bool:
        assert self._steps is not None
        try:
            _, self._done, self._total = next(self._steps)
        except StopIteration:
            self._settle()
            self._drop()
            self._look = True
            return False
        return True

    async def _finish(self, job: Forgetting | None) -> None:
        if job is None:
            return
        self._start(job)
        while True:
            # Whoever waits goes first: hook events, other commands.
            await asyncio.sleep(0)
            if not self._advance():
                return

    def _drop(self) -> None:
        if self._steps is not None:
            self._steps.close()
        self._steps = self._job = None


def _request(request: dict[str, Any]) -> Request:
    try:
        return msgspec.convert(request, Request)
    except msgspec.ValidationError as error:
        raise UsageError("this cannot be forgotten", why=str(error), place="request") from error
