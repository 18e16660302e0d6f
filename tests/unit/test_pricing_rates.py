"""What a request costs: every listed price, tiers, factors, the user's rates, and where a price is from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.errors import ConfigError
from watchkeeper.pricing.billing import billed_as, billing_mode, is_api_equivalent
from watchkeeper.pricing.rates import RateCard, Rates, load_rates
from watchkeeper.pricing.table import day_of, dollars, pico
from watchkeeper.settings import Settings

CARD = RateCard()


def at(day: str) -> int:
    """Return noon UTC of a day in epoch milliseconds."""
    return int(datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp() * 1000)


def cost(card: RateCard = CARD, **given: Any) -> int | None:
    """Return the cost of a request that is empty but for what is given."""
    request: dict[str, Any] = {
        "model": "claude-opus-4-6",
        "at_ms": at("2026-11-01"),
        "input_tokens": 0,
        "output_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0,
        "cache_read_tokens": 0,
        "web_searches": None,
        "service_tier": "standard",
        "speed": None,
        "region": None,
    }
    return card.cost(**{**request, **given})


def prices(model: str, day: str = "2026-11-21", **how: Any) -> tuple[float, ...]:
    """Return dollars per million tokens: input, output, 5-minute write, 1-hour write, read."""
    rates = CARD.rates_for(model, at(day), **how)
    assert rates is not None
    return tuple(float(price) for price in rates.per_mtok().values() if price is not None)


LISTED = [
    ("claude-fable-5-2", (8, 40, 10, 16, 0.20)),
    ("claude-mythos-5-2", (8, 40, 10, 16, 0.20)),
    ("claude-fable-5-1", (10, 50, 12.5, 20, 0.25)),
    ("claude-mythos-5-1", (10, 50, 12.5, 20, 0.25)),
    ("claude-fable-5", (10, 50, 12.5, 20, 1)),
    ("claude-mythos-5", (10, 50, 12.5, 20, 1)),
    ("claude-opus-5-5", (4, 20, 5, 8, 0.20)),
    ("claude-opus-5", (5, 25, 6.25, 10, 0.5)),
    ("claude-opus-4-8", (5, 25, 6.25, 10, 0.5)),
    ("claude-opus-4-7", (5, 25, 6.25, 10, 0.5)),
    ("claude-opus-4-6", (5, 25, 6.25, 10, 0.5)),
    ("claude-opus-4-5-20251101", (5, 25, 6.25, 10, 0.5)),
    ("claude-opus-4-1-20250805", (15, 75, 18.75, 30, 1.5)),
    ("claude-opus-4-20250514", (15, 75, 18.75, 30, 1.5)),
    ("claude-sonnet-5-5", (2, 10, 2.5, 4, 0.10)),
    ("claude-sonnet-5", (2, 10, 2.5, 4, 0.2)),
    ("claude-sonnet-4-6", (3, 15, 3.75, 6, 0.3)),
    ("claude-sonnet-4-5-20250929", (3, 15, 3.75, 6, 0.3)),
    ("claude-sonnet-4-20250514", (3, 15, 3.75, 6, 0.3)),
    ("claude-haiku-5-5", (0.10, 0.50, 0.125, 0.20, 0.01)),
    ("claude-haiku-4-5-20251001", (1, 5, 1.25, 2, 0.1)),
    ("claude-3-5-haiku-20241022", (0.8, 4, 1, 1.6, 0.08)),
]


@pytest.mark.parametrize(("model", "expected"), LISTED, ids=[model for model, _ in LISTED])
def test_every_listed_price(model: str, expected: tuple[float, ...]) -> None:
    """The five rates of a model are those of the price list."""
    assert prices(model) == expected


@pytest.mark.parametrize(("model", "expected"), LISTED, ids=[model for model, _ in LISTED])
def test_each_class_of_tokens_is_charged_at_its_own_rate(model: str, expected: tuple[float, ...]) -> None:
    """Ten thousand tokens of one class cost ten thousand times its rate."""
    fields = [
        "input_tokens",
        "output_tokens",
        "cache_write_5m_tokens",
        "cache_write_1h_tokens",
        "cache_read_tokens",
    ]
    for field, price in zip(fields, expected, strict=True):
        given = {field: 10_000}
        if field.startswith("cache_write"):
            given["cache_write_tokens"] = 10_000
        assert cost(model=model, at_ms=at("2026-11-21"), **given) == round(price * 10_000), field


@pytest.mark.parametrize(
    ("model", "day", "how", "expected"),
    [
        ("claude-haiku-5-5", "2026-11-21", {"prompt_tokens": 100_001}, (0.50, 2.50, 0.625, 1.00, 0.05)),
        ("claude-haiku-5-5", "2026-11-21", {"prompt_tokens": 100_000}, (0.10, 0.50, 0.125, 0.20, 0.01)),
        ("claude-sonnet-5-5", "2026-10-06", {}, (2, 10, 2.5, 4, 0.20)),
        ("claude-sonnet-5-5", "2026-10-07", {}, (2, 10, 2.5, 4, 0.10)),
        ("us.anthropic.claude-sonnet-5-5", "2026-10-06", {}, (2.2, 11, 2.75, 4.4, 0.22)),
        ("claude-opus-4-6", "2026-03-12", {"prompt_tokens": 200_001}, (10, 37.5, 12.5, 20, 1)),
        ("claude-opus-4-6", "2026-03-12", {"prompt_tokens": 200_000}, (5, 25, 6.25, 10, 0.5)),
        ("claude-opus-4-6", "2026-03-13", {"prompt_tokens": 900_000}, (5, 25, 6.25, 10, 0.5)),
        ("claude-sonnet-4-6", "2026-03-12", {"prompt_tokens": 200_001}, (6, 22.5, 7.5, 12, 0.6)),
        ("claude-sonnet-4-6", "2026-03-13", {"prompt_tokens": 200_001}, (3, 15, 3.75, 6, 0.3)),
        ("claude-sonnet-4-20250514", "2025-09-01", {"prompt_tokens": 200_001}, (6, 22.5, 7.5, 12, 0.6)),
        ("claude-sonnet-4-5", "2025-12-01", {"prompt_tokens": 200_001}, (6, 22.5, 7.5, 12, 0.6)),
        ("claude-opus-4-6", "2026-03-20", {"speed": "fast"}, (30, 150, 37.5, 60, 3)),
        ("claude-opus-4-6", "2026-02-10", {"speed": "fast", "prompt_tokens": 250_000}, (60, 225, 75, 120, 6)),
        ("claude-opus-4-6", "2026-06-29", {"speed": "fast"}, (5, 25, 6.25, 10, 0.5)),
        ("claude-opus-4-7", "2026-06-01", {"speed": "fast"}, (30, 150, 37.5, 60, 3)),
        ("claude-opus-4-8", "2026-11-01", {"speed": "fast"}, (10, 50, 12.5, 20, 1)),
        ("claude-opus-5", "2026-11-01", {"speed": "fast"}, (10, 50, 12.5, 20, 1)),
        ("claude-opus-5-5", "2026-11-01", {"speed": "fast"}, (8, 40, 10, 16, 0.4)),
        ("claude-fable-5-2", "2026-11-01", {"speed": "fast"}, (16, 80, 20, 32, 0.4)),
        ("anthropic/claude-opus-5-fast", "2026-11-01", {}, (10, 50, 12.5, 20, 1)),
        ("claude-opus-5", "2026-11-01", {"service_tier": "batch"}, (2.5, 12.5, 3.125, 5, 0.25)),
        ("claude-opus-5", "2026-11-01", {"service_tier": "priority"}, (5, 25, 6.25, 10, 0.5)),
        ("claude-opus-5", "2026-11-01", {"region": "us"}, (5.5, 27.5, 6.875, 11, 0.55)),
        ("claude-opus-4-6", "2026-11-01", {"region": "us"}, (5.5, 27.5, 6.875, 11, 0.55)),
        ("claude-opus-4-5", "2026-11-01", {"region": "us"}, (5, 25, 6.25, 10, 0.5)),
        ("claude-opus-5", "2026-11-01", {"region": "not_available"}, (5, 25, 6.25, 10, 0.5)),
        (
            "claude-opus-5",
            "2026-11-01",
            {"region": "us", "service_tier": "batch"},
            (2.75, 13.75, 3.4375, 5.5, 0.275),
        ),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-11-01", {}, (3, 15, 3.75, 6, 0.3)),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-11-01", {}, (3.3, 16.5, 4.125, 6.6, 0.33)),
        ("anthropic.claude-opus-5-5", "2026-11-01", {}, (4.4, 22, 5.5, 8.8, 0.22)),
        ("eu.anthropic.claude-opus-4-1-20250805-v1:0", "2026-11-01", {}, (15, 75, 18.75, 30, 1.5)),
        ("claude-sonnet-4-5@20250929", "2026-11-01", {}, (3, 15, 3.75, 6, 0.3)),
        ("claude-sonnet-4-5@20250929", "2026-11-01", {"region": "us-east5"}, (3.3, 16.5, 4.125, 6.6, 0.33)),
        ("claude-opus-4-1@20250805", "2026-11-01", {"region": "us-east5"}, (15, 75, 18.75, 30, 1.5)),
        ("claude-mythos-5@default", "2026-11-01", {"region": "europe-west1"}, (11, 55, 13.75, 22, 1.1)),
    ],
)
def test_dates_tiers_speeds_and_regions(
    model: str, day: str, how: dict[str, Any], expected: tuple[float, ...]
) -> None:
    """The day, the prompt's length, fast mode, batch and region choose the rates."""
    assert prices(model, day, **how) == expected


