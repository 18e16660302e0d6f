"""``wk import``: read the agent's transcripts, from where the last reading ended."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.terminal import one_line
from watchkeeper.errors import NotFoundError

HELP = "Read transcripts, incrementally; report files, lines, and every skipped line with its reason."

_SHOWN_SKIPPED = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the paths."""
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="files or folders (default: the agent's own folders)"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Import, and print the report, or ``{"files", "lines", "observations", "skipped": [...]}``."""
    paths = [Path(path).expanduser().absolute() for path in arguments.paths]
    for path in paths:
        if not path.exists():
            raise NotFoundError("nothing to import", why="no such file or folder", place=str(path))
    report = _import(paths or None, context)
    if context.json:
        context.emit(report)
    else:
        _print(report, context)
    return 0


def _import(paths: list[Path] | None, context: Context) -> dict[str, Any]:
    from watchkeeper.client.recorder import RecorderClient

    recorder = RecorderClient(context.settings.places)
    if recorder.is_running():
        return recorder.import_paths(None if paths is None else [str(path) for path in paths])
    from watchkeeper.daemon.homes import prepare_home
    from watchkeeper.pipeline.catch_up import catch_up

    prepare_home(context.settings.places)
    with context.progress as progress:
        report = catch_up(
            context.settings,
            paths,
            lambda now: progress(
                now.bytes_done, now.bytes_total, f"{now.files_done:,} of {now.files_total:,} files"
            ),
        )
    return report.to_json()


def _print(report: dict[str, Any], context: Context) -> None:
    context.line(f"files         {report['files']:,}")
    context.line(f"lines         {report['lines']:,}")
    context.line(f"observations  {report['observations']:,}")
    skipped = report["skipped"]
    context.line("skipped       " + (context.style(f"{len(skipped):,}", "warn") if skipped else "0"))
    for entry in skipped[:_SHOWN_SKIPPED]:
        context.line(one_line(f"{entry['file']}:{entry['line']}: {entry['reason']}"))
    if len(skipped) > _SHOWN_SKIPPED:
        context.line(context.style(f"… {len(skipped) - _SHOWN_SKIPPED:,} more: wk import --json", "dim"))
    if not report["files"] and not skipped:
        context.line("Nothing new: what there is was read before.")
    context.next_step("wk sessions lists what is on record")
