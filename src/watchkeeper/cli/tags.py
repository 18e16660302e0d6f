"""``wk tag``: words of your own on projects and sessions, to filter by."""

from __future__ import annotations

import argparse
import time
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.tables import Column, table
from watchkeeper.cli.terminal import counted
from watchkeeper.errors import UsageError

HELP = (
    "Tag projects and sessions; without anything, list the tags. CLAUDE_SESSION_ID names the current session."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what to do, the tags, and what they are for."""
    parser.add_argument(
        "action", nargs="?", choices=("list", "add", "remove"), default="list", help="default: list"
    )
    parser.add_argument("tags", nargs="*", metavar="TAG", help="one or several tags")
    parser.add_argument("--project", metavar="PROJECT", help="a project's name or path")
    parser.add_argument("--session", metavar="SESSION", help="a session; a prefix is enough")
    parser.add_argument("--all", action="store_true", help="remove: from everything that has it")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Change the tags or print them, as ``{"tags": [{"tag", "targets": [...]}]}``."""
    if arguments.action == "list":
        if arguments.tags:
            raise UsageError("list takes no tags")
    elif not arguments.tags:
        raise UsageError(
            f"no tag to {arguments.action}", hint=f"wk tag {arguments.action} client-x --project app"
        )
    from watchkeeper.queries.tags import add_tag, list_tags, remove_tag
    from watchkeeper.store.sqlite.state import open_state, read_state

    places = context.settings.places
    if arguments.action == "list":
        with read_state(places) as state:
            return _show(list_tags(state), context)
    everything = arguments.action == "remove" and arguments.all
    kind, target = (None, None) if everything else _target(arguments, context)
    with open_state(places) as state:
        with state.transaction():
            for tag in arguments.tags:
                if arguments.action == "add":
                    add_tag(state, tag, str(kind), str(target), time.time_ns() // 1_000_000)
                else:
                    remove_tag(state, tag, kind, target)
        found = list_tags(state)
    if context.json:
        context.emit({"tags": found})
    else:
        done = "tagged" if arguments.action == "add" else "untagged"
        what = f"{kind} {target}" if kind else "everything"
        context.line(f"{what} {done}: {', '.join(arguments.tags)}")
        context.next_step("wk tag lists the tags")
    return 0


def _target(arguments: argparse.Namespace, context: Context) -> tuple[str, str]:
    from watchkeeper.queries.tags import PROJECT, SESSION

    if arguments.project and arguments.session:
        raise UsageError("give a project or a session, not both")
    if arguments.project:
        return PROJECT, arguments.project.rstrip("/") or "/"
    current = context.settings.environment.get("CLAUDE_SESSION_ID")
    if arguments.session:
        from watchkeeper.cli.freshness import fresh_reader
        from watchkeeper.queries.sessions import resolve_session

        with fresh_reader(context) as (reader, _):
            return SESSION, resolve_session(reader, arguments.session)
    if current:
        # The session that runs may have nothing on record yet.
        return SESSION, current
    raise UsageError(
        "a tag is for a project or a session",
        hint="Use --project or --session; inside a session CLAUDE_SESSION_ID names it.",
    )


def _show(tags: list[dict[str, Any]], context: Context) -> int:
    if context.json:
        context.emit({"tags": tags})
        return 0
    if not tags:
        context.line("There are no tags yet.")
        context.next_step("wk tag add client-x --project app")
        return 0
    rows = [
        [entry["tag"], target["kind"], target["target"], local_time(target["added_at"])]
        for entry in tags
        for target in entry["targets"]
    ]
    columns = (Column("tag"), Column("for"), Column("target", least=12), Column("added", drop=1))
    for line in table(context, columns, rows):
        context.line(line)
    context.next_step(f"{counted(len(tags), 'tag')} · wk tag remove TAG --all takes one away everywhere")
    return 0
