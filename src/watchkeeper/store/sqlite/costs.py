"""Fills in what requests cost, and does so anew for all of them when a price has changed."""

from __future__ import annotations

from typing import Any

import apsw

from watchkeeper.pricing.rates import RateCard

PRICED_BY = (
    "model", "last_at", "input_tokens", "output_tokens", "cache_write_tokens", "cache_write_5m_tokens",
    "cache_write_1h_tokens", "cache_read_tokens", "web_searches", "service_tier", "speed", "region",
)  # fmt: skip
"""The columns of a request that its price depends on, in the order in which `price_of` takes them."""

RATES = "rates"
"""Name of the mark that says with which prices the index was written."""

OWN_RATES = "rates_own"
"""Name of the mark that some of them were the user's own."""


def price_of(rates: RateCard, *values: Any) -> int | None:
    """Return the price of a request in micro-dollars, or ``None`` where there is none, from its `PRICED_BY`."""
    named = dict(zip(PRICED_BY, values, strict=True))
    return rates.cost(at_ms=named.pop("last_at"), **named)


def fill_cost(row: dict[str, Any], rates: RateCard) -> None:
    """Set cost and basis of a row of ``requests`` that the client reported no cost for."""
    if row["reported_micros"] is None and row["counted"]:
        row["cost_micros"] = price_of(rates, *(row[name] for name in PRICED_BY))
        row["cost_basis"] = None if row["cost_micros"] is None else "computed"


def price_anew(connection: apsw.Connection, rates: RateCard) -> None:
    """Compute every cost anew where the index was written with other prices."""
    marked = connection.execute("SELECT value FROM meta WHERE name = ?", (RATES,)).fetchall()
    if marked and marked[0][0] == rates.digest:
        return
    columns = ", ".join(PRICED_BY)
    rows = connection.execute(
        f"SELECT request_key, {columns} FROM requests WHERE reported_micros IS NULL AND counted = 1"
    ).fetchall()
    costs = ((price_of(rates, *values), key) for key, *values in rows)
    with connection:
        connection.executemany(
            "UPDATE requests SET cost_micros = ?1, cost_basis = CASE WHEN ?1 IS NULL THEN NULL ELSE 'computed' END"
            " WHERE request_key = ?2",
            costs,
        )
        marks = ((RATES, rates.digest), (OWN_RATES, 1 if rates.has_own else 0))
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", marks)
