"""Real transcripts give the totals of an independent reading, written here in plain JSON and its own logic."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.settings import Settings

REAL = Path(__file__).parents[2].parent / "shared" / "transcripts" / "real"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs real transcripts: {REAL}")

COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
}


def objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every JSON object of a file, also several on one line; what is none is passed over."""
    decoder = json.JSONDecoder()
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        rest = line.strip().removeprefix("\ufeff")
        while rest:
            try:
                value, end = decoder.raw_decode(rest)
            except ValueError:
                break
            if isinstance(value, dict):
                yield value
            rest = rest[end:].strip()


class IndependentReading:
    """Adds up a tree: the largest count of each kind by message id, every tool call by its id."""

    def __init__(self, root: Path) -> None:
        self.requests: dict[str, Counter[str]] = defaultdict(Counter)
        self.models: dict[str, str] = {}
        self.direct: set[str] = set()
        self.nested: set[str] = set()
        self.calls: set[str] = set()
        self.sessions: set[str] = set()
        self.objects = 0
        for path in sorted(root.rglob("*.jsonl")):
            for body in objects(path):
                self.objects += 1
                self.sessions.add(body.get("sessionId") or path.stem)
                self._take(body, direct=True)
                data = body.get("data")
                if isinstance(data, dict) and data.get("type") == "agent_progress":
                    self._take(data["message"], direct=False)

    def _take(self, body: dict[str, Any], *, direct: bool) -> None:
        message = body.get("message")
        if not isinstance(message, dict):
            return
        content = message.get("content")
        for block in content if isinstance(content, list) else []:
            if isinstance(block, dict) and block.get("type") in {"tool_use", "tool_result"}:
                self.calls.add(block.get("id") or block["tool_use_id"])
        speaker = body.get("type") or message.get("role")
        if speaker != "assistant" or message.get("model") == "<synthetic>":
            return
        key = message.get("id") or body.get("requestId") or body.get("uuid") or f"line {self.objects}"
        counts = self.requests[key]
        usage = message.get("usage") or {}
        for name, column in COUNTS.items():
            counts[column] = max(counts[column], usage.get(name) or 0)
        if direct or key not in self.models:
            self.models[key] = message.get("model")
        (self.direct if direct else self.nested).add(key)

    def by_model(self) -> dict[str, tuple[int, ...]]:
        """Return for every model its number of requests and its counts."""
        totals: dict[str, Counter[str]] = defaultdict(Counter)
        for key, counts in self.requests.items():
            totals[self.models[key]].update({"requests": 1, **counts})
        names = ("requests", *COUNTS.values())
        return {model: tuple(total[name] for name in names) for model, total in totals.items()}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[apsw.Connection, dict[str, Any]]]:
    base = tmp_path_factory.mktemp("real")
    environment = dict(os.environ) | {"CLAUDE_CONFIG_DIR": str(REAL), "HOME": str(base)}
    settings = Settings(base / "wk", environment)
    report = catch_up(settings).to_json()
    connection = apsw.Connection(str(settings.places.database), flags=apsw.SQLITE_OPEN_READONLY)
    yield connection, report
    connection.close()


@pytest.fixture(scope="module")
def reading() -> IndependentReading:
    return IndependentReading(REAL)


def test_tokens_and_requests_by_model_are_those_of_an_independent_reading(
    index: tuple[apsw.Connection, dict[str, Any]], reading: IndependentReading
) -> None:
    """Every model, every kind of token, to the last one."""
    sums = ", ".join(f"total({name})" for name in COUNTS.values())
    rows = index[0].execute(
        f"SELECT model, count(*), {sums} FROM requests WHERE synthetic = 0 AND replay = 0 GROUP BY model"
    )
    found = {model: tuple(int(count) for count in counts) for model, *counts in rows}
    assert found == reading.by_model()
    assert sum(total[0] for total in found.values()) > 4000


def test_sessions_and_tool_calls_are_those_of_an_independent_reading(
    index: tuple[apsw.Connection, dict[str, Any]], reading: IndependentReading
) -> None:
    """One row for each session that a line names, and one for each tool call."""
    connection, _ = index
    assert {row[0] for row in connection.execute("SELECT session_id FROM sessions")} == reading.sessions
    assert {row[0] for row in connection.execute("SELECT tool_use_id FROM calls")} == reading.calls


def test_answers_that_survive_only_in_progress_lines_are_counted_and_labelled(
    index: tuple[apsw.Connection, dict[str, Any]], reading: IndependentReading
) -> None:
    """The published sessions lack their subagents' files; what the parents repeat of them is all there is."""
    connection, _ = index
    rows = connection.execute("SELECT request_key FROM requests WHERE nested = 1 AND agent_id NOT NULL")
    assert {row[0] for row in rows} == reading.nested - reading.direct
    assert len(reading.nested - reading.direct) > 100


def test_every_object_is_read_and_nothing_is_skipped_without_need(
    index: tuple[apsw.Connection, dict[str, Any]], reading: IndependentReading
) -> None:
    """All lines that a plain parser reads are read, and what is left out has a place and a reason."""
    _, report = index
    assert report["observations"] == reading.objects
    for item in report["skipped"]:
        assert item["line"] > 0
        assert item["reason"].startswith(("not JSON", "the last line breaks off", "not an object"))
