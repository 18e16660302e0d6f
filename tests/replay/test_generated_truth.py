"""Generated trees of several seeds, imported like a user's, equal the truth that was kept while they were made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.settings import Settings

GENERATOR = Path(__file__).parents[2].parent / "shared" / "transcripts" / "gen_transcripts.py"
pytestmark = pytest.mark.skipif(not GENERATOR.exists(), reason=f"needs the generator: {GENERATOR}")

SEEDS = {
    5: "2MB",  # a resumed session
    13: "3MB",  # a resumed session, files that hold only a summary
    25: "3MB",  # a corrupt line
    28: "3MB",  # a resumed session and a last line that breaks off
}
COUNTED = "synthetic = 0 AND replay = 0"
# Place in the generator's price row of each count, both 1-hour and 5-minute writes.
PRICED = (
    ("input_tokens", 0),
    ("output_tokens", 1),
    ("cache_write_5m_tokens", 2),
    ("cache_write_1h_tokens", 3),
    ("cache_read_tokens", 4),
)


@dataclass
class Imported:
    """A generated tree's truth, the index of its import, and what the import reported."""

    truth: dict[str, Any]
    connection: apsw.Connection
    report: dict[str, Any]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return list(self.connection.execute(query))

    def value(self, query: str) -> Any:
        """Return the one value of a query."""
        return self.rows(query)[0][0]

    def usage(self, key: Callable[[dict[str, Any]], str]) -> dict[str, dict[str, Any]]:
        """Return usage and cost by a key of the request, in the form of the truth."""
        cursor = self.connection.execute(
            f"SELECT r.*, s.cwd FROM requests r JOIN sessions s USING (session_id) WHERE r.{COUNTED}"
        )
        names = [column[0] for column in cursor.get_description()]
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in cursor:
            request = dict(zip(names, row, strict=True))
            groups.setdefault(key(request), []).append(request)
        return {name: self.total(requests) for name, requests in groups.items()}

    def total(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """Add requests up."""
        prices = self.truth["prices_per_mtok"]
        sums: Counter[str] = Counter()
        pico = 0
        for request in requests:
            counts = five_minutes_where_not_split(request)
            sums.update(counts)
            row = prices[request["model"]]
            pico += sum(counts[name] * round(row[place] * 1_000_000) for name, place in PRICED)
        written = sums["cache_write_5m_tokens"] + sums["cache_write_1h_tokens"]
        everything = sums["input_tokens"] + sums["output_tokens"] + written + sums["cache_read_tokens"]
        return {
            "input": sums["input_tokens"],
            "output": sums["output_tokens"],
            "cache_create": written,
            "cache_create_5m": sums["cache_write_5m_tokens"],
            "cache_create_1h": sums["cache_write_1h_tokens"],
            "cache_read": sums["cache_read_tokens"],
            "total_tokens": everything,
            "messages": len(requests),
            "cost": pytest.approx(pico / 1e12, abs=1e-6),
        }


def five_minutes_where_not_split(request: dict[str, Any]) -> dict[str, int]:
    """Return a request's counts; old clients give the sum of cache writes alone, all for five minutes."""
    counts = {name: request[name] for name, _ in PRICED}
    if counts["cache_write_5m_tokens"] is None:
        counts |= {"cache_write_5m_tokens": request["cache_write_tokens"], "cache_write_1h_tokens": 0}
    assert counts["cache_write_5m_tokens"] + counts["cache_write_1h_tokens"] == request["cache_write_tokens"]
    return counts


@pytest.fixture(scope="module", params=SEEDS, ids=lambda seed: f"seed{seed}")
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imported]:
    base = tmp_path_factory.mktemp("tree")
    agent, truth = base / "agent", base / "truth.json"
    arguments = ["--out", agent, "--truth", truth, "--size", SEEDS[request.param], "--seed", request.param]
    subprocess.run([sys.executable, str(GENERATOR), *map(str, arguments)], check=True, capture_output=True)
    settings = Settings(base / "wk", dict(os.environ) | {"CLAUDE_CONFIG_DIR": str(agent), "HOME": str(base)})
    report = catch_up(settings).to_json()
    connection = apsw.Connection(str(settings.places.database), flags=apsw.SQLITE_OPEN_READONLY)
    yield Imported(json.loads(truth.read_text(encoding="utf-8")), connection, report)
    connection.close()


