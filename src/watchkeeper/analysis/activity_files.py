"""Daily files of the activity log, for those who want files: ``activity-YYYY-MM-DD.jsonl``, one per local day.

A file is what the record says about its day: writing again changes nothing, and a day that is still going on grows. A
file of that name which somebody else wrote is never touched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.errors import ConfigError
from watchkeeper.queries.activity import day_of

_OURS = "tool_use_id"


class Written(NamedTuple):
    """What became of one daily file.

    Attributes:
        path: The file.
        lines: Lines in it.
        changed: Whether it had to be written.
    """

    path: Path
    lines: int
    changed: bool


def write_daily_files(lines: Iterable[dict[str, Any]], folder: Path) -> Iterator[Written]:
    """Write the lines, which must be in the order of time, into daily files; yield each file.

    Raises:
        ConfigError: A file of such a name is not one of ours, or the folder cannot be written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for day, group in groupby(lines, key=day_of):
            texts = [json.dumps(line, ensure_ascii=False) + "\n" for line in group]
            yield _write(folder / f"activity-{day}.jsonl", texts)
    except OSError as error:
        raise ConfigError(
            "the activity log cannot be written",
            why=error.strerror or str(error),
            hint="Choose another folder with --to.",
            place=str(folder),
        ) from error


def _write(path: Path, texts: list[str]) -> Written:
    data = "".join(texts).encode("utf-8", "backslashreplace")
    there = path.read_bytes() if path.exists() else None
    if there == data:
        return Written(path, len(texts), changed=False)
    if there and not _is_ours(there):
        raise ConfigError(
            "a file of this name was written by something else",
            hint="Choose another folder with --to; this file stays as it is.",
            place=str(path),
        )
    passing = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    passing.replace(path)
    return Written(path, len(texts), changed=True)


def _is_ours(data: bytes) -> bool:
    for line in data.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            return False
        if not isinstance(found, dict) or _OURS not in found:
            return False
    return True
