"""`wk checkpoint`: one portable file that says what it holds; foreign and hostile ones are treated as such."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent_folder import FIRST, SECOND, SECRET, make_sessions, objects, snapshot, user, write_lines
from harness_system import wk, wk_json

from watchkeeper.errors import FormatError
from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code.migration.folders import encoded_name
from watchkeeper.sources.claude_code.migration.restoring import read_checkpoint


@pytest.fixture
def project(settings: Settings) -> Path:
    """A repository with one changed file, and its sessions."""
    base = settings.places.home.parent.resolve()
    project = base / "old"
    project.mkdir()
    (project / "app.py").write_text("a + b\n")
    make_sessions(settings.claude_config_dirs[0], project, SECRET)
    commands = (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"])
    for command in commands:
        identity = ["-c", "user.name=Dev", "-c", "user.email=dev@example.com"]
        subprocess.run(["git", *identity, *command], cwd=project, check=True)
    (project / "notes.md").write_text("new\n")
    return project


def create(settings: Settings, project: Path, *more: str) -> dict[str, Any]:
    return wk_json(
        settings, "checkpoint", "create", "first", "--session", FIRST, "--project", str(project), *more
    )


def test_a_checkpoint_names_no_folder_of_this_machine_and_no_secret(
    project: Path, settings: Settings
) -> None:
    """Its file is the owner's; the places of what was masked are listed; git's state is in it."""
    manifest = create(settings, project)
    path = Path(manifest["file"])
    assert path.parent == settings.places.checkpoints
    assert path.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(path) as bundle:
        content = b"".join(bundle.read(name) for name in bundle.namelist())
        names = set(bundle.namelist())
    for hidden in (SECRET, str(project), str(project.parent)):
        assert hidden.encode() not in content
    assert names == {
        "manifest.json",
        "session/transcript.jsonl",
        "session/subagents/agent-a1b2c3d4e5f6a7b8c.jsonl",
        "session/subagents/agent-a1b2c3d4e5f6a7b8c.meta.json",
        "session/tool-results/out.txt",
    }
    assert sum(manifest["masked"].values()) == 1
    assert manifest["masked_places"][0]["place"] == "session/transcript.jsonl:2"
    assert manifest["git"]["branch"] == "main"
    assert manifest["git"]["dirty"] == ["?? notes.md"]
    assert [row["path"] for row in manifest["edited_files"]] == ["app.py"]


def test_a_beginning_of_the_id_names_the_session_from_any_folder(project: Path, settings: Settings) -> None:
    done = wk_json(settings, "checkpoint", "create", "by-beginning", "--session", FIRST[:8])
    assert done["session_id"] == FIRST
    refused = wk(settings, "checkpoint", "create", "none", "--session", "ffff", status=1)
    assert "no such session is on disk" in refused.stderr


def test_it_resumes_elsewhere_under_a_new_id(project: Path, settings: Settings) -> None:
    """Folders are those of the new place; what it takes is in a journal and can be undone."""
    create(settings, project)
    target = project.parent / "elsewhere"
    target.mkdir()
    agent = settings.claude_config_dirs[0]
    before = snapshot(agent)
    done = wk_json(settings, "checkpoint", "resume", "first", "--in", str(target), "--yes")
    assert done["resume"] == f"claude --resume {done['session_id']}"
    folder = agent / "projects" / encoded_name(str(target))
    lines = objects(folder / f"{done['session_id']}.jsonl")
    assert {row.get("cwd") for row in lines} == {str(target)}
    assert {row["forkedFrom"]["sessionId"] for row in lines} == {FIRST}
    assert f"{target}/app.py" in lines[0]["message"]["content"]
    spilled = Path(lines[-1]["message"]["content"].removeprefix("Output saved to: "))
    assert spilled.read_text() == "much output\n"
    wk(settings, "move", "--undo", done["id"])
    assert snapshot(agent) == before


def test_a_raw_checkpoint_goes_back_as_it_was(project: Path, settings: Settings) -> None:
    """Without masking and under its own id the conversation's lines come back to the byte."""
    agent = settings.claude_config_dirs[0]
    path = agent / "projects" / encoded_name(str(project)) / f"{FIRST}.jsonl"
    original = [row for row in path.read_bytes().splitlines() if b'"uuid"' in row]
    create(settings, project, "--raw")
    taken = wk(
        settings, "checkpoint", "resume", "first", "--in", str(project), "--yes", "--keep-id", status=2
    )
    assert "there already" in taken.stderr
    path.unlink()
    for other in sorted((path.parent / FIRST).rglob("*"), reverse=True):
        other.rmdir() if other.is_dir() else other.unlink()
    wk(settings, "checkpoint", "resume", "first", "--in", str(project), "--yes", "--keep-id")
    assert path.read_bytes().splitlines() == original


