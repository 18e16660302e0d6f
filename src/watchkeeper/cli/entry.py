"""The table of commands, and the way from arguments to an exit status.

Nothing but the asked command is imported: ``wk --help`` imports none. Exit status: 0 success, 1 a negative
answer or a failure, 2 wrong use, 130 interrupted, 141 when the reader of standard output went away.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from watchkeeper.errors import UsageError, WatchkeeperError

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("up", "run the recorder and the dashboard"),
    "down": ("down", "stop them"),
    "demo": ("demo", "show the dashboard on packaged sessions, in a throw-away home"),
    "install": ("install", "register the hooks in the agent's settings"),
    "uninstall": ("uninstall", "remove them again, and nothing else"),
    "doctor": ("doctor", "check the whole chain with a synthetic event"),
    "import": ("import_transcripts", "read the agent's transcripts"),
    "sessions": ("sessions", "list or search sessions"),
    "usage": ("usage", "sum tokens and cost by day, project, model and other keys"),
    "show": ("show", "show one session's timeline, or one call in full"),
    "coverage": ("coverage", "say how much of what happened is on record"),
    "move": ("move", "take a project's sessions along to another folder, or undo that"),
    "fork": ("fork", "copy a project's sessions to another folder under new ids"),
    "checkpoint": ("checkpoint", "keep a session in one portable file, and resume it elsewhere"),
    "export": ("export", "write a conversation down as Markdown, HTML or JSON"),
    "verify": ("verify", "check that the record is whole and unchanged"),
    "keys": ("keys", "list the keys that sign the record, or sign with a new one"),
    "forget": ("forget", "erase a secret, a session or a person for good"),
    "restore": ("restore", "put a session's transcripts back from the archive"),
    "hold": ("hold", "keep a session's transcript whatever its age"),
    "disk": ("disk", "say what the record takes on disk, and of what budget"),
    "housekeeping": ("housekeeping", "drop transcripts beyond retention and budget"),
    "rebuild": ("rebuild", "make the database anew from ledger and archive"),
    "statusline": ("statusline", "print one line for the agent's status line"),
    "budget": ("budget", "set budgets, and see what is spent and left"),
    "tag": ("tags", "tag projects and sessions"),
    "prices": ("prices", "list the prices in force, with their sources"),
    "redact": ("redact", "show what would be masked in a text, a file or a session"),
    "config": ("config", "list the settings with where each comes from"),
    "stats": ("stats", "say what was done in a day, week, month or any stretch"),
    "errors": ("errors", "list what went wrong, and what mended it"),
    "quality": ("quality", "name what a better configuration would spare"),
    "cost": ("cost", "show what a session's cost went to, or which prompts cost most"),
    "context": ("context_view", "show what filled a session's context, and what carrying it cost"),
    "review": ("review", "the week in review"),
    "activity": ("activity", "log of what the agents did, one line per tool call"),
    "url": ("url", "print a one-time sign-in address of the dashboard"),
}
"""Command name -> module below `watchkeeper.cli`, and its one-line help."""

GROUPS = {
    "What it cost": "usage cost context budget prices statusline tag",
    "What was done": "sessions show activity stats review errors quality coverage",
    "Sessions that go elsewhere, or come back": "export move fork checkpoint restore",
    "What is kept": "redact forget hold disk housekeeping verify keys",
    "Recorder and dashboard": "up down url install uninstall doctor demo import rebuild config",
}
"""Commands as ``wk --help`` lists them: a title, and the names below it."""

ALONE = frozenset({"statusline"})
"""Commands that answer even where arguments or settings cannot be read, by ``run_alone(words)``."""


QUICK = frozenset({"usage", "sessions", "statusline", "budget"})
"""Commands that people and shells wait for; they leave nothing to be tidied up when the process ends."""


def is_quick() -> bool:
    """Tell whether this process runs one of `QUICK`, and flush what it said."""
    words = sys.argv[1:]
    position = _command_position(words)
    if position is None or words[position] not in QUICK:
        return False
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return False
    return True


class Parser(argparse.ArgumentParser):
    """A parser that reports wrong use as `UsageError`, which follows ``--json`` like every other error."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise UsageError(message, hint=f"Run `{self.prog} --help`.")


def _formatter(prog: str) -> argparse.HelpFormatter:
    # Left to itself, argparse imports shutil for the width, with every argument that is declared.
    try:
        width = os.get_terminal_size().columns
    except OSError:
        width = 80
    return argparse.HelpFormatter(prog, width=max(40, width - 2))


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own by default) and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A locale that cannot spell a character must not cost the rest of the answer.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _dispatch(words)
        sys.stdout.flush()
    except WatchkeeperError as error:
        return _report(error, as_json="--json" in _before_dashes(words))
    except BrokenPipeError:
        _forget_output()
        return 141
    except OSError as error:
        failure = WatchkeeperError(error.strerror or str(error), place=str(error.filename or ""))
        return _report(failure, as_json="--json" in _before_dashes(words))
    except KeyboardInterrupt:
        return 130
    return status


