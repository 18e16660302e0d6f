"""Compile the price table from the PyPI package genai-prices (MIT): ``python -m watchkeeper.pricing.compile``.

A maintenance step; run time needs only its result, `compiled.py`, which names the package's version. Overrides are
in a module of their own, which this never writes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from watchkeeper.pricing.ids import parse_model
from watchkeeper.pricing.table import pico

TARGET = Path(__file__).with_name("compiled.py")

_PROVIDERS = {"anthropic": "anthropic", "aws": "bedrock", "google": "vertex"}
_FIELDS = ("input_mtok", "output_mtok", "cache_write_mtok", "cache_write_1h_mtok", "cache_read_mtok")

_HEAD = '''"""Prices compiled from genai-prices {version} (https://pypi.org/project/genai-prices, MIT) on {date}.

Written by ``python -m watchkeeper.pricing.compile``; edit `overrides.py` instead.
"""

from __future__ import annotations

SOURCE = "genai-prices {version}"
DATE = "{date}"

# fmt: off
# ruff: noqa: E501
ROWS: tuple[tuple[str, str, str, str, int, tuple[int | None, ...]], ...] = (
    # model, provider, speed, since, prompt over, pico-dollars per token: input, output, write 5m, write 1h, read
'''

CompiledRow = tuple[str, str, str, str, int, tuple[int | None, ...]]


def compiled_rows() -> list[CompiledRow]:
    """Return the rows of Anthropic's models at the three providers, sorted."""
    from genai_prices.data import providers

    rows: dict[tuple[str, str, str, str, int], tuple[int | None, ...]] = {}
    for provider in providers:
        place = _PROVIDERS.get(provider.id)
        for model in provider.models if place else ():
            for key, rates in _model_rows(str(place), model):
                rows.setdefault(key, rates)
    return [(*key, _filled(key, rates, rows)) for key, rates in sorted(rows.items())]


def _model_rows(
    place: str, model: Any
) -> Iterator[tuple[tuple[str, str, str, str, int], tuple[int | None, ...]]]:
    text = model.id
    if text.startswith(("regional.", "global.")):
        place += "-regional" if text.startswith("regional.") else ""
        text = text.partition(".")[2]
    parsed = parse_model(text)
    if parsed is None:
        return
    entries: list[tuple[str, Any, Any]] = [
        ("standard", getattr(entry, "constraint", None), getattr(entry, "prices", entry))
        for entry in (model.prices if isinstance(model.prices, list) else [model.prices])
    ]
    entries += [
        ("fast", variant.constraint, variant.prices)
        for variant in model.price_variants or ()
        if variant.when == {"speed": "fast"}
    ]
    for speed, constraint, prices in entries:
        since = constraint.start_date.isoformat() if constraint is not None else ""
        for over in _starts(prices):
            key = (parsed.name, place, speed, since, over)
            yield key, tuple(_rate(getattr(prices, field), over) for field in _FIELDS)


def _starts(prices: Any) -> list[int]:
    tiers = (getattr(getattr(prices, field), "tiers", ()) for field in _FIELDS)
    return sorted({0, *(tier.start for group in tiers for tier in group)})


def _rate(price: Any, over: int) -> int | None:
    if price is None:
        return None
    if not isinstance(price, Decimal):
        price = next((tier.price for tier in reversed(price.tiers) if tier.start <= over), price.base)
    return pico(f"{price:f}")


def _filled(
    key: tuple[str, str, str, str, int],
    rates: tuple[int | None, ...],
    rows: dict[tuple[str, str, str, str, int], tuple[int | None, ...]],
) -> tuple[int | None, ...]:
    """Return the rates with gaps filled from the first party's row at the same input and output price."""
    own = rows.get((key[0], "anthropic", *key[2:]))
    if own is None or own[:2] != rates[:2]:
        return rates
    return tuple(first if rate is None else rate for rate, first in zip(rates, own, strict=True))


def module_text(rows: Iterable[CompiledRow], source_version: str, date: str) -> str:
    """Return the text of `compiled.py`."""
    lines = []
    for model, provider, speed, since, over, rates in rows:
        shown = ", ".join("None" if rate is None else f"{rate:_}" for rate in rates)
        lines.append(f'    ("{model}", "{provider}", "{speed}", "{since}", {over:_}, ({shown})),\n')
    return _HEAD.format(version=source_version, date=date) + "".join(lines) + ")\n"


def main() -> int:
    """Write `compiled.py` anew; keep the old date when no price has changed."""
    from watchkeeper.pricing import compiled

    rows, source_version = compiled_rows(), version("genai-prices")
    same = tuple(rows) == compiled.ROWS and compiled.SOURCE.endswith(f" {source_version}")
    date = compiled.DATE if same else datetime.now(UTC).date().isoformat()
    TARGET.write_text(module_text(rows, source_version, date), encoding="utf-8")
    sys.stdout.write(f"{TARGET}: {len(rows)} rows of genai-prices {source_version}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
