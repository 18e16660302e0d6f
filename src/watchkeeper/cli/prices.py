"""``wk prices``: the prices in force, with where each is from."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import reason_lines, wrapped
from watchkeeper.errors import UsageError

if TYPE_CHECKING:
    from watchkeeper.pricing.rates import RateCard, Rates

HELP = "List the prices in force on a day, in dollars per million tokens, with the source of each."

_COLUMNS = (
    Column("model", least=16),
    Column("provider", least=8, drop=3),
    Column("speed", drop=4),
    Column("over", right=True, drop=2),
    Column("input", right=True),
    Column("output", right=True),
    Column("write 5m", right=True),
    Column("write 1h", right=True),
    Column("read", right=True),
    Column("days (UTC)", drop=5),
    Column("source", least=12, drop=1),
)
_EXPLAINED = "dollars per million tokens; over: for prompts of more tokens; sources in full: --json"
_TELLING = ("provider", "speed", "over")
"""Columns that stay where rows differ in them: without them two prices of one model would stand side by side."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the model and the day."""
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="an id as a client writes it (default: all)"
    )
    parser.add_argument("--at", metavar="DATE", help="the prices of that UTC day (default: today)")
    parser.add_argument("--all", action="store_true", help="the lists of Bedrock and Vertex too")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the table, or ``{"at", "digest", "rows": [...]}``; 1 when the model has no price."""
    from watchkeeper.pricing.rates import load_rates
    from watchkeeper.pricing.table import day_of

    card = load_rates(context.settings)
    at = _moment(arguments.at)
    rows = _rows(card, arguments.model, at) if arguments.model else card.listed(at)
    if not arguments.model and not arguments.all and not context.json:
        rows = [row for row in rows if row.provider in ("anthropic", "")]
    if context.json:
        context.emit({"at": day_of(at), "digest": card.digest, "rows": [_document(row) for row in rows]})
        return 0 if rows else 1
    if not rows:
        context.line(f"{arguments.model} has no price on {day_of(at)}: its requests are shown as unpriced.")
        context.next_step(
            f'Give it one in {context.settings.places.config} under [prices."{arguments.model}"]'
        )
        return 1
    cells = [_cells(row) for row in rows]
    for line in table(context, _columns(cells), cells):
        context.line(line)
    for line in wrapped(_EXPLAINED, context.width):
        context.line(context.style(line, "dim"))
    _print_reasons(rows, context)
    context.next_step("wk prices --at 2026-10-01 · wk prices MODEL · your own: [prices.MODEL] in config.toml")
    return 0


def _moment(text: str | None) -> int:
    now = time.time_ns() // 1_000_000
    if text is None:
        return now
    from datetime import UTC, date, datetime

    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text[:40]!r} is no date", hint="Use a date such as 2026-11-01.", place="--at"
        ) from error
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1000)


def _rows(card: RateCard, model: str, at: int) -> list[Rates]:
    return card.levels_for(model, at) + [
        row for row in card.levels_for(model, at, speed="fast") if row.speed == "fast"
    ]


def _columns(rows: list[list[str | Cell]]) -> list[Column]:
    return [
        column._replace(drop=0)
        if column.title in _TELLING and len({row[index] for row in rows}) > 1
        else column
        for index, column in enumerate(_COLUMNS)
    ]


def _cells(row: Rates) -> list[str | Cell]:
    figures = [price or "—" for price in row.per_mtok().values()]
    days = f"{row.since or '…'} – {row.until or '…'}" if row.since or row.until else "all"
    source = f"{row.source} ({row.date})" if row.date else row.source
    if row.factors:
        source = f"{source}, {', '.join(row.factors)}"
    over = f"{row.over:,}" if row.over else ""
    return [row.model, row.provider or "—", row.speed, over, *figures, days, source]


def _print_reasons(rows: list[Rates], context: Context) -> None:
    reasons = dict.fromkeys((row.model, row.reason) for row in rows if row.basis == "override")
    if reasons:
        context.line()
        context.line("Prices of our own, in place of the compiled ones:")
        for model, reason in reasons:
            for line in reason_lines(model, reason, context.width):
                context.line(line)


def _document(row: Rates) -> dict[str, Any]:
    from watchkeeper.pricing.table import dollars

    return {
        "model": row.model,
        "provider": row.provider or None,
        "speed": row.speed,
        "prompt_over": row.over or None,
        "usd_per_mtok": row.per_mtok(),
        "web_search_usd_per_thousand": dollars(row.web_search // 1000, row.scale),
        "factors": list(row.factors),
        "since": row.since or None,
        "until": row.until or None,
        "basis": row.basis,
        "source": row.source,
        "source_date": row.date or None,
        "reason": row.reason or None,
    }
