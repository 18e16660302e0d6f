"""Whatever a value is and wherever it stands: afterwards it is gone, lines are as many, and JSON is JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.pipeline.exact_values import PLACEHOLDER, ExactValues

VALUES = st.text(st.characters(exclude_categories=("Cs",)), min_size=6, max_size=30).filter(
    lambda value: value not in PLACEHOLDER and not any(value in word for word in ("kept", "nested", "deep"))
)
TEXTS = st.text(max_size=10)


def body(value: str, before: str, after: str) -> dict[str, Any]:
    """Return an object that holds the value as a text, within one, and within JSON in a text."""
    text = f"{before}{value}{after}"
    return {
        "kept": True,
        "nested": {"deep": [1, None, text]},
        "inner": json.dumps({"a": text}),
        value: [value],
    }


@settings(max_examples=60, deadline=None)
@given(VALUES, TEXTS, TEXTS, st.booleans())
def test_the_value_is_gone_and_all_else_is_there(
    value: str, before: str, after: str, ascii_only: bool
) -> None:
    lines = [json.dumps(body(value, before, after), ensure_ascii=ascii_only), '{"other":[1,2]}', ""]
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    redacted = ExactValues([value.encode()]).redact(data)
    kept = redacted.data.split(b"\n")
    assert len(kept) == len(data.split(b"\n"))
    first = json.loads(kept[0])
    assert value not in json.dumps(first, ensure_ascii=False)
    assert value not in str(first)
    assert first["nested"]["deep"][:2] == [1, None]
    assert first["kept"] is True
    assert json.loads(kept[1]) == {"other": [1, 2]}
    assert redacted.hits["forgotten"] > 0


@settings(max_examples=60, deadline=None)
@given(VALUES, st.text(max_size=40))
def test_what_does_not_hold_the_value_stays_as_it_is(value: str, text: str) -> None:
    data = json.dumps({"kept": text}).encode()
    redacted = ExactValues([value.encode()]).redact(data)
    if not any(form in data for form in ExactValues([value.encode()]).forms):
        assert redacted.data is data
        assert redacted.hits == {}
