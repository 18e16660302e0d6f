"""``wk install`` and ``wk uninstall`` as commands, in a home of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.cli import entry


def wk(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    status = entry.run([*words, "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.fixture
def user_settings(home: Path, packaged_hook: Path) -> Path:
    file = Path(os.environ["CLAUDE_CONFIG_DIR"]) / "settings.json"
    file.write_text('{"model": "opus"}\n')
    return file


def test_install_and_uninstall_answer_in_the_shape_of_the_contract(
    user_settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = wk(capsys, "install")
    assert (status, answer["scope"], answer["changed"]) == (0, "user", True)
    assert answer["file"] == str(user_settings)
    assert "PreToolUse" in answer["events"]
    left_out = {row["event"] for row in answer["not_registered"] if row["reason"]}
    assert left_out == {"WorktreeCreate", "WorktreeRemove", "MessageDisplay"}
    assert (Path(answer["backup"]) / "before.json").read_text() == '{"model": "opus"}\n'
    assert "diff" not in answer
    _, again = wk(capsys, "install")
    assert (again["changed"], again["backup"]) == (False, None)
    status, answer = wk(capsys, "uninstall")
    assert (status, answer["changed"], answer["events"]) == (0, True, [])
    assert user_settings.read_text() == '{"model": "opus"}\n'
    _, again = wk(capsys, "uninstall")
    assert not again["changed"]


def test_a_dry_run_prints_the_diff_and_writes_nothing(
    user_settings: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, answer = wk(capsys, "install", "--dry-run", "--statusline", "--message-display")
    assert answer["changed"]
    assert '+{"model": "opus", "hooks": {"SessionStart"' in answer["diff"]
    assert "MessageDisplay" in answer["events"]
    assert not home.exists()
    entry.run(["install", "--dry-run"])
    assert capsys.readouterr().out.startswith(f"--- {user_settings}\n+++ {user_settings}\n")


def test_the_answer_for_people_names_what_is_not_collected(
    user_settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.run(["install"]) == 0
    text = capsys.readouterr().out
    for words in ("registered 30 hooks", "Collected: 30 of 33", "WorktreeCreate: ", "wk doctor"):
        assert words in text
    assert entry.run(["install"]) == 0
    assert "nothing to change" in capsys.readouterr().out


def test_a_project_is_installed_locally_unless_shared(
    home: Path, packaged_hook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--scope", "project", "--project", str(tmp_path))
    _, local = wk(capsys, "install", *words)
    _, shared = wk(capsys, "install", *words, "--shared")
    assert local["file"] == str(tmp_path / ".claude" / "settings.local.json")
    assert shared["file"] == str(tmp_path / ".claude" / "settings.json")
    assert shared["notes"]


def test_wrong_use_and_unreadable_settings_are_told_apart(
    user_settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = wk(capsys, "install", "--project", str(tmp_path))
    assert (status, answer["error"]["code"]) == (2, "usage")
    user_settings.write_text("{\n  // mine\n}")
    status, answer = wk(capsys, "install")
    assert (status, answer["error"]["place"]) == (1, f"{user_settings}:2:3")


def test_what_still_keeps_events_away_is_said_at_once(
    user_settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user_settings.write_text('{"disableAllHooks": true}')
    _, answer = wk(capsys, "install")
    assert [row["what"] for row in answer["problems"]] == ["disableAllHooks is set"]
    assert entry.run(["install"]) == 0
    assert "error: " in capsys.readouterr().err
