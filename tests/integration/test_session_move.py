"""`wk move` and `wk fork` as their user meets them: audit, journal, undo, and a record that counts nothing twice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from agent_folder import (
    BELOW,
    FIRST,
    SECOND,
    SECRET,
    conversation_lines,
    make_sessions,
    objects,
    snapshot,
    write_lines,
)
from harness_system import wk, wk_json

from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code.migration.folders import encoded_name
from watchkeeper.store.sqlite.reading import open_reader


@pytest.fixture
def agent(settings: Settings) -> Path:
    """The agent's folder with the sessions of ``old``; ``new`` is where the project is now."""
    base = settings.places.home.parent.resolve()
    for name in ("old", "new"):
        (base / name).mkdir()
    config_dir = settings.claude_config_dirs[0]
    make_sessions(config_dir, base / "old", SECRET)
    return config_dir


def both(settings: Settings) -> tuple[str, str]:
    base = settings.places.home.parent.resolve()
    return str(base / "old"), str(base / "new")


def totals(settings: Settings) -> dict[str, Any]:
    """Return all that is counted: sessions, requests, tokens, cost, calls, prompts."""
    listed = wk_json(settings, "sessions", "-n", "100")["sessions"]
    with open_reader(settings.places) as reader:
        sums = reader.row(
            "SELECT count(*) AS requests, sum(input_tokens) AS input, sum(output_tokens) AS output,"
            " sum(cache_read_tokens) AS cached, sum(cost_micros) AS cost FROM requests"
        )
        client = reader.value("SELECT sum(cost_micros) FROM sessions")
        calls = reader.value("SELECT count(*) FROM calls")
        prompts = reader.value("SELECT count(*) FROM prompts")
    ids = sorted(row["session_id"] for row in listed)
    usage = [wk_json(settings, "usage", "--by", key)["rows"] for key in ("project", "day", "model")]
    return {
        "sessions": ids,
        "sums": sums,
        "client": client,
        "calls": calls,
        "prompts": prompts,
        "usage": usage,
    }


def test_a_move_takes_the_sessions_along_and_changes_no_figure(agent: Path, settings: Settings) -> None:
    """Files, folders named in them, and the whole count before and after, and after a rebuild."""
    before = totals(settings)
    assert before["sessions"] == [FIRST, SECOND, BELOW]
    assert before["sums"]["requests"] == 17
    old, new = both(settings)
    answer = wk_json(settings, "move", old, new)
    assert (answer["done"], answer["blocked"], answer["left"]) == (True, False, [])
    assert {row["session_id"] for row in answer["sessions"]} == {FIRST, SECOND, BELOW}
    assert not (agent / "projects" / encoded_name(old)).exists()
    moved = agent / "projects" / encoded_name(new)
    *lines, stamp = objects(moved / f"{FIRST}.jsonl")
    assert {row.get("cwd") for row in lines} == {None, old}
    assert stamp == {"type": "relocated", "sessionId": FIRST, "relocatedCwd": new}
    below = agent / "projects" / encoded_name(f"{new}/packages/core") / f"{BELOW}.jsonl"
    assert objects(below)[-1]["relocatedCwd"] == f"{new}/packages/core"
    assert (moved / "memory" / "MEMORY.md").read_text() == "- it adds\n"
    assert totals(settings) == before
    wk(settings, "rebuild")
    assert totals(settings) == before


def test_what_was_said_stays_and_spilled_output_is_found_again(agent: Path, settings: Settings) -> None:
    """Prompts still name the old folder; the place of the session's own files follows them."""
    old, new = both(settings)
    wk(settings, "move", old, new)
    moved = agent / "projects" / encoded_name(new)
    lines = objects(moved / f"{FIRST}.jsonl")
    assert f"{old}/app.py" in lines[1]["message"]["content"]
    assert lines[4]["toolUseResult"]["cwd"] == old
    spilled = Path(lines[-2]["message"]["content"].removeprefix("Output saved to: "))
    assert spilled == moved / FIRST / "tool-results" / "out.txt"
    assert spilled.read_text() == "much output\n"
    status = (moved / f"{FIRST}.jsonl").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns) == (0o600, 1_700_000_000_987_654_321)


