"""The audit names what a move would carry along or leave behind, each thing with its place."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from agent_folder import FIRST, SECRET, assistant, make_sessions, snapshot, write_lines

from watchkeeper.redaction.engine import Redactor
from watchkeeper.sources.claude_code.migration.audit import AuditFinding, audit
from watchkeeper.sources.claude_code.migration.folders import change_of, encoded_name
from watchkeeper.sources.claude_code.migration.planning import make_plan


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """An agent's folder with sessions of ``old``, and an empty ``new``."""
    for name in ("old", "new", "c"):
        (tmp_path / name).mkdir()
    make_sessions(tmp_path / "c", tmp_path / "old", SECRET)
    return tmp_path


def findings(world: Path, kind: str = "move", **environment: str) -> dict[str, AuditFinding]:
    change = change_of(str(world / "old"), str(world / "new"))
    plan = make_plan(kind, change, [world / "c"], environment)
    before = snapshot(world)
    found = audit(plan, [world / "c"], environment, Redactor())
    assert snapshot(world) == before
    return {finding.rule: finding for finding in found}


def test_secrets_are_counted_by_rule_with_their_places(world: Path) -> None:
    """The secret itself is nowhere in the answer."""
    finding = findings(world)["secrets"]
    assert (finding.severity, finding.count, sum(finding.by_rule.values())) == ("warn", 1, 1)
    assert finding.places[0].startswith(f"{FIRST}.jsonl:2 ")
    assert SECRET not in json.dumps(finding.to_json())


def test_absolute_paths_and_variables_are_named(world: Path) -> None:
    """A variable that is set is not worth a word."""
    found = findings(world)
    assert found["absolute_paths"].severity == "note"
    assert found["environment"].places == ("DEPLOY_STAGE",)
    assert "environment" not in findings(world, DEPLOY_STAGE="x")


def test_servers_missing_at_the_target(world: Path) -> None:
    """A server counts as there when any level that the agent reads has it."""
    use = {"type": "tool_use", "id": "t", "name": "mcp__tickets__list", "input": {}}
    also = {"type": "tool_use", "id": "u", "name": "mcp__my_db__ask", "input": {}}
    folder = world / "c" / "projects" / encoded_name(str(world / "old"))
    write_lines(folder / f"{FIRST}.jsonl", [assistant(FIRST, 0, str(world / "old"), use, also)])
    assert findings(world)["mcp_missing"].places == ("my_db", "tickets")
    (world / "new" / ".mcp.json").write_text('{"mcpServers": {"tickets": {}}}')
    assert findings(world)["mcp_missing"].places == ("my_db",)
    (world / "c" / ".claude.json").write_text('{"mcpServers": {"my db": {}}}')
    assert "mcp_missing" not in findings(world)


def test_rules_that_the_target_lacks(world: Path) -> None:
    """Ignore files and denied permissions are compared as far as the old folder is still there."""
    (world / "old" / ".claudeignore").write_text("# secret\nsecrets/\nbuild/\n")
    (world / "new" / ".claudeignore").write_text("build/\n")
    (world / "old" / ".claude").mkdir()
    (world / "old" / ".claude" / "settings.json").write_text('{"permissions": {"deny": ["Read(./.env)"]}}')
    (world / "old" / ".env.local").write_text("A=1\n")
    found = findings(world)
    assert found["ignore_rules"].places == ("secrets/",)
    assert found["deny_rules"].places == ("Read(./.env)",)
    assert found["environment_files"].places == (".env.local",)


def test_a_public_remote_is_a_warning(world: Path) -> None:
    """The address is shown without its password; a remote that both have is none."""
    for name, url in (("old", "git@git.corp.example:a/b.git"), ("new", "https://me:pw@github.com/a/b.git")):
        (world / name / ".git").mkdir()
        (world / name / ".git" / "config").write_text(f'[remote "origin"]\n\turl = {url}\n')
    finding = findings(world)["public_remote"]
    assert finding.places == ("https://github.com/a/b.git",)
    assert "secrets" in finding.what
    (world / "old" / ".git" / "config").write_text((world / "new" / ".git" / "config").read_text())
    assert "public_remote" not in findings(world)


def test_a_running_session_and_a_missing_target_block(world: Path) -> None:
    """These two do harm, so the command stops unless it is forced."""
    (world / "c" / "sessions").mkdir()
    (world / "c" / "sessions" / "1.json").write_text(json.dumps({"pid": os.getpid(), "sessionId": FIRST}))
    (world / "new").rmdir()
    found = findings(world)
    assert [found[rule].severity for rule in ("session_live", "target_missing")] == ["block", "block"]
    assert findings(world, "fork")["session_live"].severity == "warn"


def test_a_session_written_to_just_now_is_a_warning_where_no_list_tells(world: Path) -> None:
    """Old clients keep no list of running sessions."""
    assert "session_recent" not in findings(world)
    path = world / "c" / "projects" / encoded_name(str(world / "old")) / f"{FIRST}.jsonl"
    os.utime(path)
    assert findings(world)["session_recent"].places == (FIRST,)
    (world / "c" / "sessions").mkdir()
    assert "session_recent" not in findings(world)


def test_a_request_that_nothing_identifies_is_named(world: Path) -> None:
    """The record knows it by its place alone, so that a move makes it another one."""
    assert "no_identity" not in findings(world)
    row = assistant(FIRST, 0, str(world / "old"))
    for name in ("uuid", "requestId"):
        del row[name]
    del row["message"]["id"]
    write_lines(world / "c" / "projects" / encoded_name(str(world / "old")) / f"{FIRST}.jsonl", [row])
    assert findings(world)["no_identity"].places == (f"{FIRST}.jsonl:1",)
