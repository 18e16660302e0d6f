"""A function has at most 60 lines and a module at most 500; the list of exceptions only shrinks."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FUNCTION = 60
LONGEST_MODULE = 500
EXCEPTIONS: dict[str, str] = {}
"""``path`` or ``path::function`` → why it may be longer."""


def sources() -> list[Path]:
    """Return every Python file that we write, tests excepted."""
    found = [ROOT / "hatch_build.py", *(ROOT / "src").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    return sorted(path for path in found if path.is_file())


def oversized(path: Path, root: Path = ROOT) -> set[str]:
    """Return the names of a file and its functions that exceed their budget."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(root).as_posix()
    found = {name} if len(text.splitlines()) > LONGEST_MODULE else set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
            if node.end_lineno - first + 1 > LONGEST_FUNCTION:
                found.add(f"{name}::{node.name}")
    return found


def test_every_module_and_function_keeps_its_size_budget() -> None:
    """Nothing is too long without a reason on the list."""
    found = set().union(*(oversized(path) for path in sources()))
    assert found - set(EXCEPTIONS) == set()


def test_the_list_of_exceptions_holds_nothing_that_has_become_short_enough() -> None:
    """An exception that is no longer needed is taken off the list."""
    found = set().union(*(oversized(path) for path in sources()))
    assert set(EXCEPTIONS) - found == set()


def test_the_measure_finds_a_function_and_a_module_that_are_too_long(tmp_path: Path) -> None:
    """The measure itself tells long from short, counting decorators."""
    fits = "def fits():\n" + "    pass\n" * (LONGEST_FUNCTION - 1)
    long = "@decorator\ndef long():\n" + "    pass\n" * (LONGEST_FUNCTION - 1)
    probe = tmp_path / "probe.py"
    probe.write_text(fits + long)
    assert oversized(probe, tmp_path) == {"probe.py::long"}
    probe.write_text("pass\n" * (LONGEST_MODULE + 1))
    assert oversized(probe, tmp_path) == {"probe.py"}
