"""An import that prepares slices in other processes puts the same on record as one that does all itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from agent_folder import conversation_lines

from watchkeeper.pipeline import preparing, transcripts
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import open_reader

TABLES = (
    "sessions",
    "prompts",
    "calls",
    "requests",
    "messages",
    "events",
    "file_operations",
    "errors",
    "files",
)
SECRET = "k9Zr7Qm2Xw5Vt8Lp"


def write_sessions(agent: Path) -> None:
    """Write sessions of several slices; one reads an env file whose value others quote."""
    for number in range(6):
        session = f"{number}a0a0a0a-1111-4222-8333-444444444444"
        lines = conversation_lines(session, f"/home/ada/p{number % 2}", SECRET if number > 2 else "")
        if number == 1:
            lines += env_file_read(session)
        filler = {**lines[1], "type": "system", "subtype": "note", "content": "word " * 40_000}
        path = agent / "projects" / f"-home-ada-p{number % 2}" / f"{session}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = [json.dumps(line) for line in lines]
        text[2:2] = [json.dumps({**filler, "uuid": f"{session}-f{part}"}) for part in range(6)]
        path.write_text("\n".join(text) + "\n")


def env_file_read(session: str) -> list[dict[str, object]]:
    """Return the lines of a call that reads an env file."""
    common = {"sessionId": session, "timestamp": "2026-11-01T10:05:00.000Z", "cwd": "/home/ada/p1"}
    use = {"type": "tool_use", "id": "toolu_env", "name": "Read", "input": {"file_path": "/home/ada/p1/.env"}}
    content = f"APP_PRIVATE_VALUE={SECRET}\n"
    result = {"type": "tool_result", "tool_use_id": "toolu_env", "content": f"     1\t{content}"}
    read = {"type": "text", "file": {"filePath": "/home/ada/p1/.env", "content": content, "numLines": 1}}
    return [
        {
            **common,
            "type": "assistant",
            "uuid": "e1",
            "message": {"id": "msg_env", "role": "assistant", "content": [use]},
        },
        {
            **common,
            "type": "user",
            "uuid": "e2",
            "message": {"role": "user", "content": [result]},
            "toolUseResult": read,
        },
    ]


def imported(base: Path, name: str) -> dict[str, list[dict[str, object]]]:
    """Import the agent's folder into a home and return its tables."""
    environment = dict(os.environ) | {"CLAUDE_CONFIG_DIR": str(base / "agent"), "HOME": str(base)}
    settings = Settings(base / name, environment)
    catch_up(settings)
    with open_reader(settings.places) as reader:
        return {table: list(reader.rows(f"SELECT * FROM {table} ORDER BY 1")) for table in TABLES}


@pytest.fixture
def with_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every import use a process of its own, whatever there is to read."""
    monkeypatch.setattr(preparing, "_processes", lambda: 1)
    monkeypatch.setattr(transcripts, "worth_processes", lambda waiting: waiting > 0)


def test_with_processes_the_record_is_the_same(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Every row, whoever prepared it; a value of an env file is masked in what is read after it."""
    write_sessions(tmp_path / "agent")
    alone = imported(tmp_path, "alone")
    request.getfixturevalue("with_processes")
    together = imported(tmp_path, "together")
    assert together == alone
    assert len(together["sessions"]) == 6
    assert SECRET not in json.dumps([row for row in together["prompts"] if str(row["session_id"])[0] in "35"])


@pytest.mark.fault
@pytest.mark.usefixtures("with_processes")
def test_a_process_that_is_killed_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had under way is prepared by the writer itself."""
    write_sessions(tmp_path / "agent")
    killed: list[int] = []
    submit = preparing.PreparingProcesses.submit

    def kill_after_the_third(self: preparing.PreparingProcesses, *what: object) -> object:
        future = submit(self, *what)  # type: ignore[arg-type]
        killed.append(0)
        if len(killed) == 3:
            for process in self._pool._processes.values():
                os.kill(process.pid, signal.SIGKILL)
        return future

    monkeypatch.setattr(preparing.PreparingProcesses, "submit", kill_after_the_third)
    tables = imported(tmp_path, "home")
    assert len(killed) >= 3
    assert [len(tables[name]) for name in ("sessions", "files")] == [6, 6]
    assert len(tables["requests"]) == len({row["request_key"] for row in tables["requests"]}) > 6


_WRITER = """
import os, signal, sys, time
from pathlib import Path
from watchkeeper.pipeline.preparing import PreparingProcesses
from watchkeeper.settings import Settings

if __name__ == "__main__":
    processes = PreparingProcesses(Settings(Path(sys.argv[1]), {}), idle=False)
    helper = processes._pool.submit(os.getpid).result()
    print(helper, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_process_outlives_a_writer_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "writer.py"
    program.write_text(_WRITER)
    done = subprocess.run(
        [sys.executable, program, tmp_path / "wk"], capture_output=True, text=True, timeout=60, check=False
    )
    # Their end of this pipe is closed as well when `run` returns, or it would not have returned.
    assert done.returncode == -signal.SIGKILL
    helper = psutil.Process(int(done.stdout)) if psutil.pid_exists(int(done.stdout)) else None
    assert helper is None or helper.status() == psutil.STATUS_ZOMBIE
