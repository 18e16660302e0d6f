"""``wk forget``: erase a secret, a session or a person's sessions for good."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from watchkeeper.pipeline.reredaction import Request

HELP = (
    "Erase a secret, a session or a person's sessions for good: from archive, ledger payloads, index and its free"
    " pages. A tombstone in the chain says that, never what. The agent's own files stay."
)

_SHORTEST = 6
_NAMED = 10
_LABELS = {
    "sessions": "sessions",
    "entries_erased": "entries erased",
    "entries_rewritten": "entries rewritten",
    "frames": "archived pieces",
    "lines": "lines",
    "replaced": "replaced",
    "rows": "index rows",
    "files": "other files",
    "unreadable": "unreadable",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what can be forgotten."""
    parser.add_argument("sessions", nargs="*", metavar="SESSION", help="session ids; a prefix is enough")
    parser.add_argument(
        "--secret",
        nargs="?",
        const="-",
        metavar="FILE",
        help="a secret, read from FILE or standard input, never from the command line",
    )
    parser.add_argument("--person", metavar="NAME|EMAIL", help="all sessions of this user")
    parser.add_argument(
        "--by-rules",
        action="store_true",
        help="run what is on record through the rules of redaction in force",
    )
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="why, for the record; say nothing secret"
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="do not keep the secret sealed: if it comes again, it is recorded again",
    )
    parser.add_argument(
        "--transcripts", action="store_true", help="delete the sessions' files at the agent as well"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    parser.add_argument(
        "--yes", action="store_true", help="do not ask at a terminal before sessions are erased"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Forget, and print how much went, or ``{"what", "sessions", "entries_erased", "entries_rewritten", ...}``."""
    _check(arguments)
    request = _request(arguments, context)
    if not (arguments.yes or arguments.dry_run or _approved(request.sessions, context)):
        return 1
    files = _transcripts(request.sessions, context) if arguments.transcripts else []
    report = _survey(request, context) if arguments.dry_run else _forget(request, context)
    if arguments.transcripts:
        report["transcripts"] = len(files) if arguments.dry_run else _delete(files)
    if context.json:
        context.emit(report)
        return 0
    _print(report, context)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    asked = [
        bool(arguments.sessions),
        arguments.secret is not None,
        bool(arguments.person),
        arguments.by_rules,
    ]
    if sum(asked) != 1:
        raise UsageError(
            "say one thing to forget",
            hint="Give session ids, or --secret, or --person NAME, or --by-rules.",
        )
    if arguments.transcripts and not (arguments.sessions or arguments.person):
        raise UsageError("--transcripts needs sessions", hint="Give session ids, or --person NAME.")


def _request(arguments: argparse.Namespace, context: Context) -> Request:
    from watchkeeper.pipeline.reredaction import Request

    why = arguments.reason
    if arguments.secret is not None:
        return Request("secret", why, _read_secret(arguments.secret, context), once=arguments.once)
    if arguments.by_rules:
        return Request("rules", why or "asked for")
    if arguments.person:
        return Request("person", why, sessions=_of_person(arguments.person, context))
    return Request("session", why, sessions=_resolve(arguments.sessions, context))


def _read_secret(source: str, context: Context) -> bytes:
    if source != "-":
        value = Path(source).expanduser().read_bytes()
    elif sys.stdin.isatty():
        import getpass

        value = getpass.getpass("Secret: ").encode()
    else:
        value = sys.stdin.buffer.read()
    value = value.strip(b"\r\n")
    if len(value) < _SHORTEST:
        raise UsageError(
            f"a secret has at least {_SHORTEST} bytes",
            why="a shorter one stands in too many other words",
            place="standard input" if source == "-" else source,
        )
    if context.settings.places.home.is_dir():
        from watchkeeper.cli.freshness import bring_up_to_date

        bring_up_to_date(context)
    return value


def _resolve(words: list[str], context: Context) -> list[str]:
    from watchkeeper.cli.freshness import fresh_reader
    from watchkeeper.queries.sessions import resolve_session

    with fresh_reader(context) as (reader, _):
        return sorted({resolve_session(reader, word) for word in words})


def _of_person(name: str, context: Context) -> list[str]:
    from watchkeeper.cli.freshness import fresh_reader

    query = "SELECT session_id FROM sessions WHERE lower(user_name) = lower(:name) OR lower(user_email) = lower(:name)"
    with fresh_reader(context) as (reader, _):
        found = sorted(row["session_id"] for row in reader.rows(query, {"name": name}))
    if not found:
        raise NotFoundError("no session of this person is on record", place=name)
    return found


def _approved(sessions: list[str], context: Context) -> bool:
    """Name the sessions at a terminal and ask: a short prefix may have meant another one. Scripts are not asked."""
    if not sessions or context.json or not sys.stdin.isatty():
        return True
    from watchkeeper.cli.terminal import one_line
    from watchkeeper.queries.sessions import sessions_by_id
    from watchkeeper.store.sqlite.reading import open_reader

    with open_reader(context.settings.places) as reader:
        titles = {row["session_id"]: row["title"] for row in sessions_by_id(reader, sessions[:_NAMED])}
    for session in sessions[:_NAMED]:
        context.line(f"{one_line(session)}  {one_line(titles.get(session) or '—')[:80]}")
    if len(sessions) > _NAMED:
        context.line(f"… and {len(sessions) - _NAMED:,} more")
    print("Erase for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _forget(request: Request, context: Context) -> dict[str, Any]:
    from watchkeeper.client.recorder import RecorderClient

    recorder = RecorderClient(context.settings.places)
    if recorder.is_running():
        import msgspec

        return recorder.forget(msgspec.to_builtins(request))
    from watchkeeper.daemon.homes import prepare_home
    from watchkeeper.pipeline.reredaction import forget

    prepare_home(context.settings.places)
    with context.progress as progress:
        return forget(
            context.settings,
            request,
            lambda phase, done, total: progress(done, total, f"{phase} of the record"),
        )


def _survey(request: Request, context: Context) -> dict[str, Any]:
    from watchkeeper.pipeline.reredaction import survey_request

    return survey_request(context.settings, request)


def _transcripts(sessions: list[str], context: Context) -> list[Path]:
    """Return the sessions' own files and folders at the agent."""
    from watchkeeper.pipeline.folders import agent_folders
    from watchkeeper.pipeline.tombstones import session_of
    from watchkeeper.sources.claude_code.discovery import find_transcripts
    from watchkeeper.store.sqlite.reading import open_reader

    with open_reader(context.settings.places) as reader:
        folders = agent_folders(context.settings, reader.connection)
    found: set[Path] = set()
    for folder in folders:
        if not (folder / "projects").is_dir():
            continue
        for file in find_transcripts(folder).files:
            session = session_of(file.relative)
            if session not in sessions:
                continue
            parts = Path(file.relative).parts
            found.add(folder / "projects" / parts[0] / session if len(parts) > 2 else file.path)
            beside = file.path.with_suffix("")
            if len(parts) == 2 and beside.is_dir() and not beside.is_symlink():
                found.add(beside)
    return sorted(found)


def _delete(paths: list[Path]) -> int:
    import shutil

    count = 0
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        count += 1
    return count


def _print(report: dict[str, Any], context: Context) -> None:
    for name, label in _LABELS.items():
        number = report.get(name)
        if number:
            context.line(f"{label:<18}{number:>10,}")
    if "transcripts" in report:
        context.line(f"{'files of the agent':<18}{report['transcripts']:>10,}")
    if not any(report.get(name) for name in _LABELS):
        context.line("Nothing of it is on record.")
    if report.get("dry_run"):
        context.next_step("Nothing was changed. The same without --dry-run does it, for good.")
        return
    for path in report.get("left") or ():
        context.line(context.style("still in", "warn") + f"          {path}")
    if report["what"] in {"session", "person"} and "transcripts" not in report:
        context.line("The agent's own files stay; they are not read again.")
    context.next_step("wk verify checks that the record is unchanged but for this")
