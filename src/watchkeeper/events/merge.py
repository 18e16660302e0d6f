"""How facts from several witnesses become one state.

A *state* is what is known of one entity. Every field has a *rule*, and every rule is a join of a semilattice:
commutative, associative and idempotent. So observations may arrive in any order, in any batches, and more than once,
and the state comes out the same to the byte.

========== ===================================== ==============================================================
rule       stored as                             join
========== ===================================== ==============================================================
min, max   the number                            the smaller, the larger
bits       the number                            bitwise or
union      a sorted list without repetition      set union
least      ``[rank, at, value]``                 the least by (witness rank, event time, encoded bytes)
latest     ``[at, rank, value]``                 the latest by event time; ties as for least
witnessed  ``{witness: [at, value]}``            least by (event time, bytes) within each witness; all are kept
========== ===================================== ==============================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from watchkeeper.events.entities import ENTITIES
from watchkeeper.events.fields import WITNESS_ORDER, Field, Rule

State = dict[str, Any]

_canonical = msgspec.json.Encoder(order="deterministic").encode
_pack = msgspec.msgpack.Encoder(order="deterministic").encode
_unpack = msgspec.msgpack.Decoder().decode
_pack_loosely = msgspec.msgpack.Encoder().encode

UNKNOWN_TIME = 1 << 62
"""Event time of a fact without one: loses every tie by time under ``least``."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one observation says about one entity.

    Attributes:
        entity: Name of the entity, a key of `watchkeeper.events.entities.ENTITIES`.
        key: Identity of the entity.
        witness: Name of the witness (``hook``, ``transcript``, ``otel``, ``proxy``).
        rank: Trust in this witness for ``least`` fields; the smallest wins.
        at: Event time in epoch milliseconds, or `UNKNOWN_TIME`.
        values: Field values; ``None`` means that the observation does not say.
    """

    entity: str
    key: str
    witness: str
    rank: int
    at: int
    values: Mapping[str, Any]


def encode_state(state: State) -> bytes:
    """Return the state as canonical bytes: equal states give equal bytes."""
    return _pack(state)


def decode_state(data: bytes) -> State:
    """Return the state that `encode_state` wrote."""
    state: State = _unpack(data)
    return state


def check_storable(facts: Iterable[Facts]) -> None:
    """Raise where a value is of a kind that no state can hold.

    Raises:
        TypeError, ValueError, OverflowError, RecursionError: What the encoder has against it.
    """
    _pack_loosely([[item.key, item.at, item.values] for item in facts])


def lift(facts: Facts, fields: Mapping[str, Field]) -> State:
    """Return the facts as a state of their own, ready to be joined.

    Raises:
        KeyError: A value has no declared field, and so no merge rule.
    """
    state: State = {}
    for name, value in facts.values.items():
        if value is None:
            continue
        rule = fields[name].rule
        if rule == "least":
            state[name] = [facts.rank, facts.at, value]
        elif rule == "latest":
            state[name] = [facts.at, facts.rank, value]
        elif rule == "witnessed":
            state[name] = {facts.witness: [facts.at, value]}
        elif rule == "union":
            state[name] = _unite([], value) if len(value) > 1 else list(value)
        else:
            state[name] = value
    return state


def join(left: State, right: State, fields: Mapping[str, Field]) -> State:
    """Join two states; `left` is updated in place and returned."""
    for name, value in right.items():
        mine = left.get(name)
        if mine is None:
            left[name] = value
        elif mine != value:
            left[name] = _JOINS[fields[name].rule](mine, value)
    return left


def joined(facts: Iterable[Facts]) -> dict[tuple[str, str], State]:
    """Return facts as states, joined by entity: name and key."""
    states: dict[tuple[str, str], State] = {}
    for item in facts:
        fields = ENTITIES[item.entity]
        state = lift(item, fields)
        known = states.get((item.entity, item.key))
        states[item.entity, item.key] = state if known is None else join(known, state, fields)
    return states


def value_of(state: State, name: str, rule: Rule) -> Any:
    """Return the field's value without its ordering tags, or ``None`` when nothing is known.

    A ``witnessed`` field gives its value by the first witness of `WITNESS_ORDER` that has one.
    """
    stored = state.get(name)
    if stored is None:
        return None
    if rule in {"least", "latest"}:
        return stored[2]
    if rule == "witnessed":
        for witness in WITNESS_ORDER:
            if witness in stored:
                return stored[witness][1]
        return None
    return stored


def _unite(left: list[Any], right: list[Any]) -> list[Any]:
    merged = {_canonical(item): item for item in left}
    for item in right:
        merged.setdefault(_canonical(item), item)
    return [merged[key] for key in sorted(merged)]


def _least(left: list[Any], right: list[Any]) -> list[Any]:
    if left[0] != right[0]:
        return left if left[0] < right[0] else right
    if left[1] != right[1]:
        return left if left[1] < right[1] else right
    return left if _canonical(left[2]) <= _canonical(right[2]) else right


def _latest(left: list[Any], right: list[Any]) -> list[Any]:
    if left[0] != right[0]:
        return left if left[0] > right[0] else right
    if left[1] != right[1]:
        return left if left[1] < right[1] else right
    return left if _canonical(left[2]) <= _canonical(right[2]) else right


def _witnessed(left: dict[str, list[Any]], right: dict[str, list[Any]]) -> dict[str, list[Any]]:
    merged = dict(left)
    for witness, stored in right.items():
        mine = merged.get(witness)
        if mine is None or _before(stored, mine):
            merged[witness] = stored
    return merged


def _before(left: list[Any], right: list[Any]) -> bool:
    if left[0] != right[0]:
        return bool(left[0] < right[0])
    return _canonical(left[1]) < _canonical(right[1])


_JOINS: dict[str, Callable[[Any, Any], Any]] = {
    "min": min,
    "max": max,
    "bits": lambda left, right: left | right,
    "union": _unite,
    "least": _least,
    "latest": _latest,
    "witnessed": _witnessed,
}
