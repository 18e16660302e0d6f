"""``wk statusline``, ``wk budget`` and ``wk tag``, run as users and the agent run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from harness_system import SOURCES, wk, wk_json

from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code.installer.statusline import script_path, script_text, wrapped_command

SESSION = "11111111-1111-4111-8111-111111111111"
NOW = int(time.time())
STATUS: dict[str, Any] = {
    "session_id": SESSION,
    "model": {"id": "claude-opus-5-5", "display_name": "Opus 5.5"},
    "cost": {"total_cost_usd": 0.4261},
    "context_window": {"used_percentage": 92.4, "context_window_size": 200_000},
    "rate_limits": {
        "five_hour": {"used_percentage": 23.5, "resets_at": NOW + 7200},
        "seven_day": {"used_percentage": 96, "resets_at": NOW + 300_000},
    },
}
ON_API = {name: value for name, value in STATUS.items() if name != "rate_limits"}


def statusline(
    settings: Settings, document: Any, *words: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``wk statusline`` as the agent does."""
    payload = document if isinstance(document, bytes) else json.dumps(document).encode()
    env = {
        **os.environ,
        "WATCHKEEPER_HOME": str(settings.places.home),
        "PYTHONPATH": str(SOURCES),
        "NO_COLOR": "1",
        "TZ": "UTC",
        **environment,
    }
    command = [sys.executable, "-m", "watchkeeper.cli", "statusline", *words]
    return subprocess.run(command, input=payload, env=env, capture_output=True, check=False, timeout=60)


