"""Budgets against the requests of an index, quota as the client reports it, and tags."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.errors import NotFoundError, UsageError
from watchkeeper.pricing.rates import RateCard
from watchkeeper.queries.budget import (
    MONEY,
    QUOTA,
    Budget,
    Costs,
    Spent,
    budget_report,
    budgets,
    check_line,
    costs_at,
    period_of,
    remove_budget,
    set_budget,
    spent,
)
from watchkeeper.queries.projects import is_project
from watchkeeper.queries.quota import (
    billing,
    parse_status,
    quota,
    quota_history,
    record_status,
    session_billing,
    session_status,
)
from watchkeeper.queries.tags import add_tag, list_tags, remove_tag, sessions_of_tag, tags_of_session
from watchkeeper.settings import Places
from watchkeeper.store.sqlite.reading import Reader, open_reader
from watchkeeper.store.sqlite.schema import connect_for_writing, ddl
from watchkeeper.store.sqlite.state import State, open_state

DAY = 86_400_000
NOON = 1_795_262_400_000
"""2026-11-21 12:00 UTC, a Saturday."""


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """An open state file."""
    with open_state(Places(tmp_path)) as opened:
        yield opened


def index(tmp_path: Path, *requests: dict[str, Any], **projects: str) -> Reader:
    """Return an index that holds these requests, and sessions with their project's path."""
    places = Places(tmp_path)
    connection = connect_for_writing(places.database)
    connection.execute(ddl())
    for session, path in projects.items():
        connection.execute("INSERT INTO sessions (session_id, project_path) VALUES (?, ?)", (session, path))
    for number, given in enumerate(requests):
        row: dict[str, Any] = {
            "session_id": "s",
            "cost_basis": "computed",
            "counted": 1,
            "partial": 0,
            **given,
        }
        row |= {"request_key": f"r{number}", "quarter": row["at"] - row["at"] % 900_000}
        names = ", ".join(row)
        connection.execute(
            f"INSERT INTO requests ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
        )
    connection.close()
    return open_reader(places)


def test_what_a_period_cost(tmp_path: Path) -> None:
    """The first moment counts, the last does not; what is no request does not; unpriced ones are counted apart."""
    reader = index(
        tmp_path,
        {"at": NOON, "cost_micros": 100},
        {"at": NOON + 1000, "cost_micros": 20, "cost_basis": "reported", "partial": 1},
        {"at": NOON + 2000, "cost_micros": None, "cost_basis": None},
        {"at": NOON - 1, "cost_micros": 5_000},
        {"at": NOON + 3000, "cost_micros": 5_000},
        {"at": NOON + 1, "cost_micros": 5_000, "counted": 0},
    )
    assert spent(reader, NOON, NOON + 3000) == Spent(120, 3, 1, 1, 1)


def test_only_one_projects_requests(tmp_path: Path) -> None:
    """By name, by path, or by a folder above."""
    reader = index(
        tmp_path,
        {"at": NOON, "cost_micros": 1, "session_id": "a"},
        {"at": NOON, "cost_micros": 10, "session_id": "b"},
        {"at": NOON, "cost_micros": 100, "session_id": "c"},
        a="/home/u/work/app",
        b="/home/u/work/app-two",
    )
    for wanted, micros in (
        ("app", 1),
        ("/home/u/work/app", 1),
        ("/home/u/work", 11),
        ("/home/u/work/", 11),
        ("ap", 0),
    ):
        assert spent(reader, NOON, NOON + 1, wanted).micros == micros, wanted
    assert not is_project(None, "app")
    assert is_project("/home/u/app/.claude/worktrees/fix", "app/fix")


