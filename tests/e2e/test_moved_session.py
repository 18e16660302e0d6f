"""The real client lists and resumes a session where `wk move`, `wk fork` or `wk checkpoint` has put it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_folder import objects, snapshot
from client_session import ClientSession
from harness_system import wk, wk_json
from mock_model import MockModel, Script, text, turn, use

from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code.migration.folders import encoded_name

pytestmark = pytest.mark.real_client


@pytest.fixture
def mock() -> Iterator[MockModel]:
    """A model of the test's own."""
    with MockModel() as model:
        yield model
        assert model.problems == []


@pytest.fixture
def client(real_client: Path, mock: MockModel, tmp_path: Path, settings: Settings) -> ClientSession:
    """A client with a project and a model that reads a file, then talks."""
    url = mock.add("moved", Script(main=[]))
    made = ClientSession(real_client, tmp_path.resolve(), url, settings.claude_config_dirs[0])
    first = turn(use("Read", file_path=str(made.project / "app.py")))
    mock.scripts["moved"] = Script(
        main=[first, turn(text("Read it.")), turn(text("Still here.")), turn(text("And on."))]
    )
    return made


def moved_project(client: ClientSession) -> tuple[Path, Path]:
    """Move the project's folder, as its user does, and return both places."""
    old, new = client.project, client.project.with_name("renamed-project")
    shutil.move(old, new)
    client.project = new
    return old, new


def as_if_typed(agent: Path) -> None:
    """Make the sessions look like those of a person: the client's list leaves out those of programs."""
    for path in (agent / "projects").rglob("*.jsonl"):
        path.write_text(path.read_text().replace('"entrypoint":"sdk-cli"', '"entrypoint":"cli"'))


def shown_by_the_list(client: ClientSession, patterns: tuple[str, ...]) -> str:
    """Return which pattern the client's own list of sessions shows first, in the folder of the client."""
    settings_file = client.config_dir / ".claude.json"
    known = json.loads(settings_file.read_text())
    known["projects"][str(client.project)] = {
        "hasTrustDialogAccepted": True,
        "hasCompletedProjectOnboarding": True,
    }
    settings_file.write_text(json.dumps(known))
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(client.project)
        os.execve(
            client.binary, [str(client.binary), "--resume"], client.environment | {"TERM": "xterm-256color"}
        )
    shown, end = "", time.monotonic() + 60
    try:
        while time.monotonic() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 65536).decode(errors="replace")
            words = " ".join(re.sub(r"\x1b\[[0-9;?<>=]*[ -/]*[@-~]|\x1b[78]", " ", shown).split())
            for pattern in patterns:
                if pattern in words:
                    return pattern
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)
    raise AssertionError(f"the list showed neither: {shown[-500:]!r}")


def test_the_clients_own_list_shows_a_moved_session(client: ClientSession, settings: Settings) -> None:
    """Not before the move, and in the new folder after it."""
    prompt = "Read the file app.py once."
    client.run(prompt)
    agent = settings.claude_config_dirs[0]
    as_if_typed(agent)
    either = (prompt, "No sessions in this project")
    assert shown_by_the_list(client, either) == prompt
    old, new = moved_project(client)
    assert shown_by_the_list(client, either) == "No sessions in this project"
    wk(settings, "move", str(old), str(new))
    assert shown_by_the_list(client, either) == prompt


def test_a_moved_session_is_resumed_in_the_new_folder(client: ClientSession, settings: Settings) -> None:
    """By id and as the folder's latest; it goes on in the moved file, and knows that its folder is another one."""
    session = client.run("Read app.py.").session_id
    agent = settings.claude_config_dirs[0]
    before = snapshot(agent / "projects")
    old, new = moved_project(client)
    done = wk_json(settings, "move", str(old), str(new))
    assert [row["session_id"] for row in done["sessions"]] == [session]
    moved = agent / "projects" / encoded_name(str(new)) / f"{session}.jsonl"
    wk(settings, "move", "--undo")
    assert snapshot(agent / "projects") == before
    wk(settings, "move", str(old), str(new))
    resumed = client.run("Are you there?", "--resume", session)
    assert (resumed.status, resumed.session_id, resumed.result["result"]) == (0, session, "Still here.")
    latest = client.run("Go on.", "--continue")
    assert (latest.session_id, latest.result["result"]) == (session, "And on.")
    lines = objects(moved)
    assert [row["cwd"] for row in lines if "cwd" in row][-1] == str(new)
    assert {row["relocatedCwd"] for row in lines if row["type"] == "relocated"} == {str(new)}
    assert f"{new} (was {old})" in moved.read_text()
    assert [path.name for path in (agent / "projects").iterdir()] == [moved.parent.name]


def test_a_forked_session_is_resumed_beside_its_origin(client: ClientSession, settings: Settings) -> None:
    """The origin is untouched, and each request is counted once."""
    session = client.run("Read app.py.").session_id
    wk(settings, "import")
    other = client.project.with_name("other")
    shutil.copytree(client.project, other)
    before = snapshot(settings.claude_config_dirs[0] / "projects")
    made = wk_json(settings, "fork", str(client.project), str(other))["sessions"][0]["new_session_id"]
    client.project = other
    resumed = client.run("Are you there?", "--resume", made)
    assert (resumed.status, resumed.session_id) == (0, made)
    after = snapshot(settings.claude_config_dirs[0] / "projects")
    assert {name: after[name] for name in before} == before
    wk(settings, "import")
    rows = {row["session_id"]: row for row in wk_json(settings, "sessions")["sessions"]}
    assert set(rows) == {session, made}
    assert rows[session]["tool_calls"] == 1


def test_a_checkpoint_is_resumed_by_the_client(client: ClientSession, settings: Settings) -> None:
    """In another folder and after the session itself is gone."""
    session = client.run("Read app.py.").session_id
    words = ("checkpoint", "create", "kept", "--session", session, "--project", str(client.project))
    wk(settings, *words)
    shutil.rmtree(settings.claude_config_dirs[0] / "projects")
    other = client.project.with_name("other")
    shutil.copytree(client.project, other)
    done = wk_json(settings, "checkpoint", "resume", "kept", "--in", str(other), "--yes")
    client.project = other
    resumed = client.run("Are you there?", "--resume", done["session_id"])
    assert (resumed.status, resumed.session_id) == (0, done["session_id"])
    made = (
        settings.claude_config_dirs[0] / "projects" / encoded_name(str(other)) / f"{done['session_id']}.jsonl"
    )
    assert "Are you there?" in made.read_text()
