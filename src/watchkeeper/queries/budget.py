"""Budgets: what may be spent in a day, a week or a month, and how much of it is gone.

Money budgets count the requests of the index. On a subscription nothing is billed per token, so budgets count quota
there: shares of the client's five-hour and seven-day windows; money is then shown as API-equivalent and never *over*.
A forecast is linear: what was spent so far, over the part of the period that has passed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from watchkeeper.errors import NotFoundError, UsageError
from watchkeeper.queries.forms import dollars, rfc3339
from watchkeeper.queries.projects import sessions_of_project
from watchkeeper.queries.quota import WINDOWS
from watchkeeper.queries.quota import quota as quota_rows
from watchkeeper.store.sqlite.reading import Reader
from watchkeeper.store.sqlite.state import State

if TYPE_CHECKING:
    from watchkeeper.pricing.rates import RateCard

PERIODS = ("daily", "weekly", "monthly")
MONEY, QUOTA = "usd", "quota"
WARN_AT = 0.8
"""Share of a budget from which its state is ``warn``."""

_FULL = 10_000
"""Hundredths of a per cent in the whole."""


class Budget(NamedTuple):
    """One budget.

    Attributes:
        period: ``daily``, ``weekly`` or ``monthly`` for money; a window of the client for quota.
        project: The project's name or path; empty for everything.
        unit: ``usd`` or ``quota``.
        amount: Micro-dollars, or hundredths of a per cent.
    """

    period: str
    project: str
    unit: str
    amount: int


class Spent(NamedTuple):
    """What the requests of a period cost.

    Attributes:
        micros: Micro-dollars, as far as priced.
        requests: Requests in all.
        unpriced: Those without a price, which `micros` lacks.
        reported: Those whose cost the client reported.
        partial: Those whose output is a lower bound.
    """

    micros: int = 0
    requests: int = 0
    unpriced: int = 0
    reported: int = 0
    partial: int = 0


def set_budget(state: State, budget: Budget, now_ms: int) -> None:
    """Set a budget, in place of the one of the same period, project and unit.

    Raises:
        UsageError: The period does not fit the unit, or the amount is not above zero.
    """
    known = PERIODS if budget.unit == MONEY else tuple(WINDOWS)
    if budget.period not in known:
        raise UsageError(f"there is no period {budget.period[:40]!r}", hint=f"Use one of {', '.join(known)}.")
    if not 0 < budget.amount < 10**15:
        raise UsageError("a budget must be above zero", place="AMOUNT")
    state.change("INSERT OR REPLACE INTO budgets VALUES (?, ?, ?, ?, ?)", (*budget, now_ms))


def remove_budget(state: State, period: str, project: str) -> None:
    """Remove the budgets of a period and project.

    Raises:
        NotFoundError: There is none.
    """
    if not state.change("DELETE FROM budgets WHERE period = ? AND project = ?", (period, project)):
        of_project = f" of {project}" if project else ""
        raise NotFoundError(f"there is no {period} budget{of_project}", hint="Run `wk budget` for the list.")


def budgets(state: State) -> list[Budget]:
    """Return all budgets: overall ones first, short periods before long ones."""
    order = (*WINDOWS, *PERIODS)
    found = [Budget(*row) for row in state.rows("SELECT period, project, unit, amount FROM budgets")]
    return sorted(found, key=lambda one: (one.project, order.index(one.period), one.unit))


def period_of(period: str, now_ms: int) -> tuple[int, int]:
    """Return the period around a moment: its start and its end in epoch milliseconds, in the local time zone."""
    day = time.localtime(now_ms / 1000)
    year, month, date = day.tm_year, day.tm_mon, day.tm_mday
    if period == "daily":
        return _midnight(year, month, date), _midnight(year, month, date + 1)
    if period == "weekly":
        monday = date - day.tm_wday
        return _midnight(year, month, monday), _midnight(year, month, monday + 7)
    return _midnight(year, month, 1), _midnight(year, month + 1, 1)


class Costs(NamedTuple):
    """The expressions for a request's cost in micro-dollars and for its basis."""

    cost: str = "cost_micros"
    basis: str = "cost_basis"


