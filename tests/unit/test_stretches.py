"""Ranges name days, weeks and months of the local time zone, and know the one before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from watchkeeper.errors import UsageError
from watchkeeper.queries.stretches import Stretch, resolve_stretch

NOON = "2026-11-04T12:00:00+01:00"
"""A Wednesday."""


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def stretch(**flags: str) -> Stretch:
    return resolve_stretch(ms(NOON), **flags)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "since", "until"),
    [
        ({"named": "today"}, "2026-11-04T00:00+01:00", "2026-11-05T00:00+01:00"),
        ({"named": "yesterday"}, "2026-11-03T00:00+01:00", "2026-11-04T00:00+01:00"),
        ({"named": "week"}, "2026-11-02T00:00+01:00", "2026-11-09T00:00+01:00"),
        ({"named": "month", "day": "2026-02-10"}, "2026-02-01T00:00+01:00", "2026-03-01T00:00+01:00"),
        ({"named": "month", "day": "2026-12-31"}, "2026-12-01T00:00+01:00", "2027-01-01T00:00+01:00"),
        ({"day": "2026-10-25"}, "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        ({"named": "week", "day": "2026-10-25"}, "2026-10-19T00:00+02:00", "2026-10-26T00:00+01:00"),
    ],
)
def test_a_range_is_that_of_the_calendar_also_where_the_clock_changes(
    flags: dict[str, str], since: str, until: str
) -> None:
    found = stretch(**flags)
    assert (found.since, found.until) == (ms(since), ms(until))


def test_a_running_week_is_compared_with_as_much_of_the_week_before() -> None:
    before = stretch(named="week").previous(ms(NOON))
    assert before is not None
    assert (before.since, before.until) == (ms("2026-10-26T00:00+01:00"), ms("2026-10-28T12:00+01:00"))


def test_a_past_month_is_compared_with_the_whole_month_before() -> None:
    before = stretch(named="month", day="2026-10-10").previous(ms(NOON))
    assert before is not None
    assert (before.since, before.until) == (ms("2026-09-01T00:00+02:00"), ms("2026-10-01T00:00+02:00"))


def test_everything_has_nothing_before_it() -> None:
    assert stretch(named="all").previous(ms(NOON)) is None
    assert stretch(until="2026-11-01").previous(ms(NOON)) is None


@pytest.mark.parametrize(
    "flags",
    [
        {"named": "fortnight"},
        {"day": "someday"},
        {"day": "9999-12-31"},
        {"named": "week", "since": "7d"},
        {"since": "2026-11-03", "until": "2026-11-01"},
    ],
)
def test_wrong_words_are_refused(flags: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        stretch(**flags)
