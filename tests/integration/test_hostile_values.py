"""Values that no store can hold: whoever sends them loses nothing else, and stops nobody's recording."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

import pytest
from harness_system import wk

from watchkeeper.daemon.registration_watch import RegistrationWatch
from watchkeeper.events.merge import Facts
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.merging import merge_interpretation
from watchkeeper.pipeline.rebuild import rebuild
from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.transcripts import TranscriptIntake
from watchkeeper.queries.calls import get_call
from watchkeeper.queries.status import counts
from watchkeeper.settings import Settings
from watchkeeper.spool.writer import append_frame
from watchkeeper.store.interpret import Interpretation
from watchkeeper.store.sqlite.reading import open_reader

ENDLESS = "9" * 30
SECRET = "ghp_" + "Ab3d" * 9
COMMIT = {"sha": "abcdef1", "branch": {"odd": True}}
STATISTICS = f"[main abcdef1] x\n {ENDLESS} files changed, {ENDLESS} insertions(+)"


def payload(event: str, call: str, **fields: Any) -> bytes:
    """Return a hook's payload; the text ENDLESS in quotes becomes a bare number."""
    body = {"hook_event_name": event, "session_id": "s", "tool_use_id": call, "tool_name": "Bash", **fields}
    return json.dumps(body).replace(f'"{ENDLESS}"', ENDLESS).encode()


