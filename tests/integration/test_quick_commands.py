"""Without a daemon, the list and the search do not wait for the last lines of running sessions, and miss none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.freshness import is_stale, news
from watchkeeper.pipeline.tails import MOST_BYTES, Tails, may_wait, read_tails
from watchkeeper.settings import Settings
from watchkeeper.spool.frames import FrameKind
from watchkeeper.spool.writer import append_frame
from watchkeeper.store.sqlite.reading import open_reader

SOURCES = Path(__file__).resolve().parents[2] / "src"
OLDER = "11111111-1111-4111-8111-111111111111"
NEWER = "22222222-2222-4222-8222-222222222222"
NOW = datetime.now(UTC)
"""When the test began."""


@pytest.fixture(autouse=True)
def _present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "NOW", datetime.now(UTC).replace(microsecond=0))


def now_ms() -> int:
    """Return when the test began, in epoch milliseconds."""
    return round(NOW.timestamp() * 1000)


def line(session: str, text: str, ago: float = 0, **more: Any) -> dict[str, Any]:
    """Return a prompt that was given so many seconds ago."""
    return {
        "type": "user",
        "uuid": f"{session[:4]}-{text}",
        "sessionId": session,
        "timestamp": (NOW - timedelta(seconds=ago)).isoformat(),
        "cwd": "/p",
        "version": "2.1.330",
        "message": {"role": "user", "content": text},
    } | more


def path_of(home: Path, session: str) -> Path:
    """Return a session's transcript."""
    return home.parent / ".claude" / "projects" / "-p" / f"{session}.jsonl"


def append(home: Path, session: str, *lines: dict[str, Any]) -> Path:
    """Append lines to a session's transcript."""
    path = path_of(home, session)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(item) + "\n" for item in lines)
    return path


@pytest.fixture
def two_sessions(settings: Settings, home: Path) -> Settings:
    """A home that has read two sessions; the second has the later event."""
    append(home, OLDER, line(OLDER, "the first", 60))
    append(home, NEWER, line(NEWER, "the second", 30))
    catch_up(settings)
    return settings


def ask(home: Path, *words: str) -> dict[str, Any]:
    """Run ``wk sessions --json`` and return its answer, with the modules it imported as ``modules``."""
    env = {
        "HOME": str(home.parent),
        "WATCHKEEPER_HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home.parent / ".claude"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCES),
    }
    program = (
        "import sys\n"
        "from watchkeeper.cli.entry import run\n"
        "status = run(['sessions', '--json', *sys.argv[1:]])\n"
        "print(*sys.modules, file=sys.stderr)\n"
        "raise SystemExit(status)\n"
    )
    command = [sys.executable, "-P", "-c", program, *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer | {"modules": set(done.stderr.split()), "said": done.stderr}


def ids(answer: dict[str, Any]) -> list[str]:
    """Return the ids of the sessions of an answer."""
    return [row["session_id"] for row in answer["sessions"]]


def test_a_running_session_stands_first_and_nothing_is_put_on_record_for_it(
    two_sessions: Settings, home: Path
) -> None:
    """Its time is that of the line just written; the answer says that it is not counted yet."""
    assert ids(ask(home)) == [NEWER, OLDER]
    append(home, OLDER, line(OLDER, "and more", 1))
    answer = ask(home)
    assert ids(answer) == [OLDER, NEWER]
    first = answer["sessions"][0]
    assert datetime.fromisoformat(first["last_at"]) == NOW - timedelta(seconds=1)
    assert first["live"]
    assert first["prompts"] == 1
    assert answer["stale_ms"] > 0
    assert "not counted yet" in answer["said"]
    assert not {"msgspec", "cryptography", "watchkeeper.pipeline.recording"} & answer["modules"]
    assert is_stale(two_sessions)
    assert ids(ask(home, "-n", "1")) == [OLDER]
    assert ids(ask(home, "-n", "1", "--since", "1d")) == [OLDER]


def test_whatever_counts_puts_it_on_record(two_sessions: Settings, home: Path) -> None:
    """After that the list is up to date and says so."""
    append(home, OLDER, line(OLDER, "and more", 1))
    ask(home)
    catch_up(two_sessions)
    answer = ask(home)
    assert answer["sessions"][0]["prompts"] == 2
    assert "stale_ms" not in answer


def test_a_search_finds_a_word_that_was_just_written(two_sessions: Settings, home: Path) -> None:
    """Also one in other letters, in what a tool gave back, and one whose line is not ended."""
    append(home, OLDER, line(OLDER, "Größenänderung 日本語"))
    assert ids(ask(home, "größenänderung")) == [OLDER]
    append(home, OLDER, line(OLDER, "zanzibar"))
    assert ids(ask(home, "--", "the", "zanzi")) == [OLDER]
    with path_of(home, NEWER).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line(NEWER, "unended")))
    assert ids(ask(home, "unended")) == [NEWER]


def test_a_search_for_other_words_does_not_wait_for_what_was_just_written(
    two_sessions: Settings, home: Path
) -> None:
    """What the index finds is what there is."""
    append(home, OLDER, line(OLDER, "zanzibar"))
    answer = ask(home, "second")
    assert ids(answer) == [NEWER]
    assert "watchkeeper.pipeline.recording" not in answer["modules"]
    assert is_stale(two_sessions)


