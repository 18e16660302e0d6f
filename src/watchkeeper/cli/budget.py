"""``wk budget``: what may be spent, how much of it is gone, and where it is heading."""

from __future__ import annotations

import argparse
import time
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import money, wrapped
from watchkeeper.errors import UsageError

HELP = "Show budgets with what is spent, left and forecast; set, remove or check them."

_TONES = {"ok": "good", "warn": "warn", "over": "bad", "unknown": "warn", "not counted": "dim"}
_OLD_SECONDS = 3600
_WINDOWS = {"5h": "five_hour", "7d": "seven_day", "five-hour": "five_hour", "seven-day": "seven_day"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what to do and the budget."""
    parser.add_argument(
        "action", nargs="?", choices=("list", "set", "remove", "check"), default="list", help="default: list"
    )
    parser.add_argument(
        "period", nargs="?", metavar="PERIOD", help="daily, weekly, monthly; five_hour, seven_day"
    )
    parser.add_argument(
        "amount", nargs="?", metavar="AMOUNT", help="dollars, or a share of quota such as 80%%"
    )
    parser.add_argument("--project", default="", metavar="PROJECT", help="only this project (name or path)")
    parser.add_argument(
        "--quiet", action="store_true", help="check: say something only when a budget is over"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print or change the budgets; ``check`` exits with 1 when one is over."""
    action = arguments.action
    if action == "check":
        _refuse(arguments.period, arguments.amount)
        return _check(arguments, context)
    if action == "set":
        _set(arguments, context)
    elif action == "remove":
        _refuse(arguments.amount)
        _remove(arguments, context)
    else:
        _refuse(arguments.period, arguments.amount)
    return _list(context)


def _refuse(*words: str | None) -> None:
    for word in words:
        if word is not None:
            raise UsageError(f"unexpected {word!r}", hint="wk budget set daily 5")


def _set(arguments: argparse.Namespace, context: Context) -> None:
    if arguments.period is None or arguments.amount is None:
        raise UsageError("a budget needs a period and an amount", hint="wk budget set daily 5")
    from watchkeeper.queries.budget import MONEY, QUOTA, Budget, set_budget
    from watchkeeper.store.sqlite.state import open_state

    period = _WINDOWS.get(arguments.period, arguments.period)
    text = arguments.amount.strip()
    if text.endswith("%"):
        if arguments.project:
            raise UsageError("quota is not counted by project", place="--project")
        period = "seven_day" if period == "weekly" else period
        budget = Budget(period, "", QUOTA, _amount(text[:-1], 2))
    else:
        budget = Budget(period, arguments.project.rstrip("/"), MONEY, _amount(text.removeprefix("$"), 6))
    with open_state(context.settings.places) as state:
        set_budget(state, budget, time.time_ns() // 1_000_000)


def _amount(text: str, places: int) -> int:
    """Return a decimal times ten to the power of `places`."""
    whole, _, fraction = text.strip().partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit()) or len(fraction) > places or len(whole) > 12:
        raise UsageError(
            f"{text[:40]!r} is no amount",
            hint="Use dollars such as 5 or 12.50, or 80% of a quota.",
            place="AMOUNT",
        )
    return int(whole or "0") * int(10**places) + int(fraction.ljust(places, "0") or "0")


def _remove(arguments: argparse.Namespace, context: Context) -> None:
    if arguments.period is None:
        raise UsageError("which budget is to be removed", hint="wk budget remove daily")
    from watchkeeper.queries.budget import remove_budget
    from watchkeeper.store.sqlite.state import open_state

    with open_state(context.settings.places) as state:
        remove_budget(state, _WINDOWS.get(arguments.period, arguments.period), arguments.project.rstrip("/"))


def _check(arguments: argparse.Namespace, context: Context) -> int:
    """Answer from what is there: a shell that starts must not wait for an import."""
    from watchkeeper.queries.budget import budget_report, check_line
    from watchkeeper.queries.quota import billing
    from watchkeeper.store.sqlite.reading import open_present, store_failures
    from watchkeeper.store.sqlite.state import read_state

    places, now = context.settings.places, time.time_ns() // 1_000_000
    with read_state(places, wait_ms=50) as state, store_failures(places.database):
        paid = billing(_mode(context), state, now)
        reader = open_present(places)
        report = budget_report(reader, state, billing=paid, now_ms=now)
        if reader is not None:
            reader.close()
    worst, line = check_line(report)
    as_of = _as_of(context)
    if context.json:
        context.emit({**report, "state": worst, "line": line, "as_of": as_of})
    elif worst == "over" or not arguments.quiet:
        tone = {"over": "bad", "warn": "warn", "ok": "good"}.get(worst, "dim")
        old = f", as of {local_time(as_of)}" if as_of and worst != "none" else ""
        context.line(context.style(f"wk: {line}{old}", tone))
    return 1 if worst == "over" else 0


def _as_of(context: Context) -> str | None:
    """Return when the index was last written, where no daemon keeps it up to date and that was a while ago."""
    from watchkeeper.queries.forms import rfc3339

    places = context.settings.places
    if places.recorder_socket.exists():
        return None
    written = []
    for name in (places.database.name, f"{places.database.name}-wal"):
        try:
            written.append((places.home / name).stat().st_mtime)
        except OSError:
            continue
    newest = max(written, default=None)
    if newest is None or time.time() - newest < _OLD_SECONDS:
        return None
    return rfc3339(int(newest * 1000))


def _mode(context: Context) -> str:
    from watchkeeper.pricing.billing import billing_mode

    return billing_mode(context.settings["billing.mode"])


def _list(context: Context) -> int:
    from watchkeeper.cli.freshness import fresh_reader, with_age
    from watchkeeper.pricing.rates import load_rates
    from watchkeeper.queries.budget import budget_report, costs_at
    from watchkeeper.queries.quota import billing
    from watchkeeper.store.sqlite.state import read_state

    now, rates = time.time_ns() // 1_000_000, load_rates(context.settings)
    with read_state(context.settings.places) as state, fresh_reader(context) as (reader, age):
        paid = billing(_mode(context), state, now)
        costs = costs_at(reader, rates)
        report = budget_report(reader, state, billing=paid, now_ms=now, costs=costs)
    if context.json:
        context.emit(with_age(report, age))
    else:
        _print(report, context)
    return 0


def _print(report: dict[str, Any], context: Context) -> None:
    money = [row for row in report["budgets"] if row["unit"] == "usd"]
    quotas = [row for row in report["budgets"] if row["unit"] == "quota"]
    if not money and not quotas:
        context.line("No budget is set.")
        context.next_step("wk budget set daily 5 · wk budget set monthly 200 --project app")
        return
    if money:
        _print_money(money, context)
    if quotas:
        if money:
            context.line()
        _print_quotas(quotas, context)
    context.next_step(
        "wk budget check --quiet says in a shell's start-up when one is over · wk usage --by day"
    )


def _print_money(rows: list[dict[str, Any]], context: Context) -> None:
    columns = (
        Column("budget"),
        Column("project", least=8),
        Column("limit $", right=True),
        Column("spent $", right=True),
        Column("left $", right=True),
        Column("used %", right=True),
        Column("forecast $", right=True),
        Column("basis", drop=1),
        Column("state"),
    )
    cells: list[list[str | Cell]] = []
    for row in rows:
        forecast = money(row["forecast_usd"], about=True)
        cells.append(
            [
                row["period"],
                row["project"] or "all",
                money(row["limit_usd"]),
                _spent(row),
                money(row["left_usd"]),
                "—" if row["used_percent"] is None else f"{row['used_percent']:.1f}",
                Cell(forecast, "warn") if row["forecast_over"] else forecast,
                _basis(row["cost_basis"]),
                Cell(row["state"], _TONES[row["state"]]),
            ]
        )
    for line in table(context, columns, cells):
        context.line(line)
    notes = ["The forecast is linear: spent so far over the part of the period that has passed."]
    if any(row["unpriced_requests"] for row in rows):
        most = max(row["unpriced_requests"] for row in rows)
        notes.append(f"Up to {most:,} requests have no price and are missing here (wk usage --by model).")
    if any(row["api_equivalent"] for row in rows):
        notes.append("Figures are API-equivalent: a subscription is not billed by token, its quota counts.")
    for note in notes:
        for line in wrapped(note, context.width):
            context.line(context.style(line, "dim"))


def _print_quotas(rows: list[dict[str, Any]], context: Context) -> None:
    columns = (
        Column("quota"),
        Column("limit %", right=True),
        Column("used %", right=True),
        Column("resets"),
        Column("seen", drop=1),
        Column("state"),
    )
    cells: list[list[str | Cell]] = [
        [
            row["period"].replace("_", "-"),
            f"{row['limit_percent']:g}",
            "—" if row["spent_percent"] is None else f"{row['spent_percent']:g}",
            local_time(row["until"]),
            local_time(row["seen_at"]),
            Cell(row["state"], _TONES[row["state"]]),
        ]
        for row in rows
    ]
    for line in table(context, columns, cells):
        context.line(line)


def _spent(row: dict[str, Any]) -> str:
    spent = money(row["spent_usd"])
    if row["spent_usd"] is None or spent.startswith("<"):
        return spent
    return f"≥{spent}" if row["partial_requests"] or row["unpriced_requests"] else spent


def _basis(counts: dict[str, int]) -> str:
    named = [name for name in ("reported", "computed", "estimated") if counts[name]]
    return " + ".join(named) or "—"
