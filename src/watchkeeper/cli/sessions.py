"""``wk sessions``: list or search sessions, each with the command that resumes it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import quick_reader, with_age
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.search_view import hit_line
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import money, one_line
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
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="all must occur in the session; after -- everything is a word; '\"...\"' is a phrase, to the letter",
    )
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

    words = _words(arguments)
    with quick_reader(context, words, since) as (reader, age, newer):
        answer = list_sessions(
            reader,
            words=words,
            project=arguments.project,
            since_ms=since,
            until_ms=until,
            limit=min(arguments.limit, _MOST),
            now_ms=now,
            newer=newer,
        )
    unread = _unread(context) if age != 0 and not newer else None
    if context.json:
        context.emit(with_age(answer | ({"import": unread} if unread else {}), age))
        return 0
    if answer["sessions"]:
        _print(answer, arguments, context)
    else:
        _print_none(arguments, context)
    _say_what_is_missing(answer, unread, context)
    return 0


def _unread(context: Context) -> dict[str, int] | None:
    """Return how far the reading of the transcripts is, where something is left."""
    from watchkeeper.pipeline.freshness import how_far

    done = how_far(context.settings)
    return done if done["bytes_done"] < done["bytes_total"] else None


def _say_what_is_missing(answer: dict[str, Any], unread: dict[str, int] | None, context: Context) -> None:
    if unread:
        share = 100 * unread["bytes_done"] // unread["bytes_total"]
        files, total = unread["files_done"], unread["files_total"]
        context.note(
            f"wk: {files:,} of {total:,} transcripts are read so far ({share} %); the rest is missing here"
        )
    for word in answer.get("only_in_names", ()):
        context.note(f"wk: {word!r} has no letter or digit: only titles, ids and paths were searched for it")
    if answer.get("contexts_lost"):
        context.note("wk: the archive no longer holds the text of some hits")


def _print(answer: dict[str, Any], arguments: argparse.Namespace, context: Context) -> None:
    sessions = answer["sessions"]
    header, *rows = table(context, _COLUMNS, [_cells(row) for row in sessions])
    context.line(header)
    for line, row in zip(rows, sessions, strict=True):
        context.line(line)
        for hit in row.get("hits", ()):
            context.line(hit_line(context, hit))
        # Never clipped: half a command is none.
        context.line(context.style("  " + _resume(row), "dim"))
    first = one_line(sessions[0]["session_id"][:8])
    more = (
        f"{len(sessions)} of {answer['total']:,} · {_again(answer, arguments)} · " if answer["next"] else ""
    )
    context.next_step(f"{more}wk show {first}")


def _words(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the search words: an argument with blanks is several, but for what stands in double quotes inside."""
    if not arguments.words:
        return ()
    from watchkeeper.queries.search_words import split_query

    return tuple(word for given in arguments.words for word in split_query(given))


def _again(answer: dict[str, Any], arguments: argparse.Namespace) -> str:
    """Return the command that shows all there are."""
    import shlex

    given = [("-p", arguments.project), ("--since", arguments.since), ("--until", arguments.until)]
    flags = [part for name, value in given if value for part in (name, value)]
    words = ["--", *arguments.words] if arguments.words else []
    return shlex.join(["wk", "sessions", "-n", str(answer["total"]), *flags, *words])


def _resume(row: dict[str, Any]) -> str:
    import os

    if row["resume"] is None:
        return "no command resumes it: its id is none that an agent gives"
    return str(row["resume"] if row["cwd"] == os.getcwd() else row["resume_anywhere"])  # noqa: PTH109


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
    return money(row["cost_usd"], about=row["cost_basis"] == "estimated")


def _print_none(arguments: argparse.Namespace, context: Context) -> None:
    if not (arguments.words or arguments.project or arguments.since or arguments.until):
        context.line("No session is on record yet.")
        context.say_where_transcripts_are_sought()
        context.next_step("wk install registers the hooks · wk demo shows packaged sessions")
        return
    context.line("No session matches.")
    if any('"' in word for word in arguments.words):
        context.next_step(
            "what stands in double quotes is a phrase: without them its words are found anywhere"
        )
    else:
        context.next_step("wk sessions lists them all")
