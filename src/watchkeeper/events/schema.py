"""The published schema of the event model, generated from the one table of entities.

``python -m watchkeeper.events.schema`` writes ``schemas/events.v1.json``. A field may be added under the same version;
a changed meaning, unit or rule needs a new one, and readers keep understanding the old.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from watchkeeper.events.entities import ENTITIES, SEEN_NAMES, WITNESS_BITS
from watchkeeper.events.fields import WITNESS_ORDER, Field

VERSION = 1

_INTEGER_UNITS = {
    "ms",
    "micro-dollars",
    "microseconds",
    "bytes",
    "lines",
    "tokens",
    "count",
    "number",
    "bit set",
    "0 or 1",
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of every entity, with unit and merge rule of each field."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:watchkeeper:events:v{VERSION}",
        "title": "Watchkeeper event model",
        "description": "Entities as they follow from all observations. Absent means not known, never zero.",
        "x-version": VERSION,
        "x-witness-order": list(WITNESS_ORDER),
        "x-witness-bits": WITNESS_BITS,
        "x-call-bits": {name: bit for bit, name in SEEN_NAMES.items()},
        "$defs": {name: _entity(fields) for name, fields in ENTITIES.items()},
    }


def _entity(fields: dict[str, Field]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _field(field) for name, field in fields.items()},
        "additionalProperties": True,
    }


def _field(field: Field) -> dict[str, Any]:
    return {**_form(field), "description": field.help, "x-unit": field.unit, "x-merge": field.rule}


def _form(field: Field) -> dict[str, Any]:
    if field.rule == "union":
        return {"type": "array", "uniqueItems": True}
    if field.unit == "ref":
        items = [{"type": "string"}, {"type": "array"}, {"type": "integer"}]
        return {"type": "array", "prefixItems": items, "items": False}
    if field.unit == "[boot, ms]":
        items = [{"type": "string"}, {"type": "integer"}]
        return {"type": "array", "prefixItems": items, "items": False}
    if field.unit == "object":
        return {"type": "object"}
    return {"type": "integer" if field.unit in _INTEGER_UNITS else "string"}


def text() -> str:
    """Return the schema as it is checked in."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "schemas/events.v1.json")
    target.write_text(text(), encoding="utf-8")