def test_the_cliff_prices_the_whole_request() -> None:
    """One token over 100,000, cached ones included, multiplies everything by five, output too."""
    below = cost(model="claude-haiku-5-5", input_tokens=40_000, cache_read_tokens=60_000, output_tokens=1_000)
    above = cost(model="claude-haiku-5-5", input_tokens=40_001, cache_read_tokens=60_000, output_tokens=1_000)
    assert below == 4_000 + 600 + 500
    assert above == 20_000 + 3_000 + 2_500  # 20,000.5 rounds to the even number


def test_cache_writes_count_towards_the_cliff() -> None:
    """The prompt is input, cache writes and cache reads together."""
    split = {"cache_write_tokens": 100_000, "cache_write_5m_tokens": 50_000, "cache_write_1h_tokens": 50_000}
    assert cost(model="claude-haiku-5-5", **split) == 6_250 + 10_000
    assert (
        cost(model="claude-haiku-5-5", input_tokens=1, **split) == 31_250 + 50_000
    )  # and half a micro-dollar


def test_what_is_not_split_counts_as_five_minute_writes() -> None:
    """Old clients give the total of cache writes only; a split beyond the total counts as it is."""
    assert cost(cache_write_tokens=1_000, cache_write_5m_tokens=None, cache_write_1h_tokens=None) == 6_250
    assert cost(cache_write_tokens=1_000, cache_write_1h_tokens=400) == 600 * 6.25 + 4_000
    assert cost(cache_write_tokens=0, cache_write_5m_tokens=100, cache_write_1h_tokens=100) == 625 + 1_000


