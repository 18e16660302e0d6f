"""A hit of a search on a terminal: aligned, in view, and without the colours a program wrote."""

from __future__ import annotations

from pathlib import Path

from watchkeeper.cli.context import Context
from watchkeeper.cli.search_view import hit_line
from watchkeeper.settings import Settings


def shown(tmp_path: Path, kind: str, excerpt: str, *matches: list[int]) -> str:
    context = Context(Settings(tmp_path, {"COLUMNS": "80", "HOME": str(tmp_path)}), json=False)
    return hit_line(
        context, {"at": None, "kind": kind, "agent_id": None, "excerpt": excerpt, "matches": list(matches)}
    )


def test_excerpts_of_all_kinds_begin_in_the_same_column(tmp_path: Path) -> None:
    lines = [shown(tmp_path, kind, "words", [0, 5]) for kind in ("prompt", "tool_result", "answer")]
    assert len({line.index("words") for line in lines}) == 1


def test_colours_are_left_out_and_other_controls_are_spelled_out(tmp_path: Path) -> None:
    line = shown(tmp_path, "tool_result", "\x1b[32mPASS\x1b[0m tests\x1b[2J", [5, 9])
    assert line.endswith("PASS tests\\x1b[2J")
