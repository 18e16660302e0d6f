"""``up``, ``url``, ``doctor``, ``demo`` and ``down`` on real daemons, run as users run them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.settings import Places

SOURCES = Path(__file__).resolve().parents[2] / "src"
PACKAGE = [sys.executable, "-m", "watchkeeper.cli"]


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment in which everything of the test's lies below its own folder, without a screen."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        "HOME": str(home.parent),
        "WATCHKEEPER_HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home.parent / ".claude"),
        "WATCHKEEPER_PORT": str(port),
        "TMPDIR": str(home.parent),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCES),
        **more,
    }


def wk(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``wk`` from the test's folder."""
    return subprocess.run(
        [*PACKAGE, *words], env=env, cwd=env["HOME"], capture_output=True, text=True, timeout=120, check=False
    )


def answer(env: dict[str, str], *words: str, status: int = 0) -> Any:
    """Run ``wk ... --json`` and return its one document."""
    done = wk(env, *words, "--json")
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def env(home: Path, packaged_hook: Path) -> Iterator[dict[str, str]]:
    """The environment of a user with nothing of ours; whatever daemon the test leaves is stopped."""
    values = environment(home)
    yield values
    wk(values, "down")


def states(document: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["state"] for check in document["checks"]}


CHAIN = ("synthetic event", "spool", "taken in", "ledger entry", "database row")


def test_up_answers_health_signs_in_once_and_down_stops_it(env: dict[str, str]) -> None:
    """The address that ``up`` prints works in a browser once; ``up`` again keeps the same daemon."""
    first = answer(env, "up", "--no-open")
    base = f"http://127.0.0.1:{env['WATCHKEEPER_PORT']}"
    assert first["url"].startswith(f"{base}/auth?code=")
    assert first["home"] == env["WATCHKEEPER_HOME"]
    with urllib.request.urlopen(f"{base}/health") as response:
        assert response.status == 200
    again = answer(env, "up", "--no-open", "--port", "1024")
    assert again["url"].startswith(base), "a daemon that runs keeps its port"
    assert answer(env, "url")["url"] != again["url"]
    assert answer(env, "down") == {"stopped": True, "removed": False}
    assert answer(env, "down") == {"stopped": False, "removed": False}
    assert Places(Path(env["WATCHKEEPER_HOME"])).database.exists(), "stopping removes nothing"


def test_without_a_daemon_url_says_how_to_start_it(env: dict[str, str]) -> None:
    """The error is one line with the command that helps."""
    done = wk(env, "url")
    assert done.returncode == 1
    assert "wk up" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_daemon_that_runs_is_asked_so_that_answers_are_current(
    env: dict[str, str], packaged_hook: Path
) -> None:
    """An event that was just spooled is in the next command's answer."""
    wk(env, "up", "--no-open")
    payload = {"session_id": "abcdef00-0000-4000-8000-000000000000", "hook_event_name": "UserPromptSubmit"}
    command = [packaged_hook, "--home", env["WATCHKEEPER_HOME"]]
    for number in range(3):
        event = payload | {"prompt": f"number {number}", "prompt_id": f"p-{number}", "cwd": "/code/app"}
        subprocess.run(command, input=json.dumps(event).encode(), check=True)
        (row,) = answer(env, "sessions")["sessions"]
        assert row["prompts"] == number + 1
    refused = wk(env, "rebuild")
    assert refused.returncode == 1
    assert "wk down" in refused.stderr


def test_doctor_finds_every_link_of_a_complete_chain(env: dict[str, str]) -> None:
    """Installed and running: all links hold, and the synthetic event is in no list."""
    assert wk(env, "install").returncode == 0
    wk(env, "up", "--no-open")
    document = answer(env, "doctor")
    found = states(document)
    assert document["ok"] is True
    assert "failed" not in found.values()
    names = ("home", "clock", "hook program", "registration", "daemon", "decider", "recorder", "server")
    assert [found[name] for name in (*names, *CHAIN)] == ["ok"] * (len(names) + len(CHAIN))
    assert answer(env, "sessions")["total"] == 0
    text = wk(env, "doctor").stdout
    assert "✓" in text
    assert "✗" not in text


def test_doctor_without_a_daemon_takes_the_event_in_by_itself(env: dict[str, str]) -> None:
    """No daemon is no failure: hooks fill the spool, and the next command records it."""
    assert wk(env, "install").returncode == 0
    wk(env, "sessions")
    document = answer(env, "doctor")
    found = states(document)
    assert found["daemon"] == "skipped"
    assert [found[name] for name in CHAIN] == ["ok"] * len(CHAIN)


def test_doctor_names_each_broken_link_and_how_to_mend_it(env: dict[str, str]) -> None:
    """Nothing installed, a home that others may enter: status 1, each with a command."""
    home = Path(env["WATCHKEEPER_HOME"])
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    document = answer(env, "doctor", status=1)
    hints = {check["name"]: check["hint"] for check in document["checks"] if check["state"] == "failed"}
    assert hints == {"home": f"chmod 700 {home}", "hook program": "wk install", "registration": "wk install"}
    done = wk(env, "doctor")
    assert done.returncode == 1
    assert f"→ chmod 700 {home}" in done.stdout


def test_doctor_notices_a_hook_that_records_nothing(env: dict[str, str]) -> None:
    """A hook that runs and leaves no frame is a broken link, and what follows is skipped."""
    assert wk(env, "install").returncode == 0
    wk(env, "sessions")
    hook = Places(Path(env["WATCHKEEPER_HOME"])).hook
    hook.unlink()
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o700)
    found = states(answer(env, "doctor", status=1))
    assert found["hook program"] == "failed"
    assert found["spool"] == "failed"
    assert found["ledger entry"] == "skipped"


def test_demo_shows_packaged_sessions_in_a_home_that_down_removes(env: dict[str, str]) -> None:
    """The user's own home is not touched, and nothing of the demo stays."""
    document = answer(env, "demo", "--no-open")
    demo = Path(document["home"])
    try:
        assert document["sessions"] > 0
        assert document["tool_calls"] > 0
        assert demo.parent == Path(env["TMPDIR"])
        assert not Path(env["WATCHKEEPER_HOME"]).exists()
        listed = answer(env, "--home", str(demo), "sessions")
        assert len(listed["sessions"]) == document["sessions"]
    finally:
        removed = answer(env, "--home", str(demo), "down")
    assert removed == {"stopped": True, "removed": True}
    assert not demo.exists()


def test_a_home_without_the_mark_is_never_removed(env: dict[str, str]) -> None:
    """``down`` removes no home that ``demo`` did not make, whatever its name."""
    home = Path(env["TMPDIR"]) / "watchkeeper-demo-mine"
    home.mkdir(mode=0o700)
    assert answer(env, "--home", str(home), "down")["removed"] is False
    assert home.is_dir()


def test_in_the_foreground_a_request_to_end_stops_the_daemon(env: dict[str, str]) -> None:
    """The command stays until it is told to end, and leaves nothing running."""
    with subprocess.Popen(
        [*PACKAGE, "up", "--no-open", "--foreground", "--json"],
        env=env | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert "url" in json.loads(process.stdout.readline())
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    assert answer(env, "down")["stopped"] is False
