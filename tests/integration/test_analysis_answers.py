"""What the analysing commands answer about sessions whose every line is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from harness_system import wk, wk_json
from written_session import WrittenSession

from watchkeeper.analysis.activity_files import write_daily_files
from watchkeeper.analysis.proposals import with_proposals
from watchkeeper.errors import ConfigError
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pricing.rates import load_rates
from watchkeeper.queries.activity import activity
from watchkeeper.queries.attribution import session_cost
from watchkeeper.queries.context import session_context
from watchkeeper.queries.errors import errors
from watchkeeper.queries.quality import quality
from watchkeeper.queries.stats import stats
from watchkeeper.queries.stretches import Stretch
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import Reader, open_reader

ALL = Stretch("all", None, None)
CARD = load_rates(None)
TRACE = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    f()\nKeyError: 1'


@pytest.fixture
def agent(settings: Settings) -> Path:
    return settings.claude_config_dirs[0]


@contextmanager
def reading(settings: Settings) -> Iterator[Reader]:
    catch_up(settings)
    with open_reader(settings.places) as reader:
        yield reader


def signals(settings: Settings) -> dict[str, Any]:
    with reading(settings) as reader:
        return with_proposals(quality(reader, ALL, CARD))


def test_reading_again_what_the_context_holds_is_counted_and_priced(settings: Settings, agent: Path) -> None:
    session = WrittenSession(agent, "s1")
    session.prompt("look")
    for _ in range(4):
        session.read("/home/dev/app/notes.md", "word " * 866)
    session.read("/home/dev/app/other.md")
    (row,) = signals(settings)["repeated_reads"]
    assert (row["session_id"], row["path"], row["count"]) == ("s1", "/home/dev/app/notes.md", 4)
    assert (row["again"], row["parts"], row["after_edit"], row["after_compaction"]) == (3, 1, 0, 0)
    assert row["again_tokens"] == 3 * 1000
    # 1,000 tokens each, written at $3.75 and then read at $0.30 a million by 3, 2 and 1 later requests less the first.
    assert Decimal(row["cost_usd"]) == Decimal("0.01125") + 1000 * Decimal("0.0000003") * (2 + 1 + 0)
    assert row["cost_basis"] == "estimated"
    assert row["change"] == "CLAUDE.md"
    assert "notes.md" in row["proposal"]


def test_reading_again_after_an_edit_or_a_compaction_is_told_apart(settings: Settings, agent: Path) -> None:
    session = WrittenSession(agent, "s1")
    path = "/home/dev/app/core.py"
    session.read(path)
    session.edit(path)
    session.read(path)
    session.compact()
    session.read(path)
    session.read(path, offset=400)
    (row,) = signals(settings)["repeated_reads"]
    assert (row["count"], row["again"], row["after_edit"], row["after_compaction"], row["parts"]) == (
        4,
        0,
        1,
        1,
        2,
    )


def test_a_command_that_fails_in_two_sessions_is_named_with_its_last_error(
    settings: Settings, agent: Path
) -> None:
    for name in ("s1", "s2"):
        session = WrittenSession(agent, name)
        session.bash("deploy  --now", "Exit code 1\nno such host", error=True)
        session.bash("deploy --now")
        session.bash("pytest -q", "Exit code 1\n1 failed", error=True)
        session.bash("once", "Exit code 1\n" + name, error=name == "s1")
    found = signals(settings)
    rows = {row["command"]: row for row in found["failing_commands"]}
    assert set(rows) == {"deploy --now", "pytest -q"}
    deploy = rows["deploy --now"]
    assert (deploy["failures"], deploy["sessions"], deploy["exit_codes"]) == (2, 2, [1])
    assert "no such host" in deploy["last_error"]
    assert deploy["expected"] == {}
    assert rows["pytest -q"]["expected"] == {"tests failed": 2}
    assert rows["pytest -q"]["change"] == "skill"


def test_a_proposal_names_the_command_that_worked_right_after(settings: Settings, agent: Path) -> None:
    for name in ("s1", "s2"):
        session = WrittenSession(agent, name)
        session.bash("rtk bun run check --all", "Exit code 2\nunrecognized subcommand 'bun'", error=True)
        session.read("/home/dev/app/package.json")
        session.bash("bun run check --all")
        session.bash("ls")
    (row,) = signals(settings)["failing_commands"]
    assert row["worked"] == "bun run check --all"
    assert "use `bun run check --all`, which worked right after" in row["proposal"]


def test_what_goes_round_a_check_is_not_proposed(settings: Settings, agent: Path) -> None:
    for name in ("s1", "s2"):
        session = WrittenSession(agent, name)
        session.bash("git commit -m fix", "Exit code 1\nhook failed", error=True)
        session.bash("git commit --no-verify -m fix")
    (row,) = signals(settings)["failing_commands"]
    assert row["worked"] is None
    assert "no-verify" not in row["proposal"]


def test_the_same_call_three_times_in_a_row_is_a_loop(settings: Settings, agent: Path) -> None:
    session = WrittenSession(agent, "s1")
    for _ in range(3):
        session.bash("kubectl get pods")
    session.bash("ls")
    session.bash("kubectl get pods")
    session.bash("ls")
    (row,) = signals(settings)["loops"]
    assert (row["tool"], row["subject"], row["count"], row["failures"]) == ("Bash", "kubectl get pods", 3, 0)
    assert row["change"] == "hook"


def test_an_error_knows_its_stack_its_retries_and_what_mended_it(settings: Settings, agent: Path) -> None:
    session = WrittenSession(agent, "s1")
    long = "Exit code 1\n" + "noise\n" * 200 + TRACE
    first = session.bash("python run.py", long, error=True)
    session.read("/home/dev/app/run.py")
    session.bash("python run.py", "Exit code 1\nKeyError", error=True)
    mended = session.bash("python run.py")
    session.bash("grep needle src", "Exit code 1", error=True)
    with reading(settings) as reader:
        found = errors(reader, ALL)
    oldest = found["errors"][-1]
    assert oldest["tool_use_id"] == first
    assert (oldest["kind"], oldest["exit_code"], oldest["recoverable"]) == ("exit_status", 1, True)
    assert oldest["stack"] == TRACE
    assert oldest["retries"] == 2
    assert oldest["resolved_by"]["tool_use_id"] == mended
    # Each call takes three seconds here: one to be asked for, two to be answered.
    assert oldest["resolved_by"]["after_ms"] == 9000
    newest = found["errors"][0]
    assert (newest["expected"], newest["resolved_by"]) == ("no match", None)
    assert (found["total"], found["unexpected"], found["expected"]) == (3, 2, {"no match": 1})


def test_api_errors_are_told_by_status_and_attempt(settings: Settings, agent: Path) -> None:
    session = WrittenSession(agent, "s1")
    session.line(
        {
            "type": "system",
            "subtype": "api_error",
            "error": {"message": "529 overloaded", "status": 529, "formatted": "529 Overloaded"},
            "retryAttempt": 1,
            "maxRetries": 10,
            "retryInMs": 565,
        }
    )
    text = {"type": "text", "text": "API Error: 400 bad request"}
    session.line(
        {
            "type": "assistant",
            "isApiErrorMessage": True,
            "message": {
                "id": "m1",
                "role": "assistant",
                "model": "<synthetic>",
                "content": [text],
                "usage": {},
            },
        }
    )
    with reading(settings) as reader:
        found = errors(reader, ALL)["api_errors"]
        assert stats(reader, ALL)["requests"] == 0
    (retried,), (given_up,) = found["retried"], found["given_up"]
    assert (retried["status"], retried["recoverable"], retried["attempt"]) == (529, True, 1)
    assert (given_up["status"], given_up["recoverable"]) == (400, False)


def test_the_shape_of_requests_tells_idle_tools_servers_and_skills(settings: Settings, agent: Path) -> None:
    session = WrittenSession(agent, "s1")
    tools = [
        {"name": name, "description": "d" * 2000, "input_schema": {"type": "object"}}
        for name in ("Bash", "Read", "mcp__tracker__get", "mcp__tracker__list", "mcp__idle__get")
    ]
    shape = {"system": [{"type": "text", "text": "s" * 6000}], "tools": tools}
    session.line({"type": "api-request-shape", "shape": shape})
    listing = {"type": "skill_listing", "content": "- deploy: " + "a" * 300 + "\n- draw: " + "b" * 900}
    session.line({"type": "attachment", "attachment": {**listing, "names": ["deploy", "draw"]}})
    memory = {"path": "/home/dev/app/CLAUDE.md", "content": "m" * 400}
    session.line({"type": "attachment", "attachment": {"type": "instructions", "files": [memory]}})
    session.prompt("go")
    session.bash("ls")
    session.call("mcp__tracker__get", {"id": "1"})
    session.call("Skill", {"skill": "deploy"})
    session.answer()
    with reading(settings) as reader:
        found = session_context(reader, "s1", CARD)
    offered = found["offered"]
    assert (offered["tools"]["offered"], offered["tools"]["used"]) == (5, 2)
    assert set(offered["tools"]["unused"]) == {"Read", "mcp__tracker__list", "mcp__idle__get"}
    assert [(row["server"], row["idle"], row["used"]) for row in offered["mcp_servers"]] == [
        ("idle", True, 0),
        ("tracker", False, 1),
    ]
    assert offered["skills"]["unused"] == ["draw"]
    assert Decimal(offered["tools"]["idle_cost_usd"]) > 0
    kinds = {row["kind"] for row in found["by_kind"]}
    assert {"system prompt", "tool definition", "skill listing", "memory", "prompt"} <= kinds
    assert sum(Decimal(item["cost_usd"]) for item in found["items"]) == Decimal(found["input_cost_usd"])


def test_servers_and_skills_that_no_session_used_are_named(settings: Settings, agent: Path) -> None:
    for number, name in enumerate(("s1", "s2")):
        session = WrittenSession(agent, name)
        names = ("Bash", "mcp__tracker__get", "mcp__idle__get", "mcp__idle__put")
        tools = [{"name": tool, "description": "d" * 2570, "input_schema": {}} for tool in names]
        session.line({"type": "api-request-shape", "shape": {"system": [], "tools": tools}})
        listing = {"type": "skill_listing", "content": "- deploy: " + "a" * 300 + "\n- draw: " + "b" * 900}
        session.line({"type": "attachment", "attachment": {**listing, "names": ["deploy", "draw"]}})
        session.answer()
        if number:
            session.call("mcp__tracker__get", {"id": "1"})
            session.call("Skill", {"skill": "deploy"})
    found = signals(settings)
    rows = found["idle_definitions"]
    assert [(row["kind"], row["name"], row["sessions"], row["tools"]) for row in rows] == [
        ("mcp_server", "idle", 2, 2),
        ("skill", "draw", 2, 1),
    ]
    assert found["sessions_with_definitions"] == 2
    assert rows[0]["change"] == "settings"
    # Four requests of the main agents in all read it from the cache at $0.30 a million.
    cost = float(rows[0]["tokens"] * 4) * 0.30e-6
    assert float(rows[0]["cost_usd"]) == pytest.approx(cost, abs=2e-6)


def test_what_is_listed_again_after_a_compaction_is_offered_once(settings: Settings, agent: Path) -> None:
    session = WrittenSession(agent, "s1")
    listing = {"type": "skill_listing", "content": "- deploy: " + "a" * 900, "names": ["deploy"]}
    session.line({"type": "attachment", "attachment": listing})
    session.answer(grows=3000)
    session.compact()
    session.line({"type": "attachment", "attachment": listing})
    session.answer()
    with reading(settings) as reader:
        found = session_context(reader, "s1", CARD)
    listed = [item for item in found["items"] if item["kind"] == "skill listing"]
    assert [item["sent"] for item in listed] == [1, 1]
    assert (found["offered"]["skills"]["offered"], found["offered"]["skills"]["unused"]) == (1, ["deploy"])


WRONG: tuple[Any, ...] = (None, 7, "text", [], {}, [None, {"name": 7}], {"files": 3, "type": []})


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_values_of_the_wrong_kind_cost_only_themselves(settings: Settings, agent: Path, wrong: Any) -> None:
    session = WrittenSession(agent, "s1")
    session.prompt("go")
    session.line({"type": "api-request-shape", "shape": wrong})
    session.line({"type": "api-request-shape", "shape": {"system": wrong, "tools": wrong}})
    for kind in ("skill_listing", "instructions", "file", "hook_success", "date", wrong):
        session.line(
            {
                "type": "attachment",
                "attachment": {"type": kind, "files": wrong, "names": wrong, "content": wrong},
            }
        )
    session.line({"type": "attachment", "attachment": wrong})
    session.bash("ls", "Exit code 1", error=True)
    session.line({"type": "system", "subtype": "compact_boundary", "compactMetadata": wrong})
    session.line(
        {
            "type": "system",
            "subtype": "compact_boundary",
            "compactMetadata": {"preTokens": wrong, "trigger": wrong},
        }
    )
    session.line(
        {
            "type": "system",
            "subtype": "api_error",
            "error": {"status": wrong, "formatted": wrong},
            "retryAttempt": wrong,
        }
    )
    session.answer()
    with reading(settings) as reader:
        found = session_context(reader, "s1", CARD)
        assert sum(Decimal(item["cost_usd"]) for item in found["items"]) == Decimal(found["input_cost_usd"])
        assert len(errors(reader, ALL)["api_errors"]["retried"]) == 1
    assert wk_json(settings, "context")["session_id"] == "s1"
    for command in (("context", "s1"), ("errors", "--full")):
        assert wk(settings, *command).stdout.strip()


def test_a_file_costs_again_at_each_later_turn_until_a_compaction(settings: Settings, agent: Path) -> None:
    session = WrittenSession(agent, "s1")
    session.prompt("go")
    session.call("Read", {"file_path": "/a.py"}, "x" * 3620)
    session.answer(grows=1500)
    for _ in range(4):
        session.answer(grows=100)
    session.compact()
    session.answer()
    with reading(settings) as reader:
        found = session_context(reader, "s1", CARD)
    file = next(item for item in found["items"] if item["kind"] == "tool result")
    assert file["sent"] == 5
    # Written once at $3.75 a million, then read four times at $0.30; the last three tokens were sent uncached at first
    # ($3.00), and written with the next request.
    per_token = file["tokens"] / 1_000_000
    entry, carried = 3.75 * per_token - 3 * 0.75e-6, 4 * 0.30 * per_token + 3 * 3.45e-6
    assert float(file["entry_cost_usd"]) == pytest.approx(entry, abs=1.5e-6)
    assert float(file["carried_cost_usd"]) == pytest.approx(carried, abs=1.5e-6)
    (compaction,) = found["compactions"]
    assert (compaction["trigger"], compaction["post_tokens"]) == ("auto", 20_503)
    assert [point["compacted"] for point in found["requests"]] == [False] * 6 + [True]


def test_cost_goes_to_prompt_turn_agent_skill_and_tool(settings: Settings, agent: Path) -> None:
    session = WrittenSession(agent, "s1")
    session.answer()
    session.prompt("first")
    session.bash("ls")
    session.call("mcp__tracker__get", {"id": "1"}, attributionSkill="deploy")
    session.prompt("second")
    session.answer()
    with reading(settings) as reader:
        found = session_cost(reader, "s1")
    prompts = found["tree"]["children"]
    assert [node["name"] for node in prompts] == ["before the first prompt", "first", "second"]
    turns = prompts[1]["children"]
    assert [node["name"] for node in turns] == ["turn 1", "turn 2"]
    (main,) = turns[1]["children"]
    assert (main["name"], [node["name"] for node in main["children"]]) == ("main agent", ["deploy"])
    assert [node["name"] for node in main["children"][0]["children"]] == ["mcp__tracker__get"]


def test_daily_files_are_the_same_when_written_again_and_foreign_ones_stay(
    settings: Settings, agent: Path, tmp_path: Path
) -> None:
    session = WrittenSession(agent, "s1")
    session.edit("/home/dev/app/core.py")
    session.bash("ls")
    folder = tmp_path / "log"
    with reading(settings) as reader:
        (file,) = write_daily_files(activity(reader, ALL), folder)
        (again,) = write_daily_files(activity(reader, ALL), folder)
        lines = [json.loads(line) for line in file.path.read_text(encoding="utf-8").splitlines()]
        assert (file.changed, again.changed, file.lines) == (True, False, 2)
        assert file.path.name == "activity-2026-02-03.jsonl"
        assert [(line["tool"], line["file"], line["project"]) for line in lines] == [
            ("Edit", "/home/dev/app/core.py", "app"),
            ("Bash", None, "app"),
        ]
        assert {"timestamp", "session_id", "tokens"} <= set(lines[0])
        assert file.path.stat().st_mode & 0o777 == 0o600
        file.path.write_text('{"tool": "Edit"}\n', encoding="utf-8")
        with pytest.raises(ConfigError, match="something else"):
            list(write_daily_files(activity(reader, ALL), folder))
    assert file.path.read_text(encoding="utf-8") == '{"tool": "Edit"}\n'


COMMANDS = (
    ("stats",),
    ("stats", "--range", "week", "--date", "2026-02-03"),
    ("quality",),
    ("errors", "--full"),
    ("context", "s1"),
    ("cost",),
    ("cost", "s1", "--depth", "5"),
    ("review", "--range", "month", "--date", "2026-02-03"),
    ("review", "--range", "month", "--date", "2026-02-03", "--markdown"),
    ("activity", "--range", "all"),
)


def test_every_command_answers_in_text_and_in_one_document(
    settings: Settings, agent: Path, tmp_path: Path
) -> None:
    session = WrittenSession(agent, "s1")
    session.prompt("go \x1b[31m | `now`")
    for _ in range(3):
        session.read("/home/dev/app/notes.md")
    session.bash("deploy --now", "Exit code 1\nno \x1b[31mhost", error=True)
    session.bash("deploy --now", "Exit code 1\nno host", error=True)
    session.edit("/home/dev/app/core.py")
    for command in COMMANDS:
        text = wk(settings, *command).stdout
        assert text.strip()
        assert "\x1b" not in text
        assert isinstance(wk_json(settings, *command), dict)
    assert wk_json(settings, "stats")["tools"] == {"Read": 3, "Bash": 2, "Edit": 1}
    written = wk_json(settings, "activity", "--to", str(tmp_path / "log"))
    assert [file["lines"] for file in written["files"]] == [6]
    for wrong in (
        ("stats", "--range", "year"),
        ("context", "-n", "0"),
        ("cost", "s1", "--range", "week"),
        ("errors", "-n", "-1"),
    ):
        wk(settings, *wrong, status=2)


def test_an_empty_record_is_answered_with_nothing(settings: Settings, agent: Path) -> None:
    assert wk_json(settings, "stats")["tool_calls"] == 0
    assert "Nothing is on record yet." in wk(settings, "stats").stdout
    assert wk_json(settings, "quality")["repeated_reads"] == []
    assert wk_json(settings, "errors")["errors"] == []
    assert wk_json(settings, "cost")["prompts"] == []
    assert wk_json(settings, "review")["figures"]["sessions"] == 0
    assert wk_json(settings, "activity")["activity"] == []
    assert "No tool call is on record" in wk(settings, "quality").stdout
