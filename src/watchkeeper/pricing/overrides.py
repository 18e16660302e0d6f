"""Prices of our own, each with its source and reason. They beat the compiled rows and no compilation touches them.

A day that any override of a model, provider and speed covers is priced by overrides alone, so a tier comes with its
base row.
"""

from __future__ import annotations

from watchkeeper.pricing.table import Row, pico

_PRICING = "platform.claude.com/docs/en/about-claude/pricing"
_FAST = "platform.claude.com/docs/en/build-with-claude/fast-mode"

WEB_SEARCH = 10_000_000_000
"""Pico-dollars for one web search: 10 dollars per thousand, never discounted (`_PRICING`, server tools)."""

RETURNED_TO_STANDARD = {("claude-opus-4-6", "fast"): "2026-06-29"}
"""Model and speed -> first UTC day on which the provider serves and bills it at standard speed (`_FAST`)."""

REGIONAL_FROM = (4, 5)
"""First version of which Bedrock and Vertex bill a tenth more for requests bound to a region (`_PRICING`)."""

US_INFERENCE_FROM = (4, 6)
"""First version of which the first party bills a tenth more for ``inference_geo: us`` (`_PRICING`)."""


def _row(
    model: str,
    prices: str,
    *,
    provider: str = "anthropic",
    speed: str = "standard",
    since: str = "",
    until: str = "",
    over: int = 0,
    source: str = _PRICING,
    reason: str,
) -> Row:
    rates = tuple(pico(price) for price in prices.split())
    return Row(model, provider, speed, since, until, over, rates, source, reason)


_LIMITED = "limited availability: the compiled source leaves it out; priced as its Fable twin"
_CHEAPER_READS = "cache reads were halved on 2026-10-07; the compiled source knows the new price only"
_LONG_CONTEXT = "above 200,000 prompt tokens the whole request cost more; missing in the compiled source"
_FAST_ONCE = "fast mode cost six times as much; missing in the compiled source"

OVERRIDES: tuple[Row, ...] = (
    # dollars per million tokens: input, output, 5-minute cache write, 1-hour cache write, cache read
    _row("claude-mythos-5", "10 50 12.5 20 1", reason=_LIMITED),
    _row("claude-mythos-5-1", "10 50 12.5 20 0.25", reason=_LIMITED),
    _row("claude-sonnet-5-5", "2 10 2.5 4 0.20", until="2026-10-07", reason=_CHEAPER_READS),
    _row(
        "claude-sonnet-5-5",
        "2 10 2.5 4 0.20",
        provider="bedrock",
        until="2026-10-07",
        reason=_CHEAPER_READS,
    ),
    _row(
        "claude-sonnet-5-5",
        "2.2 11 2.75 4.4 0.22",
        provider="bedrock-regional",
        until="2026-10-07",
        reason=_CHEAPER_READS,
    ),
    _row(
        "claude-sonnet-5-5", "2 10 2.5 4 0.20", provider="vertex", until="2026-10-07", reason=_CHEAPER_READS
    ),
    _row("claude-sonnet-4", "3 15 3.75 6 0.3", reason=_LONG_CONTEXT),
    _row("claude-sonnet-4", "6 22.5 7.5 12 0.6", over=200_000, reason=_LONG_CONTEXT),
    _row(
        "claude-opus-4-6",
        "30 150 37.5 60 3",
        speed="fast",
        until="2026-03-13",
        source=_FAST,
        reason=_FAST_ONCE,
    ),
    _row(
        "claude-opus-4-6",
        "60 225 75 120 6",
        speed="fast",
        until="2026-03-13",
        over=200_000,
        source=_FAST,
        reason="fast mode above 200,000 prompt tokens, as long as there was that tier",
    ),
    _row(
        "claude-opus-4-6",
        "30 150 37.5 60 3",
        speed="fast",
        since="2026-03-13",
        until="2026-06-29",
        source=_FAST,
        reason=_FAST_ONCE,
    ),
    _row(
        "claude-opus-4-7",
        "30 150 37.5 60 3",
        speed="fast",
        until="2026-07-24",
        source=_FAST,
        reason=_FAST_ONCE + "; removed on 2026-07-24",
    ),
)