def test_periods_are_those_of_the_local_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of the end of summer time has 25 hours; weeks begin on Monday."""
    assert period_of("daily", NOON) == (NOON - DAY // 2, NOON + DAY // 2)
    start, end = period_of("weekly", NOON)
    assert time.strftime("%a %F %T", time.gmtime(start / 1000)) == "Mon 2026-11-16 00:00:00"
    assert end - start == 7 * DAY
    start, end = period_of("monthly", NOON)
    assert (end - start) // DAY == 30
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    start, end = period_of("daily", 1_792_915_200_000)  # 2026-10-25
    assert end - start == 25 * 3_600_000


def report(reader: Reader, state: State, paid: str = "api") -> dict[str, Any]:
    """Return the report at noon."""
    return budget_report(reader, state, billing=paid, now_ms=NOON)


def test_a_budget_with_spent_left_and_forecast(tmp_path: Path, state: State) -> None:
    """Half a day gone and three dollars spent: six by its end, which is over five."""
    reader = index(tmp_path, {"at": NOON - 1000, "cost_micros": 3_000_000})
    set_budget(state, Budget("daily", "", MONEY, 5_000_000), NOON)
    (row,) = report(reader, state)["budgets"]
    assert (row["limit_usd"], row["spent_usd"], row["left_usd"]) == ("5.00", "3.00", "2.00")
    assert (row["used_percent"], row["state"]) == (60.0, "ok")
    assert (row["forecast_usd"], row["forecast_basis"], row["forecast_over"]) == ("6.00", "estimated", True)
    assert row["cost_basis"] == {"reported": 0, "computed": 1, "estimated": 0}


@pytest.mark.parametrize(
    ("micros", "expected"), [(3_999_999, "ok"), (4_000_000, "warn"), (4_999_999, "warn"), (5_000_000, "over")]
)
def test_states(tmp_path: Path, state: State, micros: int, expected: str) -> None:
    """A warning from four fifths on, over at the whole."""
    reader = index(tmp_path, {"at": NOON - 1000, "cost_micros": micros})
    set_budget(state, Budget("daily", "", MONEY, 5_000_000), NOON)
    found = report(reader, state)
    assert check_line(found)[0] == expected
    assert found["over"] == (expected == "over")


def test_unpriced_requests_are_not_zero(tmp_path: Path, state: State) -> None:
    """Without any price nothing is known to be spent, and the line says how many are missing."""
    reader = index(tmp_path, {"at": NOON - 1000, "cost_micros": None, "cost_basis": None})
    set_budget(state, Budget("daily", "", MONEY, 5_000_000), NOON)
    found = report(reader, state)
    (row,) = found["budgets"]
    assert (row["spent_usd"], row["left_usd"], row["used_percent"], row["forecast_usd"]) == (None,) * 4
    assert (row["unpriced_requests"], check_line(found)[0]) == (1, "unknown")
    nothing = budget_report(None, state, billing="api", now_ms=NOON)
    assert (nothing["budgets"][0]["spent_usd"], check_line(nothing)[0]) == (None, "unknown")


def test_some_unpriced_requests_make_a_lower_bound(tmp_path: Path, state: State) -> None:
    """The line says how many are missing."""
    unpriced = {"at": NOON - 1000, "cost_micros": None, "cost_basis": None}
    reader = index(tmp_path, unpriced, {"at": NOON - 1000, "cost_micros": 1_000_000})
    set_budget(state, Budget("daily", "", MONEY, 5_000_000), NOON)
    assert (
        check_line(report(reader, state))[1] == "daily budget: $1.00 of $5.00 (20 %), and 1 unpriced requests"
    )


def test_costs_follow_changed_prices(tmp_path: Path) -> None:
    """An index that was written with other prices is counted at those in force; reported costs stay."""
    used = {"at": NOON, "model": "claude-opus-5", "output_tokens": 1_000, "input_tokens": 0}
    reader = index(
        tmp_path,
        {**used, "cost_micros": 1},
        {**used, "cost_micros": 7, "reported_micros": 7, "cost_basis": "reported"},
        {**used, "model": "unheard-of", "cost_micros": 9},
    )
    assert spent(reader, NOON, NOON + 1).micros == 17
    assert spent(reader, NOON, NOON + 1, costs=costs_at(reader, RateCard())) == Spent(25_007, 3, 1, 1, 0)
    rates = RateCard()
    written = connect_for_writing(Places(tmp_path).database)
    written.execute("INSERT OR REPLACE INTO meta VALUES ('rates', ?)", (rates.digest,))
    written.close()
    assert costs_at(reader, rates) == Costs()


def test_the_worst_budget_is_named(tmp_path: Path, state: State) -> None:
    """Of several the one that is most used, with its project."""
    reader = index(tmp_path, {"at": NOON - 1000, "cost_micros": 9_000_000, "session_id": "a"}, a="/w/app")
    set_budget(state, Budget("monthly", "", MONEY, 100_000_000), NOON)
    set_budget(state, Budget("weekly", "app", MONEY, 6_000_000), NOON)
    assert check_line(report(reader, state)) == ("over", "weekly budget of app: $9.00 of $6.00 (150 %)")
    remove_budget(state, "weekly", "app")
    assert [one.period for one in budgets(state)] == ["monthly"]
    with pytest.raises(NotFoundError, match="no weekly budget of app"):
        remove_budget(state, "weekly", "app")


def test_no_budget_is_no_verdict(tmp_path: Path, state: State) -> None:
    """Nothing set, nothing over."""
    assert check_line(report(index(tmp_path), state))[0] == "none"


def test_budgets_that_make_no_sense_are_refused(state: State) -> None:
    """A period must fit what is counted, an amount must be above zero."""
    for wrong in (
        Budget("yearly", "", MONEY, 1),
        Budget("daily", "", QUOTA, 1),
        Budget("five_hour", "", MONEY, 1),
        Budget("daily", "", MONEY, 0),
        Budget("daily", "", MONEY, 10**18),
    ):
        with pytest.raises(UsageError):
            set_budget(state, wrong, NOON)


STATUS = {
    "session_id": "s-1",
    "model": {"id": "claude-opus-5", "display_name": "Opus 5"},
    "cost": {
        "total_cost_usd": 0.25,
        "total_lines_added": 7,
        "total_lines_removed": 2,
        "total_api_duration_ms": 900,
    },
    "context_window": {"used_percentage": 41.5, "context_window_size": 200_000},
    "rate_limits": {
        "five_hour": {"used_percentage": 81.25, "resets_at": NOON // 1000 + 3600},
        "seven_day": {"used_percentage": 12, "resets_at": "2026-11-25T00:00:00Z"},
    },
}


def test_a_status_is_kept_once(state: State) -> None:
    """Equal figures within a minute are one row; a change is another one in the history."""
    status = parse_status(STATUS)
    for later in (0, 1_000, 59_000):
        record_status(state, status, NOON + later)
    assert quota_history(state, "five_hour", 0) == [(NOON, 81.25)]
    changed = parse_status({**STATUS, "rate_limits": {"five_hour": {"used_percentage": 90}}})
    record_status(state, changed, NOON + 60_000)
    assert quota_history(state, "five_hour", 0) == [(NOON, 81.25), (NOON + 60_000, 90.0)]
    assert quota_history(state, "five_hour", NOON + 1) == [(NOON + 60_000, 90.0)]


def test_quota_after_its_reset_is_used_no_more(state: State) -> None:
    """Until then what the client said; the other window goes on."""
    record_status(state, parse_status(STATUS), NOON)
    five, seven = quota(state, NOON + 1)
    assert (five["used_percent"], five["reset_since_seen"]) == (81.25, False)
    assert (seven["window"], seven["used_percent"], seven["resets_at"]) == (
        "seven_day",
        12.0,
        "2026-11-25T00:00:00.000Z",
    )
    five, seven = quota(state, NOON + 3_600_000)
    assert (five["used_percent"], five["resets_at"], five["reset_since_seen"]) == (0.0, None, True)
    assert seven["used_percent"] == 12.0


def test_a_sessions_own_figures(state: State) -> None:
    """Cost and context as the client says them, reported."""
    record_status(state, parse_status(STATUS), NOON)
    found = session_status(state, "s-1")
    assert found is not None
    assert (found["cost_usd"], found["cost_basis"], found["context_percent"]) == ("0.25", "reported", 41.5)
    assert (found["lines_added"], found["api_duration_ms"], found["has_quota"]) == (7, 900, True)
    assert session_status(state, "s-2") is None


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        {},
        {"session_id": 5, "model": "m", "cost": [], "context_window": 3, "rate_limits": "none"},
        {
            "cost": {"total_cost_usd": "1"},
            "rate_limits": {"five_hour": None, "seven_day": {"used_percentage": True}},
        },
        {"cost": {"total_cost_usd": 1e300}, "context_window": {"used_percentage": -5}},
        {"rate_limits": {"five_hour": {"resets_at": "soon"}}},
        {"cost": {"total_cost_usd": float("nan")}, "rate_limits": {"x": {"used_percentage": float("inf")}}},
    ],
)
def test_a_status_of_another_form_says_nothing(document: Any, state: State) -> None:
    """Whatever does not fit is not known; nothing raises."""
    status = parse_status(document)
    assert (status.cost_micros, status.context_used, status.quota) == (None, None, {})
    record_status(state, status, NOON)
    assert quota(state, NOON) == []


def test_how_things_are_paid_for(state: State) -> None:
    """Rate limits seen lately show a subscription; a set mode decides."""
    assert billing("auto", state, NOON) == "api"
    record_status(state, parse_status(STATUS), NOON)
    assert billing("auto", state, NOON) == "subscription"
    assert billing("auto", state, NOON + 9 * DAY) == "api"
    assert billing("api", state, NOON) == "api"
    assert session_billing("auto", state, "s-1") == "subscription"
    assert session_billing("auto", state, "s-2") == "api"


def test_a_subscriptions_budgets_count_quota(tmp_path: Path, state: State) -> None:
    """Money is API-equivalent and never over; each window counts, against a set share or the whole."""
    reader = index(tmp_path, {"at": NOON - 1000, "cost_micros": 9_000_000})
    record_status(state, parse_status(STATUS), NOON)
    set_budget(state, Budget("daily", "", MONEY, 5_000_000), NOON)
    set_budget(state, Budget("five_hour", "", QUOTA, 8_000), NOON)
    found = report(reader, state, "subscription")
    states = {row["period"]: row["state"] for row in found["budgets"]}
    assert states == {"daily": "not counted", "five_hour": "over", "seven_day": "ok"}
    assert next(row for row in found["budgets"] if row["period"] == "daily")["api_equivalent"]
    assert check_line(found) == ("over", "five-hour quota: 81.25 % of 80 % (102 %)")
    on_api = report(reader, state)
    assert {row["period"]: row["state"] for row in on_api["budgets"]} == {
        "daily": "over",
        "five_hour": "not counted",
    }


def test_tags_of_projects_and_sessions(tmp_path: Path, state: State) -> None:
    """A tag holds its sessions and those of its projects, also ones that come later."""
    reader = index(tmp_path, a="/w/app", b="/w/app", c="/w/other")
    assert add_tag(state, "client-x", "project", "app", NOON)
    assert not add_tag(state, "client-x", "project", "app", NOON)
    assert add_tag(state, "client-x", "session", "c", NOON)
    assert add_tag(state, "urgent", "session", "a", NOON)
    assert sessions_of_tag(reader, state, "client-x") == {"a", "b", "c"}
    assert tags_of_session(state, "a", "/w/app") == ["client-x", "urgent"]
    assert [entry["tag"] for entry in list_tags(state)] == ["client-x", "urgent"]
    assert remove_tag(state, "client-x", "session", "c") == 1
    assert sessions_of_tag(reader, state, "client-x") == {"a", "b"}
    assert remove_tag(state, "client-x") == 1
    with pytest.raises(NotFoundError, match="no tag"):
        sessions_of_tag(reader, state, "client-x")
    with pytest.raises(NotFoundError, match="nothing has"):
        remove_tag(state, "client-x")


@pytest.mark.parametrize("tag", ["", "two words", "a,b", "a\x1b[2J", "x" * 65, "tab\t"])
def test_what_is_no_tag(state: State, tag: str) -> None:
    """A tag is one word that a terminal can show."""
    with pytest.raises(UsageError, match="is no tag"):
        add_tag(state, tag, "project", "app", NOON)