def test_web_searches_cost_a_cent_each_and_are_never_discounted() -> None:
    """Ten dollars a thousand; neither batch nor region changes that."""
    for how in (
        {},
        {"service_tier": "batch"},
        {"region": "us"},
        {"model": "us.anthropic.claude-opus-4-6-v1:0"},
    ):
        assert cost(web_searches=3, **how) == 30_000


def test_one_rounding_half_to_even_for_each_request() -> None:
    """Half a micro-dollar rounds to the even number, so that halves do not add up; classes are added before that."""
    assert cost(cache_read_tokens=1) == 0  # 0.5
    assert cost(cache_read_tokens=3) == 2  # 1.5
    assert cost(model="claude-haiku-4-5", cache_read_tokens=4) == 0  # 0.4
    assert cost(model="claude-haiku-4-5", cache_read_tokens=4, input_tokens=1) == 1  # 1.4


@pytest.mark.parametrize(
    "model",
    [
        None,
        "",
        "<synthetic>",
        "haiku",
        "default",
        "gpt-5.2",
        "claude",
        "claude-opus",
        "claude-opus-9",
        "claude-opus-4-99",
    ],
)
def test_an_unknown_model_has_no_price(model: str | None) -> None:
    """It is unpriced, not free."""
    assert cost(model=model, input_tokens=1_000) is None
    assert CARD.rates_for(model, at("2026-11-01")) is None


