"""``wk prices``, run as users run it."""

from __future__ import annotations

import json

import pytest
from harness_system import wk

from watchkeeper.pricing.rates import RateCard
from watchkeeper.settings import Settings


def test_the_table_names_each_price_with_its_source(settings: Settings) -> None:
    """Every row has five rates or says that one is unknown, and where it is from."""
    answer = json.loads(wk(settings, "--json", "prices").stdout)
    assert answer["digest"] == RateCard().digest
    assert len(answer["rows"]) > 100
    assert all(row["source"] and row["basis"] in ("compiled", "override") for row in answer["rows"])
    assert all(row["source_date"] for row in answer["rows"] if row["basis"] == "compiled")
    table = wk(settings, "prices").stdout
    assert "claude-opus-4-6" in table
    assert "bedrock" not in table
    assert "bedrock" in wk(settings, "prices", "--all").stdout


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_no_two_rows_of_a_table_seem_to_contradict_each_other(
    columns: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However narrow the terminal is, what tells two prices of one model apart is shown."""
    monkeypatch.setenv("COLUMNS", columns)
    fast = wk(settings, "prices", "claude-opus-5-5", "--at", "2026-11-21").stdout.splitlines()
    assert ["fast" in row.split() for row in fast[1:3]] == [False, True]
    long = wk(settings, "prices", "claude-haiku-5-5", "--at", "2026-11-21").stdout.splitlines()
    assert ["100,000" in row for row in long[1:3]] == [False, True]


def test_one_model_on_one_day(settings: Settings) -> None:
    """The id may be written as any client writes it."""
    answer = json.loads(
        wk(settings, "--json", "prices", "claude-sonnet-5-5[1m]", "--at", "2026-10-06").stdout
    )
    (row,) = answer["rows"]
    assert (answer["at"], row["usd_per_mtok"]["cache_read"]) == ("2026-10-06", "0.20")
    assert (row["basis"], row["until"]) == ("override", "2026-10-07")


def test_a_contract_price_shows_its_place(settings: Settings) -> None:
    """The user's rates stand in the same table, and change the digest."""
    settings.places.home.mkdir(exist_ok=True)
    settings.places.config.write_text(
        '[prices]\nmultiplier = 0.9\n[prices."claude-opus-5"]\ninput = 4\n[prices.mine]\ninput = 1\noutput = 2\n'
    )
    answer = json.loads(wk(settings, "--json", "prices").stdout)
    rows = {(row["model"], row["provider"], row["speed"]): row for row in answer["rows"]}
    assert rows["claude-opus-5", "anthropic", "standard"]["usd_per_mtok"]["input"] == "3.60"
    assert rows["mine", None, "standard"]["source"] == "config.toml [prices.mine]"
    assert rows["claude-haiku-4-5", "anthropic", "standard"]["factors"] == ["contract x0.90"]
    assert answer["digest"] != RateCard().digest


def test_a_model_without_a_price_is_a_negative_answer(settings: Settings) -> None:
    """Exit status 1, and what to do; a word that is no date is wrong use."""
    done = wk(settings, "prices", "gpt-9", status=1)
    assert "no price" in done.stdout
    assert "no date" in wk(settings, "prices", "--at", "someday", status=2).stderr
