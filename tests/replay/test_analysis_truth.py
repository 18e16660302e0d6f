"""Statistics, signals, errors, costs and contexts of a generated tree equal the truth kept while it was made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pricing.rates import load_rates
from watchkeeper.queries import quality as signals
from watchkeeper.queries.activity import activity
from watchkeeper.queries.attribution import session_cost, top_prompts
from watchkeeper.queries.commands import whole_command
from watchkeeper.queries.context import session_context
from watchkeeper.queries.errors import errors
from watchkeeper.queries.forms import project_name
from watchkeeper.queries.stats import cost_by_day, stats
from watchkeeper.queries.stretches import Stretch
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import Reader, open_reader

GENERATOR = Path(__file__).parents[2].parent / "shared" / "transcripts" / "gen_transcripts.py"
pytestmark = pytest.mark.skipif(not GENERATOR.exists(), reason=f"needs the generator: {GENERATOR}")

SEEDS = {3: "2MB", 28: "3MB"}
EVERYTHING = Stretch("all", None, None)
CARD = load_rates(None)


@dataclass
class Tree:
    """A generated tree's truth and the index of its import."""

    truth: dict[str, Any]
    reader: Reader


@pytest.fixture(scope="module", params=SEEDS)
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    base = tmp_path_factory.mktemp("tree")
    agent, truth = base / "agent", base / "truth.json"
    arguments = ["--out", agent, "--truth", truth, "--size", SEEDS[request.param], "--seed", request.param]
    subprocess.run([sys.executable, str(GENERATOR), *map(str, arguments)], check=True, capture_output=True)
    settings = Settings(base / "wk", dict(os.environ) | {"CLAUDE_CONFIG_DIR": str(agent), "HOME": str(base)})
    catch_up(settings)
    with open_reader(settings.places) as reader:
        yield Tree(json.loads(truth.read_text(encoding="utf-8")), reader)


def test_every_figure_of_the_statistics_is_the_true_one(tree: Tree) -> None:
    truth, found = tree.truth, stats(tree.reader, EVERYTHING)
    assert found["sessions"] == truth["counts"]["sessions"]
    assert found["prompts"] == truth["counts"]["user_prompts"]
    assert found["tools"] == truth["tools"]
    assert found["tool_calls"] == sum(truth["tools"].values())
    assert found["tool_failures"] == truth["tool_errors"]
    assert found["failures"] == sum(truth["tool_errors"].values())
    assert found["files_read"] == len(truth["files_read"])
    assert found["files_touched"] == len(truth["files_edited"])
    assert found["api_errors"] == truth["counts"].get("api_errors", 0)
    assert found["requests"] == truth["total"]["messages"]
    assert found["tokens"] == truth["total"]["total_tokens"]
    assert found["cache_write_tokens"] == truth["total"]["cache_create"]
    assert {name: sums["requests"] for name, sums in found["models"].items()} == {
        name: sums["messages"] for name, sums in truth["by_model"].items()
    }
    assert sum(found["projects"].values()) == found["tool_calls"]
    assert set(found["projects"]) <= {project_name(facts["cwd"]) for facts in truth["sessions"].values()}


def test_days_and_projects_add_up_to_the_whole(tree: Tree) -> None:
    whole = stats(tree.reader, EVERYTHING)
    days = cost_by_day(tree.reader, EVERYTHING)
    assert sum(row["requests"] for row in days) == whole["requests"]
    assert sum(Decimal(row["cost_usd"]) for row in days) == Decimal(whole["cost_usd"])
    begin = tree.reader.value("SELECT min(at) FROM requests WHERE counted = 1")
    end = tree.reader.value("SELECT max(at) FROM requests WHERE counted = 1")
    middle = (begin + end) // 2
    halves = [stats(tree.reader, Stretch("given", *bounds)) for bounds in ((None, middle), (middle, None))]
    for name in ("requests", "tokens", "tool_calls", "failures", "prompts"):
        assert sum(half[name] for half in halves) == whole[name], name