def test_fast_mode_without_a_listed_price_is_unpriced() -> None:
    """A speed that the model was never sold at is not guessed."""
    assert cost(model="claude-haiku-4-5", input_tokens=1_000, speed="fast") is None
    assert cost(model="claude-opus-4-7", at_ms=at("2026-08-01"), input_tokens=1_000, speed="fast") is None


def test_a_class_without_a_price_makes_the_request_unpriced_only_when_used() -> None:
    """Claude 2 had no cache: its plain requests are priced, a cached one is not."""
    assert cost(model="claude-2.1", input_tokens=1_000, output_tokens=10) == 8_240
    assert cost(model="claude-2.1", input_tokens=1_000, cache_read_tokens=1) is None


def test_counts_that_are_not_known() -> None:
    """Without input and output there is no cost; a missing cache count is an old client's."""
    assert cost(input_tokens=None, output_tokens=None, cache_read_tokens=9) is None
    assert cost(input_tokens=None, output_tokens=1_000, cache_read_tokens=None) == 25_000


def test_without_a_time_the_newest_prices_hold() -> None:
    """A request without a timestamp is priced as of now."""
    assert cost(model="claude-sonnet-5-5", at_ms=None, cache_read_tokens=1_000_000) == 100_000


def test_a_price_says_where_it_is_from() -> None:
    """Compiled rows name package, version and day; rows of our own name page and reason."""
    compiled = CARD.rates_for("claude-opus-5", at("2026-11-01"))
    assert compiled is not None
    assert compiled.basis == "compiled"
    assert compiled.source.startswith("genai-prices ")
    assert len(compiled.date) == 10
    ours = CARD.rates_for("claude-sonnet-5-5", at("2026-10-01"))
    assert ours is not None
    assert (ours.basis, ours.until) == ("override", "2026-10-07")
    assert ours.source
    assert "halved" in ours.reason
    batch = CARD.rates_for("claude-opus-5", None, service_tier="batch", region="us")
    assert batch is not None
    assert batch.factors == ("us inference x1.1", "batch x0.5")


def test_every_override_names_its_source_and_reason() -> None:
    """No row of our own stands without both."""
    rows = [rates for rates in CARD.listed(at("2026-02-10")) if rates.basis == "override"]
    assert rows
    assert all(rates.source and rates.reason for rates in rows)


