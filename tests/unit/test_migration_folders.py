"""What the agent calls a project's folder, and which sessions are a project's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from agent_folder import BELOW, FIRST, SECOND, conversation_lines, make_sessions, write_lines

from watchkeeper.errors import UsageError
from watchkeeper.sources.claude_code.migration.folders import (
    change_of,
    encoded_name,
    find_sessions,
    folder_name,
    live_process,
    recorded_folder,
)


def test_every_other_character_is_a_dash() -> None:
    """Letters and digits of ASCII stay; all else, also an umlaut and each half of an emoji, is a dash."""
    assert encoded_name("/home/dev/my_app.v2") == "-home-dev-my-app-v2"
    assert encoded_name("/ü") == "--"
    assert encoded_name("/u\u0308") == "--"
    assert encoded_name("/😀") == "---"


def test_a_long_name_is_cut_and_hashed_as_the_real_client_does() -> None:
    """The folder that client 2.1.330 made for this path was read off its own run."""
    path = "/tmp/mv/lab2/project/" + "x" * 120 + "/" + "y" * 100
    name = encoded_name(path)
    assert name == "-tmp-mv-lab2-project-" + "x" * 120 + "-" + "y" * 58 + "-waquwi"
    assert len(name.rpartition("-")[0]) == 200


def test_the_name_can_be_given_by_the_environment() -> None:
    """The variable counts only beside CLAUDE_CONFIG_DIR, and only where it is a plain name."""
    given = {"CLAUDE_CODE_PROJECT_DIR_NAME": "work", "CLAUDE_CONFIG_DIR": "/c"}
    assert folder_name("/a/b", given) == "work"
    assert folder_name("/a/b", {"CLAUDE_CODE_PROJECT_DIR_NAME": "work"}) == "-a-b"
    assert folder_name("/a/b", given | {"CLAUDE_CODE_PROJECT_DIR_NAME": "../x"}) == "-a-b"


def test_all_that_belongs_to_a_session_is_found(tmp_path: Path) -> None:
    """Transcript, subagents in both layouts, spilled output; and the sessions of folders in the project."""
    project = tmp_path / "old"
    make_sessions(tmp_path / "c", project)
    found, left = find_sessions(tmp_path / "c", change_of(str(project), str(tmp_path / "new")), {})
    names = {session.session_id: [path.name for path in session.files] for session in found}
    assert left == []
    assert names == {
        FIRST: [
            f"{FIRST}.jsonl",
            "agent-a1b2c3d4e5f6a7b8c.jsonl",
            "agent-a1b2c3d4e5f6a7b8c.meta.json",
            "out.txt",
        ],
        SECOND: [f"{SECOND}.jsonl", "agent-7777777.jsonl"],
        BELOW: [f"{BELOW}.jsonl"],
    }


def test_another_project_with_the_same_folder_keeps_its_sessions(tmp_path: Path) -> None:
    """/x/a-b and /x/a/b share a folder; the lines say whose a session is."""
    ours, theirs = tmp_path / "a-b", tmp_path / "a" / "b"
    folder = tmp_path / "c" / "projects" / encoded_name(str(ours))
    write_lines(folder / f"{FIRST}.jsonl", conversation_lines(FIRST, str(ours)))
    write_lines(folder / f"{SECOND}.jsonl", conversation_lines(SECOND, str(theirs)))
    found, left = find_sessions(tmp_path / "c", change_of(str(ours), str(tmp_path / "new")), {})
    assert [session.session_id for session in found] == [FIRST]
    assert [path.stem for path, _ in left] == [SECOND]


def test_a_neighbour_whose_name_begins_alike_is_no_part_of_the_project(tmp_path: Path) -> None:
    """The folder of /x/app-two begins like that of /x/app."""
    make_sessions(tmp_path / "c", tmp_path / "app-two")
    found, left = find_sessions(tmp_path / "c", change_of(str(tmp_path / "app"), str(tmp_path / "n")), {})
    assert (found, left) == ([], [])


def test_the_latest_change_of_folder_counts(tmp_path: Path) -> None:
    """A session that was taken along by /cd belongs to the folder it was taken to."""
    lines = conversation_lines(FIRST, "/first")
    path = write_lines(tmp_path / "t.jsonl", lines)
    assert recorded_folder(path) == "/first"
    write_lines(path, [*lines, {"type": "relocated", "sessionId": FIRST, "relocatedCwd": "/second"}])
    assert recorded_folder(path) == "/second"


def test_a_running_session_is_known_by_the_agents_own_list(tmp_path: Path) -> None:
    """An entry of a process that is gone says nothing."""
    folder = tmp_path / "sessions"
    folder.mkdir()
    (folder / "1.json").write_text(json.dumps({"pid": os.getpid(), "sessionId": FIRST}))
    (folder / "2.json").write_text(json.dumps({"pid": 2**22 + 1, "sessionId": SECOND}))
    (folder / "3.json").write_text("no json")
    assert live_process(tmp_path, FIRST) == os.getpid()
    assert live_process(tmp_path, SECOND) is None


def test_a_move_to_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Also through a symbolic link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="the same"):
        change_of(str(tmp_path / "real"), str(tmp_path / "link"))
