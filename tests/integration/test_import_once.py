"""What one process has put on record, another does not read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness_system import wk_json

from watchkeeper.store.sqlite.reading import open_reader

LINE = {"type": "user", "sessionId": "s", "timestamp": "2026-11-01T10:00:00Z"}


def write_line(transcript: Path, uuid: str) -> None:
    message = {"role": "user", "content": "hello"}
    with transcript.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(LINE | {"uuid": uuid, "message": message}) + "\n")


def ranges_on_record(settings: Any) -> list[tuple[int, int]]:
    with open_reader(settings.places) as reader:
        rows = reader.rows("SELECT first_line, line_count FROM ranges ORDER BY first_line")
        return [(row["first_line"], row["line_count"]) for row in rows]


def test_what_a_command_imported_is_not_read_again_by_the_daemon(running_daemon: Any, tmp_path: Path) -> None:
    settings = running_daemon.settings
    elsewhere = tmp_path / "projects" / "-p"
    elsewhere.mkdir(parents=True)
    write_line(elsewhere / "s.jsonl", "u0")
    report = wk_json(settings, "import", str(elsewhere))
    assert (report["files"], report["lines"], report["observations"], report["skipped"]) == (1, 1, 1, [])
    assert wk_json(settings, "import", str(elsewhere))["lines"] == 0
    write_line(elsewhere / "s.jsonl", "u1")
    assert wk_json(settings, "import", str(elsewhere))["lines"] == 1
    assert ranges_on_record(settings) == [(1, 1), (2, 1)]


def test_lines_that_come_one_by_one_are_each_recorded_once(running_daemon: Any) -> None:
    settings = running_daemon.settings
    project = settings.claude_config_dirs[0] / "projects" / "-p"
    project.mkdir(parents=True)
    for number in range(5):
        write_line(project / "s.jsonl", f"u{number}")
        wk_json(settings, "sessions")
    assert wk_json(settings, "import", str(project))["lines"] == 0
    found = ranges_on_record(settings)
    assert sum(count for _, count in found) == 5
    assert [first for first, _ in found] == sorted({first for first, _ in found})
