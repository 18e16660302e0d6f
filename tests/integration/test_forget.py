"""What was forgotten is nowhere in the home any more, everything else answers as before, and the record verifies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from forgotten import assert_intact, places_of
from observations import projections

from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.demo import load_demo
from watchkeeper.pipeline.rebuild import rebuild
from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.reredaction import Request, due_job, finish
from watchkeeper.pipeline.reredaction import forget as forget_here
from watchkeeper.queries.calls import get_call
from watchkeeper.queries.coverage import coverage
from watchkeeper.queries.sessions import get_session, list_sessions
from watchkeeper.queries.timeline import timeline
from watchkeeper.redaction.engine import Redacted, Redactor
from watchkeeper.settings import Settings
from watchkeeper.spool.writer import append_frame
from watchkeeper.store import envelopes
from watchkeeper.store.sqlite.reading import open_reader

NOW = 1_900_000_000_000
SECRET = "Tr0ub4dor/3é"
ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"
THREE = "33333333-3333-4333-8333-333333333333"


def line(session: str, number: int, text: str, **more: Any) -> str:
    body = {
        "type": "user",
        "uuid": f"{session[:8]}-{number:04d}",
        "sessionId": session,
        "timestamp": f"2026-11-01T10:{number // 60:02d}:{number % 60:02d}.000Z",
        "cwd": "/srv/app",
        "message": {"role": "user", "content": text},
        **more,
    }
    return json.dumps(body) + "\n"


def write_transcript(settings: Settings, session: str, lines: list[str]) -> Path:
    path = settings.claude_config_dirs[0] / "projects" / "-srv-app" / f"{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
    return path


def hook_payload(session: str, number: int, command: str, user: str = "") -> bytes:
    body = {
        "hook_event_name": "PreToolUse",
        "session_id": session,
        "tool_use_id": f"toolu_{session[:4]}{number}",
        "tool_name": "Bash",
        "tool_input": {"command": command},
        "cwd": "/srv/app",
    }
    return json.dumps(body).encode()


@pytest.fixture
def recorded(settings: Settings) -> Settings:
    """A home with three sessions from hooks and transcripts; two of them hold the secret, in several forms."""
    nested = json.dumps({"stdout": json.dumps({"password": SECRET})})
    write_transcript(
        settings,
        ONE,
        [
            line(ONE, 1, "hello"),
            line(ONE, 2, f"take {SECRET} and go"),
            line(ONE, 3, nested),
            line(ONE, 4, "end"),
        ],
    )
    write_transcript(
        settings, TWO, [line(TWO, 1, f"resume with claude --resume {ONE}"), line(TWO, 2, "nothing")]
    )
    copied = line(THREE, 1, "hello", forkedFrom={"sessionId": ONE, "messageUuid": "x"})
    write_transcript(settings, THREE, [copied, line(THREE, 2, "goes on")])
    spool = settings.places.spool
    spool.mkdir(parents=True)
    append_frame(spool, hook_payload(ONE, 1, f"mysql -h db {SECRET}"), environment={"USER": "ada"})
    append_frame(spool, hook_payload(TWO, 1, f"echo {SECRET}"), environment={"USER": "bob"})
    append_frame(
        spool, hook_payload(TWO, 2, "ls"), environment={"USER": "bob", "CLAUDE_PROJECT_DIR": f"/{SECRET}"}
    )
    catch_up(settings)
    with Recording(settings) as recording:
        load_demo(recording)
    return settings


def state_of(settings: Settings) -> bytes:
    with Recording(settings) as recording:
        return projections(recording.store)


def answers(settings: Settings) -> dict[str, Any]:
    """Ask every question of the catalogue about every session."""
    found: dict[str, Any] = {}
    with open_reader(settings.places) as reader:
        found["coverage"] = coverage(reader, now_ms=NOW)
        for session in list_sessions(reader, limit=100, now_ms=NOW)["sessions"]:
            name = session["session_id"]
            items = timeline(reader, name, limit=10_000, now_ms=NOW)
            calls = [item["call"]["tool_use_id"] for item in items["items"] if item["call"]]
            found[name] = [
                session,
                get_session(reader, name, NOW),
                items,
                [get_call(reader, call, NOW) for call in calls],
            ]
    return found


def forget(settings: Settings, *values: str, sessions: list[str] | None = None) -> dict[str, Any]:
    if sessions:
        return forget_here(settings, Request("session", "asked", sessions=sessions))
    for value in values:
        report = forget_here(settings, Request("secret", "asked", value.encode()))
    return report


def needles() -> list[bytes]:
    return [SECRET.encode(), json.dumps(SECRET)[1:-1].encode()]


def test_a_forgotten_secret_is_nowhere_and_everything_else_answers_as_before(recorded: Settings) -> None:
    assert all(places_of(recorded.places, needle) for needle in needles()[:1])
    before = answers(recorded)
    report = forget(recorded, SECRET)
    for needle in needles():
        assert places_of(recorded.places, needle) == []
    assert_intact(recorded.places)
    assert report["replaced"] == 4
    assert report["entries_rewritten"] == 4
    after = json.dumps(answers(recorded))
    for text in ("take [REDACTED:forgotten] and go", "mysql -h db [REDACTED:forgotten]"):
        assert text in after
    demo = [name for name in before if name not in {ONE, TWO, THREE, "coverage"}]
    assert demo
    assert {name: before[name] for name in demo} == {name: answers(recorded)[name] for name in demo}


def test_a_rebuild_after_forgetting_gives_the_same_answers(recorded: Settings) -> None:
    forget(recorded, SECRET)
    before, rows = answers(recorded), state_of(recorded)
    rebuild(recorded)
    assert answers(recorded) == before
    assert state_of(recorded) == rows
    for needle in needles():
        assert places_of(recorded.places, needle) == []


def test_lines_keep_their_numbers_and_nothing_is_read_again(recorded: Settings) -> None:
    forget(recorded, SECRET)
    report = catch_up(recorded)
    assert (report.files, report.lines) == (0, 0)
    with open_reader(recorded.places) as reader:
        count = reader.value(
            "SELECT sum(line_count) FROM ranges WHERE file_key IN (SELECT file_key FROM files)"
        )
        assert count == reader.value("SELECT sum(lines - 1) FROM files")


def test_a_forgotten_session_is_nowhere_and_does_not_come_back(recorded: Settings) -> None:
    before = answers(recorded)
    report = forget(recorded, sessions=[ONE])
    assert places_of(recorded.places, ONE.encode()) == []
    assert_intact(recorded.places)
    assert report["sessions"] == 1
    assert report["entries_erased"] >= 2
    again = catch_up(recorded)
    assert [item["reason"] for item in again.to_json()["skipped"]] == ["its session was forgotten"]
    assert again.lines == 0
    after = answers(recorded)
    assert ONE not in after
    assert places_of(recorded.places, ONE.encode()) == []
    assert before[TWO][2]["items"][0]["call"] == after[TWO][2]["items"][0]["call"]
    assert (recorded.claude_config_dirs[0] / "projects" / "-srv-app" / f"{ONE}.jsonl").exists()


def test_a_rebuild_does_not_bring_a_forgotten_session_back(recorded: Settings) -> None:
    forget(recorded, sessions=[ONE])
    rows = state_of(recorded)
    rebuild(recorded)
    assert state_of(recorded) == rows
    assert catch_up(recorded).lines == 0
    assert places_of(recorded.places, ONE.encode()) == []


def test_a_marked_copy_of_a_forgotten_line_goes_and_comes_no_more(recorded: Settings) -> None:
    forget(recorded, sessions=[ONE])
    path = recorded.claude_config_dirs[0] / "projects" / "-srv-app" / f"{THREE}.jsonl"
    with path.open("a") as file:
        file.write(line(THREE, 3, "hello again", forkedFrom={"sessionId": ONE, "messageUuid": "x"}))
        file.write(line(THREE, 4, "and on"))
    catch_up(recorded)
    assert places_of(recorded.places, ONE.encode()) == []
    with open_reader(recorded.places) as reader:
        texts = [
            item["text"] for item in reader.rows("SELECT text FROM prompts WHERE session_id = ?", (THREE,))
        ]
    assert sorted(filter(None, texts)) == ["and on", "goes on"]


def test_the_chain_says_that_something_was_forgotten_but_not_what(recorded: Settings) -> None:
    forget(recorded, SECRET)
    forget(recorded, sessions=[ONE])
    with LedgerReader(recorded.places.ledger) as reader:
        told = [json.loads(entry.payload) for entry in reader.entries() if entry.kind == envelopes.FORGET]
    assert [(entry["what"], entry["why"]) for entry in told] == [("secret", "asked"), ("session", "asked")]
    assert all(entry["entries_erased"] + entry["entries_rewritten"] > 0 for entry in told)
    assert ONE not in json.dumps(told)


def test_a_reason_that_says_what_went_is_masked(recorded: Settings) -> None:
    forget_here(recorded, Request("secret", f"because {SECRET} leaked", SECRET.encode()))
    forget_here(recorded, Request("session", f"because of {ONE}", sessions=[ONE]))
    assert places_of(recorded.places, SECRET.encode()) == []
    assert places_of(recorded.places, ONE.encode()) == []


def test_a_forgotten_secret_is_masked_when_it_comes_again(recorded: Settings) -> None:
    forget(recorded, SECRET)
    append_frame(recorded.places.spool, hook_payload(TWO, 9, f"curl {SECRET}"))
    catch_up(recorded)
    for needle in needles()[:1]:
        assert places_of(recorded.places, needle) == []


def test_copies_that_repairs_left_go_too(recorded: Settings) -> None:
    places = recorded.places
    (places.home / "watchkeeper.db.damaged").write_bytes(places.database.read_bytes())
    (places.home / "watchkeeper.new").write_bytes(b"half of it " + SECRET.encode())
    (places.ledger / "0000000000000000-77.cut").write_bytes(SECRET.encode())
    (places.home / "daemon.log").write_bytes(b"before " + SECRET.encode() + b" after\n")
    forget(recorded, SECRET)
    assert places_of(places, SECRET.encode()) == []
    assert (places.home / "daemon.log").read_bytes() == b"before " + b"*" * len(SECRET.encode()) + b" after\n"


def test_forgetting_what_is_not_there_changes_nothing_but_says_so_in_the_chain(recorded: Settings) -> None:
    rows = state_of(recorded)
    report = forget(recorded, "never seen anywhere")
    assert report["entries_rewritten"] == report["entries_erased"] == report["frames"] == 0
    assert state_of(recorded) == rows
    assert_intact(recorded.places)


def test_no_rules_go_over_a_home_that_they_recorded_and_learnt_secrets_do_once(recorded: Settings) -> None:
    with Recording(recorded) as recording:
        # The packaged sessions read an env file.
        job = due_job(recording)
        assert job is not None
        assert job.job.what == "secret"
        finish(job)
        assert due_job(recording) is None
    forget(recorded, SECRET)
    with Recording(recorded) as recording:
        assert due_job(recording) is None


def test_a_secret_learnt_from_an_env_file_is_masked_and_taken_out_of_what_came_before(
    recorded: Settings,
) -> None:
    password = "hunter2-of-the-app"
    spool = recorded.places.spool
    append_frame(spool, hook_payload(TWO, 5, f"login {password}"))
    catch_up(recorded)
    assert places_of(recorded.places, password.encode())
    body = {
        "hook_event_name": "PostToolUse",
        "session_id": TWO,
        "tool_use_id": "toolu_env",
        "tool_name": "Read",
        "tool_input": {"file_path": "/srv/app/.env"},
        "tool_response": {"file": {"content": f"NODE_ENV=production\nAPP_WORD_SECRET={password}\n"}},
    }
    append_frame(spool, json.dumps(body).encode())
    append_frame(spool, hook_payload(TWO, 6, f"again {password}"))
    catch_up(recorded)
    with Recording(recorded) as recording:
        job = due_job(recording)
        assert job is not None
        report = finish(job)
    assert (report["what"], report["entries_rewritten"]) == ("secret", 1)
    assert places_of(recorded.places, password.encode()) == []
    assert_intact(recorded.places)
    shown = json.dumps(answers(recorded)[TWO])
    assert "login [REDACTED:forgotten]" in shown
    assert "again [REDACTED:learnt-secret]" in shown
    assert "production" in shown


def test_new_rules_go_over_old_data_when_their_version_is_another(
    recorded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = "zq-company-token-8812"
    append_frame(recorded.places.spool, hook_payload(TWO, 7, f"use {word}"))
    catch_up(recorded)
    with Recording(recorded) as recording:
        while (job := due_job(recording)) is not None:
            finish(job)
    old = Redactor.redact

    def redact(self: Redactor, data: bytes) -> Redacted:
        before = old(self, data)
        after = before.data.replace(word.encode(), b"[REDACTED:company]")
        return before if after == before.data else Redacted(after, {**before.hits, "company": 1})

    monkeypatch.setattr(Redactor, "redact", redact)
    monkeypatch.setattr(Redactor, "version", "another")
    with Recording(recorded) as recording:
        job = due_job(recording)
        assert job is not None
        assert job.job.what == "rules"
        report = finish(job)
        assert due_job(recording) is None
    assert report["entries_rewritten"] == 1
    assert places_of(recorded.places, word.encode()) == []
    before = state_of(recorded)
    rebuild(recorded)
    assert state_of(recorded) == before
    assert_intact(recorded.places)


def test_unmarked_copies_that_an_old_client_made_go_with_their_owner(settings: Settings) -> None:
    call = {"type": "tool_use", "id": "toolu_a", "name": "Bash", "input": {"command": "echo walnut"}}
    answer = {"id": "msg_a", "role": "assistant", "model": "m", "content": [call]}
    own = [
        line(ONE, 1, "ask walnut"),
        line(ONE, 2, "", type="assistant", message=answer),
        line(
            ONE,
            3,
            "",
            message={"content": [{"type": "tool_result", "tool_use_id": "toolu_a", "content": "walnut"}]},
        ),
    ]
    write_transcript(settings, ONE, own)
    copied = [text.replace(ONE, TWO) for text in own]
    write_transcript(settings, TWO, [*copied, line(TWO, 70, "ask cherry")])
    catch_up(settings)
    forget(settings, sessions=[ONE])
    assert places_of(settings.places, b"walnut") == []
    with open_reader(settings.places) as reader:
        assert [row["text"] for row in reader.rows("SELECT text FROM prompts")] == ["ask cherry"]
        assert reader.value("SELECT count(*) FROM calls") == 0
    before = state_of(settings)
    rebuild(settings)
    assert state_of(settings) == before


def test_forgetting_the_copy_leaves_its_origin_whole(settings: Settings) -> None:
    own = [line(ONE, 1, "ask walnut"), line(ONE, 2, "and more")]
    write_transcript(settings, ONE, own)
    write_transcript(settings, TWO, [*(text.replace(ONE, TWO) for text in own), line(TWO, 70, "ask cherry")])
    catch_up(settings)
    forget(settings, sessions=[TWO])
    assert places_of(settings.places, b"cherry") == []
    with open_reader(settings.places) as reader:
        texts = [row["text"] for row in reader.rows("SELECT text FROM prompts ORDER BY at")]
    assert texts == ["ask walnut", "and more"]
