"""A session from the agent's first event to every answer about it: the real client, or its packaged recordings."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from client_session import ClientSession
from harness_system import (
    Recorded,
    all_answers,
    fire,
    ledger_payloads,
    recorded_session,
    recordings,
    wk,
    wk_json,
)
from mock_model import MAIN, MockModel, Script, Turn, call_id, text, thinking, turn, use
from websockets.sync.client import ClientConnection, connect

from watchkeeper.client.http import ServerClient
from watchkeeper.client.recorder import RecorderClient
from watchkeeper.client.token import read_token
from watchkeeper.daemon import control
from watchkeeper.redaction.engine import Redactor
from watchkeeper.settings import Places, Settings

SECONDS = 60
HELPER = "Count the functions"
SETTINGS = '{\n  "theme": "dark",\n  "permissions": {"deny": ["Read(./secret.txt)"]}\n}\n'
"""What the user wrote into the agent's settings before us."""
Wait = Callable[[Callable[[], object]], None]


@pytest.fixture
def mock() -> Iterator[MockModel]:
    """A model of the test's own."""
    with MockModel() as model:
        yield model
        assert model.problems == []


def script(project: Path, hold: threading.Event | None = None) -> Script:
    """Return a session with every kind of call: it is held before its last answer if asked to."""
    app = str(project / "app.py")
    return Script(
        main=[
            turn(thinking("The code first."), text("I read it."), use("Read", file_path=app)),
            turn(use("Edit", file_path=app, old_string="a - b", new_string="a + b")),
            turn(text("It must fail."), use("Bash", command="echo seen; echo wrong >&2; exit 3")),
            turn(use("Write", file_path=str(project / "new.txt"), content="one\ntwo\n")),
            turn(
                use("Read", file_path=str(project / "notes.md")),
                use("Bash", command="echo side by side"),
                use("Read", file_path=str(project / "missing.py")),
            ),
            turn(
                use(
                    "Agent",
                    description="Count",
                    prompt=f"{HELPER} in app.py.",
                    subagent_type="general-purpose",
                    run_in_background=False,
                )
            ),
            turn(use("Edit", file_path=app, old_string="not in there", new_string="x")),
            turn(text("Done."), hold=hold),
        ],
        agents={HELPER: [turn(use("Bash", command="grep -c def app.py")), turn(text("One."))]},
    )


def expected_calls(name: str) -> dict[str, tuple[str, str]]:
    """Return tool and outcome of each call that `script` makes, by its id."""
    main = [
        (0, 2, "Read", "ok"), (1, 0, "Edit", "ok"), (2, 1, "Bash", "failed"), (3, 0, "Write", "ok"),
        (4, 0, "Read", "ok"), (4, 1, "Bash", "ok"), (4, 2, "Read", "failed"), (5, 0, "Agent", "ok"),
        (6, 0, "Edit", "rejected"),
    ]  # fmt: skip
    found = {call_id(name, MAIN, step, block): (tool, outcome) for step, block, tool, outcome in main}
    return found | {call_id(name, HELPER, 0): ("Bash", "ok")}


def sync(places: Places) -> None:
    """Wait until everything there is is on record."""
    assert RecorderClient(places).sync(SECONDS * 1000)["stale_ms"] == 0


