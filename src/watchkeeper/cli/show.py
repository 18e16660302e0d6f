"""``wk show``: one session's timeline, or one call in full."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.terminal import clip, counted, money, one_line, steps
from watchkeeper.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchkeeper.store.sqlite.reading import Reader

HELP = "Show one session's timeline: prompts, messages, calls with their diffs and output, subagents, gaps."

_PAGE = 10_000
"""Items asked for at once; each page sorts the whole session, so few large ones are quicker."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the session, and how much of it is shown."""
    parser.add_argument("session", nargs="?", metavar="SESSION", help="session id; a prefix is enough")
    parser.add_argument("--call", metavar="ID", help="one call in full, by its tool_use_id")
    parser.add_argument("--full", action="store_true", help="trim nothing")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the timeline, or ``{"session", "agents", "items": [...], "total"}``; with --call one call."""
    if not arguments.session and not arguments.call:
        raise UsageError("no session given", hint="Run `wk sessions` for the list.")
    from watchkeeper.queries.sessions import content_gone, get_session

    with fresh_reader(context) as (reader, age):
        detail = get_session(reader, arguments.session) if arguments.session else None
        if arguments.call:
            _show_call(reader, arguments.call, detail, context, age)
        elif detail is not None and context.json:
            session_id = detail["session"]["session_id"]
            items = list(_items(reader, session_id))
            gone = content_gone(reader, session_id)
            context.emit(with_age({**detail, "items": items, "total": len(items), "content_gone": gone}, age))
        elif detail is not None:
            _show_session(reader, detail, context, full=arguments.full)
    return 0


def _items(reader: Reader, session_id: str) -> Iterator[dict[str, Any]]:
    from watchkeeper.queries.timeline import timeline

    cursor: str | None = None
    while True:
        page = timeline(reader, session_id, cursor=cursor, limit=_PAGE)
        yield from page["items"]
        cursor = page["next"]
        if cursor is None:
            return


def _show_call(
    reader: Reader, tool_use_id: str, session: dict[str, Any] | None, context: Context, age: int | None
) -> None:
    from watchkeeper.queries.calls import get_call

    call = get_call(reader, tool_use_id)
    if session is not None and call["call"]["session_id"] != session["session"]["session_id"]:
        raise NotFoundError(f"session {session['session']['session_id']} has no call {tool_use_id}")
    if context.json:
        context.emit(with_age(call, age))
        return
    from watchkeeper.cli.call_view import call_in_full

    for line in call_in_full(call, context):
        context.line(line)


def _show_session(reader: Reader, detail: dict[str, Any], context: Context, *, full: bool) -> None:
    from watchkeeper.cli.timeline_view import TimelineView
    from watchkeeper.queries.calls import get_call
    from watchkeeper.queries.sessions import content_gone

    row = detail["session"]
    for line in _heading(row, context):
        context.line(line)
    gone = content_gone(reader, row["session_id"])
    if gone is not None:
        why = "it was older than the archive keeps" if gone["reason"] == "age" else "the archive was full"
        context.line(
            context.style(
                f"Its content was dropped on {local_time(gone['at'])}: {why}. Figures are kept.", "warn"
            )
        )
        context.line()
    view = TimelineView(context, detail["agents"], lambda identity: get_call(reader, identity), full=full)
    last_call = ""
    for item in _items(reader, row["session_id"]):
        for line in view.lines(item):
            context.line(line)
        if item["call"] is not None:
            last_call = item["call"]["tool_use_id"]
    one = f"wk show {one_line(row['session_id'][:8])} --call {one_line(last_call)} · " if last_call else ""
    context.next_step(f"{one}{one_line(row['resume'])}")


def _heading(row: dict[str, Any], context: Context) -> list[str]:
    facts = [
        row["project"],
        row["git_branch"],
        ", ".join(row["models"]) or None,
        f"{local_time(row['started_at'])} to {local_time(row['last_at'])}",
    ]
    coverage = row["coverage"]
    complete = coverage["complete"]
    figures = [
        counted(row["prompts"], "prompt"),
        counted(row["tool_calls"], "call"),
        f"{row['failures']:,} failed",
        counted(row["subagents"], "subagent"),
        f"$ {money(row['cost_usd'])}",
        f"seen by every witness {'—' if complete is None else f'{100 * complete:.1f} %'}",
        counted(coverage["gaps"], "gap"),
    ]
    return [
        context.style(clip(one_line(row["title"] or row["session_id"]), context.width), "bold"),
        *steps(" · ".join(one_line(fact) for fact in facts if fact), context.width),
        *steps(" · ".join(figures), context.width),
        "",
    ]
