"""A process that dies anywhere while something is being forgotten leaves a job that the next one finishes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forgotten import assert_intact, places_of
from observations import projections

from watchkeeper.client.recorder import RecorderClient
from watchkeeper.errors import DaemonError
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.forgetting import read_job
from watchkeeper.pipeline.rebuild import rebuild
from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.reredaction import Request, due_job, finish, forget
from watchkeeper.settings import Settings
from watchkeeper.spool.writer import append_frame
from watchkeeper.store import envelopes

ROOT = Path(__file__).resolve().parents[2]
SECRET = b"correct-horse-battery"
ONE = "aaaaaaaa-1111-4111-8111-111111111111"
TWO = "bbbbbbbb-2222-4222-8222-222222222222"

KILLED = """
import os, signal, sys
from pathlib import Path
calls = 0
limit = int(sys.argv[1])

def hook(event, arguments):
    # Every change of the disk is a place to die at.
    global calls
    writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if event in {"os.rename", "os.remove", "os.truncate"} or writing:
        calls += 1
        if calls == limit:
            os.kill(os.getpid(), signal.SIGKILL)

from watchkeeper.pipeline.reredaction import Request, forget
from watchkeeper.settings import Settings
import json
request = json.loads(sys.argv[2])
if "secret" in request:
    request["secret"] = request["secret"].encode()
sys.addaudithook(hook)
forget(Settings(Path(os.environ["WATCHKEEPER_HOME"])), Request(**request))
print(calls)
"""


def record(settings: Settings) -> None:
    """Put two sessions on record, from hooks and transcripts."""
    projects = settings.claude_config_dirs[0] / "projects" / "-srv-app"
    projects.mkdir(parents=True)
    for session in (ONE, TWO):
        lines = [
            {
                "type": "user",
                "uuid": f"{session[:4]}{number}",
                "sessionId": session,
                "timestamp": f"2026-11-01T10:00:{number:02d}.000Z",
                "message": {"role": "user", "content": text},
            }
            for number, text in enumerate(["hello", f"the word is {SECRET.decode()}", f"{ONE} it was"])
        ]
        (projects / f"{session}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings.places.spool.mkdir(mode=0o700, parents=True)
    body = {"hook_event_name": "PreToolUse", "session_id": ONE, "tool_use_id": "toolu_1", "tool_name": "Bash"}
    body["tool_input"] = {"command": f"echo {SECRET.decode()}"}
    append_frame(settings.places.spool, json.dumps(body).encode())
    catch_up(settings)


def run(settings: Settings, limit: int, request: dict[str, object]) -> subprocess.CompletedProcess[str]:
    """Forget in a process of its own that dies at its change number ``limit``; 0 for never."""
    environment = {**settings.environment, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-c", KILLED, str(limit), json.dumps(request)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def finish_what_is_left(settings: Settings) -> None:
    """Do what the next process that records would do."""
    with Recording(settings) as recording:
        while (job := due_job(recording)) is not None and job.job.what != "rules":
            finish(job)


REQUESTS: list[tuple[dict[str, object], bytes]] = [
    ({"what": "secret", "secret": SECRET.decode()}, SECRET),
    ({"what": "session", "sessions": [ONE]}, ONE.encode()),
]


@pytest.mark.parametrize("request_and_needle", REQUESTS, ids=["secret", "session"])
def test_killed_at_any_change_of_the_disk_the_job_is_finished_by_the_next(
    settings: Settings, request_and_needle: tuple[dict[str, object], bytes], tmp_path: Path
) -> None:
    request, needle = request_and_needle
    record(settings)
    kept = tmp_path / "kept"
    subprocess.run(["cp", "-a", str(settings.places.home), str(kept)], check=True)
    clean = run(settings, 0, request)
    assert clean.returncode == 0, clean.stderr
    changes = int(clean.stdout)
    assert changes > 20
    for limit in range(1, changes + 1, max(1, changes // 7)):
        subprocess.run(["rm", "-rf", str(settings.places.home)], check=True)
        subprocess.run(["cp", "-a", str(kept), str(settings.places.home)], check=True)
        killed = run(settings, limit, request)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        finish_what_is_left(settings)
        if not _told(settings):
            forget(settings, _request(request))
        assert read_job(settings.places) is None
        assert places_of(settings.places, needle) == [], f"killed at change {limit} of {changes}"
        assert_intact(settings.places)
        assert _told(settings) == 1
        with Recording(settings) as recording:
            rows = projections(recording.store)
        rebuild(settings)
        with Recording(settings) as recording:
            assert projections(recording.store) == rows


def _request(request: dict[str, object]) -> Request:
    if request["what"] == "secret":
        return Request("secret", secret=SECRET)
    return Request("session", sessions=[ONE])


def _told(settings: Settings) -> int:
    with LedgerReader(settings.places.ledger) as reader:
        return sum(entry.kind == envelopes.FORGET for entry in reader.entries())


def test_a_session_half_forgotten_is_not_read_again(settings: Settings) -> None:
    record(settings)
    killed = run(settings, 12, {"what": "session", "sessions": [ONE]})
    assert killed.returncode == -signal.SIGKILL
    assert read_job(settings.places) is not None
    assert catch_up(settings).lines == 0
    assert read_job(settings.places) is None
    assert places_of(settings.places, ONE.encode()) == []


def test_a_daemon_killed_while_it_forgets_goes_on_when_it_is_back(
    running_daemon: Any, eventually: Callable[[Callable[[], object]], None]
) -> None:
    settings, places = running_daemon.settings, running_daemon.places
    projects = settings.claude_config_dirs[0] / "projects" / "-srv-app"
    projects.mkdir(parents=True)
    for number in range(40):
        session = f"{number:08d}-1111-4111-8111-111111111111"
        lines = [
            {
                "type": "user",
                "uuid": f"{number}-{place}",
                "sessionId": session,
                "message": {"content": "x" * 2000},
            }
            for place in range(50)
        ]
        lines[7]["message"] = {"role": "user", "content": f"the word is {SECRET.decode()}"}
        (projects / f"{session}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    client = RecorderClient(places)
    client.import_paths()
    eventually(lambda: len(places_of(places, SECRET)) > 0)
    request = {"what": "secret", "secret": base64.b64encode(SECRET).decode()}
    asked = threading.Thread(target=_ask, args=(client, request))
    asked.start()
    eventually(lambda: read_job(places) is not None or not places_of(places, SECRET))
    with contextlib.suppress(DaemonError):
        os.kill(client.ping()["pid"], signal.SIGKILL)
    asked.join(60)
    eventually(lambda: client.is_running() and read_job(places) is None and not places_of(places, SECRET))
    assert_intact(places)


def _ask(client: RecorderClient, request: dict[str, object]) -> None:
    with contextlib.suppress(DaemonError):
        client.forget(request)
