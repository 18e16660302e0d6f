"""Whatever happens to the bytes of the usage cache, the bill is right: the cache is made anew."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.cli.entry import run
from watchkeeper.daemon.homes import prepare_home
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Mount a small disk where the home is; the fixture's function mounts it again with other options."""
    place = tmp_path / "wk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root in a place that allows it")
    try:
        yield (
            lambda options: (
                subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True) and None
            )
        )
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_the_bill_comes_from_memory_where_the_disk_is_full(
    small_disk: Callable[[str], None], transcript: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_home(Places(tmp_path / "wk"))
    with pytest.raises(OSError, match="No space"):
        (tmp_path / "wk" / "daemon.log").write_bytes(bytes(128 << 10))
    capsys.readouterr()
    full = bill(capsys)
    small_disk("size=64m")
    assert bill(capsys) == full
    assert full[0]["requests"] == 300


def test_a_home_that_cannot_be_written_is_read(
    small_disk: Callable[[str], None], transcript: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_disk("size=64m")
    assert run(["import"]) == 0
    capsys.readouterr()
    right = bill(capsys)
    transcript.write_text(transcript.read_text() + "\n")
    small_disk("ro")
    assert bill(capsys) == right
    assert run(["sessions", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 1