def calls_of(settings: Settings, session: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a session's calls, through the server, by their id."""
    client = ServerClient(settings.places, timeout=SECONDS)
    items = client.get(f"/api/sessions/{session}/timeline?limit=10000")["items"]
    rows = [item["call"] for item in items if item["call"] is not None]
    assert len({row["tool_use_id"] for row in rows}) == len(rows)
    return {row["tool_use_id"]: row for row in rows}


@contextlib.contextmanager
def live(settings: Settings, port: int) -> Iterator[ClientConnection]:
    """Follow the live stream with the machine's token."""
    headers = {"Authorization": f"Bearer {read_token(settings.places)}"}
    address = f"ws://127.0.0.1:{port}/api/live"
    with connect(address, additional_headers=headers, open_timeout=SECONDS, proxy=None) as stream:
        yield stream


def await_live(stream: ClientConnection, session: str, wanted: dict[str, str]) -> None:
    """Read messages until just the wanted calls were shown, each last with the wanted outcome."""
    shown: dict[str, str] = {}
    while shown != wanted:
        message = json.loads(stream.recv(timeout=SECONDS))
        assert message["type"] != "error", message
        for item in message.get("items") or []:
            assert message["session_id"] == session
            if item["call"] is not None:
                shown[item["call"]["tool_use_id"]] = item["call"]["outcome"]
        assert set(shown) <= set(wanted)


def settings_file(settings: Settings) -> Path:
    """Return the agent's settings, which the user wrote something into."""
    path = settings.claude_config_dirs[0] / "settings.json"
    path.write_text(SETTINGS)
    return path


@pytest.mark.real_client
def test_every_call_of_a_real_session_is_on_record_live_and_for_good(
    running_daemon: Any, real_client: Path, mock: MockModel, tmp_path: Path
) -> None:
    """Install, session, live stream, answers, verdict, rebuild, uninstall: nothing is missing anywhere."""
    settings: Settings = running_daemon.settings
    users_file = settings_file(settings)
    url = mock.add("whole", Script(main=[]))
    client = ClientSession(real_client, tmp_path, url, settings.claude_config_dirs[0])
    # The client orders this file to its liking in its first run.
    client.run("Hello.")
    users_settings = users_file.read_bytes()
    wk(settings, "install")
    assert users_file.read_bytes() != users_settings
    go_on = threading.Event()
    mock.scripts["whole"] = script(client.project, go_on)
    last: Turn = mock.scripts["whole"].main[-1]
    session = "11111111-2222-4333-8444-555555555555"
    expected = expected_calls("whole")
    port = control.status(settings).port
    with live(settings, port) as stream:
        stream.send(json.dumps({"subscribe": session}))
        process = client.start("/review the adding", "--session-id", session)
        try:
            await_live(stream, session, {key: outcome for key, (_, outcome) in expected.items()})
            assert last.reached.wait(SECONDS)
            assert process.poll() is None, "the session was to be still running"
        finally:
            go_on.set()
            finished = client.finish(process)
    assert (finished.status, finished.session_id, finished.errors) == (0, session, "")
    assert finished.result["result"] == "Done."
    sync(settings.places)
    _check_calls(settings, session, expected)
    _check_session(settings, session)
    assert wk_json(settings, "verify")["integrity"] == "intact"
    control.stop(settings)
    _check_rebuild(settings)
    wk(settings, "uninstall")
    assert users_file.read_bytes() == users_settings


def _check_calls(settings: Settings, session: str, expected: dict[str, tuple[str, str]]) -> None:
    """Every call has its input, result, duration, outcome, and the witnesses that could see it."""
    rows = calls_of(settings, session)
    assert {key: (row["tool"], row["outcome"]) for key, row in rows.items()} == expected
    client = ServerClient(settings.places, timeout=SECONDS)
    for key, row in rows.items():
        detail = client.get(f"/api/calls/{key}")
        assert detail["input"], row
        assert detail["result"], row
        assert row["session_id"] == session
        witnesses = set(row["witnesses"])
        assert {"transcript.use", "transcript.result"} <= witnesses, row
        if row["outcome"] != "rejected":
            # The client runs no hook for an input that it refuses; only its batch tells of it.
            assert "hook.pre" in witnesses, row
            assert witnesses & {"hook.post", "hook.failure"}, row
            assert row["duration_ms"] is not None, row
            assert row["duration_ms"] >= 0
        assert any(name.startswith("hook.") for name in witnesses), row
    by_tool = {expected[key][0] + expected[key][1]: key for key in expected}
    failed = client.get(f"/api/calls/{by_tool['Bashfailed']}")
    assert failed["call"]["exit_code"] == 3
    assert "wrong" in failed["result"]
    edit = client.get(f"/api/calls/{by_tool['Editok']}")
    assert "+    return a + b" in edit["diff"]
    helper = client.get(f"/api/calls/{call_id('whole', HELPER, 0)}")
    assert helper["call"]["agent_id"] is not None


def _check_session(settings: Settings, session: str) -> None:
    """The session is summed up, its subagent known, and the coverage report names no unexplained gap."""
    client = ServerClient(settings.places, timeout=SECONDS)
    found = client.get(f"/api/sessions/{session}")
    assert (found["session"]["tool_calls"], found["session"]["subagents"]) == (10, 1)
    assert found["session"]["ended_at"] is not None
    assert [agent["agent_type"] for agent in found["agents"]] == ["general-purpose"]
    kinds = {item["name"] for item in client.get(f"/api/sessions/{session}/timeline")["items"]}
    assert {"SessionStart", "SessionEnd"} <= kinds, kinds
    report = wk_json(settings, "coverage", session)
    assert (report["tool_calls"], report["complete"]) == (10, 1.0), report
    assert report["unknown_events"] == {}
    first_read = client.get(f"/api/calls/{call_id('whole', MAIN, 0, 2)}")
    assert first_read["context"]["slash_command"] == "review"
    assert first_read["context"]["thinking"] == "The code first."


def _check_rebuild(settings: Settings) -> None:
    """A rebuilt index gives the same answer to every query."""
    before = all_answers(settings.places)
    wk(settings, "rebuild")
    assert all_answers(settings.places) == before


def test_rebuild_waits_for_nobody(running_daemon: Any) -> None:
    """While the daemon records, a rebuild is refused with a reason, and harms nothing."""
    done = wk(running_daemon.settings, "rebuild", status=None)
    assert done.returncode != 0
    assert "record" in done.stderr
    assert "Traceback" not in done.stderr
    sync(running_daemon.places)


def replay(recorded: Recorded, hook: Path, settings: Settings) -> None:
    """Play a recording: each event through the native hook, the transcript after the first half of them."""
    half = len(recorded.events) // 2
    for number, (payload, environment) in enumerate(recorded.events):
        if number == half:
            recorded.write_transcripts(settings.claude_config_dirs[0])
        fire(hook, settings.places.home, payload, environment)


def _check_replayed(settings: Settings, recorded: Recorded) -> None:
    rows = calls_of(settings, recorded.session_id)
    assert set(rows) == recorded.call_ids
    assert {row["session_id"] for row in rows.values()} == {recorded.session_id}
    for row in rows.values():
        assert any(name.startswith("hook.") for name in row["witnesses"]), row
        assert "transcript.use" in row["witnesses"], row


def _check_nothing_lost_or_doubled(settings: Settings, recorded: list[Recorded]) -> None:
    """The ledger holds each event of each recording once, byte for byte but for what was masked."""
    redactor = Redactor()
    found: dict[str, list[str]] = {}
    for _, content in ledger_payloads(settings.places):
        payload = json.loads(content.partition(b"\n")[2])
        if isinstance(payload, dict) and "session_id" in payload:
            found.setdefault(payload["session_id"], []).append(json.dumps(payload, sort_keys=True))
    for each in recorded:
        masked = (
            json.loads(redactor.redact(json.dumps(payload).encode()).data) for payload, _ in each.events
        )
        events = sorted(json.dumps(payload, sort_keys=True) for payload in masked)
        assert sorted(found[each.session_id]) == events


@pytest.mark.parametrize("name", recordings())
def test_a_recorded_session_through_the_native_hook(
    running_daemon: Any, packaged_hook: Path, name: str
) -> None:
    """What a real client once said is recorded whole, answered for, verified, and the same after a rebuild."""
    settings: Settings = running_daemon.settings
    users_file = settings_file(settings)
    wk(settings, "install")
    recorded = recorded_session(name, 1)
    replay(recorded, settings.places.hook, settings)
    sync(settings.places)
    _check_replayed(settings, recorded)
    _check_nothing_lost_or_doubled(settings, [recorded])
    report = wk_json(settings, "coverage", recorded.session_id)
    assert (report["tool_calls"], report["complete"]) == (len(recorded.call_ids), 1.0), report
    verdict = wk_json(settings, "verify")
    assert (verdict["ok"], verdict["integrity"], verdict["first_bad"]) == (True, "intact", None)
    control.stop(settings)
    _check_rebuild(settings)
    wk(settings, "uninstall")
    assert users_file.read_text() == SETTINGS


def test_twelve_recorded_sessions_at_once(running_daemon: Any, packaged_hook: Path) -> None:
    """Twelve sessions that overlap are kept apart; of none is anything lost or doubled."""
    settings: Settings = running_daemon.settings
    sessions = [
        recorded_session(name, number) for number, name in zip(range(1, 13), recordings() * 6, strict=True)
    ]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda each: replay(each, packaged_hook, settings), sessions))
    sync(settings.places)
    _check_all(settings, sessions, others=0)
    control.stop(settings)
    _check_rebuild(settings)


