"""Has the native scanner read whole transcripts for usage, many at once and on every processor.

``watchkeeper-scan`` (``native/scan.h``) says of a file exactly what `usage_scan` would say of it, or nothing. What it
leaves alone (a line in another form than today's, a request that two sessions claim, a file that cannot be read), or
everything where this installation has no scanner, is read by `usage_scan` as if there were none.
"""

from __future__ import annotations

import marshal
import os
import subprocess
from collections.abc import Sequence
from typing import Any, NamedTuple

import watchkeeper
from watchkeeper.sources.claude_code.usage_scan import Request, Session

PROGRAM = "watchkeeper-scan"
MOST_THREADS = 8
_FORMAT = b"wkscan1\n"


class Part(NamedTuple):
    """A part of a transcript: from an offset, at which a line begins, to another."""

    path: str
    start: int
    end: int
    session_hint: str | None
    agent_hint: str | None


class Found(NamedTuple):
    """What a part says.

    Attributes:
        position: Where its last whole line ends.
        requests: As in `usage_scan.UsageScan`; none of them is claimed twice.
        sessions: As in `usage_scan.UsageScan`.
        rest: Length of an unfinished line from ``position`` on that may be whole, to be read plainly; 0: none.
    """

    position: int
    requests: dict[str, Request]
    sessions: dict[str, Session]
    rest: int


def packaged_scanner() -> str | None:
    """Return the path of the scanner that was built with this package, if there is one."""
    path = os.path.join(os.path.dirname(watchkeeper.__file__), "_bin", PROGRAM)  # noqa: PTH118, PTH120
    return path if os.access(path, os.X_OK) else None


def scan_natively(parts: Sequence[Part], threads: int, program: str | None = None) -> list[Found | None]:
    """Return what each part says, or ``None`` for a part that is to be read by `usage_scan`.

    Args:
        parts: Those that take longest are best first.
        threads: How many to use, up to `MOST_THREADS`.
        program: The scanner; the packaged one unless given.
    """
    nothing: list[Found | None] = [None] * len(parts)
    program = program or packaged_scanner()
    if program is None or not parts:
        return nothing
    try:
        given = b"".join(map(_record, parts))
        done = subprocess.run(
            [program, str(threads)],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, UnicodeEncodeError):
        return nothing
    if done.returncode:
        return nothing
    try:
        return _answer(done.stdout, len(parts))
    except (ValueError, EOFError, TypeError, IndexError):
        # Not what this version's scanner writes.
        return nothing


def _record(part: Part) -> bytes:
    hints = (part.session_hint or "", part.agent_hint or "")
    return b"%b\0%d\0%d\0%b\0%b\0" % (
        os.fsencode(part.path),
        part.start,
        part.end,
        hints[0].encode(),
        hints[1].encode(),
    )


def _answer(answer: bytes, count: int) -> list[Found | None]:
    """Return what the scanner wrote.

    Raises:
        ValueError, EOFError, TypeError, IndexError: It is not in the expected form, or not whole.
    """
    if not answer.startswith(_FORMAT):
        raise ValueError(answer[: len(_FORMAT)])
    found: list[Found | None] = [None] * count
    seen = bytearray(count)
    at, view = len(_FORMAT), memoryview(answer)
    while at < len(answer):
        start = at + 8
        at = start + int.from_bytes(view[at:start], "little")
        if at > len(answer):
            raise ValueError(at)
        documents: list[list[Any]] = marshal.loads(view[start:at])  # noqa: S302 - from our own program
        for index, position, requests, sessions, rest in documents:
            if not 0 <= index < count:
                raise ValueError(index)
            seen[index] += 1
            if requests is not None:
                if not isinstance(requests, dict) or not isinstance(sessions, dict):
                    raise TypeError(requests)
                found[index] = Found(position, requests, sessions, rest)
    if seen != b"\1" * count:
        raise ValueError(count)
    return found
