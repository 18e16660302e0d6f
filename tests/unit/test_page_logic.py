"""The page's own unit tests, run as part of ours: formats, live connection, timeline rows, rendering."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))


def test_the_pages_unit_tests_pass() -> None:
    if not (ROOT / "web" / "node_modules" / "vitest").is_dir():
        pytest.skip("the page's packages are not installed: run make install")
    from hatch_build import node_environment

    npm, environment = node_environment()
    command = [*npm, "test"]
    done = subprocess.run(
        command, cwd=ROOT / "web", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