def test_a_rehearsal_does_nothing_and_an_undo_puts_all_back(agent: Path, settings: Settings) -> None:
    """To the byte, with modes and times; an undo is done once; journals hold no secret and are the owner's."""
    old, new = both(settings)
    before = snapshot(agent)
    rehearsed = wk_json(settings, "move", old, new, "--dry-run")
    assert (rehearsed["done"], rehearsed["dry_run"], snapshot(agent)) == (False, True, before)
    assert {row["rule"] for row in rehearsed["audit"]} >= {"secrets", "absolute_paths", "environment"}
    done = wk_json(settings, "move", old, new)
    journal = settings.places.moves / f"{done['id']}.jsonl"
    assert (journal.stat().st_mode & 0o777, journal.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert SECRET not in journal.read_text()
    undone = wk_json(settings, "move", "--undo")
    assert (undone["id"], undone["undone"], snapshot(agent)) == (done["id"], True, before)
    again = wk(settings, "move", "--undo", done["id"], status=1)
    assert "undone already" in again.stderr


def test_nothing_is_overwritten(agent: Path, settings: Settings) -> None:
    """A session that the target has stays where it is, and so does what the target has."""
    old, new = both(settings)
    there = agent / "projects" / encoded_name(new) / f"{FIRST}.jsonl"
    write_lines(there, [{"type": "mode", "sessionId": FIRST}])
    kept = there.read_bytes()
    answer = wk_json(settings, "move", old, new)
    assert {row["session_id"] for row in answer["sessions"]} == {SECOND, BELOW}
    assert any(FIRST in row["file"] for row in answer["left"])
    assert there.read_bytes() == kept
    assert (agent / "projects" / encoded_name(old) / f"{FIRST}.jsonl").exists()


def test_a_running_session_is_moved_by_force_only(agent: Path, settings: Settings) -> None:
    """Exit status 1, nothing done, and the process named."""
    old, new = both(settings)
    (agent / "sessions").mkdir()
    (agent / "sessions" / "1.json").write_text(json.dumps({"pid": os.getpid(), "sessionId": FIRST}))
    before = snapshot(agent)
    refused = wk(settings, "move", old, new, status=1)
    assert str(os.getpid()) in refused.stdout
    assert snapshot(agent) == before
    assert wk_json(settings, "move", old, new, "--session", SECOND[:8])["done"]
    assert wk_json(settings, "move", old, new, "--session", FIRST, "--force")["done"]


def test_a_fork_is_counted_once(agent: Path, settings: Settings) -> None:
    """New ids, the origin in each line, its own sidecars; requests, tokens and cost as before."""
    before = totals(settings)
    old, new = both(settings)
    answer = wk_json(settings, "fork", old, new, "--session", FIRST)
    made = answer["sessions"][0]["new_session_id"]
    assert made not in {FIRST, SECOND, BELOW}
    folder = agent / "projects" / encoded_name(new)
    lines = objects(folder / f"{made}.jsonl")
    assert {row["sessionId"] for row in lines} == {made}
    assert lines[-1] == {"type": "relocated", "sessionId": made, "relocatedCwd": new}
    chain = [row for row in lines if "uuid" in row]
    assert [row["forkedFrom"] for row in chain] == [
        {"sessionId": FIRST, "messageUuid": row["uuid"]} for row in chain
    ]
    assert [row["parentUuid"] for row in chain[1:9]] == [row["uuid"] for row in chain[:8]]
    assert "cost-state" not in {row["type"] for row in lines}
    assert (folder / made / "tool-results" / "out.txt").exists()
    assert objects(folder / made / "subagents" / "agent-a1b2c3d4e5f6a7b8c.jsonl")[0]["sessionId"] == made
    after = totals(settings)
    assert {**after, "sessions": None} == {**before, "sessions": None}
    assert set(before["sessions"]) <= set(after["sessions"])
    wk(settings, "move", "--undo", answer["id"])
    assert not folder.exists()


def test_a_fork_without_a_prompt_of_its_own_is_called_after_its_origin(
    agent: Path, settings: Settings
) -> None:
    """It is listed as soon as something happened in it, and its copied prompts are its origin's."""
    old, new = both(settings)
    made = wk_json(settings, "fork", old, new, "--session", FIRST)["sessions"][0]["new_session_id"]
    row = {"type": "system", "subtype": "informational", "content": "Resumed", "sessionId": made, "cwd": new}
    row |= {"uuid": "5e5e5e5e-0000-4000-8000-000000000001", "timestamp": "2026-11-09T10:00:00.000Z"}
    with (agent / "projects" / encoded_name(new) / f"{made}.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
    titles = {row["session_id"]: row["title"] for row in wk_json(settings, "sessions")["sessions"]}
    assert titles[made] == f"fork of {FIRST[:8]}"


def test_a_fork_that_went_on_is_not_thrown_away(agent: Path, settings: Settings) -> None:
    """Unless that is asked for."""
    old, new = both(settings)
    made = wk_json(settings, "fork", old, new, "--session", SECOND)["sessions"][0]["new_session_id"]
    path = agent / "projects" / encoded_name(new) / f"{made}.jsonl"
    with path.open("a") as stream:
        stream.write('{"type":"mode"}\n')
    refused = wk_json(settings, "move", "--undo", status=1)
    assert refused["kept"][0]["file"] == str(path)
    assert path.exists()
    wk(settings, "move", "--undo", "--force")
    assert not path.exists()


def test_wrong_use_is_refused_with_its_reason(agent: Path, settings: Settings) -> None:
    """One folder, the same folder twice, a folder without sessions, an unknown session."""
    old, new = both(settings)
    assert "two folders" in wk(settings, "move", old, status=2).stderr
    assert "the same" in wk(settings, "move", old, old, status=2).stderr
    assert "no session" in wk(settings, "move", new, old, status=1).stderr
    assert "is not one of" in wk(settings, "fork", old, new, "--session", "ffff", status=1).stderr


def test_a_shared_folder_is_rewritten_where_it_lies(
    settings: Settings, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one name serves all projects, a move changes lines only, and can be undone."""
    monkeypatch.setenv("CLAUDE_CODE_PROJECT_DIR_NAME", "all")
    old, new = both(settings)
    session = "3d3d3d3d-1111-4222-8333-444444444444"
    path = write_lines(agent / "projects" / "all" / f"{session}.jsonl", conversation_lines(session, old))
    before = snapshot(agent)
    wk(settings, "move", old, new, "--session", session)
    assert objects(path)[-1]["relocatedCwd"] == new
    wk(settings, "move", "--undo")
    assert snapshot(agent) == before


def test_the_resume_line_follows_the_session(agent: Path, settings: Settings) -> None:
    """There and back; the record itself names the folder that the work was done in."""
    old, new = both(settings)
    for step, folder in ((("move", old, new), new), (("move", "--undo"), old)):
        wk(settings, *step)
        rows = {row["session_id"]: row for row in wk_json(settings, "sessions")["sessions"]}
        assert (rows[FIRST]["cwd"], rows[FIRST]["project"]) == (folder, Path(folder).name)
        there = wk_json(settings, "sessions", "-p", folder)["sessions"]
        assert FIRST in {row["session_id"] for row in there}
        assert rows[FIRST]["resume_anywhere"] == f"cd {folder} && claude --resume {FIRST}"
        with open_reader(settings.places) as reader:
            assert reader.value("SELECT cwd FROM sessions WHERE session_id = ?", (FIRST,)) == old


def test_a_folder_renamed_to_the_same_name_of_the_agents(agent: Path, settings: Settings) -> None:
    """my-app and my_app share a folder: the sessions stay there, and say that they are the new one's."""
    base = settings.places.home.parent.resolve()
    old, new = base / "my-app", base / "my_app"
    new.mkdir()
    session = "3d3d3d3d-1111-4222-8333-444444444444"
    folder = agent / "projects" / encoded_name(str(old))
    path = write_lines(folder / f"{session}.jsonl", conversation_lines(session, str(old))[:3])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    before = snapshot(agent)
    wk(settings, "move", str(old), str(new))
    assert objects(path)[-1]["relocatedCwd"] == str(new)
    wk(settings, "move", "--undo")
    assert snapshot(agent) == before