STORED = Costs()
"""What the index was written with."""


def costs_at(reader: Reader, rates: RateCard) -> Costs:
    """Return the expressions that give costs at these prices, also where the index was written with others."""
    from watchkeeper.store.sqlite.costs import PRICED_BY, RATES, price_of

    if reader.value("SELECT value FROM meta WHERE name = ?", (RATES,)) == rates.digest:
        return STORED

    def price(*values: Any) -> int | None:
        return price_of(rates, *values)

    reader.connection.create_scalar_function("price_at", price, len(PRICED_BY), deterministic=True)
    cost = f"coalesce(reported_micros, price_at({', '.join(PRICED_BY)}))"
    return Costs(
        cost, f"CASE WHEN reported_micros IS NOT NULL THEN 'reported' WHEN {cost} > -1 THEN 'computed' END"
    )


def spent(reader: Reader, since_ms: int, until_ms: int, project: str = "", costs: Costs = STORED) -> Spent:
    """Return what the requests of a stretch cost.

    Args:
        reader: The index.
        since_ms: Start, epoch milliseconds.
        until_ms: End, exclusive.
        project: Only this project's sessions, where given.
        costs: How a request's cost is known; see `costs_at`.
    """
    sessions = sessions_of_project(reader, project) if project else None
    total = [0] * len(Spent._fields)
    grouping = "GROUP BY session_id" if sessions is not None else ""
    for session_id, *sums in reader.connection.execute(
        f"SELECT {'session_id' if grouping else 'NULL'}, coalesce(sum({costs.cost}), 0), count(*),"
        f" coalesce(sum({costs.cost} IS NULL), 0), coalesce(sum({costs.basis} IS 'reported'), 0),"
        " coalesce(sum(partial), 0) FROM requests WHERE counted = 1"
        f" AND quarter >= :since - 900000 AND quarter < :until AND at >= :since AND at < :until {grouping}",
        {"since": since_ms, "until": until_ms},
    ):
        if sessions is None or session_id in sessions:
            total = [a + b for a, b in zip(total, sums, strict=True)]
    return Spent(*total)


def budget_report(
    reader: Reader | None,
    state: State,
    *,
    billing: str,
    now_ms: int,
    costs: Costs = STORED,
) -> dict[str, Any]:
    """Return ``{"billing", "budgets": [...], "quota": [...], "over": n}``.

    Args:
        reader: The index; without one it is not known what is spent.
        state: The state file.
        billing: ``api`` or ``subscription``; see `queries.quota.billing`.
        now_ms: The present time.
        costs: How a request's cost is known.
    """
    limits = quota_rows(state, now_ms)
    rows = []
    for budget in budgets(state):
        if budget.unit == MONEY:
            rows.append(_money_row(reader, budget, billing, now_ms, costs))
        else:
            rows.append(_quota_row(budget, limits, billing))
    if billing == "subscription":
        limited = {row["period"] for row in rows if row["unit"] == QUOTA}
        rows += [
            _quota_row(Budget(row["window"], "", QUOTA, _FULL), limits, billing) | {"implied": True}
            for row in limits
            if row["window"] not in limited
        ]
    over = sum(row["state"] == "over" for row in rows)
    return {"billing": billing, "budgets": rows, "quota": limits, "over": over}


