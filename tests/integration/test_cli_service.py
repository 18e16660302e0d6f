"""``wk up --at-login`` leaves a service of this home behind, and ``wk down --at-login`` takes it away."""

from __future__ import annotations

from pathlib import Path

from harness_system import wk

from watchkeeper.settings import Settings


def test_the_service_comes_and_goes(settings: Settings) -> None:
    started = wk(settings, "up", "--no-open", "--at-login")
    try:
        assert "starts at every login" in started.stderr
        [unit] = [path for path in Path(settings.environment["HOME"]).rglob("*watchkeeper*") if is_unit(path)]
        assert str(settings.places.home) in unit.read_text(encoding="utf-8")
    finally:
        wk(settings, "down", "--at-login")
    assert not unit.exists()


def is_unit(path: Path) -> bool:
    return path.is_file() and path.suffix in {".service", ".plist"}
