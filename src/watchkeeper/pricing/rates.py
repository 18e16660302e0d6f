"""The price card in force: rates of a model on a day, and the cost of one request.

All arithmetic is on integers: pico-dollars per token, factors as fractions, and one rounding (half to even) to whole
micro-dollars at the end of each request.
"""

from __future__ import annotations

from typing import NamedTuple

from watchkeeper.pricing.compiled import DATE, ROWS, SOURCE
from watchkeeper.pricing.ids import BEDROCK, FIRST_PARTY, VERTEX, Model, parse_model
from watchkeeper.pricing.overrides import (
    OVERRIDES,
    REGIONAL_FROM,
    RETURNED_TO_STANDARD,
    US_INFERENCE_FROM,
    WEB_SEARCH,
)
from watchkeeper.pricing.table import PICO_PER_MICRO, Row, day_of, dollars, in_force
from watchkeeper.pricing.user_rates import FIELDS, NO_USER_RATES, OwnRates, UserRates, read_user_rates
from watchkeeper.settings import Settings

_DAY_MS = 86_400_000
_LAST_DAY = "9999-12-31"
_CACHE_SIZE = 50_000
_COMMON = (None, None, (5, 4), (2, 1), (1, 10))
"""Usual ratios of cache rates to the input rate, in the order of `FIELDS`."""

_UNBOUND_REGIONS = frozenset({"", "global", "not_available", "unspecified", "default"})

_Levels = tuple[tuple[int, ...], ...]


class Rates(NamedTuple):
    """What one model's tokens cost on a day, and how that is known.

    Attributes:
        model: Name the price is listed under, else the id as given.
        provider: Whose price list.
        speed: ``standard`` or ``fast``.
        over: Prompt tokens above which these rates price the whole request; 0 for the base rates.
        rates: Pico-dollars per token times `scale`, in the order of `user_rates.FIELDS`; None: not known.
        web_search: Pico-dollars per web search, times `scale`.
        scale: What the figures are multiplied by, so that factors stay exact.
        factors: The factors that are in them, as ``batch x0.5``.
        since: First UTC day of the row; empty: from the beginning.
        until: First UTC day after it; empty: open.
        basis: ``compiled``, ``override`` or ``user``.
        source: Package and version, page, or place in the configuration.
        date: Day on which the compiled source was taken; empty for others.
        reason: Why an override is there.
    """

    model: str
    provider: str
    speed: str
    over: int
    rates: tuple[int | None, ...]
    web_search: int
    scale: int
    factors: tuple[str, ...]
    since: str
    until: str
    basis: str
    source: str
    date: str
    reason: str

    def per_mtok(self) -> dict[str, str | None]:
        """Return dollars per million tokens by field, as exact decimals."""
        pairs = zip(FIELDS, self.rates, strict=True)
        return {name: None if rate is None else dollars(rate, self.scale) for name, rate in pairs}


