"""``wk activity``: one line per tool call, on the terminal or in daily files."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import duration, local_time
from watchkeeper.cli.stretches import add_stretch_flags, stretch_of
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import counted, one_line
from watchkeeper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

HELP = "Log of what the agents did, one line per tool call; on the terminal, or as daily files of JSON lines."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the stretch, the session, and where the lines go."""
    add_stretch_flags(parser)
    parser.add_argument("--session", metavar="SESSION", help="only this session; a prefix is enough")
    parser.add_argument(
        "-n", "--limit", type=int, metavar="N", help="newest lines to show (default 50; with --json all)"
    )
    parser.add_argument(
        "--to",
        nargs="?",
        const="",
        metavar="DIR",
        help="write activity-YYYY-MM-DD.jsonl into this folder (default: activity.log_dir, CLAUDE_LOG_DIR)",
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the lines, or ``{"activity": [...], "total": n}``; with ``--to`` write files and name them."""
    if arguments.limit is not None and arguments.limit < 1:
        raise UsageError("-n must be at least 1")
    now = time.time_ns() // 1_000_000
    stretch = stretch_of(
        arguments, now, default="all" if arguments.to is not None or arguments.session else "today"
    )
    folder = _folder(arguments, context)
    from watchkeeper.queries.activity import activity, count_calls
    from watchkeeper.queries.sessions import resolve_session

    with fresh_reader(context) as (reader, age):
        session = resolve_session(reader, arguments.session) if arguments.session else None
        if folder is not None:
            answer = _write(activity(reader, stretch, session), folder)
        else:
            newest = arguments.limit or (None if context.json else 50)
            lines = list(activity(reader, stretch, session, newest))
            answer = {"activity": lines, "total": count_calls(reader, stretch, session)}
    if context.json:
        context.emit(with_age(answer, age))
    elif folder is not None:
        changed = sum(row["changed"] for row in answer["files"])
        context.line(
            f"{counted(len(answer['files']), 'daily file')} in {one_line(str(folder))}, {changed:,} written anew"
        )
    else:
        _print(answer, context)
    return 0


def _folder(arguments: argparse.Namespace, context: Context) -> Path | None:
    if arguments.to is None:
        return None
    if arguments.session or arguments.project:
        raise UsageError(
            "a daily file holds everything of its day", hint="Leave out --session and --project."
        )
    if arguments.since or arguments.until:
        raise UsageError("a daily file holds its whole day", hint="Use --range or --date.")
    name = arguments.to or context.settings["activity.log_dir"]
    if not name:
        raise UsageError("no folder given", hint="wk activity --to DIR, or set CLAUDE_LOG_DIR", place="--to")
    return Path(name).expanduser().absolute()


def _write(lines: Iterator[dict[str, Any]], folder: Path) -> dict[str, Any]:
    from watchkeeper.analysis.activity_files import write_daily_files

    files = [
        {"file": str(file.path), "lines": file.lines, "changed": file.changed}
        for file in write_daily_files(lines, folder)
    ]
    return {"files": files, "lines": sum(file["lines"] for file in files)}


_COLUMNS = (
    Column("at"),
    Column("session"),
    Column("project", least=8, drop=2),
    Column("tool", least=8),
    Column("on", least=24),
    Column("took", right=True, drop=1),
    Column("tokens", right=True, drop=3),
    Column("outcome"),
)


def _print(answer: dict[str, Any], context: Context) -> None:
    rows: list[list[str | Cell]] = [
        [
            local_time(line["timestamp"], seconds=True),
            (line["session_id"] or "—")[:8],
            line["project"] or "—",
            line["tool"] or "—",
            line["file"] or line["subject"] or "—",
            duration(line["duration_ms"]),
            "—" if line["tokens"] is None else f"≈{line['tokens']:,}",
            Cell(line["outcome"], "bad")
            if line["outcome"] in {"failed", "rejected", "denied"}
            else line["outcome"],
        ]
        for line in answer["activity"]
    ]
    if not rows:
        context.line("No tool call is on record for this day or stretch.")
        context.next_step("wk activity --range all shows every one")
        return
    for text in table(context, _COLUMNS, rows):
        context.line(text)
    rest = answer["total"] - len(rows)
    more = f"{len(rows):,} of {answer['total']:,} · add -n {answer['total']} · " if rest else ""
    context.next_step(f"{more}wk activity --to DIR writes daily files")