def _money_row(
    reader: Reader | None, budget: Budget, billing: str, now_ms: int, costs: Costs
) -> dict[str, Any]:
    start, end = period_of(budget.period, now_ms)
    found = Spent() if reader is None else spent(reader, start, end, budget.project, costs)
    known = reader is not None and (found.requests > found.unpriced or not found.requests)
    forecast = found.micros * (end - start) // max(1, now_ms - start)
    # Within the first hundredth of a period a line through its start says nothing.
    foreseen = now_ms - start >= (end - start) // 100 and found.requests > found.unpriced
    equivalent = billing == "subscription"
    state = _state(found.micros, budget.amount) if known else "unknown"
    return {
        "period": budget.period,
        "project": budget.project or None,
        "unit": MONEY,
        "since": rfc3339(start),
        "until": rfc3339(end),
        "limit_usd": dollars(budget.amount),
        "spent_usd": dollars(found.micros) if known else None,
        "left_usd": _signed(budget.amount - found.micros) if known else None,
        "used_percent": round(100 * found.micros / budget.amount, 2) if known else None,
        "forecast_usd": dollars(forecast) if foreseen else None,
        "forecast_basis": "estimated" if foreseen else None,
        "forecast_over": foreseen and forecast > budget.amount,
        "cost_basis": {
            "reported": found.reported,
            "computed": found.requests - found.unpriced - found.reported,
            "estimated": 0,
        },
        "unpriced_requests": found.unpriced,
        "partial_requests": found.partial,
        "api_equivalent": equivalent,
        "state": "not counted" if equivalent else state,
    }


def _quota_row(budget: Budget, limits: list[dict[str, Any]], billing: str) -> dict[str, Any]:
    limit = next((row for row in limits if row["window"] == budget.period), None)
    used = limit["used_percent"] if limit else None
    amount = budget.amount / 100
    counted = billing == "subscription" and used is not None
    return {
        "period": budget.period,
        "project": None,
        "unit": QUOTA,
        "since": None,
        "until": limit["resets_at"] if limit else None,
        "limit_percent": amount,
        "spent_percent": used,
        "left_percent": None if used is None else round(amount - used, 2),
        "used_percent": None if used is None else round(100 * used / amount, 2),
        "seen_at": limit["seen_at"] if limit else None,
        "basis": "reported" if used is not None else None,
        "state": _state(round((used or 0) * 100), budget.amount) if counted else "not counted",
    }


def check_line(report: dict[str, Any]) -> tuple[str, str]:
    """Return the worst state of a report, and one line that says why.

    States are ``over``, ``warn``, ``ok``, ``unknown`` (nothing has a price, or there is no index), ``none``.
    """
    rows = [row for row in report["budgets"] if row["state"] in ("ok", "warn", "over")]
    if not rows:
        unknown = any(row["state"] == "unknown" for row in report["budgets"])
        return ("unknown", "what is spent is not known") if unknown else ("none", "no budget counts here")
    worst = max(rows, key=lambda row: (("ok", "warn", "over").index(row["state"]), row["used_percent"]))
    what = f"{worst['period'].replace('_', '-')} {'quota' if worst['unit'] == QUOTA else 'budget'}"
    if worst["project"]:
        what += f" of {worst['project']}"
    if worst["unit"] == QUOTA:
        figures = f"{worst['spent_percent']:g} % of {worst['limit_percent']:g} %"
    else:
        figures = f"${float(worst['spent_usd']):,.2f} of ${float(worst['limit_usd']):,.2f}"
    unpriced = worst.get("unpriced_requests")
    more = f", and {unpriced:,} unpriced requests" if unpriced else ""
    return worst["state"], f"{what}: {figures} ({worst['used_percent']:.0f} %){more}"


def _state(used: int, amount: int) -> str:
    return "over" if used >= amount else "warn" if used >= amount * WARN_AT else "ok"


def _signed(micros: int) -> str | None:
    return dollars(micros) if micros >= 0 else f"-{dollars(-micros)}"


def _midnight(year: int, month: int, day: int) -> int:
    # mktime carries months and days over, and asks the zone itself whether summer time holds.
    return int(time.mktime((year, month, day, 0, 0, 0, 0, 0, -1))) * 1000