def folder_of(cwd: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "-", cwd)


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def test_totals_and_cost_are_exact(imported: Imported) -> None:
    """Every token of every kind, the number of answers, and the cost by the generator's price table."""
    [found] = imported.usage(lambda _: "all").values()
    expected = dict(imported.truth["total"])
    expected.pop("cost_if_1h_priced_as_5m")
    assert expected == found


def test_every_model_has_its_own_total(imported: Imported) -> None:
    """Subagents answer with another model than their parents."""
    assert imported.truth["by_model"] == imported.usage(lambda request: request["model"])


def test_every_day_has_its_own_total(imported: Imported) -> None:
    """The truth counts an answer for the day, in UTC, on which its last line was written."""
    found = imported.usage(lambda request: moment(request["last_at"]).date().isoformat())
    assert imported.truth["by_day"] == found


def test_every_project_has_its_own_total(imported: Imported) -> None:
    """The project's folder follows from the session's first working folder."""
    assert imported.truth["by_project"] == imported.usage(lambda request: folder_of(request["cwd"]))


def test_every_session_has_its_own_total(imported: Imported) -> None:
    """What a resumed session only copied counts for the session that it resumed."""
    assert imported.truth["by_session"] == imported.usage(lambda request: request["session_id"])


def test_what_old_clients_report_as_cost_is_kept(imported: Imported) -> None:
    """The largest ``costUSD`` of an answer's lines is what the answer cost, to the micro-dollar."""
    prices = imported.truth["prices_per_mtok"]
    for model, reported, *counts in imported.rows(
        "SELECT model, reported_micros, input_tokens, output_tokens, cache_write_tokens, cache_read_tokens"
        f" FROM requests WHERE {COUNTED} AND reported_micros IS NOT NULL"
    ):
        row = prices[model]
        cost = sum(
            count * price for count, price in zip(counts, (row[0], row[1], row[2], row[4]), strict=True)
        )
        assert reported == pytest.approx(cost, abs=1)


def test_sessions_have_their_project_branch_version_and_times(imported: Imported) -> None:
    """The first line comes minutes after the truth's first moment: a person types the prompt."""
    rows = imported.rows(
        "SELECT session_id, cwd, git_branch, versions, started_at, last_at FROM sessions WHERE started_at NOT NULL"
    )
    assert {row[0] for row in rows} == set(imported.truth["sessions"])
    for session, cwd, branch, versions, started, last in rows:
        expected = imported.truth["sessions"][session]
        assert (folder_of(cwd), cwd, branch) == (expected["project"], expected["cwd"], expected["branch"])
        assert json.loads(versions) == [expected["version"]]
        first = datetime.fromisoformat(expected["first"])
        assert first <= moment(started) <= first + timedelta(seconds=901)
        final = datetime.fromisoformat(expected["last"])
        assert final - timedelta(milliseconds=1) < moment(last) <= final


def test_tools_and_their_errors_are_counted(imported: Imported) -> None:
    """Each call once, however often its session was copied."""
    tools = imported.rows("SELECT tool, count(*) FROM calls GROUP BY tool")
    assert dict(tools) == imported.truth["tools"]
    failed = "outcome IN ('failed', 'rejected')"
    errors = imported.rows(f"SELECT tool, count(*) FROM calls WHERE {failed} GROUP BY tool")
    assert dict(errors) == imported.truth["tool_errors"]
    outcomes = {outcome for (outcome,) in imported.rows("SELECT DISTINCT outcome FROM calls")}
    assert outcomes <= {"ok", "failed", "rejected", "running"}


