"""Whatever happens to the bytes of the usage cache, the bill is right: the cache is made anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.cli.entry import run
from watchkeeper.settings import Places

pytestmark = pytest.mark.fault
SESSION = "0e0e0e0e-1111-4222-8333-444444444444"


@pytest.fixture
def transcript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The transcript of a home, of some hundred requests."""
    path = tmp_path / "agent" / "projects" / "-srv-app" / f"{SESSION}.jsonl"
    path.parent.mkdir(parents=True)
    for name, value in (("HOME", ""), ("WATCHKEEPER_HOME", "wk"), ("CLAUDE_CONFIG_DIR", "agent")):
        monkeypatch.setenv(name, str(tmp_path / value))
    lines = [
        {
            "type": "assistant",
            "sessionId": SESSION,
            "timestamp": f"2026-10-24T21:{number // 60:02d}:{number % 60:02d}.000Z",
            "cwd": "/srv/app",
            "message": {
                "id": f"msg_{number}",
                "role": "assistant",
                "model": "claude-sonnet-4-6",
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 1000 + number, "output_tokens": 100},
            },
        }
        for number in range(300)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def bill(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the total of ``wk usage``, by the sums and by single requests."""
    found = []
    for key in ("day", "block"):
        assert run(["usage", "--json", "--by", key]) == 0
        found.append(json.loads(capsys.readouterr().out)["total"])
    return found


@pytest.mark.parametrize(
    "part", [b"msg_17", b"/projects/", b"claude-sonnet", b"CREATE TABLE sums", b"SQLite"]
)
def test_a_damaged_cache_costs_nothing_but_time(
    transcript: Path, capsys: pytest.CaptureFixture[str], part: bytes
) -> None:
    right = bill(capsys)
    cache = Places(Path(os.environ["WATCHKEEPER_HOME"])).usage_cache
    data = cache.read_bytes()
    assert part in data
    cache.write_bytes(data.replace(part, b"\xff" * len(part)))
    os.utime(transcript, (1, 1))
    assert bill(capsys) == right