def test_foreign_content_needs_a_yes_and_grants_nothing(project: Path, settings: Settings) -> None:
    """Not approved: nothing is put anywhere. Approved: no permission mode and no client state comes along."""
    agent = settings.claude_config_dirs[0]
    path = agent / "projects" / encoded_name(str(project)) / f"{SECOND}.jsonl"
    mode = {"type": "permission-mode", "permissionMode": "bypassPermissions", "sessionId": SECOND}
    prompt = user(SECOND, 0, str(project), "Go.", permissionMode="bypassPermissions")
    write_lines(path, [mode, prompt])
    words = ("checkpoint", "create", "second", "--session", SECOND, "--project", str(project))
    wk(settings, *words)
    target = project.parent / "elsewhere"
    target.mkdir()
    before = snapshot(agent)
    refused = wk(settings, "checkpoint", "resume", "second", "--in", str(target), status=1)
    assert "--yes" in refused.stderr
    assert snapshot(agent) == before
    done = wk_json(settings, "checkpoint", "resume", "second", "--in", str(target), "--yes")
    assert done["dropped_lines"] == 1
    made = agent / "projects" / encoded_name(str(target)) / f"{done['session_id']}.jsonl"
    assert "bypassPermissions" not in made.read_text()


def test_edited_files_come_along_on_demand_and_replace_nothing(project: Path, settings: Settings) -> None:
    """A file that differs at the target is named and stays."""
    create(settings, project, "--with-files")
    for name, content in (("empty", None), ("other", "mine\n")):
        target = project.parent / name
        target.mkdir()
        if content is not None:
            (target / "app.py").write_text(content)
        done = wk_json(
            settings, "checkpoint", "resume", "first", "--in", str(target), "--yes", "--with-files"
        )
        assert (target / "app.py").read_text() == (content or "a + b\n")
        assert (done["files_written"], done["files_kept"]) == (
            ([], ["app.py"]) if content else (["app.py"], [])
        )


def test_list_and_show_name_what_is_there(project: Path, settings: Settings) -> None:
    """Also a broken file, with the reason, and a name that is none."""
    assert wk_json(settings, "checkpoint", "list") == {"checkpoints": [], "refused": []}
    create(settings, project)
    (settings.places.checkpoints / "bad.wkcheckpoint").write_text("no zip")
    listed = wk_json(settings, "checkpoint", "list")
    assert [row["name"] for row in listed["checkpoints"]] == ["first"]
    assert [Path(row["file"]).name for row in listed["refused"]] == ["bad.wkcheckpoint"]
    assert "session/transcript.jsonl" in wk(settings, "checkpoint", "show", "first").stdout
    assert "no such checkpoint" in wk(settings, "checkpoint", "show", "nothing", status=1).stderr
    assert "no name" in wk(settings, "checkpoint", "create", "../x", status=2).stderr
    again = wk(
        settings, "checkpoint", "create", "first", "--session", FIRST, "--project", str(project), status=1
    )
    assert "there already" in again.stderr


