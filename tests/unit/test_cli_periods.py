"""Words for times: what --since and --until accept, in the local zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from watchkeeper.cli.periods import duration, local_time
from watchkeeper.errors import UsageError
from watchkeeper.queries.periods import since_ms, until_ms

ZONE = "Europe/Berlin"


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", ZONE)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=ZoneInfo(ZONE)).timestamp() * 1000)  # type: ignore[misc, arg-type]


NOW = at(2026, 3, 29, 15, 30)  # the day on which summer time begins


def test_stretches_count_back_from_now() -> None:
    assert since_ms("24h", NOW) == NOW - 86_400_000
    assert since_ms("7d", NOW) == NOW - 7 * 86_400_000
    assert since_ms("90m", NOW) == NOW - 5_400_000
    assert since_ms("999999999999999999999h", NOW) == 0


def test_all_and_nothing_set_no_bound() -> None:
    assert since_ms("all", NOW) is None
    assert since_ms(None, NOW) is None
    assert until_ms("ALL", NOW) is None


def test_days_are_local_also_where_one_has_23_hours() -> None:
    assert since_ms("today", NOW) == at(2026, 3, 29)
    assert until_ms("today", NOW) == at(2026, 3, 30)
    assert at(2026, 3, 30) - at(2026, 3, 29) == 23 * 3_600_000
    assert since_ms("yesterday", NOW) == at(2026, 3, 28)
    assert until_ms("yesterday", NOW) == at(2026, 3, 29)


def test_a_date_begins_at_its_midnight_and_counts_to_its_end() -> None:
    assert since_ms("2026-12-31", NOW) == at(2026, 12, 31)
    assert until_ms("2026-12-31", NOW) == at(2027, 1, 1)


def test_a_full_time_is_taken_as_it_is() -> None:
    assert since_ms("2026-11-01T10:00:00Z", NOW) == at(2026, 11, 1, 11)
    assert until_ms("2026-11-01T10:00", NOW) == at(2026, 11, 1, 10)


@pytest.mark.parametrize("word", ["soon", "12", "2026-13-01", "h", "-1h", "²d"])
def test_other_words_are_refused_with_the_forms_that_work(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        since_ms(word, NOW)
    assert "yesterday" in caught.value.hint
    assert caught.value.place == "--since"


def test_times_are_shown_local_and_unknown_ones_as_a_dash() -> None:
    assert local_time("2026-11-01T10:00:05.250Z") == "2026-11-01 11:00"
    assert local_time("2026-11-01T10:00:05.250Z", seconds=True) == "2026-11-01 11:00:05"
    assert local_time(None) == "—"
    assert local_time("not a time") == "not a time"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "—"),
        (0, "0 ms"),
        (999, "999 ms"),
        (2400, "2.4 s"),
        (185_000, "3 min 05 s"),
        (7_800_000, "2 h 10 min"),
    ],
)
def test_durations_take_the_unit_that_fits(milliseconds: int | None, text: str) -> None:
    assert duration(milliseconds) == text
