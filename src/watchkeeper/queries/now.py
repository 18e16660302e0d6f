"""What a status line shows beside the client's own figures: today's cost, budgets, findings, whether we are behind.

It has a few milliseconds, so it takes what the index holds and waits for nobody.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from watchkeeper.queries.budget import QUOTA, Spent, budget_report, check_line, period_of, spent
from watchkeeper.store.sqlite.reading import Reader
from watchkeeper.store.sqlite.state import State

_DAY_MS = 86_400_000


class Today(NamedTuple):
    """Today, as far as it is on record.

    Attributes:
        spent: What today's requests cost.
        behind: The session's transcript holds more than the index does, so figures are lower bounds.
        budget: The worst budget's state, as `queries.budget.check_line` names it.
        budget_percent: How much of that budget is used.
        alerts: Findings of the last day.
        quota: Whether that budget is a window of the subscription's quota, and no sum of money.
    """

    spent: Spent
    behind: bool
    budget: str
    budget_percent: float | None
    alerts: int
    quota: bool = False


def today(reader: Reader, state: State, *, billing: str, now_ms: int, transcript: str | None = None) -> Today:
    """Return today's figures.

    Args:
        reader: The index.
        state: The state file.
        billing: ``api`` or ``subscription``.
        now_ms: The present time.
        transcript: Path of the running session's transcript.
    """
    start, end = period_of("daily", now_ms)
    report = budget_report(reader, state, billing=billing, now_ms=now_ms)
    worst, _ = check_line(report)
    counted = [row for row in report["budgets"] if row["state"] == worst and row["used_percent"] is not None]
    most = max(counted, key=lambda row: float(row["used_percent"]), default=None)
    return Today(
        spent=spent(reader, start, end),
        behind=_is_behind(reader, transcript),
        budget=worst,
        budget_percent=most["used_percent"] if most else None,
        alerts=int(reader.value("SELECT count(*) FROM findings WHERE at >= ?", (now_ms - _DAY_MS,)) or 0),
        quota=most is not None and most["unit"] == QUOTA,
    )


def _is_behind(reader: Reader, transcript: str | None) -> bool:
    if not transcript:
        return False
    try:
        size = os.stat(transcript).st_size  # noqa: PTH116 - a path object costs more than the call
    except (OSError, ValueError):
        return False
    position = reader.value("SELECT max(position) FROM files WHERE path = ?", (transcript,))
    return bool((position or 0) < size)


def basis_words(found: Spent) -> str:
    """Return where a sum's figures are from: ``computed``, ``reported``, both, or nothing."""
    computed = found.requests - found.unpriced - found.reported
    names: list[Any] = ["reported"] if found.reported else []
    if computed > 0:
        names.append("computed")
    return " + ".join(names)
