"""``wk forget`` as users run it: with a daemon and without, and never with the secret on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forgotten import assert_intact, places_of

from watchkeeper.archive.holds import Hold, Holds
from watchkeeper.client.recorder import RecorderClient
from watchkeeper.settings import Places, Settings
from watchkeeper.spool.writer import append_frame

SOURCES = Path(__file__).resolve().parents[2] / "src"
SECRET = b"correct-horse-battery"
ONE = "aaaaaaaa-1111-4111-8111-111111111111"
TWO = "bbbbbbbb-2222-4222-8222-222222222222"


def wk(settings: Settings, *words: str, given: bytes = b"", status: int = 0) -> Any:
    """Run ``wk ... --json`` and return its document."""
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper.cli", *words, "--json"],
        env={**settings.environment, "PYTHONPATH": str(SOURCES)},
        input=given,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr.decode() + done.stdout.decode()
    return json.loads(done.stdout)


def transcript(settings: Settings, session: str, *texts: str) -> Path:
    path = settings.claude_config_dirs[0] / "projects" / "-srv-app" / f"{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "type": "user",
            "uuid": f"{session[:4]}{number}",
            "sessionId": session,
            "timestamp": f"2026-11-01T10:00:{number:02d}.000Z",
            "message": {"role": "user", "content": text},
        }
        for number, text in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def hook(places: Places, session: str, command: str, **environment: str) -> None:
    body = {
        "hook_event_name": "PreToolUse",
        "session_id": session,
        "tool_use_id": f"toolu_{session[:4]}",
        "tool_name": "Bash",
        "tool_input": {"command": command},
    }
    places.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    append_frame(places.spool, json.dumps(body).encode(), environment=environment)


@pytest.fixture
def written(settings: Settings) -> Settings:
    """An agent's folder with two sessions, of which both hold the secret."""
    transcript(settings, ONE, "hello", f"the word is {SECRET.decode()}")
    transcript(settings, TWO, f"again {SECRET.decode()}", "bye")
    settings.places.home.mkdir(mode=0o700)
    return settings


def test_a_secret_is_read_from_standard_input_and_gone_afterwards(written: Settings) -> None:
    wk(written, "import")
    assert places_of(written.places, SECRET)
    planned = wk(written, "forget", "--secret", "--dry-run", given=SECRET + b"\n")
    assert planned["dry_run"]
    assert planned["replaced"] == 2
    assert places_of(written.places, SECRET)
    report = wk(written, "forget", "--secret", "--reason", "it leaked", given=SECRET + b"\n")
    assert (report["what"], report["replaced"], report["frames"]) == ("secret", 2, 2)
    assert places_of(written.places, SECRET) == []
    assert wk(written, "verify")["ok"]
    assert_intact(written.places)


def test_a_secret_of_a_file_is_forgotten_by_a_running_daemon(
    running_daemon: Any, eventually: Callable[[Callable[[], object]], None]
) -> None:
    settings, places = running_daemon.settings, running_daemon.places
    transcript(settings, ONE, "hello", f"the word is {SECRET.decode()}")
    hook(places, TWO, f"echo {SECRET.decode()}", USER="ada")
    wk(settings, "import")
    eventually(lambda: wk(settings, "sessions")["total"] == 2)
    assert places_of(places, SECRET)
    file = settings.places.home.parent / "secret.txt"
    file.write_bytes(SECRET)
    report = wk(settings, "forget", "--secret", str(file))
    assert report["replaced"] == 2
    eventually(lambda: places_of(places, SECRET) == [])
    assert RecorderClient(places).is_running()
    assert wk(settings, "sessions")["total"] == 2
    assert wk(settings, "verify")["integrity"] == "intact"