class RateCard:
    """Packaged prices with the user's own over them.

    Args:
        user: The user's rates and multipliers.
    """

    def __init__(self, user: UserRates = NO_USER_RATES) -> None:
        self._user = user
        self._rows: dict[tuple[str, str, str], tuple[list[Row], list[Row]]] | None = None
        self._cache: dict[tuple[object, ...], _Levels | None] = {}
        self._digest = ""

    @property
    def has_own(self) -> bool:
        """Whether the user has said anything of prices."""
        return self._user != NO_USER_RATES

    @property
    def digest(self) -> str:
        """A digest that changes with any price, factor or override."""
        if not self._digest:
            from hashlib import sha256

            said = repr((SOURCE, ROWS, OVERRIDES, WEB_SEARCH, RETURNED_TO_STANDARD, self._user))
            self._digest = sha256(said.encode()).hexdigest()[:32]
        return self._digest

    def cost(
        self,
        *,
        model: str | None,
        at_ms: int | None,
        input_tokens: int | None,
        output_tokens: int | None,
        cache_write_tokens: int | None,
        cache_write_5m_tokens: int | None,
        cache_write_1h_tokens: int | None,
        cache_read_tokens: int | None,
        web_searches: int | None,
        service_tier: str | None,
        speed: str | None,
        region: str | None,
    ) -> int | None:
        """Return what one request costs, in whole micro-dollars; None where that is not known.

        ``at_ms`` is in epoch milliseconds; None takes the newest prices. ``input_tokens`` are the uncached ones,
        ``cache_write_tokens`` all writes, of which what the two splits do not explain counts as 5-minute writes.
        ``service_tier`` batch halves the token rates, others are billed as standard. ``region`` is
        ``inference_geo``, or the cloud's region.
        """
        if input_tokens is None and output_tokens is None:
            return None
        long, short = cache_write_1h_tokens or 0, cache_write_5m_tokens or 0
        short = max(short, (cache_write_tokens or 0) - long)
        terms = (model, at_ms, service_tier, speed, region)
        return self.price(
            terms,
            input_tokens or 0,
            output_tokens or 0,
            short,
            long,
            cache_read_tokens or 0,
            web_searches or 0,
        )

    def price(
        self,
        terms: tuple[str | None, int | None, str | None, str | None, str | None],
        fresh: int,
        output: int,
        short: int,
        long: int,
        read: int,
        searches: int,
    ) -> int | None:
        """Return the same for counts that are known: the quick way, for many requests.

        Args:
            terms: Model, time, service tier, speed and region as `cost` takes them.
            fresh: Uncached input.
            output: Output.
            short: Cache writes for five minutes.
            long: Cache writes for an hour.
            read: Cache reads.
            searches: Web searches.
        """
        model, at_ms, service_tier, speed, region = terms
        key = (model, None if at_ms is None else at_ms // _DAY_MS, service_tier, speed, region)
        try:
            levels = self._cache[key]
        except KeyError:
            levels = self._remember(key, at_ms)
        if levels is None:
            return None
        level = levels[0]
        if len(levels) > 1:
            prompt = fresh + short + long + read
            for higher in levels:
                if prompt > higher[0]:
                    level = higher
        _, fresh_rate, out_rate, short_rate, long_rate, read_rate, search, divisor = level
        if read_rate < 0 and (short or long or read):
            return None
        total = (
            fresh * fresh_rate + output * out_rate + short * short_rate + long * long_rate + read * read_rate
        )
        if searches:
            total += searches * search
        micros, rest = divmod(total, divisor)
        # Half to even: half up would add up over many requests, as halves are frequent.
        upwards = 2 * rest > divisor or (2 * rest == divisor and micros & 1)
        return micros + 1 if upwards else micros

    def rates_for(
        self,
        model: str | None,
        at_ms: int | None,
        *,
        service_tier: str | None = None,
        speed: str | None = None,
        region: str | None = None,
        prompt_tokens: int = 0,
    ) -> Rates | None:
        """Return the rates that price a request of `prompt_tokens`, with their source; None: unpriced."""
        levels = self.levels_for(model, at_ms, service_tier=service_tier, speed=speed, region=region)
        fitting = [level for level in levels if level.over == 0 or prompt_tokens > level.over]
        return fitting[-1] if fitting else None

    def levels_for(
        self,
        model: str | None,
        at_ms: int | None,
        *,
        service_tier: str | None = None,
        speed: str | None = None,
        region: str | None = None,
    ) -> list[Rates]:
        """Return the rates of every tier by prompt length, the base first; empty: unpriced."""
        if not model:
            return []
        parsed = parse_model(model)
        fast = speed == "fast" or bool(parsed and parsed.fast)
        day = _LAST_DAY if at_ms is None else day_of(at_ms)
        rows, factors = self._listed(parsed, day, "fast" if fast else "standard", region)
        standard = self._listed(parsed, day, "standard", region)[0] if fast else rows
        if service_tier == "batch" or (parsed is not None and parsed.batch):
            factors = [*factors, ("batch x0.5", 1, 2)]
        return self._with_users(model, self._own(model, parsed), rows, standard, factors, fast=fast)

    def _with_users(
        self,
        model: str,
        own: OwnRates | None,
        rows: list[Row],
        standard: list[Row],
        factors: list[tuple[str, int, int]],
        *,
        fast: bool,
    ) -> list[Rates]:
        if own is not None and any(rate is not None for rate in own.rates):
            rows = _with_own(model, own, rows, standard, fast=fast)
        multiplier = own.multiplier if own is not None and own.multiplier else self._user.multiplier
        return [_rates(row, factors, multiplier) for row in rows]

    def listed(self, at_ms: int | None = None) -> list[Rates]:
        """Return everything in force at a time, the user's rates and multipliers applied.

        By model, provider, speed and tier; models that only the user names come last.
        """
        day = _LAST_DAY if at_ms is None else day_of(at_ms)
        found: list[Rates] = []
        for model, provider, speed in sorted(self._index()):
            rows = self._in_force(model, provider, speed, day)
            standard = self._in_force(model, provider, "standard", day)
            own = self._own(model, parse_model(model))
            found += self._with_users(model, own, rows, standard, [], fast=speed == "fast") if rows else []
        known = {model for model, _, _ in self._index()}
        for model in self._user.models:
            parsed = parse_model(model)
            if parsed is None or parsed.name not in known:
                found += self.levels_for(model, at_ms)
        return found

    def _remember(self, key: tuple[object, ...], at_ms: int | None) -> _Levels | None:
        model, _, service_tier, speed, region = key
        levels = self.levels_for(
            model,  # type: ignore[arg-type]
            at_ms,
            service_tier=service_tier,  # type: ignore[arg-type]
            speed=speed,  # type: ignore[arg-type]
            region=region,  # type: ignore[arg-type]
        )
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()
        found = tuple(_level(rates) for rates in levels) or None
        self._cache[key] = found
        return found

    def _own(self, model: str, parsed: Model | None) -> OwnRates | None:
        named = self._user.models.get(model)
        if named is None and parsed is not None:
            named = self._user.models.get(parsed.name)
        everything = self._user.all_models
        if everything is None:
            return named
        if named is None:
            return everything
        rates = tuple(a if a is not None else b for a, b in zip(everything.rates, named.rates, strict=True))
        return OwnRates(rates, named.multiplier, everything.source)

    def _index(self) -> dict[tuple[str, str, str], tuple[list[Row], list[Row]]]:
        if self._rows is None:
            self._rows = {}
            for model, provider, speed, since, over, rates in ROWS:
                row = Row(model, provider, speed, since, "", over, rates, SOURCE)
                self._rows.setdefault(row[:3], ([], []))[0].append(row)
            for row in OVERRIDES:
                self._rows.setdefault(row[:3], ([], []))[1].append(row)
        return self._rows

    def _in_force(self, model: str, provider: str, speed: str, day: str) -> list[Row]:
        compiled, ours = self._index().get((model, provider, speed), ([], []))
        return in_force(ours, day) or in_force(compiled, day)

    def _listed(
        self, parsed: Model | None, day: str, speed: str, region: str | None
    ) -> tuple[list[Row], list[tuple[str, int, int]]]:
        """Return the list prices of a model, and the factors that its region adds."""
        if parsed is None:
            return [], []
        if day >= RETURNED_TO_STANDARD.get((parsed.name, speed), _LAST_DAY):
            speed = "standard"
        bound = parsed.regional
        if bound is None or parsed.provider == VERTEX:
            bound = bool(bound) or (region or "").lower() not in _UNBOUND_REGIONS
        if parsed.provider == BEDROCK:
            provider = "bedrock-regional" if bound else BEDROCK
            rows = self._in_force(parsed.name, provider, speed, day)
            if rows:
                return rows, []
        elif parsed.provider == VERTEX:
            rows = self._in_force(parsed.name, VERTEX, speed, day)
            if rows:
                return rows, _regional(parsed, bound=bound)
        rows = self._in_force(parsed.name, FIRST_PARTY, speed, day)
        if parsed.provider == FIRST_PARTY:
            billed = (region or "").lower() == "us" and parsed.version >= US_INFERENCE_FROM
            return rows, [("us inference x1.1", 11, 10)] if billed else []
        return rows, _regional(parsed, bound=bound)


def load_rates(settings: Settings | None) -> RateCard:
    """Return the price card: the packaged table, and over it what the settings say.

    Raises:
        ConfigError: A price in the settings cannot be used; file and field are named.
    """
    return RateCard() if settings is None else RateCard(read_user_rates(settings))


def _regional(parsed: Model, *, bound: bool) -> list[tuple[str, int, int]]:
    return [("region x1.1", 11, 10)] if bound and parsed.version >= REGIONAL_FROM else []


def _with_own(model: str, own: OwnRates, rows: list[Row], standard: list[Row], *, fast: bool) -> list[Row]:
    """Return one row of the user's rates, completed from the list price; empty where that is not enough.

    A fast request costs as many times the user's rate as the list price of fast is of the standard one.
    """
    listed = standard[0] if standard else None
    base: tuple[int | None, ...] = listed.rates if listed is not None else (None,) * len(FIELDS)
    rates = [given if given is not None else base[i] for i, given in enumerate(own.rates)]
    fresh = rates[0]
    if fresh is None or rates[1] is None:
        return []
    for i, common in enumerate(_COMMON):
        if common is not None and own.rates[i] is None and own.rates[0] is not None:
            usual, usual_input = base[i], base[0]
            top, bottom = (usual, usual_input) if usual is not None and usual_input else common
            rates[i] = _half_up(fresh * top, bottom)
    speed = "fast" if fast else "standard"
    if fast and rows and listed is not None and rows[0].rates[0] and listed.rates[0]:
        top, bottom = rows[0].rates[0], listed.rates[0]
        rates = [None if rate is None else _half_up(rate * top, bottom) for rate in rates]
    name = listed.model if listed is not None else model
    provider = listed.provider if listed is not None else ""
    return [Row(name, provider, speed, "", "", 0, tuple(rates), own.source, "the user's own rates")]


def _half_up(top: int, bottom: int) -> int:
    return (2 * top + bottom) // (2 * bottom)


def _rates(row: Row, factors: list[tuple[str, int, int]], multiplier: tuple[int, int]) -> Rates:
    top = bottom = 1
    for _, numerator, denominator in factors:
        top, bottom = top * numerator, bottom * denominator
    times, scale = multiplier
    names = [name for name, _, _ in factors]
    if times != scale:
        names.append(f"contract x{dollars(times * PICO_PER_MICRO, scale)}")
    basis = "user" if row.reason.startswith("the user's") else "override" if row.reason else "compiled"
    return Rates(
        model=row.model,
        provider=row.provider,
        speed=row.speed,
        over=row.over,
        rates=tuple(None if rate is None else rate * top * times for rate in row.rates),
        web_search=WEB_SEARCH * bottom * times,
        scale=bottom * scale,
        factors=tuple(names),
        since=row.since,
        until=row.until,
        basis=basis,
        source=row.source,
        date=DATE if basis == "compiled" else "",
        reason=row.reason,
    )


def _level(rates: Rates) -> tuple[int, ...]:
    """Return the row `RateCard.cost` works with: over, five rates, search fee, divisor.

    All cache rates are -1 where one is not known: models without a price for one have no cache.
    """
    fresh, out, *cache = rates.rates
    assert fresh is not None
    assert out is not None
    known = [rate for rate in cache if rate is not None]
    kept = known if len(known) == len(cache) else [-1] * len(cache)
    return (rates.over, fresh, out, *kept, rates.web_search, rates.scale * PICO_PER_MICRO)
