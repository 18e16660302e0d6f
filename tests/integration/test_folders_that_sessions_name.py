"""A session in another folder of the agent than the daemon knows is followed: its hooks say where its transcript is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness_system import fire, wk_json

from watchkeeper.pipeline.folders import folder_of

Wait = Callable[[Callable[[], object]], None]


def line(uuid: str) -> str:
    body = {"type": "user", "sessionId": "s1", "uuid": uuid, "timestamp": "2026-11-01T10:00:00Z"}
    return json.dumps(body | {"message": {"role": "user", "content": f"words of {uuid}"}}) + "\n"


def prompts(settings: Any) -> int:
    sessions = wk_json(settings, "sessions")["sessions"]
    return next((row["prompts"] for row in sessions if row["session_id"] == "s1"), 0)


def test_the_transcript_that_a_hook_names_is_read_and_followed(
    running_daemon: Any, packaged_hook: Path, tmp_path: Path, eventually: Wait
) -> None:
    settings = running_daemon.settings
    transcript = tmp_path / "other" / "projects" / "-p" / "s1.jsonl"
    event = {
        "session_id": "s1",
        "hook_event_name": "SessionStart",
        "transcript_path": str(transcript),
        "cwd": "/p",
    }
    fire(packaged_hook, settings.places.home, event)
    eventually(lambda: wk_json(settings, "sessions")["sessions"])
    transcript.parent.mkdir(parents=True)
    transcript.write_text(line("u1"), encoding="utf-8")

    def read_once_named() -> bool:
        fire(packaged_hook, settings.places.home, event | {"hook_event_name": "Stop"})
        return prompts(settings) == 1

    eventually(read_once_named)
    with transcript.open("a", encoding="utf-8") as stream:
        stream.write(line("u2"))
    eventually(lambda: prompts(settings) == 2)


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/h/.claude/projects/-p/s.jsonl", "/h/.claude"),
        ("/h/projects/x/projects/-p/s.jsonl", "/h/projects/x"),
        ("relative/projects/-p/s.jsonl", None),
        ("/h/s.jsonl", None),
        ("/h\0/projects/-p/s.jsonl", None),
        ("", None),
    ],
)
def test_the_folder_is_what_stands_before_projects(path: str, folder: str | None) -> None:
    assert folder_of(path) == folder
