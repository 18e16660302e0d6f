"""What follows from the token counts of one request. Light enough for every quick command."""

from __future__ import annotations

QUARTER_MS = 900_000
"""Every zone in use is a whole number of quarter-hours from UTC, so local days are made of whole ones."""


def quarter_of(at_ms: int | None) -> int | None:
    """Return the beginning of the quarter-hour that a moment is in, in epoch milliseconds."""
    return None if at_ms is None else at_ms - at_ms % QUARTER_MS


def split_cache_writes(
    total: int | None, five_minutes: int | None, one_hour: int | None
) -> tuple[int | None, int | None]:
    """Return the tokens written to the cache for 5 minutes and for 1 hour; ``None`` where nothing is known.

    Clients before the 1-hour cache give only the total, and what is not said to be for 1 hour is for 5 minutes.
    """
    if total is None and five_minutes is None and one_hour is None:
        return None, None
    hour = one_hour or 0
    return max(five_minutes or 0, (total or 0) - hour), hour
