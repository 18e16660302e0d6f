"""Whoever kills a sweep, wherever, or fills the disk, loses no session and no figure; the next sweep ends the work."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.archive.packs import ArchiveError
from watchkeeper.archive.store import ArchiveReader
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.housekeeping import sweep
from watchkeeper.pipeline.rebuild import rebuild
from watchkeeper.pipeline.recording import Recording
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import open_reader

NOW = 1_900_000_000_000
OLD_AT, NEW_AT = "2026-01-05T09:00:00.000Z", "2030-03-16T09:00:00.000Z"
SESSIONS = {"old-a": OLD_AT, "old-b": OLD_AT, "new-c": NEW_AT, "new-d": NEW_AT}
FIGURES = (
    "SELECT * FROM requests ORDER BY 1",
    "SELECT * FROM sessions ORDER BY 1",
    "SELECT message_key, session_id, at FROM messages ORDER BY 1",
)


@pytest.fixture
def recorded(settings: Settings) -> Settings:
    """A home whose one pack holds two sessions that are to go between two that stay."""
    folder = settings.claude_config_dirs[0] / "projects" / "-srv-app"
    folder.mkdir(parents=True)
    for session, at in SESSIONS.items():
        usage = {"input_tokens": 3, "output_tokens": 4}
        text = [{"type": "text", "text": f"content of {session} " * 20}]
        message = {"id": f"msg_{session}", "role": "assistant", "model": "m", "content": text, "usage": usage}
        line = {
            "type": "assistant",
            "uuid": f"u-{session}",
            "sessionId": session,
            "timestamp": at,
            "message": message,
        }
        (folder / f"{session}.jsonl").write_text(json.dumps(line) + "\n")
    catch_up(settings)
    return settings


def figures(settings: Settings) -> list[Any]:
    with open_reader(settings.places) as reader:
        return [list(reader.rows(query)) for query in FIGURES]


def contents(settings: Settings) -> bytes:
    reader = ArchiveReader(settings.places.archive)
    return b"".join(reader.get(item.pack, item.offset) for item in reader.frames())


def swept_and_killed(settings: Settings, limit: int) -> bool:
    """Sweep in a process of its own that is killed at the n-th change of the disk; return whether it was."""
    child = os.fork()
    if child == 0:
        try:
            left = [limit]

            def die(event: str, arguments: tuple[Any, ...]) -> None:
                flags = arguments[2] if event == "open" and isinstance(arguments[2], int) else 0
                if event in {"os.rename", "os.remove", "os.truncate"} or flags & (os.O_WRONLY | os.O_RDWR):
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            with Recording(settings) as recording:
                sys.addaudithook(die)
                sweep(recording, at_ms=NOW)
        except BaseException:  # noqa: BLE001 - nothing of the test may go on in the child
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_a_sweep_that_is_killed_anywhere_is_finished_by_the_next(recorded: Settings, tmp_path: Path) -> None:
    before = figures(recorded)
    whole = tmp_path / "whole"
    shutil.copytree(recorded.places.home, whole)
    limit = 0
    while swept_and_killed(recorded, limit):
        assert figures(recorded) == before
        with Recording(recorded) as recording:
            sweep(recording, at_ms=NOW)
        kept = contents(recorded)
        assert b"content of new-c" in kept
        assert b"content of new-d" in kept
        assert b"content of old" not in kept
        assert figures(recorded) == before
        rebuild(recorded)
        assert figures(recorded) == before
        shutil.rmtree(recorded.places.home)
        shutil.copytree(whole, recorded.places.home)
        limit += 1
    assert limit >= 8


def test_a_full_disk_stops_a_sweep_without_a_loss(
    recorded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = figures(recorded)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("watchkeeper.archive.compaction.sync_data", full)
        with Recording(recorded) as recording, pytest.raises(ArchiveError, match="No space left"):
            sweep(recording, at_ms=NOW)
    assert b"content of new-c" in contents(recorded)
    assert figures(recorded) == before
    with Recording(recorded) as recording:
        sweep(recording, at_ms=NOW)
    assert b"content of old" not in contents(recorded)
    assert figures(recorded) == before
