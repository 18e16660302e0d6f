"""``wk redact`` shows what would be masked, never the secret, and writes nothing."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.cli.entry import run

TEXT = "A=1\nDB_PASSWORD=hunter2!x and https://me:Sommer31@db/x\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and an agent's folder with one session."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "agent"))
    project = tmp_path / "agent" / "projects" / "-p"
    project.mkdir(parents=True)
    line = {"type": "user", "message": {"role": "user", "content": TEXT}}
    (project / "0f0e0d0c-1111-4222-8333-444455556666.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run(["redact", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_places_rules_and_masked_excerpts_of_a_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither an excerpt nor its neighbour's shows a secret."""
    path = home / "x.txt"
    path.write_text(TEXT)
    answer = ask(capsys, str(path))
    assert [(found["line"], found["column"], found["rule"]) for found in answer["found"]] == [
        (2, 13, "environment-secret"),
        (2, 38, "url-password"),
    ]
    assert answer["rules"] == {"environment-secret": 1, "url-password": 1}
    assert run(["redact", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "2 secrets would be masked" in shown
    assert "hunter2" not in shown + json.dumps(answer)
    assert "Sommer31" not in shown + json.dumps(answer)
    assert path.read_text() == TEXT
    assert not (home / "home").exists()


def test_a_session_is_found_by_the_start_of_its_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own files are looked at, not what is stored."""
    assert [found["rule"] for found in ask(capsys, "--session", "0f0e")["found"]] == [
        "environment-secret",
        "url-password",
    ]
    assert run(["redact", "--session", "ffff"]) == 1


def test_standard_input_in_each_mode_as_it_would_be_stored(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--text`` prints the outcome."""
    for mode, expected in (
        ("redact", "DB_PASSWORD=[REDACTED:environment-secret]"),
        ("metadata", "[REDACTED:text:"),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
        assert run(["redact", "-", "--mode", mode, "--text"]) == 0
        assert expected in capsys.readouterr().out


def test_rules_are_listed_and_wrong_use_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each rule with what it is known by."""
    listed = {row["name"]: row["known_by"] for row in ask(capsys, "--rules")}
    assert listed["github-token"] == "ghp_ gho_ ghu_ ghs_ ghr_"
    assert len(listed) > 200
    assert run(["redact"]) == 2
    assert run(["redact", "x", "--session", "y"]) == 2
