"""The layers of the design hold, and the quick paths import only what they need."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "watchkeeper"
LINTER = Path(sys.executable).parent / "lint-imports"


def run_linter(folder: Path, package_parent: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with a configuration folder on the package below another folder."""
    if not LINTER.exists():
        pytest.skip("import-linter is not installed: run make install")
    return subprocess.run(
        [LINTER, "--config", folder / "pyproject.toml", "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(package_parent), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_layers_hold() -> None:
    """Every import contract of pyproject.toml is kept."""
    done = run_linter(ROOT, ROOT / "src")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_planted_violation_is_caught(tmp_path: Path) -> None:
    """A lower layer that imports a higher one breaks the contract, so a green result means something."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        PACKAGE,
        tmp_path / "src" / "watchkeeper",
        ignore=shutil.ignore_patterns("_*in", "_static", "__pycache__"),
    )
    planted = tmp_path / "src" / "watchkeeper" / "errors.py"
    planted.write_text(planted.read_text() + "\nimport watchkeeper.daemon.supervisor\n")
    done = run_linter(tmp_path, tmp_path / "src")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


def test_a_folder_without_a_layer_is_caught(tmp_path: Path) -> None:
    """A new folder has to be placed in the layers first."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        PACKAGE,
        tmp_path / "src" / "watchkeeper",
        ignore=shutil.ignore_patterns("_*in", "_static", "__pycache__"),
    )
    (tmp_path / "src" / "watchkeeper" / "stray").mkdir()
    (tmp_path / "src" / "watchkeeper" / "stray" / "__init__.py").touch()
    done = run_linter(tmp_path, tmp_path / "src")
    assert done.returncode == 1, done.stdout + done.stderr


def test_the_package_root_imports_nothing() -> None:
    """Importing one module of the package never pays for another."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == []


def test_the_native_hook_has_no_python() -> None:
    """``native/`` holds C, its build and its tests only."""
    assert list((ROOT / "native").rglob("*.py")) == []


def test_the_native_hook_uses_the_system_s_headers_only() -> None:
    """Every include of the hook is its own header or libc's."""
    own = {path.name for path in (ROOT / "native").rglob("*.h")}
    for source in (ROOT / "native").rglob("*.[ch]"):
        quoted = {
            line.split('"')[1] for line in source.read_text().splitlines() if line.startswith('#include "')
        }
        assert {Path(name).name for name in quoted} <= own, source


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        (
            "watchkeeper.daemon.supervisor",
            {"asyncio", "subprocess", "ssl", "ctypes", "msgspec", "apsw", "litestar"},
        ),
        ("watchkeeper.daemon.decider", {"msgspec", "apsw", "litestar", "json", "rich"}),
        ("watchkeeper.client.recorder", {"asyncio", "msgspec", "apsw", "litestar", "rich", "subprocess"}),
        ("watchkeeper.cli", {"asyncio", "msgspec", "apsw", "litestar", "rich", "cryptography"}),
    ],
)
def test_a_quick_module_stays_light(module: str, unwanted: set[str]) -> None:
    """Importing it loads nothing that its job does not need."""
    program = (
        f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & unwanted == set()


def test_only_known_layers_are_declared() -> None:
    """Each layer that the contract names without brackets exists as a folder or module."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["type"] == "layers")["layers"]
    names = {name.strip() for line in layers for name in line.replace("|", ":").split(":")}
    missing = {
        name
        for name in names
        if not name.startswith("(")
        and not (PACKAGE / name).is_dir()
        and not (PACKAGE / f"{name}.py").is_file()
    }
    assert missing == set()
