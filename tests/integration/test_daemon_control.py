"""A real daemon: started, found, asked, started again, stopped."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.daemon import control, locks
from watchkeeper.daemon.parts import python_command, safe_environment
from watchkeeper.errors import DaemonError
from watchkeeper.settings import Settings

PARTS = {"decider", "recorder", "server"}


def test_a_daemon_answers_in_all_its_parts(running_daemon: Any) -> None:
    """Each part gave its round trip."""
    found = control.status(running_daemon.settings)
    assert found.healthy, found.problem
    assert set(found.parts) == PARTS
    assert found.url == running_daemon.url == f"http://127.0.0.1:{running_daemon.settings['server.port']}/"


def test_starting_what_runs_starts_nothing(running_daemon: Any) -> None:
    """The second call finds the first one's supervisor, whatever port it asks for."""
    before = control.status(running_daemon.settings).supervisor
    again = control.ensure_running(running_daemon.settings, port=1)
    assert again == control.Running(running_daemon.url, False)
    assert control.status(running_daemon.settings).supervisor == before


def test_a_second_supervisor_says_so_and_goes(running_daemon: Any) -> None:
    """It exits 0, because a healthy daemon is what its caller wanted."""
    command = python_command("watchkeeper.daemon", ["--home", str(running_daemon.places.home)])
    done = subprocess.run(
        command,
        env=safe_environment(running_daemon.settings.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, f"watchkeeper: already running at {running_daemon.url}\n")


def test_everything_in_the_home_is_its_owner_s_alone(running_daemon: Any) -> None:
    """No folder or file lets another user in."""
    home: Path = running_daemon.places.home
    open_to_others = [path for path in (home, *home.rglob("*")) if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    assert open_to_others == []


def test_the_parts_see_no_secret_of_the_shell(home: Path) -> None:
    """A key in the environment of `wk up` is in no part's environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = dict(os.environ) | {"SOME_API_KEY": "sk-live", "WATCHKEEPER_PORT": str(port)}
    settings = Settings(home, environment)
    try:
        control.ensure_running(settings, wait_seconds=60)
        supervisor = control.status(settings).supervisor
        if not Path("/proc/self/environ").exists():
            pytest.skip("no /proc to look into")
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        assert len(children) == len(PARTS)
        for pid in (supervisor, *children):
            seen = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"HOME=" in seen
            assert b"sk-live" not in seen
    finally:
        control.stop(settings)


def test_a_stop_ends_every_process_and_frees_the_lock(running_daemon: Any) -> None:
    """After it nothing answers, no socket is left, and a second stop has nothing to do."""
    settings = running_daemon.settings
    assert control.stop(settings)
    assert not control.stop(settings)
    assert locks.holder(settings.places.daemon_lock) is None
    assert control.status(settings).supervisor is None
    assert sorted(path.name for path in settings.places.run.glob("*.sock")) == []
    assert set(json.loads((settings.places.run / "parts.json").read_text())["parts"].values()) == {"stopped"}


def test_a_stop_asks_the_recorder_last(running_daemon: Any) -> None:
    """What server and decider still produce comes on record."""
    control.stop(running_daemon.settings)
    lines = running_daemon.places.log.read_text().splitlines()
    ended = [line.split()[1] for line in lines if " ended (exit 0)" in line]
    assert ended == ["server", "decider", "recorder"]


def test_a_taken_port_is_named_before_anything_starts(settings: Settings) -> None:
    """The error says which port and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DaemonError, match=str(port)) as caught:
            control.ensure_running(settings, port=port)
    assert "--port" in caught.value.hint
    assert control.status(settings).supervisor is None


def test_nothing_runs_where_nothing_was_started(settings: Settings) -> None:
    """Status of an untouched home asks nobody and makes nothing."""
    found = control.status(settings)
    assert (found.supervisor, found.healthy, found.problem) == (None, False, "it is not running")
    assert not settings.places.home.exists()
