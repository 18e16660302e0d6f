"""Tables align, and give way in the declared order when the terminal is narrow."""

from __future__ import annotations

from pathlib import Path

from watchkeeper.cli.context import Context
from watchkeeper.cli.tables import Cell, Column, table
from watchkeeper.cli.terminal import columns_of
from watchkeeper.settings import Settings

COLUMNS = (
    Column("session"),
    Column("title", least=6),
    Column("started", drop=2),
    Column("calls", right=True),
    Column("note", drop=1),
)
ROWS = [
    ["abcdefgh", "A long title that wants much room", "2026-11-01 10:00", "7", "quiet"],
    ["12345678", "short", "2026-11-01 11:00", "1,234", Cell("live", "good")],
]


def context(tmp_path: Path, columns: int) -> Context:
    environment = {"COLUMNS": str(columns), "HOME": str(tmp_path)}
    return Context(Settings(tmp_path, environment), json=False)


def test_with_room_everything_is_shown_and_figures_stand_on_the_right(tmp_path: Path) -> None:
    header, first, second = table(context(tmp_path, 120), COLUMNS, ROWS)
    end = header.index("calls") + len("calls")
    assert first[end - 1] == "7"
    assert second[end - 5 : end] == "1,234"
    assert "A long title that wants much room" in first


def test_narrow_terminals_lose_the_declared_columns_first_and_then_cut_text(tmp_path: Path) -> None:
    lines = table(context(tmp_path, 40), COLUMNS, ROWS)
    assert all(columns_of(line) <= 40 for line in lines)
    assert "started" not in lines[0]
    assert "calls" in lines[0]
    assert "…" in lines[1]


def test_data_cannot_break_the_table(tmp_path: Path) -> None:
    lines = table(context(tmp_path, 120), COLUMNS, [["a\nb", "\x1b[31mred", "x", "1", "\u202eabc"]])
    assert len(lines) == 2
    assert "\\x1b[31mred" in lines[1]
    assert "\x1b" not in lines[1]


def test_without_a_terminal_there_is_no_colour(tmp_path: Path) -> None:
    assert "\x1b" not in "".join(table(context(tmp_path, 120), COLUMNS, ROWS, ["one", "two"]))
