"""Rates of the user's own: a contract's prices per model, multipliers, and rates for all models.

``[prices]`` in ``config.toml``::

    [prices]
    multiplier = 0.85                      # of everything, web searches too

    [prices."claude-opus-4-6"]             # any id; dollars per million tokens
    input = 4.5
    output = 22.5
    multiplier = 0.9                       # in place of the general one

A cache rate that is not given keeps the model's usual ratio to the input rate, else the common one: 1.25 for 5-minute
writes, 2 for 1-hour writes, 0.1 for reads. ``CLAUDE_RATE_INPUT`` and ``CLAUDE_RATE_OUTPUT`` are dollars per 1,000
tokens of every model and beat all of these.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from watchkeeper.errors import ConfigError
from watchkeeper.pricing.ids import parse_model
from watchkeeper.settings import Settings

FIELDS = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")
_PLACES = 6


class OwnRates(NamedTuple):
    """What the user says of one model.

    Attributes:
        rates: Pico-dollars per token in the order of `FIELDS`; None: by the table.
        multiplier: Numerator and denominator for the whole cost; None: the general one.
        source: The section or variable.
    """

    rates: tuple[int | None, ...]
    multiplier: tuple[int, int] | None
    source: str


class UserRates(NamedTuple):
    """Everything the user says of prices.

    Attributes:
        models: By name as `ids.parse_model` gives it, and by the id as it is written.
        all_models: Rates of ``CLAUDE_RATE_INPUT`` and ``CLAUDE_RATE_OUTPUT``.
        multiplier: The general multiplier as numerator and denominator.
    """

    models: dict[str, OwnRates]
    all_models: OwnRates | None
    multiplier: tuple[int, int]


NO_USER_RATES = UserRates({}, None, (1, 1))


def read_user_rates(settings: Settings) -> UserRates:
    """Return the user's rates.

    Raises:
        ConfigError: A value has no usable form; file and field are named.
    """
    config = str(settings.places.config)
    multiplier = _multiplier(settings["prices.multiplier"], _origin(settings, "prices.multiplier"))
    models = {}
    for name, table in settings.sections.get("prices", {}).items():
        own = _own_rates(name, table, config)
        models[name] = own
        parsed = parse_model(name)
        if parsed is not None:
            models[parsed.name] = own
    return UserRates(models, _for_all_models(settings), multiplier)


def _for_all_models(settings: Settings) -> OwnRates | None:
    rates: list[int | None] = []
    sources = []
    for name in ("prices.rate_input", "prices.rate_output"):
        # Dollars per 1,000 tokens are a thousandth of dollars per million.
        rate = _scaled(settings[name], 9, _origin(settings, name))
        rates.append(rate or None)
        if rate:
            sources.append(_origin(settings, name))
    if not sources:
        return None
    return OwnRates((*rates, None, None, None), None, " and ".join(sources))


def _own_rates(name: str, table: dict[str, Any], config: str) -> OwnRates:
    place = f"{config}: prices.{name}"
    unknown = sorted(set(table) - {*FIELDS, "multiplier"})
    if unknown:
        raise ConfigError(
            f"unknown field {unknown[0]}", hint=f"Known: {', '.join(FIELDS)}, multiplier.", place=place
        )
    rates = tuple(
        _scaled(table[field], _PLACES, f"{place}.{field}") if field in table else None for field in FIELDS
    )
    own = _multiplier(table["multiplier"], f"{place}.multiplier") if "multiplier" in table else None
    return OwnRates(rates, own, f"config.toml [prices.{name}]")


def _multiplier(value: object, place: str) -> tuple[int, int]:
    number = _scaled(value, _PLACES, place)
    divisor = 10**_PLACES
    while divisor > 1 and number % 10 == 0:
        number, divisor = number // 10, divisor // 10
    return number, divisor


def _scaled(value: object, places: int, place: str) -> int:
    """Return a decimal times ten to the power of `places`, exactly."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError("must be a number", why=f"found {value!r}", place=place)
    if isinstance(value, int) and value >= 0:
        return value * int(10**places)
    if value == 0:
        return 0
    from decimal import Decimal, InvalidOperation

    try:
        scaled = Decimal(repr(value)).scaleb(places)
        exact = int(scaled) if scaled == scaled.to_integral_value() else -1
    except (InvalidOperation, OverflowError, ValueError):
        exact = -1
    if exact < 0:
        raise ConfigError(
            "must be a price or factor of at least 0",
            why=f"found {value!r}; at most {places} decimal places",
            place=place,
        )
    return exact


def _origin(settings: Settings, name: str) -> str:
    value = settings.values[name]
    if value.origin == "config.toml":
        return f"{settings.places.config}: {name}"
    return name if value.origin == "default" else value.origin
