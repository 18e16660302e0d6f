"""``wk housekeeping``: drop transcripts beyond retention and budget now."""

from __future__ import annotations

import argparse
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.sizes import size_words
from watchkeeper.cli.tables import Column, table
from watchkeeper.cli.terminal import counted

HELP = "Drop archived transcripts beyond retention and disk budget, oldest first; figures stay."

_COLUMNS = (Column("session"), Column("last"), Column("takes", right=True), Column("because of"))


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the rehearsal."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be dropped")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Sweep, and print ``{"sessions": [...], "frames", "bytes_before", "bytes_after", "held", "over_bytes"}``."""
    from watchkeeper.client.recorder import RecorderClient
    from watchkeeper.queries.forms import rfc3339

    places = context.settings.places
    if places.recorder_socket.exists() and RecorderClient(places).is_running():
        report = RecorderClient(places).housekeeping(dry_run=arguments.dry_run)
    else:
        report = _by_ourselves(context, dry_run=arguments.dry_run)
    report["dry_run"] = arguments.dry_run
    for row in report["sessions"]:
        row["last_at"] = rfc3339(row["last_at"])
    if context.json:
        context.emit(report)
    else:
        _print(report, context)
    return 0


def _by_ourselves(context: Context, *, dry_run: bool) -> dict[str, Any]:
    from watchkeeper.pipeline.housekeeping import sweep
    from watchkeeper.pipeline.recording import Recording

    with Recording(context.settings) as recording:
        return sweep(recording, dry_run=dry_run).to_json()


def _print(report: dict[str, Any], context: Context) -> None:
    if not report["sessions"]:
        context.line("Nothing is beyond retention or budget.")
    else:
        rows = [
            [row["session_id"], local_time(row["last_at"]), size_words(row["bytes"]), row["reason"]]
            for row in report["sessions"]
        ]
        for line in table(context, _COLUMNS, rows):
            context.line(line)
        verb = "would be dropped" if report["dry_run"] else "dropped"
        freed = max(0, report["bytes_before"] - report["bytes_after"])
        context.line()
        context.line(f"{counted(len(rows), 'session')} {verb}, {size_words(freed)} less. Their figures stay.")
    if report["held"]:
        context.line(f"{counted(len(report['held']), 'session')} held back: wk hold lists them.")
    if report["over_bytes"]:
        context.line(
            context.style(
                f"Still {size_words(report['over_bytes'])} over the budget: what is left is in use, held,"
                " or no transcript.",
                "warn",
            )
        )
    context.next_step("wk disk says what takes how much")