def line(settings: Settings, document: Any, *words: str, **environment: str) -> str:
    """Return the one line that is printed."""
    done = statusline(settings, document, *words, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert text.count("\n") == 1
    return text.rstrip("\n")


@pytest.fixture
def spent_today(settings: Settings) -> Path:
    """A home in whose index two requests of today cost 3.10 dollars; returns the session's transcript."""
    folder = settings.claude_config_dirs[0] / "projects" / "-work-app"
    folder.mkdir(parents=True)
    transcript = folder / f"{SESSION}.jsonl"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    with transcript.open("w") as file:
        for number, cost in enumerate((1.25, 1.85)):
            message = {
                "id": f"m{number}",
                "type": "message",
                "role": "assistant",
                "model": "claude-opus-5-5",
                "stop_reason": "end_turn",
                "content": [{"type": "text", "text": "done"}],
                "usage": {"input_tokens": 10, "output_tokens": 5},
            }
            entry = {
                "type": "assistant",
                "uuid": f"u{number}",
                "parentUuid": None,
                "sessionId": SESSION,
                "timestamp": stamp,
                "cwd": "/work/app",
                "version": "1.0.10",
                "isSidechain": False,
                "userType": "external",
                "requestId": f"r{number}",
                "costUSD": cost,
                "message": message,
            }
            file.write(json.dumps(entry) + "\n")
    wk(settings, "import")
    return transcript


def test_the_line_of_a_subscription(settings: Settings, spent_today: Path) -> None:
    """Money reads API-equivalent, quota carries its reset, the agent's figures are kept."""
    text = line(settings, STATUS | {"transcript_path": str(spent_today)}, COLUMNS="300")
    reset = time.strftime("%H:%M", time.gmtime(NOW + 7200))
    assert text.startswith(
        "Opus 5.5 · context 92 % · session $0.43 API-equivalent · today $3.10 API-equivalent · "
    )
    assert f"5h 24 % until {reset}" in text
    assert "7d 96 % until " in text
    rows = wk_json(settings, "budget")["quota"]
    assert {row["window"]: row["used_percent"] for row in rows} == {"five_hour": 23.5, "seven_day": 96.0}


def test_the_line_of_an_api_account(settings: Settings, spent_today: Path) -> None:
    """Every figure says where it is from."""
    text = line(settings, ON_API | {"transcript_path": str(spent_today)}, COLUMNS="300")
    assert "session $0.43 reported · today $3.10 reported" in text
    assert "API-equivalent" not in text
    equivalent = line(settings, ON_API, COLUMNS="300", WATCHKEEPER_BILLING="subscription")
    assert "today $3.10 API-equivalent" in equivalent


def test_usage_says_whether_its_figures_are_billed(settings: Settings, spent_today: Path) -> None:
    """Quota in the client's status tells a subscription; a damaged file of it costs the bill nothing."""
    assert wk_json(settings, "usage")["api_equivalent"] is False
    line(settings, STATUS | {"transcript_path": str(spent_today)})
    assert wk_json(settings, "usage")["api_equivalent"] is True
    assert "these figures are API-equivalent" in wk(settings, "usage").stdout
    settings.places.state.write_bytes(b"no database" * 1000)
    done = wk(settings, "usage")
    assert "3.10" in done.stdout
    assert "whether this is a subscription is not known" in done.stderr


def test_what_is_not_on_record_yet_makes_a_lower_bound(settings: Settings, spent_today: Path) -> None:
    """The line waits for nobody: a transcript that has grown since shows."""
    with spent_today.open("a") as file:
        file.write("{}\n")
    text = line(settings, ON_API | {"transcript_path": str(spent_today)}, COLUMNS="300")
    assert "today ≥$3.10" in text


def test_a_budget_in_the_line(settings: Settings, spent_today: Path) -> None:
    """An exceeded budget stays, however narrow the line is."""
    wk(settings, "budget", "set", "daily", "2")
    assert "budget over 155 %" in line(settings, ON_API, COLUMNS="300")
    narrow = line(settings, ON_API, COLUMNS="40")
    assert len(narrow) <= 40
    assert "budget over 155 %" in narrow


def test_a_quota_is_named_once_and_is_no_budget(settings: Settings, spent_today: Path) -> None:
    """Without a budget of one's own the windows alone are in the line; a limit of one's own reads as quota."""
    shown = line(settings, STATUS, COLUMNS="300")
    assert "7d" in shown
    assert "budget" not in shown
    wk(settings, "budget", "set", "seven_day", "1%")
    line(settings, STATUS)
    shown = line(settings, STATUS, COLUMNS="300")
    assert "quota over" in shown
    assert "budget" not in shown


def test_colours(settings: Settings) -> None:
    """For state only, and none with NO_COLOR."""
    coloured = line(settings, STATUS, NO_COLOR="", TERM="xterm")
    assert "\x1b[31mcontext 92 %\x1b[0m" in coloured
    assert "\x1b" not in line(settings, STATUS)


def test_the_branch_is_that_of_the_sessions_folder(settings: Settings, tmp_path: Path) -> None:
    """Read from git's own files, upwards; a work tree's file leads to its HEAD; detached shows the commit."""
    (tmp_path / "repo" / ".git" / "worktrees" / "w").mkdir(parents=True)
    (tmp_path / "repo" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "repo" / ".git" / "HEAD").write_text("ref: refs/heads/feature/x\n")
    assert line(settings, ON_API | {"cwd": str(tmp_path / "repo" / "deep" / "er")}).endswith(" · feature/x")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ".git").write_text(f"gitdir: {tmp_path}/repo/.git/worktrees/w\n")
    (tmp_path / "repo" / ".git" / "worktrees" / "w" / "HEAD").write_text("0123456789abcdef\n")
    inside = {"workspace": {"current_dir": str(tmp_path / "tree")}}
    assert line(settings, ON_API | inside).endswith(" · 01234567")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no json",
        b"[1]",
        b"\xff\xfe",
        b'{"model": 3, "cost": null}',
        b"[" * 100_000,
        b'{"cwd": "/\\u0000"}',
    ],
    ids=["nothing", "words", "list", "bytes", "shapes", "nesting", "nul"],
)
def test_garbage_still_gives_a_line(settings: Settings, payload: bytes) -> None:
    """It prints what it can, quietly."""
    assert line(settings, payload) == "wk"