def seen(settings: Settings, later_ms: int = 0) -> Tails | None:
    """Return what the quick commands make of what is new."""
    with open_reader(settings.places) as reader:
        grown = news(settings, reader)
        assert grown
        return read_tails(reader, grown, now_ms() + later_ms)


def test_lines_of_known_sessions_can_wait(two_sessions: Settings, home: Path) -> None:
    """Those without a time or a session say nothing about the order."""
    append(home, OLDER, line(OLDER, "more"), {"type": "file-history-snapshot", "messageId": "m"})
    tails = seen(two_sessions)
    assert tails is not None
    assert tails.last_at == {OLDER: now_ms()}
    assert len(tails.bodies) == 2


@pytest.mark.parametrize(
    "item",
    [
        line("33333333-3333-4333-8333-333333333333", "a session that is not known"),
        line(OLDER, "a copy", forkedFrom={"sessionId": NEWER}),
        {"type": "ai-title", "aiTitle": "A name", "sessionId": OLDER},
        {"type": "summary", "summary": "A name", "leafUuid": "u"},
        line(OLDER, "x" * MOST_BYTES),
    ],
    ids=["session", "copy", "title", "summary", "much"],
)
def test_what_changes_more_than_the_order_is_put_on_record_first(
    two_sessions: Settings, home: Path, item: dict[str, Any]
) -> None:
    """The list would lack a session or show an old name."""
    append(home, OLDER, item)
    assert seen(two_sessions) is None


def test_a_line_that_cannot_be_read_is_put_on_record_first(two_sessions: Settings, home: Path) -> None:
    """The reader of transcripts knows what to do with it; one that is still being written is left alone."""
    with path_of(home, OLDER).open("a") as file:
        file.write(json.dumps(line(OLDER, "more")) + '\n{"type":"us')
    tails = seen(two_sessions)
    assert tails is not None
    assert len(tails.bodies) == 1
    with path_of(home, OLDER).open("a") as file:
        file.write("er\n")
    assert seen(two_sessions) is None


def test_nothing_waits_longer_than_five_minutes(two_sessions: Settings, home: Path) -> None:
    """The figures of a list are never older than that."""
    append(home, OLDER, line(OLDER, "more"))
    assert seen(two_sessions, 200_000) is not None
    assert seen(two_sessions, 400_000) is None


def test_a_file_that_was_replaced_is_read_anew(two_sessions: Settings, home: Path) -> None:
    """It has grown, but what is on record of it is not its beginning."""
    path = path_of(home, OLDER)
    path.write_text("".join(json.dumps(line(OLDER, text)) + "\n" for text in ("quite", "another", "one")))
    assert seen(two_sessions) is None


def test_a_session_that_enters_a_stretch_of_time_is_put_on_record_first(
    two_sessions: Settings, home: Path
) -> None:
    """A list since then would leave it out."""
    append(home, OLDER, line(OLDER, "more"))
    tails = seen(two_sessions)
    assert tails is not None
    with open_reader(two_sessions.places) as reader:
        assert may_wait(reader, tails, (), now_ms() - 90_000)
        assert not may_wait(reader, tails, (), now_ms() - 45_000)
        assert may_wait(reader, tails, ("second",), None)
        assert not may_wait(reader, tails, ("second", "more"), None)


def hook(settings: Settings, session: str, event: str, text: str = "") -> None:
    """Let a hook say something of a session."""
    body = {"hook_event_name": event, "session_id": session, "cwd": "/p", "tool_name": "Bash"}
    more = {"tool_use_id": f"t-{text}", "tool_input": {"command": text}}
    append_frame(settings.places.spool, json.dumps(body | more).encode(), kind=FrameKind.EVENT)


@pytest.fixture
def hooked_session(two_sessions: Settings) -> Settings:
    """A home whose spool was read to its end, and which holds one more event of a known session."""
    two_sessions.places.spool.mkdir(exist_ok=True, mode=0o700)
    hook(two_sessions, OLDER, "PreToolUse", "early")
    catch_up(two_sessions)
    assert not is_stale(two_sessions)
    hook(two_sessions, OLDER, "PreToolUse", "later")
    return two_sessions


def test_what_hooks_say_of_a_running_session_can_wait_as_well(hooked_session: Settings, home: Path) -> None:
    """It stands first at once, and its call is counted later."""
    append(home, NEWER, line(NEWER, "more", 20))
    answer = ask(home)
    assert ids(answer) == [OLDER, NEWER]
    assert [row["tool_calls"] for row in answer["sessions"]] == [1, 0]
    assert "watchkeeper.pipeline.recording" not in answer["modules"]
    assert ids(ask(home, "second")) == [NEWER]
    assert is_stale(hooked_session)


def test_a_search_finds_what_a_hook_has_just_said(hooked_session: Settings, home: Path) -> None:
    """The command that a tool was given need not be in the transcript yet."""
    assert ids(ask(home, "later")) == [OLDER]
    assert not is_stale(hooked_session)


@pytest.mark.parametrize("event", ["SessionEnd", "SessionStart"])
def test_an_event_that_ends_or_begins_a_session_is_put_on_record_first(
    hooked_session: Settings, home: Path, event: str
) -> None:
    """The list shows which sessions run."""
    hook(hooked_session, NEWER, event)
    ask(home)
    assert not is_stale(hooked_session)
