"""What `wk usage` says of a home, by every key, from its index alone or from the quick scan alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from watchkeeper.pipeline.usage_scan import refresh
from watchkeeper.pricing.rates import load_rates
from watchkeeper.queries.usage import Filter, usage
from watchkeeper.queries.usage_sources import requests_of
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import open_reader

KEYS = (
    ("day",),
    ("month", "project"),
    ("session",),
    ("model",),
    ("agent",),
    ("block",),
    ("branch",),
    ("skill", "mcp"),
)
ONLY_INDEXED = ("title", "client_cost_usd", "difference_usd")
"""What no transcript's usage says."""

Answers = dict[tuple[str, ...], dict[str, Any]]


def indexed_usage(settings: Settings) -> Answers:
    """Return the answers from the index of a home that is up to date."""
    return _answers(settings, scan=False)


def scanned_usage(settings: Settings, home: Path) -> Answers:
    """Return the answers from a scan of the same transcripts for an empty home."""
    home.mkdir()
    return _answers(Settings(home, settings.environment), scan=True)


def joined_usage(settings: Settings) -> Answers:
    """Return the answers from the index and a scan of what it does not hold."""
    return _answers(settings, scan=True)


def _answers(settings: Settings, *, scan: bool) -> Answers:
    rates = load_rates(settings)
    answers: Answers = {}
    with open_reader(settings.places) as reader:
        cache = refresh(settings, reader, rates) if scan else None
        for by in KEYS:
            answer = usage(requests_of(reader, rates, cache, by, Filter()), by, Filter())
            for row in answer["rows"]:
                for name in ONLY_INDEXED:
                    row.pop(name, None)
                    row["key"].pop(name, None)
            answers[by] = answer
        if cache is not None:
            cache.close()
    return answers
