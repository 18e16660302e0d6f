"""Laws of the price of a request."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchkeeper.pricing.compiled import DATE, ROWS, SOURCE
from watchkeeper.pricing.ids import parse_model
from watchkeeper.pricing.rates import RateCard
from watchkeeper.pricing.table import dollars

CARD = RateCard()
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FIRST_PARTY = sorted({row[0] for row in ROWS if row[1] == "anthropic"})
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC)

counts = st.integers(0, 2_000_000)
tokens = st.fixed_dictionaries(
    {
        "input_tokens": counts,
        "output_tokens": counts,
        "cache_write_5m_tokens": counts,
        "cache_write_1h_tokens": counts,
        "cache_read_tokens": counts,
        "web_searches": st.integers(0, 50),
    }
)
circumstances = st.fixed_dictionaries(
    {
        "model": st.sampled_from([name for name in FIRST_PARTY if name not in ("claude-1", "claude-2")]),
        "at_ms": st.datetimes(START.replace(tzinfo=None), END.replace(tzinfo=None)).map(
            lambda moment: int(moment.replace(tzinfo=UTC).timestamp() * 1000)
        ),
        "service_tier": st.sampled_from([None, "standard", "batch"]),
        "speed": st.sampled_from([None, "standard"]),
        "region": st.sampled_from([None, "us", "global"]),
    }
)


def cost(where: dict[str, Any], used: dict[str, int]) -> int:
    """Return the cost of a request whose cache writes are all split."""
    written = used["cache_write_5m_tokens"] + used["cache_write_1h_tokens"]
    value = CARD.cost(**where, **used, cache_write_tokens=written)
    assert value is not None
    return value


@UNHURRIED
@given(circumstances, tokens, tokens)
def test_more_tokens_never_cost_less(
    where: dict[str, Any], used: dict[str, int], more: dict[str, int]
) -> None:
    """Adding tokens of any class, across cliffs too, never lowers the cost."""
    assert cost(where, {name: used[name] + more[name] for name in used}) >= cost(where, used)


@UNHURRIED
@given(circumstances, tokens, tokens)
def test_costs_add_up_within_one_tier(
    where: dict[str, Any], used: dict[str, int], more: dict[str, int]
) -> None:
    """Two requests cost what one with the tokens of both does, but for the rounding of each; no tier between them."""
    together = {name: used[name] + more[name] for name in used}
    levels = CARD.levels_for(
        where["model"], where["at_ms"], **{k: where[k] for k in ("service_tier", "speed", "region")}
    )
    prompts = [
        sum(each[k] for k in each if k not in ("output_tokens", "web_searches"))
        for each in (used, more, together)
    ]
    tiers = {max((level.over for level in levels if prompt > level.over), default=0) for prompt in prompts}
    if len(tiers) == 1:
        assert abs(cost(where, together) - cost(where, used) - cost(where, more)) <= 1


@UNHURRIED
@given(st.lists(st.tuples(circumstances, tokens), max_size=20), st.data())
def test_any_breakdown_equals_the_total(
    requests: list[tuple[dict[str, Any], dict[str, int]]], data: st.DataObject
) -> None:
    """Each request is rounded once, so groups of any kind add up to the total to the micro-dollar."""
    costs = [cost(where, used) for where, used in requests]
    groups: dict[int, int] = {}
    for value in costs:
        group = data.draw(st.integers(0, 3))
        groups[group] = groups.get(group, 0) + value
    assert sum(groups.values()) == sum(costs)


@UNHURRIED
@given(circumstances, tokens)
def test_the_order_of_questions_does_not_matter(where: dict[str, Any], used: dict[str, int]) -> None:
    """A card that has answered before answers as a new one does."""
    written = used["cache_write_5m_tokens"] + used["cache_write_1h_tokens"]
    assert cost(where, used) == RateCard().cost(**where, **used, cache_write_tokens=written)


@UNHURRIED
@given(circumstances, tokens)
def test_the_maintained_price_package_agrees(where: dict[str, Any], used: dict[str, int]) -> None:
    """Where no override speaks, the cost is what genai-prices calculates for the same usage."""
    genai_prices = pytest.importorskip("genai_prices")
    rates = CARD.rates_for(where["model"], where["at_ms"])
    assert rates is not None
    if rates.basis != "compiled":
        return
    written = used["cache_write_5m_tokens"] + used["cache_write_1h_tokens"]
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=used["input_tokens"] + written + used["cache_read_tokens"],
            output_tokens=used["output_tokens"],
            cache_write_tokens=written,
            cache_write_5m_tokens=used["cache_write_5m_tokens"],
            cache_write_1h_tokens=used["cache_write_1h_tokens"],
            cache_read_tokens=used["cache_read_tokens"],
        ),
        model_ref=_their_id(where["model"]),
        provider_id="anthropic",
        genai_request_timestamp=datetime.fromtimestamp(where["at_ms"] / 1000, UTC),
    )
    ours = cost({**where, "service_tier": None, "region": None}, {**used, "web_searches": 0})
    assert abs(ours - theirs.total_price * 1_000_000) <= Decimal("0.5")


@UNHURRIED
@given(st.integers(0, 10**12), st.sampled_from([1, 2, 4, 5, 8, 10, 1000, 10**6]))
def test_prices_are_written_exactly(rate: int, scale: int) -> None:
    """The decimal says what the integer says, with two places at least."""
    text = dollars(rate, scale)
    assert Fraction(text) == Fraction(rate, scale * 10**6)
    assert len(text.partition(".")[2]) >= 2


@UNHURRIED
@given(
    st.one_of(st.text(), st.from_regex(r"(us\.|arn:)?(anthropic\.)?claude[-a-z0-9@.:/\[\]]*", fullmatch=True))
)
def test_any_text_may_stand_where_a_model_is_named(text: str) -> None:
    """It is read or it is not; what is read keeps its name when it is read again."""
    parsed = parse_model(text)
    if parsed is not None:
        again = parse_model(parsed.name)
        assert again is not None
        assert (again.name, again.version) == (parsed.name, parsed.version)


def test_the_compiled_table_is_what_the_package_says() -> None:
    """Compiling again gives the file as it is; only for the version it names."""
    pytest.importorskip("genai_prices")
    from watchkeeper.pricing.compile import TARGET, compiled_rows, module_text

    installed = version("genai-prices")
    if f"genai-prices {installed}" != SOURCE:
        pytest.skip(f"compiled from {SOURCE}, installed is {installed}")
    assert module_text(compiled_rows(), installed, DATE) == TARGET.read_text(encoding="utf-8")


def _their_id(name: str) -> str:
    family, *numbers = name.split("-")[1:]
    if numbers[0] == "3":
        return "-".join(["claude", *numbers, family])
    return f"claude-{family}-4-0" if numbers == ["4"] else name
