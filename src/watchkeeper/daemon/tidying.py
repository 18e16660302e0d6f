"""The recorder's housekeeping: once a day, when nothing else is to be done, a small step at a time.

It may be dropped between any two steps: what is left is found again by the next sweep.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from watchkeeper.errors import UsageError
from watchkeeper.pipeline.housekeeping import SweepReport, sweep_steps
from watchkeeper.pipeline.recording import Recording

FIRST_SECONDS = 120.0
"""After the start, so that whoever has just begun to work is not in its way."""
EVERY_SECONDS = 86_400.0


class Tidying:
    """The sweeps of one recorder.

    Args:
        recording: The open record.
        others: Tells whether other work rewrites the archive at the moment.
    """

    def __init__(self, recording: Recording, others: Callable[[], bool]) -> None:
        self._recording = recording
        self._others = others
        self._steps: Iterator[None] | None = None
        self._asked = asyncio.Lock()
        self._due = time.monotonic() + FIRST_SECONDS

    def step(self) -> bool:
        """Do a step of the daily sweep when it is due; return whether there was any.

        Raises:
            WatchkeeperError: The disk is full or broken; the sweep is done anew a day later.
        """
        if self._asked.locked() or self._others():
            return False
        if self._steps is None:
            if time.monotonic() < self._due:
                return False
            self._due = time.monotonic() + EVERY_SECONDS
            self._steps = sweep_steps(self._recording, SweepReport())
        try:
            next(self._steps)
        except StopIteration:
            self._steps = None
        except BaseException:
            self._steps = None
            raise
        return True

    def drop(self) -> None:
        """Leave the rest of a sweep to the next one: other work is about to rewrite the archive."""
        self._steps = None

    async def sweep(self, *, dry_run: bool) -> dict[str, Any]:
        """Sweep because somebody asks for it, and return the report.

        Raises:
            UsageError: Something is being forgotten or masked anew at the moment.
            WatchkeeperError: The disk is full or broken, or the list of holds cannot be read.
        """
        report = SweepReport()
        async with self._asked:
            self.drop()
            for _ in sweep_steps(self._recording, report, dry_run=dry_run):
                await asyncio.sleep(0)
                if self._others():
                    raise UsageError(
                        "the archive is being rewritten for something else", hint="Ask again in a moment."
                    )
        return report.to_json()
