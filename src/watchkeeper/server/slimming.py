"""Gives back the memory that long answers took, once nobody asks for any."""

from __future__ import annotations

import asyncio

from watchkeeper.pipeline.memory import release_memory

QUIET_SECONDS = 3.0
LONG_ANSWER = 1 << 20
"""Bytes. Shorter answers leave nothing that would be worth the time."""


class Slimming:
    """Looks at the answers' lengths; belongs to one event loop."""

    def __init__(self) -> None:
        self._due: asyncio.TimerHandle | None = None

    def answered(self, length: int) -> None:
        """Take note of an answer of so many bytes, or of a query that handled as much."""
        if length < LONG_ANSWER:
            return
        loop = asyncio.get_running_loop()
        if self._due is not None:
            self._due.cancel()
        # In a thread: it walks all free memory, and browsers need not wait for that.
        self._due = loop.call_later(QUIET_SECONDS, loop.run_in_executor, None, release_memory)
