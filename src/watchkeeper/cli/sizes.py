"""How a number of bytes is shown."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size_words(count: int | None) -> str:
    """Return bytes with a unit, as in ``1.5 GiB``; a dash where nothing is known."""
    if count is None:
        return "—"
    value = float(count)
    for unit in _UNITS[:-1]:
        if abs(value) < 1024:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} {_UNITS[-1]}"
