"""``wk disk``: what takes how much, beside its budget."""

from __future__ import annotations

import argparse
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.sizes import size_words
from watchkeeper.cli.tables import Cell, Column, table

HELP = "Say what each part of the record takes on disk, and of what budget."

_COLUMNS = (
    Column("part"),
    Column("takes", right=True),
    Column("of at most", right=True),
    Column("files", right=True),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Take no arguments of its own."""


def run(arguments: argparse.Namespace, context: Context) -> int:  # noqa: ARG001 - the convention of commands
    """Print the table, or ``{"parts": [...], "total_bytes", "max_bytes", "over_bytes", "retention_days"}``."""
    from watchkeeper.pipeline.disk import disk_usage

    usage = disk_usage(context.settings)
    if context.json:
        context.emit(usage)
        return 0
    rows: list[list[str | Cell]] = [_cells(part) for part in usage["parts"]]
    total = {
        "name": "in the budget",
        "bytes": usage["total_bytes"],
        "max_bytes": usage["max_bytes"],
        "files": None,
    }
    for line in table(context, _COLUMNS, [*rows, _cells(total)]):
        context.line(line)
    days = usage["retention_days"]
    kept = f"Transcripts are kept {days:,} days" if days else "Transcripts are kept for good"
    context.next_step(f"{kept}; the oldest go first when a budget is full · wk housekeeping --dry-run")
    return 0


def _cells(part: dict[str, Any]) -> list[str | Cell]:
    most = part["max_bytes"]
    taken = size_words(part["bytes"])
    return [
        part["name"],
        Cell(taken, "bad") if most and part["bytes"] > most else taken,
        size_words(most),
        "" if part["files"] is None else f"{part['files']:,}",
    ]
