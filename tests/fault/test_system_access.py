"""Homes that others may read or write, and hooks that run as somebody else: nothing leaks, nothing breaks."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty_system import is_synced, recorded_calls
from harness_system import fire, numbered_event, wk, wk_json

from watchkeeper.daemon import control
from watchkeeper.settings import Places, Settings

pytestmark = pytest.mark.fault
Wait = Callable[[Callable[[], object]], None]
OTHER = 65534
"""The user who is nobody."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user's part")


def readable_by_others(home: Path) -> list[str]:
    """Return what in a home somebody other than its owner may read or write; the hook program tells nothing."""
    paths = {home, *(path for path in home.rglob("*") if not path.is_symlink())} - {Places(home).hook}
    return sorted(str(path) for path in paths if stat.S_IMODE(path.lstat().st_mode) & 0o077)


def listing(home: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return owner, mode, size and time of everything below a folder."""
    found = {}
    for path in sorted(home.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_uid, status.st_mode, status.st_size, status.st_mtime_ns)
    return found


def fire_as(hook: Path, home: Path, number: int, user: int) -> None:
    """Run the hook as another user; the agent notices nothing."""
    event = numbered_event(number, "other")
    done = subprocess.run(
        [hook, "--home", home],
        input=str(event).encode(),
        env={},
        capture_output=True,
        timeout=60,
        user=user,
        group=user,
        extra_groups=[],
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.fixture
def reachable_hook(packaged_hook: Path, home: Path) -> Path:
    """A copy of the hook where every user can run it."""
    home.parent.chmod(0o755)
    copy = home.parent / "hook"
    copy.write_bytes(packaged_hook.read_bytes())
    copy.chmod(0o755)
    return copy


def test_nothing_in_a_home_is_readable_by_others(
    running_daemon: Any, packaged_hook: Path, eventually: Wait
) -> None:
    """Whatever umask the user has: after recording, rebuilding and verifying, all is the owner's alone."""
    settings: Settings = running_daemon.settings
    before = os.umask(0)
    try:
        wk(settings, "install")
        for number in range(5):
            fire(packaged_hook, settings.places.home, numbered_event(number, "one"))
        eventually(lambda: is_synced(settings.places))
        assert readable_by_others(settings.places.home) == []
        control.stop(settings)
        wk(settings, "rebuild")
        wk(settings, "verify")
        assert readable_by_others(settings.places.home) == []
    finally:
        os.umask(before)


def test_a_home_that_was_opened_to_others_is_closed_at_start(
    settings: Settings, packaged_hook: Path, eventually: Wait
) -> None:
    """A mode that somebody loosened is what it should be once the daemon runs, and recording works."""
    places = settings.places
    for folder in (places.home, places.spool, places.run, places.ledger, places.keys):
        folder.mkdir(mode=0o700)
        folder.chmod(0o755)
    control.ensure_running(settings, wait_seconds=60)
    try:
        fire(packaged_hook, places.home, numbered_event(1, "one"))
        eventually(lambda: is_synced(places))
        assert set(recorded_calls(places)) == {"toolu_one_00001"}
        assert readable_by_others(places.home) == []
    finally:
        control.stop(settings)


@as_root
def test_a_hook_of_another_user_records_nothing_and_breaks_nothing(
    running_daemon: Any, reachable_hook: Path, eventually: Wait
) -> None:
    """A home that is closed to it, and one that is open for reading: the hook leaves both as they were."""
    settings: Settings = running_daemon.settings
    places: Places = settings.places
    fire(reachable_hook, places.home, numbered_event(1, "own"))
    eventually(lambda: is_synced(places))
    for mode in (0o700, 0o755):
        places.home.chmod(mode)
        places.spool.chmod(mode)
        before = listing(places.spool)
        fire_as(reachable_hook, places.home, 1, OTHER)
        assert listing(places.spool) == before
    eventually(lambda: is_synced(places))
    assert set(recorded_calls(places)) == {"toolu_own_00001"}
    fire(reachable_hook, places.home, numbered_event(2, "own"))
    eventually(lambda: is_synced(places))
    assert set(recorded_calls(places)) == {"toolu_own_00001", "toolu_own_00002"}
    assert wk_json(settings, "verify")["ok"] is True


@as_root
@pytest.mark.parametrize("mode", [0o700, 0o777])
def test_a_spool_of_another_user_takes_nothing(settings: Settings, reachable_hook: Path, mode: int) -> None:
    """A spool that somebody else owns, even one that all may write to, gets no event of ours."""
    places = settings.places
    for folder in (places.home, places.spool, places.run):
        folder.mkdir(mode=0o700)
    os.chown(places.spool, OTHER, OTHER)
    places.spool.chmod(mode)
    user = OTHER - 1
    os.chown(places.home, user, user)
    fire_as(reachable_hook, places.home, 1, user)
    fire(reachable_hook, places.home, numbered_event(2, "root"))
    assert [path.name for path in places.spool.rglob("*") if path.is_file()] == []


@as_root
def test_the_daemon_refuses_a_spool_of_another_user(settings: Settings) -> None:
    """It does not take over what is not its own: it says whose it is, and starts nothing."""
    places = settings.places
    for folder in (places.home, places.spool):
        folder.mkdir(mode=0o700)
    os.chown(places.spool, OTHER, OTHER)
    done = wk(settings, "up", "--no-open", status=None)
    assert done.returncode != 0
    assert "another user" in done.stderr
    assert "Traceback" not in done.stderr
    assert control.status(settings).supervisor is None
    assert places.spool.stat().st_uid == OTHER
