"""Dated rows of prices, and which one holds on a day.

Rows that follow from the price source (`compiled`) are replaced whenever the table is compiled again; rows of our own
(`overrides`) always beat them.
"""

from __future__ import annotations

from typing import NamedTuple

PICO_PER_MICRO = 1_000_000
"""Pico-dollars in a micro-dollar. A price of one dollar per million tokens is this many pico-dollars per token."""


class Row(NamedTuple):
    """One price in force over a span of UTC days.

    Attributes:
        model: Name as `ids.parse_model` gives it.
        provider: ``anthropic``, ``bedrock``, ``bedrock-regional`` or ``vertex``.
        speed: ``standard`` or ``fast``.
        since: First day (``YYYY-MM-DD``); empty: from the beginning.
        until: First day on which it no longer holds; empty: it holds still.
        over: Prompt tokens (input, cache writes and cache reads) above which the row prices the whole request.
        rates: Pico-dollars per token of input, output, 5-minute cache write, 1-hour cache write, cache read; None
            where the source has none.
        source: Where the price is from.
        reason: Why it is there, for a row of our own.
    """

    model: str
    provider: str
    speed: str
    since: str
    until: str
    over: int
    rates: tuple[int | None, ...]
    source: str
    reason: str = ""


def pico(dollars_per_mtok: str) -> int:
    """Return pico-dollars per token for a decimal price per million tokens.

    Raises:
        ValueError: The text is no decimal, or finer than a pico-dollar per token.
    """
    whole, _, fraction = dollars_per_mtok.partition(".")
    if len(fraction) > 6 or not (whole + fraction).isdecimal():
        raise ValueError(f"{dollars_per_mtok!r} is no price per million tokens")
    return int((whole or "0") + fraction.ljust(6, "0"))


def dollars(pico_per_token: int, scale: int = 1) -> str:
    """Return a price per million tokens as a decimal, with at least two places.

    Args:
        pico_per_token: Pico-dollars per token, times `scale`.
        scale: What the number has been multiplied by.
    """
    places = 6
    while (pico_per_token * 10 ** (places - 6)) % scale and places < 24:
        places += 1
    whole, fraction = divmod(pico_per_token * 10 ** (places - 6) // scale, 10**places)
    return f"{whole}.{f'{fraction:0{places}d}'.rstrip('0'):0<2}"


def day_of(at_ms: int) -> str:
    """Return the UTC day of a time in epoch milliseconds, as ``YYYY-MM-DD`` (years 1 to 9999)."""
    # Howard Hinnant's civil-from-days arithmetic; importing datetime would cost a quick command a millisecond.
    days = at_ms // 86_400_000 + 719_468
    era, of_era = divmod(days, 146_097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    day_of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    return f"{year:04d}-{month:02d}-{day:02d}"


def in_force(rows: list[Row], day: str) -> list[Row]:
    """Return the rows that hold on a day, one for each `over`, the lowest first.

    Of rows with the same `over` the one that began last holds. A later row without a tier ends an earlier tier.
    """
    holding = [row for row in rows if row.since <= day and (not row.until or day < row.until)]
    if not holding:
        return []
    newest = max(row.since for row in holding)
    return sorted((row for row in holding if row.since == newest), key=lambda row: row.over)
