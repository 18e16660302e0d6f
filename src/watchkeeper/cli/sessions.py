"""``wk sessions``: list or search sessions, each with the command that resumes it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import one_line
from watchkeeper.errors import UsageError

HELP = "List sessions, newest first, or search them; each with the command that resumes it."

_MOST = 1_000_000_000
"""A limit beyond this is no limit; the store takes no number of any size."""
_COLUMNS = (
    Column("session"),
    Column("project", least=10),
    Column("title", least=16),
    Column("started", drop=3),
    Column("last"),
    Column("prompts", right=True, drop=2),
    Column("calls", right=True),
    Column("failed", right=True, drop=1),
    Column("cost $", right=True),
    Column("state"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the words to search for and the filters."""
    parser.add_argument("words", nargs="*", metavar="WORD", help="search words; after -- everything is one")
    parser.add_argument("-n", "--limit", type=int, default=10, metavar="N", help="how many (default 10)")
    parser.add_argument("-p", "--project", metavar="PROJECT", help="only sessions of this project")
    parser.add_argument("--since", metavar="T", help="24h, 7d, today, yesterday, a date, or all")
    parser.add_argument("--rebuild", action="store_true", help="make the database anew first")
    parser.add_argument("--until", metavar="T", help="the same; a date counts to its end")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the list, or ``{"sessions": [...], "total": n, "next": cursor}``."""
    if arguments.limit < 1:
        raise UsageError("-n must be at least 1")
    now = time.time_ns() // 1_000_000
    from watchkeeper.queries.periods import since_ms, until_ms

    since, until = since_ms(arguments.since, now), until_ms(arguments.until, now)
    if arguments.rebuild:
        from watchkeeper.cli.rebuild import rebuild_with_progress

        rebuild_with_progress(context)
    from watchkeeper.queries.sessions import list_sessions

    with fresh_reader(context) as (reader, age):
        answer = list_sessions(
            reader,
            words=tuple(arguments.words),
            project=arguments.project,
            since_ms=since,
            until_ms=until,
            limit=min(arguments.limit, _MOST),
            now_ms=now,
        )
    if context.json:
        context.emit(with_age(answer, age))
    elif answer["sessions"]:
        _print(answer, context)
    else:
        _print_none(arguments, context)
    return 0


def _print(answer: dict[str, Any], context: Context) -> None:
    sessions = answer["sessions"]
    lines = table(context, _COLUMNS, [_cells(row) for row in sessions], [row["resume"] for row in sessions])
    for line in lines:
        context.line(line)
    first = one_line(sessions[0]["session_id"][:8])
    more = (
        f"{len(sessions)} of {answer['total']:,} · wk sessions -n {answer['total']} · "
        if answer["next"]
        else ""
    )
    context.next_step(f"{more}wk show {first}")


def _cells(row: dict[str, Any]) -> list[str | Cell]:
    failures = row["failures"]
    return [
        row["session_id"][:8],
        row["project"] or "—",
        row["title"] or "—",
        local_time(row["started_at"]),
        local_time(row["last_at"]),
        f"{row['prompts']:,}",
        f"{row['tool_calls']:,}",
        Cell(f"{failures:,}", "bad") if failures else "0",
        _cost(row),
        Cell("● live", "good") if row["live"] else "ended" if row["ended_at"] else "quiet",
    ]


def _cost(row: dict[str, Any]) -> str:
    if row["cost_usd"] is None:
        return "—"
    return f"≈{row['cost_usd']}" if row["cost_basis"] == "estimated" else str(row["cost_usd"])


def _print_none(arguments: argparse.Namespace, context: Context) -> None:
    if arguments.words or arguments.project or arguments.since or arguments.until:
        context.line("No session matches.")
        context.next_step("wk sessions lists them all")
    else:
        context.line("No session is on record yet.")
        context.next_step("wk install registers the hooks · wk demo shows packaged sessions")
