"""``wk stats``: what was done in a stretch of time, beside the stretch before."""

from __future__ import annotations

import argparse
import time
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import duration, local_time
from watchkeeper.cli.stretches import add_stretch_flags, stretch_of
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import money, one_line

HELP = "Sessions, prompts, tool calls, failures, tokens, cost and files of a day, week, month or any stretch."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the stretch and how many rows are shown."""
    add_stretch_flags(parser)
    parser.add_argument(
        "-n", "--limit", type=int, default=12, metavar="N", help="rows per table (default 12)"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the figures, or ``{"sessions", "prompts", "tool_calls", "failures", "tools", "projects", ...}``."""
    now = time.time_ns() // 1_000_000
    stretch = stretch_of(arguments, now, default="all")
    from watchkeeper.queries.stats import stats

    with fresh_reader(context) as (reader, age):
        answer = stats(reader, stretch, now)
    if context.json:
        context.emit(with_age(answer, age))
        return 0
    for line in _lines(answer, context, max(1, arguments.limit)):
        context.line(line)
    context.next_step(
        "wk usage breaks the cost down · wk quality says what to change · wk errors what failed"
    )
    return 0


def _lines(answer: dict[str, Any], context: Context, limit: int) -> list[str]:
    lines = [context.style(stretch_title(answer["stretch"]), "bold"), ""]
    whole = answer["stretch"]["since"] is None and answer["stretch"]["until"] is None
    if whole and not (answer["sessions"] or answer["tool_calls"] or answer["requests"]):
        return [*lines, "Nothing is on record yet."]
    columns = (
        Column(""),
        Column("now", right=True),
        Column("before", right=True),
        Column("change", right=True),
    )
    lines += table(context, columns, _figures(answer))
    lines += _counts(context, "tool", answer["tools"], answer["tool_failures"], limit)
    lines += _counts(context, "project", answer["projects"], None, limit)
    return lines + _models(context, answer["models"])


def stretch_title(stretch: dict[str, Any]) -> str:
    """Return a stretch in words for a heading."""
    project = f" · project {one_line(stretch['project'])}" if stretch["project"] else ""
    if stretch["since"] is None and stretch["until"] is None:
        return f"everything on record{project}"
    begin = "the beginning" if stretch["since"] is None else local_time(stretch["since"])
    end = "now" if stretch["until"] is None else local_time(stretch["until"])
    name = "" if stretch["range"] == "given" else f"{stretch['range']} · "
    return f"{name}{begin} to {end}{project}"


_ROWS = (
    ("sessions", "sessions"), ("prompts", "prompts"), ("tool calls", "tool_calls"), ("failures", "failures"),
    ("API requests", "requests"), ("tokens", "tokens"), ("cost $", "cost_usd"), ("active time", "active_ms"),
    ("files changed", "files_touched"), ("lines added", "lines_added"), ("lines removed", "lines_removed"),
    ("API errors", "api_errors"),
)  # fmt: skip


def _figures(answer: dict[str, Any]) -> list[list[str | Cell]]:
    before = answer["previous"]
    rows: list[list[str | Cell]] = []
    for title, name in _ROWS:
        then = None if before is None else before[name]
        rows.append([title, _shown(name, answer[name]), _shown(name, then), _change(answer[name], then)])
        refused = answer["outcomes"].get("rejected", 0)
        if name == "failures" and refused:
            rows.append(["  of these refused input", f"{refused:,}", "", ""])
    if answer["unpriced_requests"]:
        rows.append(["  of these unpriced", f"{answer['unpriced_requests']:,}", "", ""])
    return rows


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "—"
    if name == "active_ms":
        return duration(value)
    return f"{value:,}" if isinstance(value, int) else money(value)


def _change(now: Any, then: Any) -> str:
    if now is None or then is None or not float(then):
        return "—"
    return f"{100 * (float(now) - float(then)) / float(then):+.0f} %"


def _counts(
    context: Context, noun: str, counts: dict[str, int], failing: dict[str, int] | None, limit: int
) -> list[str]:
    if not counts:
        return []
    columns = [Column(noun, least=16), Column("calls", right=True)]
    rows: list[list[str | Cell]] = [[name, f"{count:,}"] for name, count in list(counts.items())[:limit]]
    if failing is not None:
        columns.append(Column("failed", right=True))
        for row in rows:
            failures = failing.get(str(row[0]), 0)
            row.append(Cell(f"{failures:,}", "bad") if failures else "0")
    lines = ["", *table(context, columns, rows)]
    if len(counts) > limit:
        lines.append(context.style(f"… {len(counts) - limit:,} more: add -n {len(counts)}", "dim"))
    return lines


def _models(context: Context, models: dict[str, dict[str, Any]]) -> list[str]:
    if not models:
        return []
    columns = (
        Column("model", least=16),
        Column("requests", right=True),
        Column("tokens", right=True),
        Column("cost $", right=True),
        Column("basis", drop=1),
    )
    rows = [
        [name, f"{sums['requests']:,}", f"{sums['tokens']:,}", money(sums["cost_usd"]), basis_text(sums)]
        for name, sums in models.items()
    ]
    return ["", *table(context, columns, rows)]


def basis_text(sums: dict[str, Any]) -> str:
    """Return where a cost comes from, in words."""
    found = [f"{name} {count:,}" for name, count in sums["cost_basis"].items() if count]
    if sums["unpriced_requests"]:
        found.append(f"unpriced {sums['unpriced_requests']:,}")
    return ", ".join(found) or "—"
