"""``wk hold``: keep a session's transcript whatever its age and the archive's size."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection

from watchkeeper.cli.context import Context
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.tables import Column, table
from watchkeeper.errors import NotFoundError

HELP = "Keep sessions out of housekeeping (a legal hold); without a session, list those that are held."

_COLUMNS = (Column("session"), Column("held since"), Column("why", least=10))


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the session and what is to be done with it."""
    parser.add_argument("session", nargs="?", metavar="SESSION", help="session id; a prefix is enough")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, to be listed with it")
    parser.add_argument("--release", action="store_true", help="let it go again")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Change the holds or print them, as ``{"holds": [{"session_id", "held_since", "reason"}]}``."""
    from watchkeeper.archive.holds import Hold, Holds
    from watchkeeper.queries.forms import rfc3339

    holds = Holds(context.settings.places.holds)
    if arguments.session:
        session = _resolve(arguments.session, holds.all(), context)
        if arguments.release and not holds.remove(session):
            raise NotFoundError(f"session {session} is not held", hint="Run `wk hold` for those that are.")
        if not arguments.release:
            holds.add(session, Hold(time.time_ns() // 1_000_000, arguments.reason))
    found = holds.all()
    if context.json:
        context.emit(
            {
                "holds": [
                    {"session_id": session, "held_since": rfc3339(hold.at), "reason": hold.reason}
                    for session, hold in found.items()
                ]
            }
        )
        return 0
    if not found:
        context.line("No session is held.")
        return 0
    rows = [[session, local_time(rfc3339(hold.at)), hold.reason or "—"] for session, hold in found.items()]
    for line in table(context, _COLUMNS, rows):
        context.line(line)
    return 0


def _resolve(word: str, held: Collection[str], context: Context) -> str:
    """Return the whole id; what is held is found also when the index no longer knows it."""
    from watchkeeper.queries.sessions import resolve_session
    from watchkeeper.store.sqlite.reading import open_reader, store_failures

    matching = [session for session in held if session.startswith(word)]
    if len(matching) == 1:
        return matching[0]
    with store_failures(context.settings.places.database), open_reader(context.settings.places) as reader:
        return resolve_session(reader, word)
