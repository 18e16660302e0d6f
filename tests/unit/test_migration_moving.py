"""What a move does when something gets in its way: everything is put back, and the reason is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from agent_folder import FIRST, make_sessions, snapshot

from watchkeeper.errors import NotFoundError, WatchkeeperError
from watchkeeper.sources.claude_code.migration.folders import change_of
from watchkeeper.sources.claude_code.migration.journal import find_journal
from watchkeeper.sources.claude_code.migration.moving import Plan, carry_out, fork_id
from watchkeeper.sources.claude_code.migration.planning import make_plan
from watchkeeper.sources.claude_code.migration.undoing import undo


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """An agent's folder with sessions of ``old``, and an empty ``new``."""
    for name in ("old", "new", "c"):
        (tmp_path / name).mkdir()
    make_sessions(tmp_path / "c", tmp_path / "old")
    return tmp_path


def plan_of(world: Path, kind: str = "move") -> Plan:
    return make_plan(kind, change_of(str(world / "old"), str(world / "new")), [world / "c"], {})


@pytest.mark.parametrize("kind", ["move", "fork"])
def test_a_file_that_appears_at_the_target_meanwhile_is_not_overwritten(kind: str, world: Path) -> None:
    """All is put back; the other's file stays, and nothing is left to undo."""
    plan = plan_of(world, kind)
    source, target = plan.sessions[-1].files[-1]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("somebody else's")
    before = snapshot(world / "c")
    with pytest.raises(WatchkeeperError, match="Everything was put back"):
        carry_out(plan, world / "journals")
    assert snapshot(world / "c") == before
    assert source.exists()
    assert target.read_text() == "somebody else's"
    with pytest.raises(NotFoundError):
        find_journal(world / "journals", None)


def test_a_session_that_is_written_to_meanwhile_stays(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added while it is copied would be lost."""
    plan = plan_of(world)
    source = plan.sessions[0].files[0][0]
    before = snapshot(world / "c")
    set_times = os.utime

    def written_meanwhile(path: Any, **options: Any) -> None:
        set_times(path, **options)
        with source.open("ab") as stream:
            stream.write(b"{}\n")

    monkeypatch.setattr(os, "utime", written_meanwhile)
    with pytest.raises(WatchkeeperError, match="written to meanwhile"):
        carry_out(plan, world / "journals")
    monkeypatch.undo()
    after = snapshot(world / "c")
    name = source.relative_to(world / "c").as_posix()
    assert after.pop(name)[2] == before.pop(name)[2] + b"{}\n"
    assert after == before


def test_a_moved_file_that_was_rewritten_since_is_left_alone(world: Path) -> None:
    """An undo names it and puts the rest back; the journal stays open for another try."""
    plan = plan_of(world)
    carry_out(plan, world / "journals")
    target = plan.sessions[0].files[0][1]
    content = target.read_bytes()
    target.write_bytes(b"something else\n")
    result = undo(find_journal(world / "journals", None))
    assert [path for path, _ in result.kept] == [str(target)]
    target.write_bytes(content)
    assert undo(find_journal(world / "journals", None)).kept == []
    assert not target.exists()


def test_nothing_is_taken_through_a_symbolic_link(world: Path) -> None:
    """Neither a transcript that is one nor a file of a session; both are named."""
    folder = next(path for path in (world / "c" / "projects").iterdir() if (path / f"{FIRST}.jsonl").exists())
    (world / "secret.txt").write_text("x")
    (folder / FIRST / "link.txt").symlink_to(world / "secret.txt")
    (folder / "9f9f9f9f-1111-4222-8333-444444444444.jsonl").symlink_to(world / "secret.txt")
    plan = plan_of(world)
    assert sorted(path.name for path, _ in plan.left) == [
        "9f9f9f9f-1111-4222-8333-444444444444.jsonl",
        "link.txt",
    ]
    carry_out(plan, world / "journals")
    assert (folder / FIRST / "link.txt").is_symlink()


def test_a_new_id_sorts_behind_its_origin() -> None:
    """Of what both claim, the lesser id is the owner."""
    origin = "c0ffee00-0000-4000-8000-000000000000"
    made = {fork_id(origin) for _ in range(50)}
    assert len(made) == 50
    assert min(made) > origin
