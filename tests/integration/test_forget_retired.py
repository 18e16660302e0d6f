"""What has left the archive by retention can still be forgotten: its figures, its snapshot, and its entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from forgotten import assert_intact, places_of
from observations import projections

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.housekeeping import sweep
from watchkeeper.pipeline.rebuild import rebuild
from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.reredaction import Request, forget
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import open_reader

NOW = 1_900_000_000_000
DAY = 86_400_000
OLD, NEW = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
WORD = "walnut-and-cherry"


def line(session: str, number: int, at: str, message: dict[str, Any], kind: str = "user") -> str:
    body = {
        "type": kind,
        "uuid": f"{session[:4]}-{number}",
        "sessionId": session,
        "timestamp": at,
        "message": message,
    }
    return json.dumps(body) + "\n"


def write(settings: Settings, session: str, at: str) -> Path:
    folder = settings.claude_config_dirs[0] / "projects" / "-srv-app"
    folder.mkdir(parents=True, exist_ok=True)
    call = {
        "type": "tool_use",
        "id": f"toolu_{session[:4]}",
        "name": "Bash",
        "input": {"command": f"echo {WORD}"},
    }
    path = folder / f"{session}.jsonl"
    path.write_text(
        line(session, 1, at, {"role": "user", "content": f"say {WORD}"})
        + line(session, 2, at, {"id": f"m{session[:4]}", "role": "assistant", "content": [call]}, "assistant")
    )
    return path


@pytest.fixture
def retired(settings: Settings) -> Settings:
    """A home with two sessions, of which the older has left the archive."""
    write(settings, OLD, "2028-01-01T00:00:00.000Z")
    write(settings, NEW, "2030-03-16T00:00:00.000Z")
    catch_up(settings)
    with Recording(settings) as recording:
        report = sweep(recording, at_ms=NOW)
        assert [item["session_id"] for item in report.dropped] == [OLD]
    with open_reader(settings.places) as reader:
        assert reader.value("SELECT count(*) FROM calls WHERE session_id = ?", (OLD,)) == 1
    return settings


def rows(settings: Settings) -> bytes:
    with Recording(settings) as recording:
        return projections(recording.store)


def test_a_retired_session_can_be_forgotten(retired: Settings) -> None:
    forget(retired, Request("session", sessions=[OLD]))
    assert places_of(retired.places, OLD.encode()) == []
    assert_intact(retired.places)
    with open_reader(retired.places) as reader:
        assert [row["session_id"] for row in reader.rows("SELECT session_id FROM sessions")] == [NEW]
        assert reader.value("SELECT count(*) FROM calls") == 1
    before = rows(retired)
    rebuild(retired)
    assert rows(retired) == before
    assert catch_up(retired).lines == 0


def test_a_secret_goes_from_the_figures_of_a_retired_session(retired: Settings) -> None:
    forget(retired, Request("secret", secret=WORD.encode()))
    assert places_of(retired.places, WORD.encode()) == []
    assert_intact(retired.places)
    with open_reader(retired.places) as reader:
        subjects = [row["subject"] for row in reader.rows("SELECT subject FROM calls")]
    assert subjects == ["echo [REDACTED:forgotten]"] * 2
    before = rows(retired)
    rebuild(retired)
    assert rows(retired) == before
