"""``wk quality``: what a better configuration would spare, and which part of it to change."""

from __future__ import annotations

import argparse
import time
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import duration, local_time
from watchkeeper.cli.stats import stretch_title
from watchkeeper.cli.stretches import add_stretch_flags, stretch_of
from watchkeeper.cli.tables import Column, table
from watchkeeper.cli.terminal import money, one_line
from watchkeeper.errors import UsageError

HELP = (
    "Name files read again, commands that keep failing, files edited most, loops; each with what to change."
)

_SHOWN = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the stretch and how much is listed."""
    add_stretch_flags(parser)
    parser.add_argument(
        "-n",
        "--limit",
        type=int,
        metavar="N",
        help=f"entries of each kind (default {_SHOWN}; with --json all)",
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the signals, or ``{"repeated_reads": [...], "failing_commands": [...], "most_edited": [...], ...}``."""
    if arguments.limit is not None and arguments.limit < 1:
        raise UsageError("-n must be at least 1")
    stretch = stretch_of(arguments, time.time_ns() // 1_000_000, default="all")
    from watchkeeper.analysis.proposals import with_proposals
    from watchkeeper.pricing.rates import load_rates
    from watchkeeper.queries.quality import quality

    limit = arguments.limit or (None if context.json else _SHOWN)
    with fresh_reader(context) as (reader, age):
        answer = with_proposals(quality(reader, stretch, load_rates(context.settings), limit=limit))
    if context.json:
        context.emit(with_age(answer, age))
        return 0
    for line in quality_lines(answer, context):
        context.line(line)
    context.next_step("wk show SESSION shows where · wk context SESSION what fills its context")
    return 0


def quality_lines(answer: dict[str, Any], context: Context) -> list[str]:
    """Return the report for a terminal: each kind as a table, below each row what to change."""
    lines = [context.style(stretch_title(answer["stretch"]), "bold")]
    for name, show in _KINDS.items():
        rows = answer[name]
        if not rows:
            continue
        title, columns, cells = show
        lines += ["", context.style(title, "bold")]
        under = [f"→ {row['change']}: {row['proposal']}" for row in rows] if "proposal" in rows[0] else []
        lines += _with_wrapped(context, columns, [cells(row) for row in rows], under)
        rest = answer["totals"][name] - len(rows)
        if rest > 0:
            lines.append(context.style(f"… {rest:,} more: add -n {answer['totals'][name]}", "dim"))
    if len(lines) == 1:
        lines += ["", "Nothing stands out." if answer["recorded"] else "No tool call is on record there."]
    else:
        lines += ["", context.style("Tokens and cost (≈) are estimated from the size of results.", "dim")]
    return lines


def _with_wrapped(
    context: Context, columns: tuple[Column, ...], rows: list[list[str]], under: list[str]
) -> list[str]:
    from textwrap import wrap

    head, *body = table(context, columns, rows)
    lines = [head]
    for number, line in enumerate(body):
        lines.append(line)
        if under:
            wrapped = wrap(one_line(under[number]), context.width - 4, break_on_hyphens=False)
            lines += [context.style("    " + part, "dim") for part in wrapped]
    return lines


def _cost(row: dict[str, Any]) -> str:
    return money(row["cost_usd"], about=True, places=4)


def _read_cells(row: dict[str, Any]) -> list[str]:
    tokens = f"≈{row['again_tokens']:,}"
    return [row["session_id"][:8], row["path"], f"{row['count']:,}", f"{row['again']:,}", tokens, _cost(row)]


def _command_cells(row: dict[str, Any]) -> list[str]:
    figures = [f"{row['failures']:,}", f"{row['runs']:,}", f"{row['sessions']:,}"]
    first, *more = row["command"].split("\n")
    return [f"{first} …" if more else first, *figures, f"≈{row['tokens']:,}", _cost(row)]


def _edit_cells(row: dict[str, Any]) -> list[str]:
    lines = "—" if row["lines_added"] is None else f"+{row['lines_added']:,} -{row['lines_removed']:,}"
    return [
        row["path"],
        f"{row['edits']:,}",
        f"{row['sessions']:,}",
        lines,
        f"≈{row['tokens']:,}",
        _cost(row),
    ]


def _loop_cells(row: dict[str, Any]) -> list[str]:
    figures = [f"{row['count']:,}", f"{row['failures']:,}", f"≈{row['tokens']:,}", _cost(row)]
    return [row["session_id"][:8], row["tool"] or "—", row["subject"] or "—", *figures]


def _idle_cells(row: dict[str, Any]) -> list[str]:
    kind = "MCP server" if row["kind"] == "mcp_server" else row["kind"]
    return [kind, row["name"], f"{row['sessions']:,}", f"≈{row['tokens']:,}", _cost(row)]


def _wait_cells(row: dict[str, Any]) -> list[str]:
    basis = "with waiting" if row["duration_basis"] == "transcript" else row["duration_basis"]
    where = [local_time(row["at"]), row["session_id"][:8], row["tool"] or "—", row["subject"] or "—"]
    return [*where, duration(row["duration_ms"]), basis]


_TOKENS = (Column("tokens", right=True, drop=2), Column("cost $", right=True, drop=1))
_KINDS: dict[str, tuple[str, tuple[Column, ...], Any]] = {
    "repeated_reads": (
        "Files read again in one session",
        (
            Column("session"),
            Column("file", least=24),
            Column("reads", right=True),
            Column("needless", right=True),
            *_TOKENS,
        ),
        _read_cells,
    ),
    "failing_commands": (
        "Commands that keep failing",
        (
            Column("command", least=24),
            Column("failed", right=True),
            Column("of runs", right=True),
            Column("sessions", right=True),
            *_TOKENS,
        ),
        _command_cells,
    ),
    "most_edited": (
        "Files edited most",
        (
            Column("file", least=24),
            Column("edits", right=True),
            Column("sessions", right=True),
            Column("lines", right=True, drop=3),
            *_TOKENS,
        ),
        _edit_cells,
    ),
    "loops": (
        "The same call over and over",
        (
            Column("session"),
            Column("tool"),
            Column("on", least=16),
            Column("times", right=True),
            Column("failed", right=True),
            *_TOKENS,
        ),
        _loop_cells,
    ),
    "idle_definitions": (
        "Offered with every request, never used",
        (Column("what"), Column("name", least=16), Column("sessions", right=True), *_TOKENS),
        _idle_cells,
    ),
    "longest_waits": (
        "Longest waits",
        (
            Column("at"),
            Column("session"),
            Column("tool"),
            Column("on", least=16),
            Column("took", right=True),
            Column("basis", drop=1),
        ),
        _wait_cells,
    ),
}
