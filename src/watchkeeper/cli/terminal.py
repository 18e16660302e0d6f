"""What a terminal is shown: styles, widths, and data made harmless.

Recorded text may hold escape sequences, carriage returns or bidirectional controls; printed as they are,
these could rewrite what the reader sees. `visible` spells each out before anything is printed.
"""

from __future__ import annotations

_STYLES = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}

_OWN_CODES = tuple(f"[{code}m" for code in ("0", *_STYLES.values()))

_SPELLED = [
    *(code for code in range(0x20) if code not in (0x09, 0x0A)),
    *range(0x7F, 0xA0),
    0x061C,
    *range(0x200B, 0x200D),
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
    *range(0xD800, 0xE000),
    *range(0xFFF9, 0xFFFC),
    *range(0xE0000, 0xE0080),
]


def _spell(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_VISIBLE = {code: _spell(code) for code in _SPELLED}


def styled(text: str, name: str, *, colour: bool) -> str:
    """Return the text in one of the styles good, bad, warn, dim or bold; unchanged without colour."""
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m" if colour and text else text


def visible(text: str) -> str:
    r"""Return the text with every control that a terminal would obey spelled out.

    Newlines and tabs stay. Escape sequences, carriage returns, C1 controls, bidirectional and invisible
    characters and lone surrogates become ``\x1b``, ``\u202e`` and the like.
    """
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_VISIBLE)


def harmless(text: str, *, colour: bool) -> str:
    """Return the text with every control spelled out but, with colour, the styles that `styled` sets."""
    if not colour or "\x1b" not in text:
        return visible(text)
    pieces = text.split("\x1b")
    kept = [visible(pieces[0])]
    for piece in pieces[1:]:
        ours = piece.startswith(_OWN_CODES)
        kept.append(("\x1b" if ours else "\\x1b") + visible(piece))
    return "".join(kept)


def one_line(text: str | None) -> str:
    """Return harmless text on a single line, with runs of white space as one space."""
    return visible(" ".join((text or "").split()))


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 call``, ``1,200 calls``, ``2 entries``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {plural or f'{noun}s'}"


def money(usd: str | None, *, about: bool = False, places: int = 2) -> str:
    """Return decimal dollars to the cent, half up, for a column or a sentence; every digit is in ``--json``.

    Args:
        usd: Dollars as JSON has them (``"15.704417"``), or None for unknown, which reads as a dash.
        about: Whether the figure is an estimate and says so with ``≈``.
        places: Decimals, up to 6; see `places_for`.
    """
    if usd is None:
        return "—"
    sign = "-" if usd.startswith("-") else ""
    whole, _, part = usd.removeprefix("-").partition(".")
    micros = 1_000_000 * int(whole) + int(part[:6].ljust(6, "0"))
    step, units = 10 ** (6 - places), 10**places
    if 0 < micros < step:
        return f"{'>-' if sign else '<'}{1 / units:.{places}f}"
    rounded = (micros + step // 2) // step
    return f"{'≈' if about else ''}{sign}{rounded // units:,}.{rounded % units:0{places}d}"


def places_for(largest: str | None) -> int:
    """Return how many decimals a table of dollars needs: four where even its largest figure is less than one dollar."""
    return 4 if largest is not None and largest.partition(".")[0] in {"0", "-0", ""} else 2


def steps(text: str, width: int) -> list[str]:
    """Return ``one · two · three`` on as few lines as hold it; a part is never broken, it may be a command."""
    lines: list[str] = []
    for whole in text.split("\n"):
        line = ""
        for part in whole.split(" · "):
            if line and columns_of(line) + 3 + columns_of(part) > width:
                lines.append(line)
                line = part
            else:
                line = f"{line} · {part}" if line else part
        lines.append(line)
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """Return a sentence on lines of at most `width` columns; a word that is longer stays whole."""
    if columns_of(text) <= width:
        return [text]
    from textwrap import wrap

    return wrap(text, width, break_long_words=False, break_on_hyphens=False)


def reason_lines(name: str, reason: str, width: int) -> list[str]:
    """Return harmless lines ``  name: reason``, wrapped to the width under the name."""
    from textwrap import wrap

    text = f"{one_line(name)}: {one_line(reason)}"
    return wrap(text, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def columns_of(text: str) -> int:
    """Return how many terminal columns the text fills; wide characters fill two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(
        0
        if combining(character) or character == "\u200d"
        else 2
        if east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def clip(text: str, width: int) -> str:
    """Return the text cut to at most `width` columns, an ellipsis in the last one when something was cut."""
    if columns_of(text) <= width:
        return text
    if width <= 0:
        return ""
    kept = text[: width - 1]
    while columns_of(kept) > width - 1:
        kept = kept[:-1]
    return kept.rstrip() + "…"


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return the text filled with spaces to `width` columns, on the left side when `right` is set."""
    fill = " " * max(0, width - columns_of(text))
    return fill + text if right else text + fill