def test_a_hostile_name_cannot_rewrite_the_terminal(settings: Settings) -> None:
    """Escapes in what the agent sends are spelled out."""
    text = line(settings, {"model": {"display_name": "x\x1b[2J\ny"}}, NO_COLOR="", TERM="xterm")
    assert "\x1b[2J" not in text
    assert "\\x1b[2J y" in text


def test_a_broken_home_costs_the_line_nothing_else(settings: Settings) -> None:
    """Damaged files and settings are left out; the agent's own figures stay."""
    settings.places.home.mkdir(mode=0o700)
    for path in (settings.places.database, settings.places.state):
        path.write_bytes(b"damaged" * 1000)
    assert line(settings, ON_API, COLUMNS="300") == "Opus 5.5 · context 92 % · session $0.43 reported"
    settings.places.config.write_text("not toml at all [")
    assert line(settings, ON_API, COLUMNS="300") == "Opus 5.5 · context 92 % · session $0.43 reported"


def test_a_busy_state_file_is_not_waited_for(settings: Settings, spent_today: Path) -> None:
    """Another writer holds it; the line appears all the same, and the figures of this one are not kept."""
    wk(settings, "budget", "set", "daily", "50")
    holder = apsw.Connection(str(settings.places.state))
    holder.execute("BEGIN IMMEDIATE")
    try:
        assert "Opus 5.5" in line(settings, STATUS)
    finally:
        holder.close()
    assert wk_json(settings, "budget")["quota"] == []


def test_no_home_is_made_for_a_line(settings: Settings) -> None:
    """Where Watchkeeper is not in use, nothing is written."""
    line(settings, STATUS)
    assert not settings.places.home.exists()


def test_the_line_as_json(settings: Settings, spent_today: Path) -> None:
    """What it is made of, for other programs."""
    found = json.loads(statusline(settings, STATUS, "--json").stdout)
    assert (found["session_cost_usd"], found["session_cost_basis"]) == ("0.4261", "reported")
    assert (found["today_cost_usd"], found["today_cost_basis"], found["billing"]) == (
        "3.10",
        "reported",
        "subscription",
    )


def test_a_users_own_line_is_shown_and_the_quota_kept(
    settings: Settings, eventually: Callable[[Callable[[], object]], None]
) -> None:
    """The wrapper runs the user's command in the foreground, ours in the background, once a minute at most."""
    places = settings.places
    script = script_path(places.home)
    for folder in (places.home, places.bin, places.run):
        folder.mkdir(mode=0o700, exist_ok=True)
    script.write_text(script_text(places.home))
    script.chmod(0o755)

    def shown(document: dict[str, Any]) -> str:
        command = wrapped_command(places.home, "printf mine")
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=json.dumps(document).encode(),
            capture_output=True,
            check=True,
            timeout=60,
        )
        return done.stdout.decode()

    def kept() -> dict[str, float]:
        return {row["window"]: row["used_percent"] for row in wk_json(settings, "budget")["quota"]}

    assert shown(STATUS) == "mine"
    eventually(lambda: kept().get("five_hour") == 23.5)
    mark = places.run / "statusline"
    first = mark.stat().st_mtime_ns
    assert shown(STATUS) == "mine"
    assert mark.stat().st_mtime_ns == first


