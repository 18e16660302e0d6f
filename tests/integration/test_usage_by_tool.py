"""``wk usage --by tool``: a request that asked for several tools is shared among them, and nothing gets lost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from harness_system import wk, wk_json
from written_session import WrittenSession

from watchkeeper.settings import Settings

FIGURES = ("requests", "input_tokens", "output_tokens", "cache_write_5m_tokens", "cache_read_tokens")


def asked_for(*tools: str) -> list[dict[str, Any]]:
    return [{"type": "tool_use", "id": f"toolu_{tool}", "name": tool, "input": {}} for tool in tools]


def test_a_tool_that_shares_every_request_has_its_part_and_the_rows_add_up(settings: Settings) -> None:
    session = WrittenSession(settings.claude_config_dirs[0], "5e550001-0000-4000-8000-000000000000")
    session.prompt("Look.")
    session.answer(*asked_for("Bash", "Grep", "Read"))
    session.answer()
    by_tool = wk_json(settings, "usage", "--by", "tool")
    by_day = wk_json(settings, "usage", "--by", "day")
    assert [row["key"]["tool"] for row in by_tool["rows"]] == ["Bash", "Grep", "Read", None]
    assert by_tool["total"] == by_day["total"]
    for figure in FIGURES:
        assert sum(row[figure] for row in by_tool["rows"]) == by_day["total"][figure]
    assert sum(Decimal(row["cost_usd"]) for row in by_tool["rows"]) == Decimal(by_day["total"]["cost_usd"])
    assert "counted at the first one" in wk(settings, "usage", "--by", "tool").stdout


def test_a_part_of_an_unpriced_request_is_unpriced_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("written_session.MODEL", "model-unheard-of")
    session = WrittenSession(settings.claude_config_dirs[0], "5e550002-0000-4000-8000-000000000000")
    session.prompt("Look.")
    session.answer(*asked_for("Bash", "Grep"))
    rows = wk_json(settings, "usage", "--by", "tool")["rows"]
    assert [(row["requests"], row["cost_usd"]) for row in rows] == [(1, None), (0, None)]
