"""The recorder tidies by itself, a step at a time, and stands back while something else rewrites the archive."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from watchkeeper.archive.store import ArchiveReader
from watchkeeper.client.recorder import RecorderClient
from watchkeeper.daemon import tidying
from watchkeeper.daemon.tidying import Tidying
from watchkeeper.errors import UsageError
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.recording import Recording
from watchkeeper.settings import Settings
from watchkeeper.store.snapshots import is_snapshot


@pytest.fixture
def recorded(settings: Settings) -> Settings:
    """A home with two sessions from long ago."""
    folder = settings.claude_config_dirs[0] / "projects" / "-srv-app"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        line: dict[str, Any] = {
            "type": "user",
            "uuid": name,
            "sessionId": name,
            "timestamp": "2020-01-01T00:00:00.000Z",
            "message": {"role": "user", "content": f"content of {name}"},
        }
        (folder / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    catch_up(settings)
    return settings


def frames(settings: Settings) -> list[bytes]:
    reader = ArchiveReader(settings.places.archive)
    return [reader.get(item.pack, item.offset) for item in reader.frames()]


def holds_content(settings: Settings) -> bool:
    return not all(is_snapshot(frame) for frame in frames(settings))


def test_nothing_is_done_before_it_is_due_and_then_all_in_small_steps(
    recorded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recording(recorded) as recording:
        assert not Tidying(recording, lambda: False).step()
        monkeypatch.setattr(tidying, "FIRST_SECONDS", 0.0)
        tidy = Tidying(recording, lambda: False)
        steps = 0
        while tidy.step():
            steps += 1
        assert steps >= 3
        assert not tidy.step()
    assert not holds_content(recorded)


def test_it_waits_for_other_work_and_may_be_dropped_anywhere(
    recorded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "FIRST_SECONDS", 0.0)
    busy = [True]
    with Recording(recorded) as recording:
        tidy = Tidying(recording, lambda: busy[0])
        assert not tidy.step()
        with pytest.raises(UsageError, match="being rewritten"):
            asyncio.run(tidy.sweep(dry_run=False))
        busy[0] = False
        assert tidy.step()
        tidy.drop()
        report = asyncio.run(tidy.sweep(dry_run=False))
    assert {row["session_id"] for row in report["sessions"]} == {"one", "two"}
    assert not holds_content(recorded)


def test_the_command_asks_the_running_recorder(recorded: Settings, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("running_daemon")
    client = RecorderClient(recorded.places)
    planned = client.housekeeping(dry_run=True)
    assert {row["session_id"] for row in planned["sessions"]} == {"one", "two"}
    assert holds_content(recorded)
    assert client.housekeeping()["frames"] == 2
    assert not holds_content(recorded)