HOSTILE = {
    "an endless number in an event": payload("Stop", "a", something=ENDLESS),
    "an endless number in an input": payload("PreToolUse", "a", tool_input={"command": "x", "n": [ENDLESS]}),
    "an endless exit status": payload("PostToolUseFailure", "a", error=f"Exit code {ENDLESS}"),
    "an exit status of 5,000 digits": payload("PostToolUseFailure", "a", error="Exit code " + "9" * 5000),
    "endless statistics of a commit": payload(
        "PostToolUse", "a", tool_response={"stdout": STATISTICS, "gitOperation": {"commit": COMMIT}}
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_value_that_cannot_be_stored_stops_nothing(settings: Settings, name: str) -> None:
    """The event is on record with what can be kept of it, those after it are too, and a rebuild agrees."""
    settings.places.spool.mkdir(parents=True, mode=0o700)
    append_frame(settings.places.spool, HOSTILE[name])
    append_frame(settings.places.spool, payload("PreToolUse", "b", tool_input={"command": "ls"}))
    catch_up(settings)
    for _ in range(2):
        with open_reader(settings.places) as reader:
            assert get_call(reader, "b")["call"]["tool"] == "Bash"
            assert counts(reader)["sessions"] == 1
            assert counts(reader)["tool_calls"] == (1 if "event" in name else 2)
            assert list(reader.connection.execute("SELECT * FROM skipped")) == []
        rebuild(settings)


@pytest.mark.parametrize(
    "value", [10**30, "\ud800", object()], ids=["endless", "half a character", "no value"]
)
def test_a_fact_that_breaks_the_merge_is_passed_over_alone(settings: Settings, value: object) -> None:
    """The last net, for what a mapping should not have let through: the batch's other facts are merged."""

    def fact(key: str, cwd: object) -> Facts:
        return Facts("call", key, "hook", 0, 1, {"session_id": "s", "tool": "Bash", "cwd": cwd, "seen": 1})

    with Recording(settings) as recording:
        result = Interpretation(facts=[fact("good", "/"), fact("bad", value), fact("late", "/")])
        changes = merge_interpretation(recording.store, result, recording.ledger.next_seq)
        connection = recording.store.connection
        assert changes.calls == {"good", "late"}
        assert list(connection.execute("SELECT tool_use_id FROM calls ORDER BY 1")) == [("good",), ("late",)]
        [(place, reason)] = connection.execute("SELECT file, reason FROM skipped")
        assert place == "call bad"
        assert reason.startswith("not merged: ")


@pytest.mark.parametrize("name", ["-p/\udcff.jsonl", "-\udcfe/a.jsonl", "-p/s/subagents/agent-\udcff.jsonl"])
def test_a_transcript_whose_name_is_no_text_is_read_like_any_other(settings: Settings, name: str) -> None:
    """Names of files are bytes; one that is no UTF-8 must stop neither its own recording nor others'."""
    folder = settings.claude_config_dirs[0] / "projects"
    for place in (name, "-p/other.jsonl"):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        said = {
            "type": "user",
            "sessionId": "s",
            "uuid": place[-9:-6],
            "message": {"role": "user", "content": "hi"},
        }
        path.write_text(json.dumps(said) + "\n")
        if "agent" in place:
            path.with_suffix(".meta.json").write_text('{"agentType": "Explore", "n": ' + ENDLESS + "}")
    catch_up(settings)
    with open_reader(settings.places) as reader:
        files = {row[0] for row in reader.connection.execute("SELECT relative FROM files")}
        assert files == {"-p/other.jsonl", name.replace("\udcff", "\\xff").replace("\udcfe", "\\xfe")}
        assert list(reader.connection.execute("SELECT * FROM skipped")) == []
    rebuild(settings)
    with Recording(settings) as recording:
        assert TranscriptIntake(recording).discover(settings.claude_config_dirs) == 0


def test_secrets_in_the_environment_and_in_sidecars_are_masked_too(settings: Settings) -> None:
    """A project sets the variables of its hooks, and a sidecar repeats what a subagent was asked."""
    settings.places.spool.mkdir(parents=True, mode=0o700)
    append_frame(settings.places.spool, payload("Stop", "a"), environment={"USER_NAME": f"me {SECRET}"})
    agent = settings.claude_config_dirs[0] / "projects" / "-p" / "s" / "subagents" / "agent-a.jsonl"
    agent.parent.mkdir(parents=True)
    agent.write_text('{"type": "user", "sessionId": "s"}\n')
    agent.with_suffix(".meta.json").write_text(
        json.dumps({"agentType": "Explore", "description": f"use {SECRET}"})
    )
    catch_up(settings)
    with LedgerReader(settings.places.ledger) as reader:
        payloads = b"".join(entry.payload for entry in reader.entries())
    assert payloads.count(b"[REDACTED:github-token]") == 2
    assert SECRET.encode() not in payloads


def test_a_pipe_in_place_of_a_sidecar_is_not_waited_for(settings: Settings) -> None:
    """Whoever can make one would hold up the recording of all others."""
    agent = settings.claude_config_dirs[0] / "projects" / "-p" / "s" / "subagents" / "agent-a.jsonl"
    agent.parent.mkdir(parents=True)
    agent.write_text('{"type": "user", "sessionId": "s"}\n')
    os.mkfifo(agent.with_suffix(".meta.json"))
    catch_up(settings)
    with open_reader(settings.places) as reader:
        assert counts(reader)["ledger_entries"] >= 1


@pytest.mark.parametrize("folder", ["/a\0b", "/" + "a" * 5000, "/dev/null", "\x1b[31m"], ids=repr)
def test_a_working_folder_that_cannot_be_one_does_not_stop_the_look_at_the_settings(
    settings: Settings, folder: str
) -> None:
    """The registration is looked at in the projects that agents name, whatever they name."""
    settings.places.spool.mkdir(parents=True, mode=0o700)
    append_frame(settings.places.spool, payload("Stop", "a", cwd=folder))
    catch_up(settings)
    with Recording(settings) as recording:
        watch = RegistrationWatch(settings, recording)
        watch.check(settings.claude_config_dirs)
        assert watch.installed is False


@pytest.mark.parametrize("victim", ["ledger/*.wkl", "archive/*.wka", "archive"])
def test_harmed_evidence_and_a_missing_index_do_not_stop_the_recording(
    settings: Settings, victim: str
) -> None:
    """One changed byte in the ledger, or a lost archive, costs what it held; what comes next is recorded."""
    places = settings.places
    places.spool.mkdir(parents=True, mode=0o700)
    transcript = settings.claude_config_dirs[0] / "projects" / "-p" / "s.jsonl"
    transcript.parent.mkdir(parents=True)
    transcript.write_text(
        '{"type": "user", "sessionId": "s", "message": {"role": "user", "content": "hi"}}\n'
    )
    for number in range(3):
        append_frame(places.spool, payload("PreToolUse", f"old{number}", tool_input={"command": "ls"}))
        catch_up(settings)
    [target] = places.home.glob(victim)
    if target.is_dir():
        shutil.rmtree(target)
    else:
        data = bytearray(target.read_bytes())
        data[len(data) // 2] ^= 1
        target.write_bytes(data)
    places.database.unlink()
    append_frame(places.spool, payload("PreToolUse", "new", tool_input={"command": "ls"}))
    catch_up(settings)
    with open_reader(places) as reader:
        assert get_call(reader, "new")["call"]["tool"] == "Bash"


def test_a_session_named_in_control_characters_does_not_reach_the_terminal(settings: Settings) -> None:
    """What an agent calls itself is shown in pieces too, in the command that leads on."""
    settings.places.spool.mkdir(parents=True, mode=0o700)
    body = {"hook_event_name": "PreToolUse", "session_id": "e\x1b]0;p\x07\u202e", "tool_use_id": "t\x9b31m"}
    append_frame(settings.places.spool, json.dumps(body).encode())
    for command in (["sessions"], ["show", "e"], ["coverage"]):
        shown = wk(settings, *command).stdout
        assert not set("\x1b\x07\x9b\u202e") & set(shown), command
