"""``wk rebuild``: make the database anew from ledger and archive."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from watchkeeper.cli.context import Context
from watchkeeper.errors import LockedError

HELP = "Make the database anew from ledger and archive; a new file is written and swapped in."


def configure(parser: argparse.ArgumentParser) -> None:
    """Take no arguments of its own."""


def run(arguments: argparse.Namespace, context: Context) -> int:  # noqa: ARG001 - the convention of commands
    """Rebuild, and print what went into the new database."""
    report = rebuild_with_progress(context)
    if context.json:
        context.emit(report)
        return 0
    for name, count in report.items():
        context.line(f"{name.replace('_', ' '):<14}{count:>12,}")
    context.next_step("wk sessions lists what is on record")
    return 0


def rebuild_with_progress(context: Context) -> dict[str, int]:
    """Make the database anew, show how far it is, and return the report.

    Raises:
        LockedError: The daemon or another command records at the moment.
    """
    from watchkeeper.pipeline.rebuild import rebuild

    try:
        with context.progress as progress:
            return asdict(
                rebuild(context.settings, lambda done, total: progress(done, total, "entries read"))
            )
    except LockedError as error:
        raise LockedError(
            "the record is being written",
            why="only one process may write, and a daemon or another command does",
            hint="Run `wk down`, then this again, then `wk up`.",
            place=error.place,
        ) from error
