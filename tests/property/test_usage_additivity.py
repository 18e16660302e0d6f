"""Laws of usage: a breakdown adds up to the total to the micro-dollar, and a scan says what the index says."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usage_answers import indexed_usage, joined_usage, scanned_usage

from watchkeeper.pipeline import usage_scan
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.settings import Settings

MODELS = (
    "claude-opus-4-6",
    "claude-sonnet-4-5-20250929",
    "claude-haiku-5-5",
    "gpt-unheard-of",
    "<synthetic>",
)
COUNTS = ("requests", "input_tokens", "output_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
          "cache_read_tokens", "web_searches", "unpriced_requests", "partial_requests")  # fmt: skip

count = st.one_of(st.none(), st.integers(0, 300_000))
answers = st.fixed_dictionaries(
    {
        "id": st.integers(0, 12),
        "session": st.integers(0, 3),
        "agent": st.sampled_from([None, None, "a1", "aside_question-1"]),
        "side": st.booleans(),
        "minute": st.integers(0, 60 * 24 * 9),
        "input": count,
        "output": count,
        "read": count,
        "five": count,
        "hour": count,
        "cost": st.sampled_from([None, None, None, 0.0123456]),
        "stop": st.sampled_from([None, "end_turn"]),
    }
)


def line(item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the file that an answer is written to, and its line."""
    session = f"5e55{item['session']:04d}-0000-4000-8000-000000000000"
    minute = item["minute"]
    at = f"2026-01-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00.000Z"
    usage = {
        "input_tokens": item["input"],
        "output_tokens": item["output"],
        "cache_read_input_tokens": item["read"],
        "cache_creation_input_tokens": (item["five"] or 0) + (item["hour"] or 0),
        "cache_creation": {
            "ephemeral_5m_input_tokens": item["five"],
            "ephemeral_1h_input_tokens": item["hour"],
        },
    }
    # One answer has one model and one branch, whoever repeats it.
    model, branch = MODELS[item["id"] % len(MODELS)], (None, "main", "feat/x")[item["id"] % 3]
    message = {"id": f"msg_{item['id']}", "role": "assistant", "model": model, "usage": usage}
    body = {
        "type": "assistant",
        "sessionId": session,
        "timestamp": at,
        "cwd": f"/home/ada/project-{item['session'] % 2}",
        "gitBranch": branch,
        "isSidechain": item["side"] or bool(item["agent"]),
        "uuid": f"u{minute}-{item['id']}",
        "message": message | {"stop_reason": item["stop"], "content": []},
    }
    if item["cost"] is not None:
        body["costUSD"] = item["cost"]
    if item["agent"] is None:
        return f"-home-ada/{session}.jsonl", body
    return f"-home-ada/{session}/subagents/agent-{item['agent']}.jsonl", body | {"agentId": item["agent"]}


def write(agent: Path, items: list[dict[str, Any]]) -> None:
    """Append answers to the transcripts of an agent's folder."""
    for place, body in map(line, items):
        path = agent / "projects" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            stream.write(json.dumps(body) + "\n")


@pytest.fixture(params=[False, True], ids=["few lines", "several processes"], scope="module")
def _reading(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(usage_scan, "SMALL_BYTES", -1)
            patch.setattr(usage_scan, "SHARE_BYTES", 500)
            patch.setattr(usage_scan, "_processors", lambda: 3)
        yield


@pytest.mark.usefixtures("_reading")
@settings(max_examples=8, deadline=None)
@given(first=st.lists(answers, max_size=8), later=st.lists(answers, min_size=1, max_size=8))
def test_scan_index_and_both_together_say_the_same_and_every_breakdown_adds_up(
    first: list[dict[str, Any]], later: list[dict[str, Any]]
) -> None:
    """Whatever the index holds already: nothing, the older part, or everything."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        (base / "agent" / "projects").mkdir(parents=True)
        environment = dict(os.environ) | {"CLAUDE_CONFIG_DIR": str(base / "agent"), "HOME": name}
        home = Settings(base / "wk", environment)
        write(base / "agent", first)
        catch_up(home)
        scanned_usage(home, base / "scanned")
        write(base / "agent", later)
        grown = joined_usage(Settings(base / "scanned", environment))
        joined = joined_usage(home)
        scanned = scanned_usage(home, base / "anew")
        catch_up(home)
        indexed = indexed_usage(home)
        assert scanned == indexed
        assert grown == indexed
        assert joined == indexed
        for answer in indexed.values():
            adds_up(answer)


def adds_up(answer: dict[str, Any]) -> None:
    """Check that the rows add up to the total in every figure."""
    for figure in COUNTS:
        assert sum(row[figure] for row in answer["rows"]) == answer["total"][figure]
    cost = sum(Decimal(row["cost_usd"] or 0) for row in answer["rows"])
    assert cost == Decimal(answer["total"]["cost_usd"] or 0)
    for basis in ("reported", "computed", "estimated"):
        assert sum(row["cost_basis"][basis] for row in answer["rows"]) == answer["total"]["cost_basis"][basis]
