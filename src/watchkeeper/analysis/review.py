"""The week in review: what it cost, where that went, what stood out, and what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from watchkeeper.analysis.proposals import with_proposals
from watchkeeper.pricing.rates import RateCard
from watchkeeper.queries.attribution import top_prompts
from watchkeeper.queries.errors import errors
from watchkeeper.queries.quality import quality
from watchkeeper.queries.stats import cost_by_day, longest_sessions, stats
from watchkeeper.queries.stretches import Stretch
from watchkeeper.store.sqlite.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 5
"""Entries of each list."""

_SIGNALS = ("repeated_reads", "failing_commands", "idle_definitions", "loops", "most_edited")


def review(
    reader: Reader,
    stretch: Stretch,
    card: RateCard,
    now_ms: int,
    budgets: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the review of a stretch.

    Args:
        reader: The index.
        stretch: The week, or any other time.
        card: The prices for what is estimated.
        now_ms: The present time.
        budgets: The report of `queries.budget`, where there is one.
    """
    figures = stats(reader, stretch, now_ms)
    prompts = top_prompts(reader, stretch, limit=MOST)
    signals = with_proposals(quality(reader, stretch, card, limit=MOST))
    failures = errors(reader, stretch, limit=MOST, with_expected=False)
    return {
        "stretch": figures["stretch"],
        "figures": figures,
        "days": cost_by_day(reader, stretch),
        "projects": prompts["projects"],
        "prompts": prompts["prompts"],
        "sessions": longest_sessions(reader, stretch, MOST),
        "quality": {name: signals[name] for name in _SIGNALS},
        "errors": {
            name: failures[name] for name in ("unexpected", "by_kind", "by_tool", "expected", "errors")
        }
        | {"api_given_up": len(failures["api_errors"]["given_up"])},
        "budgets": None if budgets is None else budgets["budgets"],
        "changes": _changes(signals),
    }


def _changes(signals: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what to change first: of each kind of signal the heaviest, then the rest of them."""
    found: dict[str, dict[str, Any]] = {}
    for place in range(MOST):
        for name in _SIGNALS:
            rows = signals[name]
            if place < len(rows):
                row = rows[place]
                cost = {key: row.get(key) for key in ("cost_usd", "cost_basis")}
                tokens = row.get("again_tokens", row.get("tokens"))
                said = {
                    "signal": name,
                    "change": row["change"],
                    "proposal": row["proposal"],
                    "tokens": tokens,
                    **cost,
                }
                # Several sessions may ask for the same change.
                found.setdefault(row["proposal"], said)
    return list(found.values())[:MOST]
