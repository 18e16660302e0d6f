"""Search while things happen: a daemon that follows the files, the API's search box, an import that is not done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from watchkeeper.client.http import ServerClient
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.freshness import how_far, is_stale
from watchkeeper.pipeline.locking import WriterLock
from watchkeeper.settings import Settings

SOURCES = Path(__file__).resolve().parents[2] / "src"
MINE = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


def append(home: Path, session: str, text: str, *, ending: str = "\n") -> Path:
    """Append a prompt to a session's transcript."""
    path = home.parent / ".claude" / "projects" / "-p" / f"{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {
        "type": "user",
        "uuid": f"{session[:4]}-{text}",
        "sessionId": session,
        "timestamp": "2026-11-01T10:00:00.000Z",
        "cwd": "/p",
        "version": "2.1.330",
        "message": {"role": "user", "content": text},
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + ending)
    return path


def test_a_daemon_makes_what_was_just_written_searchable(
    running_daemon: Any, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """The API understands phrases and gives the same hits as the command."""
    home, client = running_daemon.settings.places.home, ServerClient(running_daemon.places)
    for number in range(3):
        append(home, MINE, f"word number{number} is here")
        found: dict[str, Any] = {}

        def is_found(number: int = number, found: dict[str, Any] = found) -> bool:
            found.update(client.get(f"/api/sessions?q={quote(f'number{number} HERE')}"))
            return bool(found["total"])

        eventually(is_found)
        (hit,) = found["sessions"][0]["hits"]
        assert hit["excerpt"] == f"word number{number} is here"
        assert [hit["excerpt"][start:end] for start, end in hit["matches"]] == [f"number{number}", "here"]
    phrase = '"is here"'
    assert client.get(f"/api/sessions?q={quote(phrase)}")["total"] == 1
    phrase = '"here is"'
    assert client.get(f"/api/sessions?q={quote(phrase)}")["total"] == 0


def test_a_last_line_that_broke_off_is_not_news_at_every_look(settings: Settings, home: Path) -> None:
    """Until something is appended behind it, or the file is touched."""
    path = append(home, MINE, "whole")
    append(home, MINE, "torn", ending="")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)
    catch_up(settings)
    assert not is_stale(settings)
    with path.open("a") as file:
        file.write("\n")
    assert is_stale(settings)


def test_how_far_the_reading_is_counts_files_and_bytes(settings: Settings, home: Path) -> None:
    """What nobody has read yet is missing from the figures, and complete afterwards."""
    first = append(home, MINE, "one")
    catch_up(settings)
    second = append(home, OTHER, "two")
    sizes = first.stat().st_size, second.stat().st_size
    assert how_far(settings) == {
        "files_done": 1,
        "files_total": 2,
        "bytes_done": sizes[0],
        "bytes_total": sum(sizes),
    }
    catch_up(settings)
    assert how_far(settings)["bytes_done"] == sum(sizes)


def test_a_list_beside_an_import_says_how_far_it_is(settings: Settings, home: Path) -> None:
    """While somebody else writes, the answer holds what there is and names what is missing."""
    append(home, MINE, "one")
    catch_up(settings)
    append(home, OTHER, "two")
    env = {
        "HOME": str(home.parent),
        "WATCHKEEPER_HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home.parent / ".claude"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCES),
    }
    command = [sys.executable, "-m", "watchkeeper.cli", "sessions"]
    lock = WriterLock(settings.places.writer_lock)
    try:
        people = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
        programs = subprocess.run([*command, "--json"], env=env, capture_output=True, timeout=120, check=True)
    finally:
        lock.release()
    assert "1 of 2 transcripts are read so far (50 %)" in people.stderr
    document = json.loads(programs.stdout)
    assert document["total"] == 1
    assert document["import"]["files_total"] == 2


def test_nothing_that_changes_is_overlooked_by_a_glance(settings: Settings, home: Path) -> None:
    """A new file, a grown one, one in a linked folder: each is news, and none once it is read."""
    path = append(home, MINE, "one")
    catch_up(settings)
    assert not is_stale(settings)
    append(home, OTHER, "two")
    assert is_stale(settings)
    catch_up(settings)
    append(home, MINE, "three")
    assert is_stale(settings)
    catch_up(settings)
    elsewhere = home.parent / "elsewhere"
    elsewhere.mkdir()
    (path.parent.parent / "-linked").symlink_to(elsewhere)
    assert not is_stale(settings)
    (elsewhere / f"{MINE[::-1]}.jsonl").write_bytes(path.read_bytes())
    assert is_stale(settings)
    catch_up(settings)
    assert not is_stale(settings)
