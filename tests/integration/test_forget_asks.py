"""``wk forget`` at a terminal names the session and asks; ``wk fork`` shows what it made."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

from agent_folder import FIRST, conversation_lines


def variables(base: Path) -> dict[str, str]:
    """Return the environment of commands in a home of their own."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    agent = {"CLAUDE_CONFIG_DIR": str(base / "agent"), "WATCHKEEPER_HOME": str(base / "wk")}
    return kept | agent | {"HOME": str(base), "TERM": "dumb"}


def wk(base: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a script does."""
    command = [sys.executable, "-m", "watchkeeper.cli", *words]
    return subprocess.run(command, env=variables(base), capture_output=True, text=True, check=False)


def at_terminal(base: Path, answer: str, *words: str) -> int:
    """Run a command that is asked something at a terminal; return its exit status."""
    mine, theirs = pty.openpty()
    os.write(mine, answer.encode())
    command = [sys.executable, "-m", "watchkeeper.cli", *words]
    done = subprocess.run(command, env=variables(base), stdin=theirs, capture_output=True, check=False)
    os.close(mine)
    os.close(theirs)
    assert FIRST in done.stdout.decode()
    return done.returncode


def write_session(base: Path) -> Path:
    """Write one session; return its project's folder."""
    project = base / "work" / "app"
    project.mkdir(parents=True)
    name = "".join(letter if letter.isalnum() else "-" for letter in str(project))
    path = base / "agent" / "projects" / name / f"{FIRST}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in conversation_lines(FIRST, str(project))))
    return project


def listed(base: Path) -> list[str]:
    """Return the ids of the sessions in the list."""
    return [row["session_id"] for row in json.loads(wk(base, "sessions", "--json").stdout)["sessions"]]


def test_a_session_goes_only_when_the_answer_is_yes(tmp_path: Path) -> None:
    """A prefix may have meant another session, and nothing brings an erased one back."""
    write_session(tmp_path)
    assert listed(tmp_path) == [FIRST]
    assert at_terminal(tmp_path, "n\n", "forget", FIRST[:4]) == 1
    assert listed(tmp_path) == [FIRST]
    assert at_terminal(tmp_path, "y\n", "forget", FIRST[:4]) == 0
    assert listed(tmp_path) == []


def test_a_fresh_fork_is_in_the_list(tmp_path: Path) -> None:
    """With its project and the time of what it copied, though nothing in it is its own yet."""
    project = write_session(tmp_path)
    target = tmp_path / "work" / "other"
    target.mkdir()
    assert wk(tmp_path, "fork", str(project), str(target), "--force").returncode == 0
    found = listed(tmp_path)
    assert FIRST in found
    assert len(found) == 2
