"""``wk up --at-login`` leaves a service of this home behind, and ``wk down --at-login`` takes it away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from watchkeeper.settings import Settings


def wk(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    environment = settings.environment | {"PATH": os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-m", "watchkeeper.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_service_comes_and_goes(settings: Settings) -> None:
    started = wk(settings, "up", "--no-open", "--at-login")
    try:
        assert started.returncode == 0, started.stderr
        assert "starts at every login" in started.stderr
        [unit] = [path for path in Path(settings.environment["HOME"]).rglob("*watchkeeper*") if is_unit(path)]
        assert str(settings.places.home) in unit.read_text(encoding="utf-8")
    finally:
        stopped = wk(settings, "down", "--at-login")
    assert stopped.returncode == 0, stopped.stderr
    assert not unit.exists()


def is_unit(path: Path) -> bool:
    return path.is_file() and path.suffix in {".service", ".plist"}