def rewritten(source: Path, target: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
    """Make a checkpoint of another's content and manifest."""
    with zipfile.ZipFile(source) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    manifest = json.loads(members.pop("manifest.json"))
    change(manifest, members)
    known = {row["name"] for row in manifest["members"]}
    manifest["members"] += [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items()
        if name not in known
    ]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("manifest.json", json.dumps(manifest))
        for name, data in members.items():
            bundle.writestr(name, data)
    return target


@pytest.mark.parametrize(
    "name",
    [
        "../escape.txt",
        "/etc/passwd",
        "session/../../x.txt",
        "files/../x",
        "files//x",
        "files/a\\b",
        "other/x.txt",
        "session/run.sh",
        "files/x\nb",
        "files/..",
        "files/c:evil",
    ],
)
def test_a_member_that_leads_elsewhere_is_refused(
    name: str, project: Path, settings: Settings, tmp_path: Path
) -> None:
    """Whatever way it is spelt; nothing is unpacked."""
    made = Path(create(settings, project)["file"])
    evil = rewritten(made, tmp_path / "evil", lambda _, members: members.update({name: b"x"}))
    with pytest.raises(FormatError, match="refused"):
        read_checkpoint(evil)


def test_links_doubles_bombs_and_lies_are_refused(project: Path, settings: Settings, tmp_path: Path) -> None:
    """Each for its own reason."""
    made = Path(create(settings, project)["file"])

    def variant(change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
        return rewritten(made, tmp_path / "variant", change)

    link = variant(lambda *_: None)
    with zipfile.ZipFile(link, "a") as bundle:
        entry = zipfile.ZipInfo("files/link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(entry, "/etc/passwd")
    with pytest.raises(FormatError, match="link"):
        read_checkpoint(link)
    doubled = variant(lambda _, members: members.update({"files/A": b"1", "files/a": b"2"}))
    with pytest.raises(FormatError, match="two of one name"):
        read_checkpoint(doubled)
    bomb = variant(lambda _, members: members.update({"files/zeros": bytes(80 << 20)}))
    with pytest.raises(FormatError, match="unpack to"):
        read_checkpoint(bomb)
    lie = variant(lambda manifest, _: manifest["members"][0].update(sha256="0" * 64))
    checkpoint = read_checkpoint(lie)
    with pytest.raises(FormatError, match="not what the manifest says"):
        checkpoint.read(manifest_first(lie))
    for field, value in (("session_id", "../x"), ("cwd", "../.."), ("format", "x"), ("tokens", {})):
        broken = variant(lambda manifest, _, field=field, value=value: manifest.update({field: value}))  # type: ignore[misc]
        with pytest.raises(FormatError, match="refused"):
            read_checkpoint(broken)
    cut = tmp_path / "cut"
    cut.write_bytes(made.read_bytes()[: made.stat().st_size // 2])
    with pytest.raises(FormatError, match="refused"):
        read_checkpoint(cut)


def manifest_first(path: Path) -> str:
    """Return the first member that a manifest names."""
    with zipfile.ZipFile(path) as bundle:
        return str(json.loads(bundle.read("manifest.json"))["members"][0]["name"])


def test_a_file_that_runs_by_itself_is_not_written(project: Path, settings: Settings, tmp_path: Path) -> None:
    """Neither into .git nor through a link that leads out of the folder."""
    made = Path(create(settings, project)["file"])
    evil = {
        "files/.git/hooks/pre-commit": b"x",
        "files/out/x.txt": b"x",
        "files/.claude/settings.json": b"{}",
    }
    bundle = rewritten(made, tmp_path / "evil.wkcheckpoint", lambda _, members: members.update(evil))
    target = tmp_path / "target"
    (target / ".git").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (target / "out").symlink_to(tmp_path / "outside")
    done = wk_json(
        settings, "checkpoint", "resume", str(bundle), "--in", str(target), "--yes", "--with-files"
    )
    assert done["files_written"] == []
    assert len(done["files_kept"]) == 3
    assert list((tmp_path / "outside").iterdir()) == []
