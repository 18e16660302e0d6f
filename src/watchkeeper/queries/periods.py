"""The words for moments that every face takes: ``24h``, ``7d``, ``today``, a date, an RFC 3339 time, ``all``.

Days are those of the local time zone (``TZ``).
"""

from __future__ import annotations

import time

from watchkeeper.errors import UsageError

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_HINT = "Use 24h, 7d, today, yesterday, a date such as 2026-11-01, or all."


def since_ms(text: str | None, now_ms: int, place: str = "--since") -> int | None:
    """Return the beginning of a stretch in epoch milliseconds; ``None`` for ``all`` or nothing.

    Raises:
        UsageError: The word is none of the known forms.
    """
    return _moment(text, now_ms, place, end=False)


def until_ms(text: str | None, now_ms: int, place: str = "--until") -> int | None:
    """Return the end of a stretch in epoch milliseconds, exclusive; a day counts to its end.

    Raises:
        UsageError: The word is none of the known forms.
    """
    return _moment(text, now_ms, place, end=True)


def _moment(text: str | None, now_ms: int, place: str, *, end: bool) -> int | None:
    word = (text or "all").strip().lower()
    if word == "all":
        return None
    if word == "now":
        return now_ms
    if word[:-1].isdigit() and word[:-1].isascii() and word[-1] in _UNITS:
        return max(0, now_ms - int(word[:-1]) * _UNITS[word[-1]] * 1000)
    day = time.localtime(now_ms / 1000)
    if word in {"today", "yesterday"}:
        return _midnight(day.tm_year, day.tm_mon, day.tm_mday - (word == "yesterday") + end)
    return _date(word, place, end=end)


def _date(word: str, place: str, *, end: bool) -> int:
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(word.upper())
        if len(word) <= len("2026-11-01"):
            return _midnight(moment.year, moment.month, moment.day + end)
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{word[:40]!r} is no time", hint=_HINT, place=place) from error


def _midnight(year: int, month: int, day: int) -> int:
    # mktime carries day 0 and day 32 over, and asks the zone itself whether summer time holds.
    return int(time.mktime((year, month, day, 0, 0, 0, 0, 0, -1))) * 1000