def test_failing_commands_are_the_true_ones(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "FAILURES", 1)
    found = signals.quality(tree.reader, EVERYTHING, CARD)["failing_commands"]
    failures: Counter[str] = Counter()
    sessions: dict[str, set[str]] = defaultdict(set)
    for row in tree.truth["failing_commands"]:
        command = whole_command(row["command"])
        failures[command] += 1
        sessions[command].add(row["session"])
    assert {row["command"]: row["failures"] for row in found} == failures
    assert {row["command"]: row["sessions"] for row in found} == {
        name: len(ids) for name, ids in sessions.items()
    }


def test_reads_and_edits_by_file_are_the_true_ones(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "READS", 1)
    monkeypatch.setattr(signals, "EDITS", 1)
    found = signals.quality(tree.reader, EVERYTHING, CARD)
    reads: Counter[str] = Counter()
    for row in found["repeated_reads"]:
        reads[row["path"]] += row["count"]
    assert reads == tree.truth["files_read"]
    assert {row["path"]: row["edits"] for row in found["most_edited"]} == tree.truth["files_edited"]


def test_errors_are_the_true_ones_by_tool(tree: Tree) -> None:
    found = errors(tree.reader, EVERYTHING, limit=10_000)
    assert found["total"] == sum(tree.truth["tool_errors"].values()) == len(found["errors"])
    assert Counter(row["tool"] for row in found["errors"]) == tree.truth["tool_errors"]
    assert len(found["api_errors"]["given_up"]) == tree.truth["counts"].get("api_errors", 0)
    order = [row["at"] for row in found["errors"]]
    assert order == sorted(order, reverse=True)


def test_cost_trees_add_up_at_each_level_to_the_true_total(tree: Tree) -> None:
    total = Decimal(0)
    for session in tree.truth["sessions"]:
        found = session_cost(tree.reader, session)
        check_level(found["tree"])
        for level in ("agent", "skill", "tool"):
            assert sum(Decimal(row["cost_usd"]) for row in found["by"][level]) == Decimal(
                found["tree"]["cost_usd"]
            )
        total += Decimal(found["tree"]["cost_usd"])
    by_prompt = top_prompts(tree.reader, EVERYTHING, limit=10_000)
    assert total == Decimal(by_prompt["total"]["cost_usd"])
    assert total == sum(Decimal(row["cost_usd"]) for row in by_prompt["prompts"])
    assert total == sum(Decimal(row["cost_usd"]) for row in by_prompt["projects"])
    # The truth rounds once, we round every request.
    assert (
        abs(total - Decimal(str(tree.truth["total"]["cost"])))
        <= Decimal(tree.truth["total"]["messages"]) / 1_000_000
    )


def check_level(node: dict[str, Any]) -> None:
    children = node.get("children")
    if children:
        assert sum(Decimal(child["cost_usd"]) for child in children) == Decimal(node["cost_usd"])
        assert sum(child["tokens"] for child in children) == node["tokens"]
        for child in children:
            check_level(child)


def test_contexts_have_the_true_sizes_and_their_items_cost_what_the_input_did(tree: Tree) -> None:
    tokens = 0
    for session in tree.truth["sessions"]:
        found = session_context(tree.reader, session, CARD)
        tokens += sum(point["tokens"] for point in found["requests"])
        parts = sum(Decimal(item["cost_usd"]) for item in found["items"])
        assert parts == Decimal(found["input_cost_usd"])
        assert parts + Decimal(found["output_cost_usd"]) == Decimal(found["cost_usd"])
        assert Decimal(found["cost_usd"]) == Decimal(session_cost(tree.reader, session)["tree"]["cost_usd"])
    total = tree.truth["total"]
    assert tokens == total["input"] + total["cache_create"] + total["cache_read"]


def test_the_activity_log_has_every_call_once(tree: Tree) -> None:
    lines = list(activity(tree.reader, EVERYTHING))
    assert Counter(line["tool"] for line in lines) == tree.truth["tools"]
    assert len({line["tool_use_id"] for line in lines}) == len(lines)
    assert [line["timestamp"] for line in lines] == sorted(line["timestamp"] for line in lines)
