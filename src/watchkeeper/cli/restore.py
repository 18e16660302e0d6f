"""``wk restore``: put a session's transcripts back from the archive."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.tables import Column, table
from watchkeeper.cli.terminal import counted, one_line
from watchkeeper.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from watchkeeper.store.sqlite.reading import Reader

HELP = "Put a session's transcripts back where the agent finds them; secrets stay masked unless --raw."

_LISTED = (Column("session"), Column("last"), Column("files", right=True), Column("was at", least=20))
_FILES = (Column("file", least=30), Column("lines", right=True), Column("bytes", right=True), Column("state"))
_MASKED = (Column("file", least=20), Column("line", right=True), Column("rule"), Column("count", right=True))
_SHOWN = 20
"""Masked places that are listed; the rest is counted, and --json has all."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the session, and where it goes."""
    parser.add_argument(
        "session", nargs="*", metavar="SESSION", help="session id, a beginning of it, or words"
    )
    parser.add_argument("--to", metavar="DIR", help="put it under DIR/projects instead of the agent's folder")
    parser.add_argument(
        "--force", action="store_true", help="also where a file differs, which is kept beside"
    )
    parser.add_argument("--raw", action="store_true", help="byte for byte, from the sealed archive")
    parser.add_argument("--list", action="store_true", help="list the sessions that only the archive has")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Write the files, and print ``{"session_id", "files", "masked", "missing", "resume"}``."""
    if arguments.list:
        return _list(arguments, context)
    if not arguments.session:
        raise UsageError(
            "no session given", hint="Run `wk restore --list` for those that only the archive has."
        )
    from watchkeeper.pipeline.restoring import prepare, write
    from watchkeeper.queries.resuming import resume_anywhere

    to = Path(arguments.to).expanduser().absolute() if arguments.to else None
    with fresh_reader(context) as (reader, age):
        session = _find(reader, arguments.session)
        result = prepare(context.settings, reader, session, to=to, raw=arguments.raw)
        folder = reader.value(
            "SELECT coalesce(cwd, project_path) FROM sessions WHERE session_id = ?", (session,)
        )
    if not arguments.dry_run:
        write(result, force=arguments.force)
    document = {**result.to_json(), "resume": resume_anywhere(session, folder), "dry_run": arguments.dry_run}
    if context.json:
        context.emit(with_age(document, age))
    else:
        _print(document, context)
    return 0


def _list(arguments: argparse.Namespace, context: Context) -> int:
    if arguments.session:
        raise UsageError("--list takes no session")
    from watchkeeper.pipeline.restoring import deleted_sessions
    from watchkeeper.queries.forms import rfc3339

    with fresh_reader(context) as (reader, age):
        found = [{**row, "last_at": rfc3339(row["last_at"])} for row in deleted_sessions(reader)]
    if context.json:
        context.emit(with_age({"sessions": found}, age))
        return 0
    if not found:
        context.line("Every archived session's transcript is still where the agent left it.")
        return 0
    rows = [[row["session_id"], local_time(row["last_at"]), str(row["files"]), row["path"]] for row in found]
    for line in table(context, _LISTED, rows):
        context.line(line)
    context.next_step(f"wk restore {one_line(found[0]['session_id'][:8])}")
    return 0


def _find(reader: Reader, words: list[str]) -> str:
    """Return the one session that is meant: an id, the beginning of one, or words that only it contains."""
    from watchkeeper.queries.sessions import list_sessions, resolve_session

    if len(words) == 1:
        try:
            return resolve_session(reader, words[0])
        except NotFoundError:
            pass
    found = list_sessions(reader, words=tuple(words), limit=4)
    sessions = [str(row["session_id"]) for row in found["sessions"]]
    wanted = " ".join(words)
    if not sessions:
        raise NotFoundError(
            f"no session is called or contains {wanted}", hint="Run `wk sessions` for the list."
        )
    if found["total"] > 1:
        raise UsageError(
            f"{found['total']} sessions contain {wanted}",
            why=", ".join(session[:8] for session in sessions),
            hint=f"Run `wk sessions {wanted}` and give one id.",
        )
    return sessions[0]


def _print(document: dict[str, Any], context: Context) -> None:
    words = {
        "missing": "would be written",
        "differs": "differs: would need --force",
        "there": "there already",
    }
    folder = Path(document["files"][0]["path"]).parent
    context.line(f"In {one_line(str(folder))}:")
    rows = [
        [
            os.path.relpath(item["path"], folder),
            f"{item['lines']:,}" if item["lines"] else "—",
            f"{item['bytes']:,}",
            _state(item, words),
        ]
        for item in document["files"]
    ]
    for line in table(context, _FILES, rows):
        context.line(line)
    for item in document["missing"]:
        context.line(f"{one_line(item['file'])}:{item['line']} was {item['reason']}; it is left out.")
    _print_masked(document["masked"], context)
    context.next_step(one_line(document["resume"] or ""))


def _state(item: dict[str, Any], words: dict[str, str]) -> str:
    if item["kept"]:
        return f"written; what was there is now {Path(item['kept']).name}"
    return words.get(item["state"], str(item["state"]))


def _print_masked(masked: list[dict[str, Any]], context: Context) -> None:
    if not masked:
        return
    context.line()
    places, total = counted(len(masked), "place"), sum(item["count"] for item in masked)
    context.line(
        context.style(
            f"Placeholders stand where {counted(total, 'secret')} stood, in {places}; the session carries them on.",
            "warn",
        )
    )
    rows = [
        [Path(item["file"]).name, f"{item['line']:,}", item["rule"], f"{item['count']:,}"]
        for item in masked[:_SHOWN]
    ]
    for line in table(context, _MASKED, rows):
        context.line(line)
    if len(masked) > _SHOWN:
        context.line(f"and {counted(len(masked) - _SHOWN, 'more place')}; --json lists all")
