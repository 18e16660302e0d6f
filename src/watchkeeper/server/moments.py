"""The moments that query parameters name: ``24h``, ``7d``, a date, an RFC 3339 time, ``all``."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

from watchkeeper.errors import UsageError

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_STRETCH = re.compile(r"([0-9]{1,6})([mhdw])")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def moment_ms(
    text: str | None, *, parameter: str, now_ms: int | None = None, end: bool = False
) -> int | None:
    """Return a moment in epoch milliseconds; ``None`` for ``all`` or nothing.

    Args:
        text: A stretch before now, a day of the local time zone, or an RFC 3339 time.
        parameter: The parameter's name, for the error.
        now_ms: The present; the clock's by default.
        end: A day counts to its end rather than from its beginning.

    Raises:
        UsageError: The text is none of these.
    """
    word = (text or "all").strip()
    if word.lower() == "all":
        return None
    stretch = _STRETCH.fullmatch(word.lower())
    try:
        if stretch:
            now = int(time.time() * 1000) if now_ms is None else now_ms
            return now - int(stretch[1]) * _UNITS[stretch[2]] * 1000
        moment = datetime.fromisoformat(word)
        if end and _DATE.fullmatch(word):
            moment += timedelta(days=1)
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{word[:40]!r} is no time",
            hint="Use 24h, 7d, a date such as 2026-11-01, an RFC 3339 time, or all.",
            place=parameter,
        ) from error
