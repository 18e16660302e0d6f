"""``wk coverage``: how much of what happened is on record, by which witness, and every gap."""

from __future__ import annotations

import argparse
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import counted, one_line, reason_lines
from watchkeeper.errors import UsageError

HELP = "Say how much of what happened is on record, by which witness, and name every gap."

_SHOWN_GAPS = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the session to look at."""
    parser.add_argument(
        "session", nargs="?", metavar="SESSION", help="one session (default: all); a prefix is enough"
    )
    parser.add_argument(
        "-n", "--limit", type=int, default=_SHOWN_GAPS, metavar="N", help="gaps to list (default 20)"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the report, or ``{"tool_calls", "by_witness", "complete", "gaps": [...], ...}``."""
    if arguments.limit < 0:
        raise UsageError("-n must not be negative")
    from watchkeeper.queries.coverage import coverage
    from watchkeeper.queries.sessions import resolve_session

    with fresh_reader(context) as (reader, age):
        session = arguments.session
        if session is not None:
            session = resolve_session(reader, session)
        report = coverage(reader, session)
    if context.json:
        context.emit(with_age(report, age))
        return 0
    _print_witnesses(report, context)
    _print_gaps(report, arguments.limit, context)
    _print_findings(report, context)
    _print_rest(report, context)
    context.next_step("wk show SESSION shows each gap in its place · wk verify checks the record itself")
    return 0


def _print_witnesses(report: dict[str, Any], context: Context) -> None:
    calls = report["tool_calls"]
    complete = report["complete"]
    if complete is None:
        context.line("No tool call is on record yet.")
    else:
        share = context.style(f"{100 * complete:.2f} %", "good" if complete == 1 else "warn")
        context.line(f"{counted(calls, 'tool call')}; {share} seen by every witness that was active then.")
    context.line()
    rows: list[list[str | Cell]] = []
    for witness, seen in report["by_witness"].items():
        if seen is None:
            rows.append([witness, "—", "—", "not active"])
        else:
            share = f"{100 * seen / calls:.1f}" if calls else "—"
            rows.append([witness, f"{seen:,}", share, ""])
    columns = (Column("witness"), Column("calls seen", right=True), Column("share %", right=True), Column(""))
    for line in table(context, columns, rows):
        context.line(line)


def _print_gaps(report: dict[str, Any], limit: int, context: Context) -> None:
    gaps = report["gaps"]
    if not gaps:
        return
    classes = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in report["gap_classes"].items()
    )
    context.line()
    context.line(f"{counted(len(gaps), 'gap')}: {classes}")
    columns = (
        Column("at"),
        Column("session"),
        Column("tool"),
        Column("gap"),
        Column("not seen by"),
        Column("explanation", least=24, drop=1),
    )
    rows = [
        [
            local_time(gap["at"]),
            (gap["session_id"] or "—")[:8],
            gap["tool"] or "—",
            Cell(gap["kind"].replace("_", " "), "warn"),
            ", ".join(gap["missing"]) or "—",
            gap["explanation"],
        ]
        for gap in gaps[:limit]
    ]
    if rows:
        context.line()
    for line in table(context, columns, rows) if rows else ():
        context.line(line)
    if len(gaps) > limit:
        context.line(context.style(f"… {len(gaps) - limit:,} more gaps: add -n {len(gaps)}", "dim"))


def _print_findings(report: dict[str, Any], context: Context) -> None:
    if not report["findings"]:
        return
    context.line()
    context.line(counted(len(report["findings"]), "finding") + ":")
    for found in report["findings"]:
        tone = {"high": "bad", "critical": "bad"}.get(found["severity"], "warn")
        severity = context.style(f"{found['severity']:<8}", tone)
        context.line(f"  {local_time(found['at'])}  {severity} {one_line(found['what'])}")


def _print_rest(report: dict[str, Any], context: Context) -> None:
    if report["not_collected"]:
        context.line()
        context.line("Not collected:")
        for entry in report["not_collected"]:
            for line in reason_lines(entry["event"], entry["reason"], context.width):
                context.line(line)
    if report["unknown_events"]:
        context.line()
        context.line("On record untouched, of a type without a mapping:")
        for name, count in sorted(report["unknown_events"].items()):
            context.line(f"  {count:>8,}  {one_line(name)}")