def _dispatch(words: list[str]) -> int:
    position = _command_position(words)
    if position is None:
        return _without_command(words)
    name = words[position]
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}", hint=_similar(name))
    rest = words[:position] + words[position + 1 :]
    if name in ALONE:
        done: int | None = _module(name).run_alone(rest)
        if done is not None:
            return done
    arguments = _parse(name, rest)
    from pathlib import Path

    from watchkeeper.cli.context import Context
    from watchkeeper.cli.home_guard import refuse_foreign_home, refuse_other_folder
    from watchkeeper.settings import Settings, default_home

    home = Path(arguments.home).expanduser().absolute() if arguments.home else None
    refuse_foreign_home(name, home or default_home(), arguments)
    refuse_other_folder(name, home or default_home())
    context = Context(Settings(home), json=arguments.json)
    status: int = _module(name).run(arguments, context)
    return status


def _module(name: str) -> Any:
    path = f"watchkeeper.cli.{COMMANDS[name][0]}"
    __import__(path)
    return sys.modules[path]


def _parse(name: str, words: list[str]) -> argparse.Namespace:
    module = _module(name)
    parser = Parser(
        prog=f"wk {name}", description=module.HELP, allow_abbrev=False, formatter_class=_formatter
    )
    _add_global_flags(parser)
    module.configure(parser)
    head = _before_dashes(words)
    tail = words[len(head) + 1 :]
    takes_words = any(action.dest == "words" for action in parser._actions)
    if tail and not takes_words:
        return parser.parse_args([*head, "--", *tail])
    if not {"-h", "--help"} & set(head):
        # Else argparse formats a usage that nobody sees.
        parser.usage = ""
    arguments = parser.parse_intermixed_args(head)
    if tail:
        arguments.words = [*arguments.words, *tail]
    return arguments


def _add_global_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", metavar="DIR", help="the Watchkeeper home (default: WATCHKEEPER_HOME)")
    parser.add_argument("--json", action="store_true", help="answer with one JSON document")


def _before_dashes(words: list[str]) -> list[str]:
    return words[: words.index("--")] if "--" in words else words


def _command_position(words: list[str]) -> int | None:
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--":
            return None
        if word == "--home":
            position += 2
            continue
        if not word.startswith("-"):
            return position
        if word != "--json" and not word.startswith("--home="):
            return None
        position += 1
    return None


def _without_command(words: list[str]) -> int:
    import watchkeeper

    parser = Parser(prog="wk", allow_abbrev=False, add_help=False, formatter_class=_formatter)
    _add_global_flags(parser)
    parser.add_argument("--version", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    arguments = parser.parse_args(words)
    if arguments.version:
        version = watchkeeper.__version__
        print(f'{{"version": "{version}"}}' if arguments.json else f"watchkeeper {version}")
        return 0
    if arguments.json and not arguments.help:
        raise UsageError("no command given", hint="Run `wk --help`.")
    print(help_text())
    return 0


def help_text() -> str:
    """Return what ``wk --help`` prints."""
    width = max(map(len, COMMANDS))
    groups: list[str] = []
    for title, names in GROUPS.items():
        groups += [title, *(f"  {name:<{width}}  {COMMANDS[name][1]}" for name in names.split()), ""]
    return "\n".join(
        [
            "The flight recorder and safety officer for coding agents.",
            "",
            "usage: wk [--home DIR] [--json] COMMAND ...",
            "",
            *groups,
            "  --home DIR  another Watchkeeper home than WATCHKEEPER_HOME or the default",
            "  --json      one JSON document on standard output, nothing else",
            "  --version   the version",
            "",
            "wk COMMAND --help says more. Start with: wk usage, wk sessions, wk up",
        ]
    )


def _similar(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    return f"Did you mean `wk {close[0]}`?" if close else "Run `wk --help` for the list."


def _report(error: WatchkeeperError, *, as_json: bool) -> int:
    status = 2 if isinstance(error, UsageError) else 1
    try:
        if as_json:
            import json

            print(json.dumps(error.to_json()), flush=True)
        else:
            from watchkeeper.cli.terminal import one_line

            print(f"wk: {one_line(str(error))}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        _forget_output()
    return status


def _forget_output() -> None:
    # The interpreter flushes standard output once more on exit, and would complain again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
