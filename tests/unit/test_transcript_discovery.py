"""Transcripts are found in every layout, and what is left out is named with its reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code.discovery import Discovery, find_transcripts, stat_transcript

SHARED = Path(__file__).parents[2].parent / "shared" / "transcripts" / "real"


def touch(path: Path, content: bytes = b"{}\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def places(found: Discovery) -> list[str]:
    return [item.relative for item in found.files]


def reasons(found: Discovery) -> dict[str, str]:
    return {path.name: reason for path, reason in found.skipped}


def test_all_layouts_are_found_with_the_session_and_agent_that_their_place_names(tmp_path: Path) -> None:
    projects = tmp_path / "projects"
    touch(projects / "-p" / "s1.jsonl")
    touch(projects / "-p" / "agent-old.jsonl")
    touch(projects / "-p" / "s1" / "subagents" / "agent-a1.jsonl")
    touch(projects / "-p" / "s1" / "subagents" / "agent-a1.meta.json")
    touch(projects / "-p" / "s1" / "subagents" / "workflows" / "run" / "agent-a2.jsonl")
    touch(projects / "-p" / "s1" / "subagents" / "workflows" / "run" / "journal.jsonl")
    touch(projects / "-p" / "s1" / "tool-results" / "x.txt")
    touch(tmp_path / "history.jsonl")
    found = find_transcripts(tmp_path)
    assert [(item.relative, item.session_hint, item.agent_hint) for item in found.files] == [
        ("-p/agent-old.jsonl", None, "old"),
        ("-p/s1.jsonl", "s1", None),
        ("-p/s1/subagents/agent-a1.jsonl", "s1", "a1"),
        ("-p/s1/subagents/workflows/run/agent-a2.jsonl", "s1", "a2"),
    ]
    assert [(item.relative, item.agent_hint) for item in found.metas] == [
        ("-p/s1/subagents/agent-a1.meta.json", "a1")
    ]
    assert found.skipped == []


def test_a_file_is_described_by_its_own_status(tmp_path: Path) -> None:
    path = touch(tmp_path / "projects" / "-p" / "s.jsonl", b"12345")
    (item,) = find_transcripts(tmp_path).files
    status = path.stat()
    assert (item.path, item.config_dir) == (path, tmp_path)
    assert (item.size, item.mtime_ns, item.inode, item.device) == (
        5,
        status.st_mtime_ns,
        status.st_ino,
        status.st_dev,
    )
    assert stat_transcript(path, [tmp_path]) == item


def test_what_is_no_readable_file_is_skipped_with_its_reason(tmp_path: Path) -> None:
    project = tmp_path / "projects" / "-p"
    touch(project / "good.jsonl")
    (project / "folder.jsonl").mkdir()
    (project / "dangling.jsonl").symlink_to(project / "nowhere")
    os.mkfifo(project / "pipe.jsonl")
    touch(project / "s" / "notes.jsonl")
    touch(tmp_path / "projects" / "stray.jsonl")
    found = find_transcripts(tmp_path)
    assert places(found) == ["-p/good.jsonl"]
    assert reasons(found) == {
        "folder.jsonl": "not a regular file",
        "dangling.jsonl": "a link to nothing",
        "pipe.jsonl": "not a regular file",
        "notes.jsonl": "not where transcripts are",
        "stray.jsonl": "not where transcripts are",
    }


def test_a_loop_of_links_ends_and_linked_folders_are_read_once(tmp_path: Path) -> None:
    project = tmp_path / "projects" / "-p"
    touch(project / "s.jsonl")
    (project / "loop").symlink_to(tmp_path / "projects")
    (project / "self").symlink_to(project / "self")
    (tmp_path / "projects" / "-a").symlink_to(project)
    elsewhere = touch(tmp_path / "elsewhere" / "t.jsonl").parent
    (tmp_path / "projects" / "-z").symlink_to(elsewhere)
    found = find_transcripts(tmp_path)
    assert places(found) == ["-p/s.jsonl", "-z/t.jsonl"]
    assert reasons(found) == {
        "loop": "a link to a folder that is read already",
        "self": "Too many levels of symbolic links",
        "-a": "a link to a folder that is read already",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_an_unreadable_folder_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    touch(tmp_path / "projects" / "-closed" / "s.jsonl")
    touch(tmp_path / "projects" / "-open" / "s.jsonl")
    (tmp_path / "projects" / "-closed").chmod(0)
    found = find_transcripts(tmp_path)
    (tmp_path / "projects" / "-closed").chmod(0o700)
    assert places(found) == ["-open/s.jsonl"]
    assert reasons(found) == {"-closed": "Permission denied"}


def test_several_folders_are_given_with_commas_and_one_folder_may_have_commas_in_its_name(
    tmp_path: Path,
) -> None:
    given = f"{tmp_path}/one,{tmp_path}/two"
    settings = Settings(tmp_path / "home", {"CLAUDE_CONFIG_DIR": given})
    assert settings.claude_config_dirs == [tmp_path / "one", tmp_path / "two"]
    (tmp_path / "one, two").mkdir()
    settings = Settings(tmp_path / "home", {"CLAUDE_CONFIG_DIR": f"{tmp_path}/one, two"})
    assert settings.claude_config_dirs == [tmp_path / "one, two"]


def test_a_folder_without_transcripts_gives_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "history.jsonl")
    for folder in (tmp_path, tmp_path / "missing"):
        found = find_transcripts(folder)
        assert (found.files, found.metas, found.skipped) == ([], [], [])


def test_any_part_of_a_tree_gives_the_same_places_as_the_whole(tmp_path: Path) -> None:
    touch(tmp_path / "projects" / "-p" / "s.jsonl")
    touch(tmp_path / "projects" / "-p" / "s" / "subagents" / "agent-a.jsonl")
    whole = find_transcripts(tmp_path).files
    assert find_transcripts(tmp_path / "projects").files == whole
    assert find_transcripts(tmp_path / "projects" / "-p").files == whole
    assert find_transcripts(tmp_path / "projects" / "-p" / "s").files == whole[1:]


def test_a_folder_of_loose_sessions_is_taken_as_a_project(tmp_path: Path) -> None:
    path = touch(tmp_path / "mine" / "s.jsonl")
    assert places(find_transcripts(tmp_path / "mine")) == ["mine/s.jsonl"]
    alone = stat_transcript(path, [])
    assert alone is not None
    assert alone.relative == "mine/s.jsonl"


def test_a_single_path_that_is_no_transcript_is_refused(tmp_path: Path) -> None:
    assert stat_transcript(touch(tmp_path / "history.jsonl"), []) is None
    assert stat_transcript(touch(tmp_path / "notes.txt"), []) is None
    assert stat_transcript(tmp_path / "missing.jsonl", []) is None
    (tmp_path / "folder.jsonl").mkdir()
    assert stat_transcript(tmp_path / "folder.jsonl", []) is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real transcripts beside the repository")
def test_every_real_transcript_is_found() -> None:
    expected = sorted(path.relative_to(SHARED / "projects").as_posix() for path in SHARED.rglob("*.jsonl"))
    found = find_transcripts(SHARED)
    assert sorted(places(found)) == expected
    assert found.skipped == []
