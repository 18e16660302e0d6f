"""The moments that query parameters name."""

from __future__ import annotations

import time

import pytest

from watchkeeper.errors import UsageError
from watchkeeper.server.moments import moment_ms

NOW = 1_790_000_000_000
HOUR = 3_600_000


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("all", None),
        ("90m", NOW - 90 * 60_000),
        ("24h", NOW - 24 * HOUR),
        ("7d", NOW - 7 * 24 * HOUR),
        ("2w", NOW - 14 * 24 * HOUR),
        ("2026-11-01T12:00:00Z", 1_793_534_400_000),
        ("2026-11-01T12:00:00.250+00:00", 1_793_534_400_250),
        ("2026-11-01", 1_793_487_600_000),
    ],
)
def test_each_form_has_its_moment(text: str | None, expected: int | None) -> None:
    assert moment_ms(text, parameter="since", now_ms=NOW) == expected


def test_a_day_counts_to_its_end_also_when_the_clocks_change() -> None:
    start = moment_ms("2026-10-25", parameter="since")
    end = moment_ms("2026-10-25", parameter="until", end=True)
    assert start is not None
    assert end is not None
    assert end - start == 25 * HOUR


def test_a_time_with_its_hour_is_not_carried_to_the_end_of_its_day() -> None:
    text = "2026-11-01T12:00:00Z"
    assert moment_ms(text, parameter="until", end=True) == moment_ms(text, parameter="since")


@pytest.mark.parametrize(
    "text", ["soon", "24x", "2026-13-01", "-1h", "99999999h", "0001-01-01T00:00:00+14:00x"]
)
def test_anything_else_is_refused_with_the_parameter(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        moment_ms(text, parameter="until")
    assert caught.value.place == "until"