def test_a_session_is_forgotten_by_a_running_daemon_and_does_not_come_back(
    running_daemon: Any, eventually: Callable[[Callable[[], object]], None]
) -> None:
    settings, places = running_daemon.settings, running_daemon.places
    path = transcript(settings, ONE, "hello")
    transcript(settings, TWO, "other")
    wk(settings, "import")
    eventually(lambda: wk(settings, "sessions")["total"] == 2)
    report = wk(settings, "forget", ONE[:8])
    assert report["sessions"] == 1
    with path.open("a") as file:
        file.write(json.dumps({"type": "user", "uuid": "x", "sessionId": ONE}) + "\n")
    assert wk(settings, "import")["lines"] == 0
    assert [item["session_id"] for item in wk(settings, "sessions")["sessions"]] == [TWO]
    assert places_of(places, ONE.encode()) == []


def test_a_person_is_forgotten_with_the_agents_own_files_where_asked(written: Settings) -> None:
    hook(written.places, ONE, "ls", USER="ada", USER_EMAIL="ada@example.org")
    hook(written.places, TWO, "ls", USER="bob")
    wk(written, "import")
    wk(written, "sessions")
    planned = wk(written, "forget", "--person", "Ada@example.org", "--transcripts", "--dry-run")
    assert (planned["sessions"], planned["transcripts"]) == (1, 1)
    report = wk(written, "forget", "--person", "Ada@example.org", "--transcripts")
    assert (report["what"], report["sessions"], report["transcripts"]) == ("person", 1, 1)
    projects = written.claude_config_dirs[0] / "projects" / "-srv-app"
    assert [path.name for path in projects.iterdir()] == [f"{TWO}.jsonl"]
    assert [item["session_id"] for item in wk(written, "sessions")["sessions"]] == [TWO]
    assert places_of(written.places, ONE.encode()) == []
    assert places_of(written.places, b"ada@example.org") == []


def test_one_thing_at_a_time_is_forgotten_and_short_secrets_are_refused(written: Settings) -> None:
    wk(written, "forget", status=2)
    wk(written, "forget", ONE, "--secret", status=2)
    wk(written, "forget", "--secret", given=b"abc\n", status=2)
    wk(written, "import")
    wk(written, "forget", "--person", "nobody", status=1)
    wk(written, "forget", "no-such-session", status=1)


def test_a_forgotten_session_does_not_make_every_question_look_again(written: Settings) -> None:
    from watchkeeper.pipeline.freshness import is_stale

    wk(written, "import")
    wk(written, "forget", ONE)
    wk(written, "sessions")
    assert not is_stale(written)


def test_a_running_daemon_takes_what_it_learns_out_of_what_came_before(
    running_daemon: Any, eventually: Callable[[Callable[[], object]], None]
) -> None:
    settings, places = running_daemon.settings, running_daemon.places
    password = b"hunter2-of-the-app"
    transcript(settings, ONE, "hello", f"log in with {password.decode()}")
    wk(settings, "import")
    assert places_of(places, password)
    body = {
        "hook_event_name": "PostToolUse",
        "session_id": TWO,
        "tool_use_id": "toolu_env",
        "tool_name": "Bash",
        "tool_input": {"command": "cat config/.env"},
        "tool_response": {"stdout": f"PORT=80\nDB_PASSWORD={password.decode()}\n"},
    }
    append_frame(places.spool, json.dumps(body).encode())
    eventually(lambda: places_of(places, password) == [])
    assert_intact(places)


def test_a_session_under_a_hold_is_not_forgotten(written: Settings) -> None:
    wk(written, "import")
    Holds(written.places.holds).add(ONE, Hold(0, "asked by the court"))
    assert "held" in wk(written, "forget", ONE, status=2)["error"]["what"]
    assert wk(written, "sessions")["total"] == 2


def test_old_data_goes_through_the_rules_where_asked(written: Settings) -> None:
    wk(written, "import")
    report = wk(written, "forget", "--by-rules")
    assert (report["what"], report["entries_rewritten"]) == ("rules", 0)
    assert wk(written, "verify")["ok"]