def own(home: Path, text: str, **environment: str) -> RateCard:
    """Return the card of a home with this ``config.toml``."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(text)
    return load_rates(Settings(home, {"HOME": str(home), **environment}))


def listed(card: RateCard, model: str, **how: Any) -> Rates:
    """Return the rates of a model that has a price."""
    rates = card.rates_for(model, at("2026-11-01"), **how)
    assert rates is not None
    return rates


def test_a_contract_price_replaces_the_listed_one(tmp_path: Path) -> None:
    """Given fields hold, cache rates keep the model's ratio, and batch and tiers follow from the given price."""
    card = own(tmp_path, '[prices."claude-fable-5-1"]\ninput = 8\noutput = 40.5\n')
    rates = listed(card, "claude-fable-5-1")
    assert list(rates.per_mtok().values()) == ["8.00", "40.50", "10.00", "16.00", "0.20"]
    assert (rates.basis, rates.source) == ("user", "config.toml [prices.claude-fable-5-1]")
    assert listed(card, "claude-fable-5-1", service_tier="batch").per_mtok()["input"] == "4.00"
    assert listed(card, "us.anthropic.claude-fable-5-1-v1:0").basis == "user"
    assert listed(card, "claude-fable-5").basis == "compiled"


def test_a_single_contract_rate_leaves_the_others(tmp_path: Path) -> None:
    """Only what is given changes."""
    rates = listed(own(tmp_path, '[prices."claude-opus-5"]\ncache_read = 0.4\n'), "claude-opus-5")
    assert list(rates.per_mtok().values()) == ["5.00", "25.00", "6.25", "10.00", "0.40"]


def test_any_model_can_be_given_a_price(tmp_path: Path) -> None:
    """A model of a proxy is priced by its id as written, with the common cache ratios."""
    card = own(tmp_path, '[prices."my-model"]\ninput = 1\noutput = 2\n')
    assert list(listed(card, "my-model").per_mtok().values()) == ["1.00", "2.00", "1.25", "2.00", "0.10"]
    assert cost(card, model="my-model", input_tokens=10, output_tokens=10) == 30
    incomplete = own(tmp_path, '[prices."my-model"]\ninput = 1\n')
    assert cost(incomplete, model="my-model", input_tokens=10) is None


def test_fast_mode_keeps_its_ratio_to_a_contract_price(tmp_path: Path) -> None:
    """Twice the list price in fast mode is twice the contract price."""
    card = own(tmp_path, '[prices."claude-opus-5"]\ninput = 4\noutput = 20\n')
    assert listed(card, "claude-opus-5", speed="fast").per_mtok()["output"] == "40.00"


def test_multipliers(tmp_path: Path) -> None:
    """The general one applies to every cost, web searches included; a model's own stands in its place."""
    card = own(tmp_path, '[prices]\nmultiplier = 0.85\n[prices."claude-opus-5"]\nmultiplier = 0.333333\n')
    assert cost(card, model="claude-opus-4-8", input_tokens=1_000_000, web_searches=1) == 4_258_500
    assert cost(card, model="claude-opus-5", input_tokens=1_000_000) == 1_666_665
    assert listed(card, "claude-opus-4-8").factors == ("contract x0.85",)
    assert cost(own(tmp_path, "[prices]\nmultiplier = 2\n"), input_tokens=1_000) == 10_000


def test_rates_of_the_environment_hold_for_every_model(tmp_path: Path) -> None:
    """`CLAUDE_RATE_INPUT` and `CLAUDE_RATE_OUTPUT` are dollars per 1,000 tokens and beat everything."""
    both = {"CLAUDE_RATE_INPUT": ".003", "CLAUDE_RATE_OUTPUT": ".015"}
    card = own(tmp_path, '[prices."claude-opus-5"]\ninput = 1\noutput = 1\n', **both)
    for model in ("claude-opus-5", "claude-haiku-4-5", "a-model-of-tomorrow"):
        rates = listed(card, model)
        assert list(rates.per_mtok().values())[:2] == ["3.00", "15.00"]
        assert rates.source == "CLAUDE_RATE_INPUT and CLAUDE_RATE_OUTPUT"
    assert listed(card, "claude-haiku-4-5").per_mtok()["cache_read"] == "0.30"
    one = own(tmp_path, "", CLAUDE_RATE_INPUT="0.00025")
    assert list(listed(one, "claude-opus-5").per_mtok().values()) == [
        "0.25",
        "25.00",
        "0.3125",
        "0.50",
        "0.025",
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[prices."claude-opus-5"]\ninput = "5"\n', "prices.claude-opus-5.input"),
        ('[prices."claude-opus-5"]\ninput = -1\n', "prices.claude-opus-5.input"),
        ('[prices."claude-opus-5"]\ninput = 0.0000001\n', "prices.claude-opus-5.input"),
        ('[prices."claude-opus-5"]\ninput = inf\n', "prices.claude-opus-5.input"),
        ('[prices."claude-opus-5"]\ninput = true\n', "prices.claude-opus-5.input"),
        ('[prices."claude-opus-5"]\ninputs = 5\n', "prices.claude-opus-5"),
        ("[prices]\nmultiplier = -0.5\n", "prices.multiplier"),
        ("[prices]\nmultiplier = nan\n", "prices.multiplier"),
    ],
)
def test_a_bad_price_is_refused_with_file_and_field(tmp_path: Path, text: str, named: str) -> None:
    """The error names where to look."""
    with pytest.raises(ConfigError) as caught:
        own(tmp_path, text)
    assert str(tmp_path / "config.toml") in caught.value.place
    assert named in caught.value.place