@pytest.mark.real_client
def test_real_and_recorded_sessions_at_once(
    running_daemon: Any, real_client: Path, mock: MockModel, tmp_path: Path
) -> None:
    """Three real clients beside nine recorded sessions: each has its own calls, and all of them."""
    settings: Settings = running_daemon.settings
    wk(settings, "install")
    clients = {}
    for name in ("one", "two", "three"):
        url = mock.add(name, Script(main=[]))
        clients[name] = ClientSession(real_client, tmp_path / name, url, settings.claude_config_dirs[0])
        mock.scripts[name] = script(clients[name].project)
    sessions = [
        recorded_session(name, number)
        for number, name in zip(range(1, 10), (recordings() * 5)[:9], strict=True)
    ]
    with ThreadPoolExecutor(12) as pool:
        replays = [pool.submit(replay, each, settings.places.hook, settings) for each in sessions]
        runs = {name: pool.submit(client.run, "Do it all.") for name, client in clients.items()}
        for future in replays:
            future.result()
        finished = {name: future.result() for name, future in runs.items()}
    sync(settings.places)
    _check_all(settings, sessions, others=3)
    for name, each in finished.items():
        assert (each.status, each.errors) == (0, "")
        rows = calls_of(settings, each.session_id)
        expected = expected_calls(name)
        assert {key: (row["tool"], row["outcome"]) for key, row in rows.items()} == expected
    report = wk_json(settings, "coverage")
    assert report["complete"] == 1.0, report


def _check_all(settings: Settings, sessions: list[Recorded], *, others: int) -> None:
    listed = ServerClient(settings.places, timeout=SECONDS).get("/api/sessions?limit=100")
    known = {row["session_id"] for row in listed["sessions"]}
    assert {each.session_id for each in sessions} <= known
    assert listed["total"] == len(sessions) + others
    for each in sessions:
        _check_replayed(settings, each)
    _check_nothing_lost_or_doubled(settings, sessions)
    assert wk_json(settings, "verify")["ok"] is True
