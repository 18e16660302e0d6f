"""The flags that name a stretch of time, the same for every command that takes one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchkeeper.queries.stretches import Stretch


def add_stretch_flags(parser: argparse.ArgumentParser) -> None:
    """Declare ``--range``, ``--date``, ``--since``, ``--until`` and ``--project``."""
    parser.add_argument("--range", metavar="R", help="today, yesterday, day, week, month or all")
    parser.add_argument(
        "--date", metavar="D", help="that day, or with --range the week or month that holds it"
    )
    parser.add_argument("--since", metavar="T", help="24h, 7d, today, yesterday, a date, or all")
    parser.add_argument("--until", metavar="T", help="the same; a date counts to its end")
    parser.add_argument("-p", "--project", metavar="PROJECT", help="only this project")


def stretch_of(arguments: argparse.Namespace, now_ms: int, *, default: str) -> Stretch:
    """Return the stretch that the flags name.

    Raises:
        UsageError: A word is not known, or the flags contradict each other.
    """
    from watchkeeper.queries.stretches import resolve_stretch

    return resolve_stretch(
        now_ms,
        named=arguments.range,
        day=arguments.date,
        since=arguments.since,
        until=arguments.until,
        project=arguments.project,
        default=default,
    )