def test_budgets_are_set_shown_and_removed(settings: Settings, spent_today: Path) -> None:
    """By period and project; the check's status says when one is over."""
    wk(settings, "budget", "set", "daily", "5")
    wk(settings, "budget", "set", "monthly", "$2.50", "--project", "app")
    rows = {row["period"]: row for row in wk_json(settings, "budget")["budgets"]}
    assert (rows["daily"]["spent_usd"], rows["daily"]["left_usd"], rows["daily"]["state"]) == (
        "3.10",
        "1.90",
        "ok",
    )
    assert (rows["monthly"]["project"], rows["monthly"]["left_usd"]) == ("app", "-0.60")
    check = wk(settings, "budget", "check", "--quiet", status=1)
    assert check.stdout == "wk: monthly budget of app: $3.10 of $2.50 (124 %)\n"
    assert "linear" in wk(settings, "budget").stdout
    wk(settings, "budget", "remove", "monthly", "--project", "app")
    assert wk(settings, "budget", "check", "--quiet").stdout == ""
    assert "daily budget: $3.10 of $5.00" in wk(settings, "budget", "check").stdout
    assert wk_json(settings, "budget", "check")["state"] == "ok"
    old = time.time() - 86_400
    for path in settings.places.home.glob("watchkeeper.db*"):
        os.utime(path, (old, old))
    assert ", as of 20" in wk(settings, "budget", "check").stdout


def test_without_an_index_nothing_is_known(settings: Settings) -> None:
    """The check does not call it zero, and makes no file."""
    wk(settings, "budget", "set", "daily", "5")
    settings.places.database.unlink()
    assert wk(settings, "budget", "check").stdout == "wk: what is spent is not known\n"
    assert not settings.places.database.exists()


def test_budget_words_that_make_no_sense(settings: Settings) -> None:
    """Wrong use is status 2 and changes nothing."""
    for words in (
        ("set",),
        ("set", "daily"),
        ("set", "daily", "much"),
        ("set", "daily", "-5"),
        ("set", "daily", "1.2345678"),
        ("set", "yearly", "5"),
        ("set", "weekly", "80%", "--project", "app"),
        ("set", "daily", "80%"),
        ("remove",),
        ("check", "daily"),
        ("list", "daily"),
    ):
        wk(settings, "budget", *words, status=2)
    wk(settings, "budget", "remove", "daily", status=1)
    assert wk_json(settings, "budget")["budgets"] == []


def test_a_share_of_quota_is_a_budget(settings: Settings, spent_today: Path) -> None:
    """Once the agent has said how much is used."""
    wk(settings, "budget", "set", "5h", "20%")
    assert wk_json(settings, "budget")["budgets"][0]["state"] == "not counted"
    line(settings, STATUS)
    rows = {row["period"]: row["state"] for row in wk_json(settings, "budget")["budgets"]}
    assert rows == {"five_hour": "over", "seven_day": "warn"}
    assert "five-hour quota: 23.5 % of 20 %" in wk(settings, "budget", "check", "--quiet", status=1).stdout


def test_tags_outlive_a_rebuild(settings: Settings, spent_today: Path) -> None:
    """They name a project, a session by a prefix, or the session that runs."""
    wk(settings, "tag", "add", "client-x", "--project", "app")
    wk(settings, "tag", "add", "urgent", "--session", SESSION[:8])
    env = {
        **os.environ,
        "CLAUDE_SESSION_ID": "22222222-2222-4222-8222-222222222222",
        "PYTHONPATH": str(SOURCES),
    }
    command = [
        sys.executable,
        "-m",
        "watchkeeper.cli",
        "--home",
        str(settings.places.home),
        "tag",
        "add",
        "mine",
    ]
    subprocess.run(command, env=env, check=True, capture_output=True)
    wk(settings, "rebuild")
    found = {entry["tag"]: entry["targets"][0]["target"] for entry in wk_json(settings, "tag")["tags"]}
    assert found == {"client-x": "app", "mine": env["CLAUDE_SESSION_ID"], "urgent": SESSION}
    wk(settings, "tag", "remove", "urgent", "--session", SESSION)
    wk(settings, "tag", "remove", "mine", "--all")
    assert [entry["tag"] for entry in wk_json(settings, "tag")["tags"]] == ["client-x"]
    wk(settings, "tag", "remove", "gone", "--all", status=1)
    wk(settings, "tag", "add", status=2)
    wk(settings, "tag", "add", "x", "--project", "a", "--session", "b", status=2)
