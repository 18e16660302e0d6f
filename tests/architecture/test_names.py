"""Names say what a thing knows, and no file names a place that exists on one machine only."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VAGUE = re.compile(r"^(utils?|commons?|helpers?|misc|stuff)(_|\.|$)|_(utils?|helpers?)(\.|$)")
# Written in pieces, so that this file may be searched too.
LOCAL_PLACES = (
    "/wo" + "rk/main",
    "/wo" + "rk/shared",
    "/tmp/br" + "ief",
    "/tmp/" + "rc/",
    "issues " + "show",
)
BINARY = {".png", ".jpg", ".ico", ".woff2", ".zst", ".db", ".gz"}


def tracked() -> list[Path]:
    """Return the files of the repository."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_module_or_folder_is_named_for_nothing() -> None:
    """There is no utils, common or helpers anywhere."""
    parts = {part for path in tracked() for part in path.relative_to(ROOT).parts}
    assert sorted(part for part in parts if VAGUE.search(part)) == []


def test_no_file_names_a_local_place() -> None:
    """The repository makes sense on every machine."""
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked()
        if path.suffix not in BINARY
        for word in LOCAL_PLACES
        if word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_test_files_have_names_of_their_own() -> None:
    """No two test files share a name, so that a report names one file."""
    names = [path.name for path in tracked() if path.name.startswith("test_") and path.suffix == ".py"]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
