"""The checked-in description of the HTTP API."""

from __future__ import annotations

import json
from pathlib import Path

from watchkeeper.server.openapi import document

FILE = Path(__file__).parents[2] / "schemas" / "openapi.json"


def test_the_checked_in_description_is_what_the_code_says() -> None:
    """Run ``python -m watchkeeper.server.openapi`` when this fails."""
    assert FILE.read_bytes() == document()


def test_every_operation_answers_errors_in_the_one_shape() -> None:
    """No answer of 400 and above has a JSON shape of its own."""
    for path, methods in json.loads(document())["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                shape = response.get("content", {}).get("application/json", {}).get("schema")
                if int(status) >= 400 and shape is not None:
                    assert shape == {"$ref": "#/components/schemas/ErrorBody"}, (path, method, status)


def test_every_operation_and_parameter_says_what_it_is() -> None:
    """A description without words describes nothing."""
    for path, methods in json.loads(document())["paths"].items():
        for operation in methods.values():
            assert operation["description"], path
            named = [one for one in operation.get("parameters", []) if one["in"] == "query"]
            assert all(one.get("description") for one in named), path


def test_the_shapes_the_page_needs_are_published() -> None:
    """The browser's types are generated from these."""
    schemas = json.loads(document())["components"]["schemas"]
    assert {
        "Status",
        "SessionList",
        "SessionDetail",
        "Timeline",
        "CallDetail",
        "CoverageReport",
        "LiveMessage",
    } <= set(schemas)
