"""The merge rules are a semilattice: order, batching and repetition never change the state."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchkeeper.events.entities import ENTITIES
from watchkeeper.events.fields import WITNESS_ORDER, WITNESS_RANK, Field
from watchkeeper.events.merge import Facts, State, decode_state, encode_state, join, lift

FIELDS = {
    rule: Field(rule, "", "") for rule in ("min", "max", "bits", "union", "least", "latest", "witnessed")
}

_numbers = st.integers(min_value=0, max_value=50)
_values = st.one_of(_numbers, st.text(max_size=3), st.lists(_numbers, max_size=2))


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    witness = draw(st.sampled_from(WITNESS_ORDER))
    values: dict[str, Any] = {
        "min": draw(st.none() | _numbers),
        "max": draw(st.none() | _numbers),
        "bits": draw(st.none() | _numbers),
        "union": draw(st.none() | st.lists(_values, max_size=3)),
        "least": draw(st.none() | _values),
        "latest": draw(st.none() | _values),
        "witnessed": draw(st.none() | _values),
    }
    rank = WITNESS_RANK[witness] * 10 + draw(st.integers(0, 2))
    return Facts("test", "key", witness, rank, draw(st.integers(0, 5)), values)


def merged(items: list[Facts]) -> bytes:
    state: State = {}
    for item in items:
        join(state, lift(item, FIELDS), FIELDS)
    return encode_state(state)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(facts(), max_size=8), st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_same_bytes(items: list[Facts], shuffle: random.Random) -> None:
    expected = merged(items)
    again = items + shuffle.sample(items, len(items) // 2)
    shuffle.shuffle(again)
    assert merged(again) == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(facts(), max_size=8), st.integers(0, 8), st.booleans())
def test_any_splitting_into_stored_parts_gives_the_same_bytes(
    items: list[Facts], cut: int, swap: bool
) -> None:
    left = decode_state(merged(items[:cut]))
    right = decode_state(merged(items[cut:]))
    first, second = (right, left) if swap else (left, right)
    assert encode_state(join(first, second, FIELDS)) == merged(items)


@given(facts())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_state_survives_storage(item: Facts) -> None:
    state = lift(item, FIELDS)
    assert encode_state(decode_state(encode_state(state))) == encode_state(state)


def test_a_field_without_a_rule_is_refused() -> None:
    with pytest.raises(KeyError):
        lift(Facts("call", "k", "hook", 0, 1, {"no_such_field": 1}), ENTITIES["call"])


def test_every_field_has_a_known_rule_a_unit_and_a_help_text() -> None:
    for entity, fields in ENTITIES.items():
        for name, field in fields.items():
            assert field.rule in FIELDS, (entity, name)
            assert field.unit, (entity, name)
            assert field.help.endswith("."), (entity, name)
