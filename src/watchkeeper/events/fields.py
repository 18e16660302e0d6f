"""What a field declaration is, and the order of the witnesses. Light enough for every quick command."""

from __future__ import annotations

from typing import Literal, NamedTuple

Rule = Literal["min", "max", "bits", "union", "least", "latest", "witnessed"]


class Field(NamedTuple):
    """One fact of an entity: its merge rule, its unit or form, and what it means."""

    rule: Rule
    unit: str
    help: str


WITNESS_ORDER = ("hook", "transcript", "otel", "proxy", "statusline")
"""Witnesses from the most to the least direct; a witness's rank is its place here."""

WITNESS_RANK = {name: place for place, name in enumerate(WITNESS_ORDER)}
