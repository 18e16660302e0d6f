"""How moments and stretches of time are shown on a terminal: in the local zone, in the unit that fits."""

from __future__ import annotations

from watchkeeper.cli.terminal import one_line


def local_time(text: str | None, *, seconds: bool = False) -> str:
    """Return an RFC 3339 time as local ``2026-11-01 09:30``; an em dash where none is known."""
    if not text:
        return "—"
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return one_line(text)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def duration(milliseconds: int | None) -> str:
    """Return a duration in the unit that fits: ``340 ms``, ``2.4 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if milliseconds is None:
        return "—"
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