def test_a_bad_rate_of_the_environment_is_refused(tmp_path: Path) -> None:
    """The variable is named."""
    with pytest.raises(ConfigError, match="CLAUDE_RATE_INPUT"):
        own(tmp_path, "", CLAUDE_RATE_INPUT="cheap")
    with pytest.raises(ConfigError, match="CLAUDE_RATE_INPUT"):
        own(tmp_path, "", CLAUDE_RATE_INPUT="-1")


def test_other_tables_in_the_configuration_stay_refused(tmp_path: Path) -> None:
    """Only prices are free of names; a stray value among them is not."""
    for text in ("[prices]\nsurprise = 3\n", "[server.x]\ny = 1\n"):
        with pytest.raises(ConfigError, match="unknown setting"):
            own(tmp_path, text)


def test_the_digest_follows_every_price(tmp_path: Path) -> None:
    """Equal prices, equal digest; any change of the user's, another."""
    texts = ["", "[prices]\nmultiplier = 0.9\n", '[prices."claude-opus-5"]\ninput = 1\n']
    digests = [own(tmp_path, text).digest for text in texts]
    digests.append(own(tmp_path, "", CLAUDE_RATE_OUTPUT="0.02").digest)
    assert len(set(digests)) == 4
    assert digests[0] == RateCard().digest == own(tmp_path, "[server]\nport = 7000\n").digest


def test_days_and_decimals() -> None:
    """Days are those of UTC, prices are exact."""
    for moment in ("1970-01-01", "2000-02-29", "2024-12-31", "2026-03-01", "2099-12-31"):
        assert day_of(at(moment)) == moment
    start = int(datetime(2026, 10, 7, tzinfo=UTC).timestamp() * 1000)
    assert (day_of(start - 1), day_of(start)) == ("2026-10-06", "2026-10-07")
    assert (pico("3.75"), pico("0.025"), dollars(3_750_000), dollars(25_000)) == (
        3_750_000,
        25_000,
        "3.75",
        "0.025",
    )
    for bad in ("", "-1", "1.2345678", "five"):
        with pytest.raises(ValueError, match="no price"):
            pico(bad)


def test_how_a_session_is_paid_for() -> None:
    """A set mode decides; otherwise rate limits in the client's status show a subscription."""
    assert is_api_equivalent("subscription", quota_seen=False)
    assert not is_api_equivalent("api", quota_seen=True)
    assert is_api_equivalent("auto", quota_seen=True, model="claude-opus-5")
    assert not is_api_equivalent("auto", quota_seen=False)
    assert billed_as("auto", quota_seen=True, model="us.anthropic.claude-opus-4-6-v1:0") == "api"
    assert billing_mode("auto") == "auto"
    with pytest.raises(ConfigError, match="unknown billing mode"):
        billing_mode("free")
