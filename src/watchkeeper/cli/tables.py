"""Aligned columns that fit the width there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from watchkeeper.cli.context import Context
from watchkeeper.cli.terminal import clip, columns_of, one_line, pad

_GAP = 2


class Column(NamedTuple):
    """One column: its header, how it is aligned, and what happens when space is short.

    Attributes:
        title: Header, with the unit where there is one.
        right: Figures are aligned on the right.
        least: Width below which the column is never cut; 0 for one that is never cut at all.
        drop: Columns with a higher number are left out first when the rest does not fit; 0 is never left out.
    """

    title: str
    right: bool = False
    least: int = 0
    drop: int = 0


class Cell(NamedTuple):
    """A cell with a style of its own."""

    text: str
    style: str


def table(
    context: Context,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Cell]],
    under: Sequence[str] = (),
) -> list[str]:
    """Return the lines of a table, header first.

    Args:
        context: Gives width and styles.
        columns: The columns.
        rows: One sequence of cells per row; cell text is made harmless and put on one line here.
        under: Where given, a dim line below each row.
    """
    texts = [[one_line(cell.text if isinstance(cell, Cell) else cell) for cell in row] for row in rows]
    widths = [
        max([columns_of(column.title), *(columns_of(row[index]) for row in texts)])
        for index, column in enumerate(columns)
    ]
    shown = _fit(columns, widths, context.width)
    lines = [
        context.style(_join([pad(columns[i].title, widths[i], right=columns[i].right) for i in shown]), "dim")
    ]
    for number, row in enumerate(rows):
        cells = []
        for i in shown:
            text = clip(texts[number][i], widths[i])
            if i != shown[-1] or columns[i].right:
                text = pad(text, widths[i], right=columns[i].right)
            cell = row[i]
            cells.append(context.style(text, cell.style) if isinstance(cell, Cell) else text)
        lines.append(_join(cells))
        if under:
            lines.append(context.style("  " + clip(one_line(under[number]), context.width - 2), "dim"))
    return lines


def room(columns: Sequence[Column], rows: Sequence[Sequence[str | Cell]]) -> int:
    """Return the width at which a table shows every column whole."""
    widths = (
        max(columns_of(one_line(cell.text if isinstance(cell, Cell) else cell)) for cell in cells)
        for cells in zip([column.title for column in columns], *rows, strict=True)
    )
    return sum(widths) + _GAP * (len(columns) - 1)


def _join(cells: Sequence[str]) -> str:
    return (" " * _GAP).join(cells).rstrip()


def _fit(columns: Sequence[Column], widths: list[int], total: int) -> list[int]:
    """Choose the columns to show and narrow `widths` so that they fit into `total`."""
    shown = list(range(len(columns)))
    while True:
        excess = sum(widths[i] for i in shown) + _GAP * (len(shown) - 1) - total
        room = sum(max(0, widths[i] - columns[i].least) for i in shown if columns[i].least)
        droppable = [i for i in shown if columns[i].drop]
        if excess <= room or not droppable:
            break
        shown.remove(max(droppable, key=lambda i: columns[i].drop))
    while excess > 0:
        widest = max(
            (i for i in shown if columns[i].least), key=lambda i: widths[i] - columns[i].least, default=None
        )
        if widest is None or widths[widest] <= columns[widest].least:
            break
        widths[widest] -= 1
        excess -= 1
    return shown
