"""What is recorded once is recorded exactly once, and the index follows from ledger and archive alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from observations import projections

from watchkeeper.archive.store import ArchiveReader
from watchkeeper.errors import LockedError
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.demo import demo_folder, load_demo
from watchkeeper.pipeline.rebuild import rebuild
from watchkeeper.pipeline.recording import Recording
from watchkeeper.queries.calls import get_call
from watchkeeper.queries.coverage import coverage
from watchkeeper.queries.sessions import get_session, list_sessions
from watchkeeper.queries.status import counts
from watchkeeper.queries.timeline import timeline
from watchkeeper.settings import Settings
from watchkeeper.spool.writer import append_frame
from watchkeeper.store.sqlite.reading import open_reader

NOW = 1_900_000_000_000


@pytest.fixture
def recorded(settings: Settings) -> Settings:
    """A home that holds the packaged sessions."""
    with Recording(settings) as recording:
        load_demo(recording)
    return settings


def state_of(settings: Settings) -> bytes:
    with Recording(settings) as recording:
        return projections(recording.store)


def answers(settings: Settings) -> str:
    """Ask every question of the catalogue."""
    with open_reader(settings.places) as reader:
        listed: dict[str, Any] = list_sessions(reader, limit=100, now_ms=NOW)
        found: list[Any] = [listed, coverage(reader, now_ms=NOW)]
        for session in listed["sessions"]:
            found.append(get_session(reader, session["session_id"], NOW))
            items = timeline(reader, session["session_id"], limit=10_000, now_ms=NOW)
            found.append(items)
            calls = [item["call"]["tool_use_id"] for item in items["items"] if item["call"]]
            found.extend(get_call(reader, call, NOW) for call in calls)
    return json.dumps(found, sort_keys=True)


def test_the_demo_twice_is_the_demo_once(recorded: Settings) -> None:
    before = state_of(recorded)
    with Recording(recorded) as recording:
        changes = load_demo(recording)
    assert not changes.sessions
    assert state_of(recorded) == before


def test_a_rebuild_gives_equal_answers_to_every_question(recorded: Settings) -> None:
    before, rows = answers(recorded), state_of(recorded)
    report = rebuild(recorded)
    assert report.sessions == 2
    assert answers(recorded) == before
    assert state_of(recorded) == rows


def test_a_lost_index_comes_back_from_the_ledger_when_the_next_writer_opens(recorded: Settings) -> None:
    before = state_of(recorded)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{recorded.places.database}{suffix}").unlink(missing_ok=True)
    assert state_of(recorded) == before


def test_the_index_catches_up_with_a_ledger_that_is_ahead(recorded: Settings) -> None:
    expected = state_of(recorded)
    with Recording(recorded) as recording, recording.store.transaction():
        recording.store.put_meta("ledger_next", 3)
        recording.store.connection.execute("DELETE FROM calls")
        recording.store.connection.execute("DELETE FROM facts WHERE entity = 3")
        recording.store.forget_states()
    assert state_of(recorded) == expected


def test_a_call_shows_what_it_did_to_files_and_with_git(recorded: Settings) -> None:
    with open_reader(recorded.places) as reader:
        details = [
            get_call(reader, row["tool_use_id"], NOW)
            for row in reader.rows("SELECT tool_use_id FROM calls ORDER BY started_at, tool_use_id")
        ]
    by_kind = {found["file_operation"]["kind"] for found in details if found["file_operation"]}
    assert by_kind == {"read", "edit", "create"}
    [commit] = [found["git_operation"] for found in details if found["git_operation"]]
    assert (commit["operation"], commit["files_changed"], commit["insertions"]) == ("commit", 2, 7)
    assert {found["error_class"] for found in details} >= {None, "exit_status", "schema"}


def test_frames_of_the_spool_are_recorded_exactly_once(settings: Settings) -> None:
    spool = settings.places.spool
    spool.mkdir(parents=True, mode=0o700)
    for number in range(5):
        payload = {"session_id": "s", "hook_event_name": "Notification", "message": f"n{number}"}
        append_frame(spool, json.dumps(payload).encode())
    catch_up(settings)
    catch_up(settings)
    with open_reader(settings.places) as reader:
        assert reader.value("SELECT count(*) FROM events") == 5
        assert reader.value("SELECT count(*) FROM sources") == 5


def test_only_one_process_records(settings: Settings) -> None:
    with Recording(settings), pytest.raises(LockedError):
        Recording(settings)


def test_a_payload_that_is_no_object_is_kept_and_counted(settings: Settings) -> None:
    settings.places.spool.mkdir(parents=True, mode=0o700)
    append_frame(settings.places.spool, b"\xff not json")
    append_frame(settings.places.spool, b'{"session_id":"s","hook_event_name":"NotYetInvented","x":{"y":1}}')
    catch_up(settings)
    with open_reader(settings.places) as reader:
        assert reader.value("SELECT count(*) FROM skipped") == 1
        assert coverage(reader, now_ms=NOW)["unknown_events"] == {"NotYetInvented": 1}
        assert json.loads(reader.value("SELECT data FROM events")) == {"x": {"y": 1}}


def test_secrets_are_masked_before_anything_is_stored(settings: Settings) -> None:
    secret = "sk-ant-api03-" + "A1b2C3d4E5" * 9
    settings.places.spool.mkdir(parents=True, mode=0o700)
    payload = {
        "session_id": "s",
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_use_id": "toolu_1",
        "tool_input": {"command": f"curl -H 'x-api-key: {secret}' http://127.0.0.1"},
    }
    append_frame(settings.places.spool, json.dumps(payload).encode())
    transcript = settings.claude_config_dirs[0] / "projects" / "-p" / "s.jsonl"
    transcript.parent.mkdir(parents=True)
    line = {"type": "user", "sessionId": "s", "uuid": "u1", "timestamp": "2026-11-01T10:00:00Z"}
    transcript.write_text(json.dumps(line | {"message": {"role": "user", "content": f"use {secret}"}}) + "\n")
    catch_up(settings)
    with open_reader(settings.places) as reader:
        detail = get_call(reader, "toolu_1", NOW)
        assert "[REDACTED:" in detail["input"]["command"]
        assert sum(detail["masked"].values()) == 1
    with LedgerReader(settings.places.ledger) as ledger:
        assert not any(secret.encode() in entry.payload for entry in ledger.entries())
    archive = ArchiveReader(settings.places.archive)
    frames = [archive.get(address.pack, address.offset) for address in archive.frames()]
    assert frames
    assert not any(secret.encode() in data for data in frames)
    for path in settings.places.home.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_a_database_that_is_none_is_set_aside_and_made_anew(recorded: Settings) -> None:
    before = answers(recorded)
    for suffix in ("-wal", "-shm"):
        Path(f"{recorded.places.database}{suffix}").unlink(missing_ok=True)
    recorded.places.database.write_bytes(b"not a database at all, but long enough to look at" * 50)
    with Recording(recorded):
        pass
    assert answers(recorded) == before
    assert recorded.places.database.with_suffix(".db.damaged").exists()


def test_the_packaged_sessions_name_no_place_of_the_machine_they_were_made_on() -> None:
    for path in demo_folder().rglob("*.json*"):
        text = path.read_text(encoding="utf-8")
        assert "/home/dev" in text or path.name.endswith(".meta.json")
        for place in ("/root/", "/Users/", "/tmp/real"):
            assert place not in text, path


def test_a_session_whose_lines_have_no_time_is_listed_last_and_paged_to(
    recorded: Settings, tmp_path: Path
) -> None:
    """Its prompts and tokens count, so it must be found; a mere title is no session."""
    folder = tmp_path / "old" / "projects" / "p"
    folder.mkdir(parents=True)
    message = {"id": "m", "model": "x", "usage": {"input_tokens": 10, "output_tokens": 20}}
    timeless = {"type": "assistant", "uuid": "u", "sessionId": "timeless", "message": message}
    (folder / "timeless.jsonl").write_text(json.dumps(timeless) + "\n")
    (folder / "title-only.jsonl").write_text('{"type":"summary","summary":"A title"}\n')
    catch_up(recorded, [folder], lambda _: None)
    with open_reader(recorded.places) as reader:
        pages, cursor = [], None
        while not pages or cursor:
            page: dict[str, Any] = list_sessions(reader, limit=1, cursor=cursor, now_ms=NOW)
            pages.append(page["sessions"][0]["session_id"])
            cursor = page["next"]
        assert (len(pages), pages[-1], page["total"]) == (3, "timeless", 3)
        assert counts(reader)["sessions"] == 3
        assert get_session(reader, "timeless", NOW)["session"]["last_at"] is None
        assert timeline(reader, "timeless", limit=10, now_ms=NOW)["items"] is not None


def test_an_import_names_a_last_line_that_breaks_off_until_it_is_whole(
    recorded: Settings, tmp_path: Path
) -> None:
    """A torn end is nothing to pass over in silence, and no loss once the writer goes on."""
    file = tmp_path / "torn" / "projects" / "p" / "torn.jsonl"
    file.parent.mkdir(parents=True)
    whole = json.dumps({"type": "user", "uuid": "u", "sessionId": "torn", "message": {"content": "hello"}})
    file.write_text(f"{whole}\n{whole[:40]}")
    [skipped] = catch_up(recorded, [file]).to_json()["skipped"]
    assert (skipped["file"], skipped["line"]) == ("p/torn.jsonl", 2)
    assert "breaks off" in skipped["reason"]
    with file.open("a") as stream:
        stream.write(whole[40:] + "\n")
    report = catch_up(recorded, [file]).to_json()
    assert (report["lines"], report["skipped"]) == (1, [])
