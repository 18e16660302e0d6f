"""``wk errors``: what went wrong, whether it was tried again, and which later call mended it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import duration, local_time
from watchkeeper.cli.stats import stretch_title
from watchkeeper.cli.stretches import add_stretch_flags, stretch_of
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import counted, one_line
from watchkeeper.errors import UsageError

HELP = "List what went wrong: kind, message, stack, retries, and the later call that mended it."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the stretch, the session, and what is listed."""
    add_stretch_flags(parser)
    parser.add_argument("--session", metavar="SESSION", help="only this session; a prefix is enough")
    parser.add_argument(
        "-n", "--limit", type=int, default=50, metavar="N", help="errors to list (default 50)"
    )
    parser.add_argument("--unexpected", action="store_true", help="leave out test failures and the like")
    parser.add_argument("--full", action="store_true", help="show whole messages and stacks")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the errors, or ``{"errors": [...], "total", "by_kind", "expected", "api_errors", ...}``."""
    if arguments.limit < 0:
        raise UsageError("-n must not be negative")
    stretch = stretch_of(arguments, time.time_ns() // 1_000_000, default="all")
    from watchkeeper.queries.errors import errors
    from watchkeeper.queries.sessions import resolve_session

    with fresh_reader(context) as (reader, age):
        session = resolve_session(reader, arguments.session) if arguments.session else None
        answer = errors(
            reader,
            stretch,
            session_id=session,
            limit=arguments.limit,
            with_expected=not arguments.unexpected,
        )
    if context.json:
        context.emit(with_age(answer, age))
        return 0
    for line in _lines(answer, context, full=arguments.full):
        context.line(line)
    context.next_step(
        "wk show --call ID shows one call in full · wk quality names commands that keep failing"
    )
    return 0


def _lines(answer: dict[str, Any], context: Context, *, full: bool) -> list[str]:
    lines = [context.style(stretch_title(answer["stretch"]), "bold"), ""]
    if not answer["total"] and not any(answer["api_errors"].values()):
        return [*lines, "Nothing went wrong." if answer["recorded"] else "No tool call is on record there."]
    found = f": {_kinds(answer['by_kind'])}" if answer["unexpected"] else ""
    lines.append(f"{counted(answer['unexpected'], 'error')}{found}")
    if answer["expected"]:
        lines.append(f"told by exit status, no errors: {_kinds(answer['expected'])}")
    lines += ["", *_table(answer["errors"], context)]
    rest = answer["total"] - len(answer["errors"])
    if rest > 0:
        lines.append(context.style(f"… {rest:,} more: add -n {answer['total']}", "dim"))
    if full:
        for row in answer["errors"]:
            lines += _in_full(row, context)
    return lines + _api(answer["api_errors"], context)


def _kinds(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items()) or "none"


_COLUMNS = (
    Column("at"),
    Column("session"),
    Column("tool", least=8),
    Column("kind", least=12),
    Column("on", least=12),
    Column("said", least=20, drop=2),
    Column("again", right=True, drop=1),
    Column("mended after", right=True),
)


def _table(rows: list[dict[str, Any]], context: Context) -> list[str]:
    return table(context, _COLUMNS, [_cells(row) for row in rows]) if rows else []


def _cells(row: dict[str, Any]) -> list[str | Cell]:
    kind = row["expected"] or row["kind"].replace("_", " ")
    mended = row["resolved_by"]
    return [
        local_time(row["at"]),
        (row["session_id"] or "—")[:8],
        row["tool"] or "—",
        Cell(kind, "dim" if row["expected"] else "bad"),
        row["subject"] or "—",
        _said(row["message"]),
        f"{row['retries']:,}",
        "—" if mended is None else duration(mended["after_ms"]),
    ]


def _said(message: str | None) -> str:
    """Return the line of a message that says most: the last one of a stack, else the first after the status."""
    lines = [line.strip() for line in (message or "").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Exit code ")] or lines
    return lines[0] if lines else "—"


def _in_full(row: dict[str, Any], context: Context) -> list[str]:
    able = {True: "recoverable", False: "not recoverable", None: "unknown whether recoverable"}[
        row["recoverable"]
    ]
    lines = [
        "",
        context.style(f"{local_time(row['at'], seconds=True)} {row['tool_use_id']}", "bold"),
        one_line(f"{row['tool']}: {row['subject'] or '—'}"),
        f"{row['kind'].replace('_', ' ')}, {able}: {row['recoverable_why']}",
    ]
    if row["resolved_by"]:
        mended = row["resolved_by"]
        lines.append(f"mended by {one_line(mended['tool_use_id'])} after {duration(mended['after_ms'])}")
    return lines + ["  " + line for line in (row["stack"] or row["message"] or "").splitlines()]


def _api(found: dict[str, list[dict[str, Any]]], context: Context) -> list[str]:
    lines = []
    for title, rows in (("retried by the client", found["retried"]), ("given up", found["given_up"])):
        if rows:
            lines += ["", f"{counted(len(rows), 'API error')} {title}:"]
            lines += [
                f"  {local_time(row['at'])}  {(row['session_id'] or '—')[:8]}  {one_line(row['message'])}"
                for row in rows[:5]
            ]
            if len(rows) > 5:
                lines.append(context.style(f"  … {len(rows) - 5:,} more: --json lists them all", "dim"))
    return lines
