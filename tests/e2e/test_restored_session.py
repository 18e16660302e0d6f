"""The real client resumes a session that was deleted and that `wk restore` has put back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_folder import objects
from client_session import ClientSession
from harness_system import wk_json
from mock_model import MockModel, Script, text, turn, use

from watchkeeper.settings import Settings

pytestmark = pytest.mark.real_client


@pytest.fixture
def mock() -> Iterator[MockModel]:
    """A model of the test's own."""
    with MockModel() as model:
        yield model
        assert model.problems == []


def test_a_deleted_session_is_resumed_by_id_and_as_the_latest(
    real_client: Path, mock: MockModel, tmp_path: Path, settings: Settings
) -> None:
    """It goes on in the restored file, and what it did before and after is counted once."""
    url = mock.add("restored", Script(main=[]))
    client = ClientSession(real_client, tmp_path.resolve(), url, settings.claude_config_dirs[0])
    first = turn(use("Read", file_path=str(client.project / "app.py")))
    mock.scripts["restored"] = Script(
        main=[first, turn(text("Read it.")), turn(text("Still here.")), turn(text("And on."))]
    )
    session = client.run("Read app.py.").session_id
    wk_json(settings, "import")
    projects = settings.claude_config_dirs[0] / "projects"
    shutil.rmtree(projects)
    assert [row["session_id"] for row in wk_json(settings, "restore", "--list")["sessions"]] == [session]
    done = wk_json(settings, "restore", session)
    main = Path(done["files"][0]["path"])
    lines_before = len(objects(main))
    resumed = client.run("Are you there?", "--resume", session)
    assert (resumed.status, resumed.session_id, resumed.result["result"]) == (0, session, "Still here.")
    latest = client.run("Go on.", "--continue")
    assert (latest.session_id, latest.result["result"]) == (session, "And on.")
    assert len(objects(main)) > lines_before
    wk_json(settings, "import")
    (row,) = wk_json(settings, "sessions")["sessions"]
    assert (row["prompts"], row["tool_calls"]) == (3, 1)