def test_files_read_and_edited_are_counted(imported: Imported) -> None:
    """Only what was done: a read or an edit that failed touched nothing."""
    query = "SELECT path, count(*) FROM file_operations WHERE done AND kind {} 'read' GROUP BY path"
    assert dict(imported.rows(query.format("="))) == imported.truth["files_read"]
    assert dict(imported.rows(query.format("<>"))) == imported.truth["files_edited"]


def test_failing_commands_are_found_in_their_sessions(imported: Imported) -> None:
    """A copied failure stays with the session that it happened in."""
    rows = imported.rows(
        "SELECT session_id, s.cwd, subject FROM calls JOIN sessions s USING (session_id)"
        " WHERE tool = 'Bash' AND outcome = 'failed'"
    )
    found = Counter((session, folder_of(cwd), command) for session, cwd, command in rows)
    expected = Counter(
        (item["session"], item["project"], item["command"]) for item in imported.truth["failing_commands"]
    )
    assert found == expected


def test_sessions_prompts_subagents_and_events_are_counted(imported: Imported) -> None:
    """All counts of the truth that are about what happened, not about lines."""
    counts = Counter(imported.truth["counts"])
    sessions = imported.value("SELECT count(*) FROM sessions WHERE started_at NOT NULL")
    assert sessions == counts["sessions"]
    summaries = "SELECT count(*) FROM sessions WHERE started_at IS NULL AND title_summary NOT NULL"
    assert imported.value(summaries) == counts["summary_only_files"]
    assert imported.value("SELECT count(*) FROM sessions") == sessions + counts["summary_only_files"]
    assert imported.value("SELECT count(*) FROM prompts") == counts["user_prompts"]
    assert imported.value("SELECT count(*) FROM subagents") == counts["subagents"]
    compactions = "SELECT count(*) FROM events WHERE name = 'compact_boundary'"
    assert imported.value(compactions) == counts["compactions"]
    assert imported.value("SELECT count(*) FROM requests WHERE synthetic = 1") == counts["api_errors"]
    answers = imported.value(f"SELECT count(*) FROM requests WHERE {COUNTED}")
    assert answers == counts["assistant_messages"]
    resumed = imported.value("SELECT count(DISTINCT sessions) FROM contested")
    assert resumed == counts["resumed_copies"]


def test_subagents_and_main_agents_are_told_apart(imported: Imported) -> None:
    """Sidechains of all three layouts count, and are marked as such."""
    main = f"SELECT sum(output_tokens), count(*) FROM requests WHERE {COUNTED} AND NOT sidechain"
    [(output, answers)] = imported.rows(main)
    expected = imported.truth["wrong_totals"]["without_subagents"]
    assert (output, answers) == (expected["output"], expected["messages"])
    assert imported.value(f"SELECT count(*) FROM requests WHERE {COUNTED} AND nested") == 0


def test_only_broken_lines_are_left_out_each_with_its_place(imported: Imported) -> None:
    """One entry for each line that was corrupted or cut on purpose, and all bytes of all other files are read."""
    counts = Counter(imported.truth["counts"])
    skipped = imported.report["skipped"]
    assert len(skipped) == counts["corrupt_lines"] + counts["truncated_last_lines"]
    assert all(item["line"] > 0 and item["reason"] for item in skipped)
    meta = imported.truth["meta"]
    assert imported.value("SELECT count(*) FROM files") == imported.report["files"] == meta["files"]
    read, files = imported.value("SELECT sum(position) FROM files"), meta["bytes"]
    assert read == files if not counts["truncated_last_lines"] else files * 0.97 < read <= files
    projects = {folder_of(cwd) for (cwd,) in imported.rows("SELECT cwd FROM sessions WHERE cwd NOT NULL")}
    assert len(projects) == meta["projects"]
