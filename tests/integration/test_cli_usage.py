"""``wk usage`` as a process: keys, stretches, zones, comparison, CSV, billing, and what it leaves alone."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.recording import Recording
from watchkeeper.settings import Settings

SESSION = "0c0c0c0c-1111-4222-8333-444444444444"


def answer(number: int, at: str, model: str = "claude-sonnet-4-6", **fields: Any) -> dict[str, Any]:
    """Return the line of one request: 1,000 input and 100 output tokens."""
    message = {
        "id": f"msg_{number}",
        "role": "assistant",
        "model": model,
        "stop_reason": "end_turn",
        "content": [],
        "usage": {"input_tokens": 1000, "output_tokens": 100},
    }
    return {
        "type": "assistant",
        "sessionId": SESSION,
        "uuid": f"u{number}",
        "timestamp": at,
        "cwd": "/home/ada/=app",
        "gitBranch": "main",
        "message": message,
    } | fields


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home beside an agent's folder with one session of three days."""
    path = tmp_path / "agent" / "projects" / "-home-ada--app" / f"{SESSION}.jsonl"
    path.parent.mkdir(parents=True)
    lines = [
        answer(1, "2026-10-24T21:30:00.000Z"),
        answer(2, "2026-10-24T22:30:00.000Z"),
        answer(3, "2026-10-25T22:30:00.000Z", "claude-from-next-year"),
        {"type": "cost-state", "sessionId": SESSION, "totalCostUSD": 0.01},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def wk(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the home."""
    variables = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    variables |= {"HOME": str(home), "WATCHKEEPER_HOME": str(home / "wk"), "TZ": "UTC"}
    variables |= {"CLAUDE_CONFIG_DIR": str(home / "agent"), **environment}
    command = [sys.executable, "-m", "watchkeeper.cli", *words]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def rows(home: Path, *words: str, **environment: str) -> list[dict[str, Any]]:
    """Return the rows of ``wk usage --json``."""
    done = wk(home, "usage", "--json", *words, **environment)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return found


def test_the_first_bill_is_right_and_says_what_has_no_price(home: Path) -> None:
    """In the published shape, with nothing imported; the model of next year is unpriced, never free."""
    document = json.loads(wk(home, "usage", "--by", "model", "--json").stdout)
    priced, unpriced = sorted(document["rows"], key=lambda row: row["unpriced_requests"])
    assert priced["key"] == {"model": "claude-sonnet-4-6"}
    assert (priced["requests"], priced["input_tokens"], priced["cost_usd"]) == (2, 2000, "0.009")
    assert (unpriced["cost_usd"], unpriced["unpriced_requests"]) == (None, 1)
    assert document["total"]["cost_basis"] == {"reported": 0, "computed": 2, "estimated": 0}
    assert document["total"]["cost_usd"] == "0.009"
    assert not (home / "wk" / "watchkeeper.db").exists()


def test_days_are_those_of_the_zone(home: Path) -> None:
    """Also where the clock is turned back in that night, and half an hour off the full hour."""
    assert [row["key"]["day"] for row in rows(home)] == ["2026-10-24", "2026-10-25"]
    berlin = rows(home, TZ="Europe/Berlin")
    assert [(row["key"]["day"], row["requests"]) for row in berlin] == [("2026-10-24", 1), ("2026-10-25", 2)]
    kolkata = rows(home, TZ="Asia/Kolkata")
    assert [(row["key"]["day"], row["requests"]) for row in kolkata] == [("2026-10-25", 2), ("2026-10-26", 1)]
    assert [row["key"]["week"] for row in rows(home, "--by", "week")] == ["2026-10-19"]
    assert [row["requests"] for row in rows(home, "--since", "2026-10-25", TZ="Europe/Berlin")] == [2]


def test_keys_combine_and_blocks_begin_at_the_full_hour(home: Path) -> None:
    """Five hours each, from the hour of the first request."""
    by_both = rows(home, "--by", "project,model")
    assert [row["key"] for row in by_both] == [
        {"project": "=app", "project_path": "/home/ada/=app", "model": model}
        for model in ("claude-from-next-year", "claude-sonnet-4-6")
    ]
    blocks = [(row["key"]["block"], row["requests"]) for row in rows(home, "--by", "block")]
    assert blocks == [("2026-10-24T21:00:00.000Z", 2), ("2026-10-25T22:00:00.000Z", 1)]
    assert wk(home, "usage", "--by", "moon").returncode == 2


def test_two_stretches_stand_beside_each_other(home: Path) -> None:
    """The one before of the same length, or one that is named."""
    words = (
        "usage",
        "--json",
        "--since",
        "2026-10-25",
        "--until",
        "2026-10-25",
        "--compare",
        "2026-10-24..2026-10-24",
    )
    document = json.loads(wk(home, *words).stdout)
    assert (document["total"]["requests"], document["previous"]["total"]["requests"]) == (1, 2)
    assert document["previous"]["since"] == "2026-10-24T00:00:00.000Z"
    assert wk(home, "usage", "--compare").returncode == 2


@pytest.mark.parametrize("key", ["model", "session", "block", "project,model"])
def test_eighty_columns_hold_the_table_and_no_name_that_tells_rows_apart_is_cut(home: Path, key: str) -> None:
    """Short names and one column of cache writes come before an ellipsis; blocks read as local time."""
    shown = wk(home, "usage", "--by", key, COLUMNS="80", TZ="Europe/Berlin").stdout
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "…" not in shown
    if key == "block":
        assert "2026-10-24 23:00" in shown


def test_dearest_stand_first_but_for_keys_of_time(home: Path) -> None:
    """And what has no price last."""
    models = wk(home, "usage", "--by", "model").stdout.splitlines()
    assert [line.split()[0] for line in models[1:3]] == ["claude-sonnet-4-6", "claude-from-next-year"]
    days = wk(home, "usage", "--by", "day").stdout.splitlines()
    assert [line.split()[0] for line in days[1:3]] == ["2026-10-24", "2026-10-25"]


def test_a_comparison_says_which_stretch_it_is_with(home: Path) -> None:
    """Else nobody knows what the column before shows."""
    shown = wk(home, "usage", "--since", "2026-10-25", "--until", "2026-10-25", "--compare").stdout
    assert "before: 2026-10-24 00:00 to 2026-10-25 00:00" in shown


def test_csv_has_a_header_and_starts_no_formula(home: Path) -> None:
    """A project that is named like a formula is text to a spreadsheet."""
    found = list(csv.DictReader(io.StringIO(wk(home, "usage", "--by", "project", "--csv").stdout)))
    assert [(row["project"], row["requests"], row["cost_usd"]) for row in found] == [("'=app", "3", "0.009")]


def test_the_clients_own_total_stands_beside_ours(home: Path) -> None:
    """With the difference, by session, as soon as the session is on record."""
    assert wk(home, "import").returncode == 0
    (row,) = rows(home, "--by", "session")
    assert (row["cost_usd"], row["client_cost_usd"], row["difference_usd"]) == ("0.009", "0.01", "0.001")
    assert "differ from the client's own total" in wk(home, "usage", "--by", "session").stdout


def test_own_rates_hold_before_and_after_the_import(home: Path) -> None:
    """Rates from the environment price what the index holds as well, though it was written with others."""
    own = {"CLAUDE_RATE_INPUT": "0.001", "CLAUDE_RATE_OUTPUT": "0.01"}
    expected = [("claude-from-next-year", "0.002"), ("claude-sonnet-4-6", "0.004")]
    for _ in range(2):
        found = [(row["key"]["model"], row["cost_usd"]) for row in rows(home, "--by", "model", **own)]
        assert found == expected
        assert wk(home, "import").returncode == 0
    assert [row["cost_usd"] for row in rows(home, "--by", "model")] == [None, "0.009"]


def test_on_a_subscription_figures_are_api_equivalent(home: Path) -> None:
    """Said beside the figures, and for each session."""
    own = {"WATCHKEEPER_BILLING": "subscription"}
    assert "API-equivalent" in wk(home, "usage", **own).stdout
    assert "API-equivalent" not in wk(home, "usage").stdout
    (row,) = rows(home, "--by", "session", **own)
    assert row["billing"] == "subscription"


def test_a_home_that_takes_no_files_costs_only_the_cache(home: Path) -> None:
    """The bill comes all the same; a damaged cache is made anew."""
    assert len(rows(home)) == 2
    (home / "wk" / "usage.db").write_bytes(b"no database" * 100)
    assert len(rows(home)) == 2
    blocked = home / "file"
    blocked.write_text("")
    done = wk(home, "usage", "--json", WATCHKEEPER_HOME=str(blocked / "wk"))
    assert done.returncode in {0, 1}
    assert "Traceback" not in done.stderr


def test_tools_share_a_request_without_a_remainder(home: Path) -> None:
    """A request that asked for two tools is divided between them; the rest is named."""
    path = home / "agent" / "projects" / "-home-ada--app" / f"{SESSION}.jsonl"
    tools = [
        {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}} for name in ("Read", "Bash")
    ]
    line = answer(4, "2026-10-26T10:00:00.000Z")
    line["message"]["content"] = tools
    line["message"]["usage"]["input_tokens"] = 1001
    with path.open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    found = {row["key"]["tool"]: row["input_tokens"] for row in rows(home, "--by", "tool")}
    assert found == {"Bash": 501, "Read": 500, None: 3000}


def test_new_prices_reach_every_command_at_once(home: Path) -> None:
    """Costs on record are computed anew when the configuration says other prices, and when it says none again."""
    assert wk(home, "import").returncode == 0
    config = home / "wk" / "config.toml"
    for text, expected in (('[prices."claude-sonnet-4-6"]\ninput = 30\noutput = 0\n', "0.06"), ("", "0.009")):
        config.write_text(text)
        (session,) = json.loads(wk(home, "sessions", "--json").stdout)["sessions"]
        assert session["cost_usd"] == expected
        assert json.loads(wk(home, "stats", "--json").stdout)["cost_usd"] == expected


def test_a_recorder_follows_the_prices_of_the_configuration(home: Path) -> None:
    """While it runs; a mistake in the file leaves them as they were."""
    settings = Settings(home / "wk", {"HOME": str(home), "CLAUDE_CONFIG_DIR": str(home / "agent")})
    catch_up(settings)
    with Recording(settings) as recording:
        for text, expected in (("[prices]\nmultiplier = 2.0\n", 18_000), ("[prices\n", 18_000), ("", 9_000)):
            settings.places.config.write_text(text)
            recording.follow_prices()
            costs = recording.store.connection.execute("SELECT sum(cost_micros) FROM requests").fetchall()
            assert costs == [(expected,)]


def test_csv_holds_no_command_for_a_terminal(home: Path) -> None:
    path = next((home / "agent").rglob("*.jsonl"))
    path.write_text(
        json.dumps(answer(7, "2026-10-24T21:30:00.000Z", gitBranch="x\x1b]0;title\x07\x1b[2Jy")) + "\n"
    )
    for _ in range(2):
        done = wk(home, "usage", "--by", "branch", "--csv")
        assert done.returncode == 0
        assert not {"\x1b", "\x07"} & set(done.stdout)
        assert wk(home, "import").returncode == 0
