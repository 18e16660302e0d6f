"""The reference pages are generated, and say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from watchkeeper.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]


def generator() -> ModuleType:
    """Return the program that writes the reference pages."""
    spec = importlib.util.spec_from_file_location(
        "generate_reference", ROOT / "docs" / "reference" / "generate.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_is_documented() -> None:
    """The settings page names each row of the table with its variable, default and help."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    missing = [
        row.name
        for row in SETTINGS
        if f"`{row.name}`" not in page or row.env not in page or row.help not in page
    ]
    assert missing == []


def test_the_reference_pages_are_current() -> None:
    """`make docs` would change nothing."""
    for name, text in generator().pages().items():
        assert (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8") == text, (
            f"{name}: run make docs"
        )


def test_every_setting_has_a_name_and_variable_of_its_own() -> None:
    """No two rows of the table share a name or a variable."""
    assert len({row.name for row in SETTINGS}) == len(SETTINGS)
    assert len({row.env for row in SETTINGS}) == len(SETTINGS)
