"""How single payloads and lines become facts, in the odd cases that recordings do not hold."""

from __future__ import annotations

import time
from typing import Any

import pytest

from watchkeeper.events.derive import derive_session
from watchkeeper.events.entities import ENTITIES
from watchkeeper.events.merge import Facts, State, decode_state, encode_state, join, lift
from watchkeeper.queries.forms import project_name
from watchkeeper.sources.claude_code.hook_events import HOOK_EVENTS
from watchkeeper.sources.claude_code.hooks import KNOWN_EVENTS, HookEvent, map_hook
from watchkeeper.sources.claude_code.prompts import expansion_facts, framework_facts
from watchkeeper.sources.claude_code.session_runs import SessionRuns
from watchkeeper.sources.claude_code.transcript_view import TranscriptLine, time_of
from watchkeeper.sources.claude_code.transcripts import map_line
from watchkeeper.sources.claude_code.usage import client_usage, usage_facts


def hook(body: dict[str, Any], **environment: str) -> list[Facts]:
    return map_hook(HookEvent("spool:s:0", 1000, body, environment, "host"))


def line(body: dict[str, Any], *, agent: str | None = None) -> list[Facts]:
    return map_line(TranscriptLine("transcript:f:0:1", 1, body, "hinted", agent))


def of(facts: list[Facts], entity: str) -> list[Facts]:
    return [item for item in facts if item.entity == entity]


@pytest.mark.parametrize("name", sorted({event.name for event in HOOK_EVENTS} | {"SomethingNew"}))
@pytest.mark.parametrize("body", [{}, {"tool_input": 3, "tool_calls": [1, {}], "prompt": None}])
def test_every_event_maps_also_when_its_fields_are_missing_or_odd(name: str, body: dict[str, Any]) -> None:
    for facts in hook({"hook_event_name": name, "session_id": "s", **body}):
        lift(facts, ENTITIES[facts.entity])


def test_all_33_events_are_known() -> None:
    assert len(HOOK_EVENTS) == 33
    assert {event.name for event in HOOK_EVENTS} <= KNOWN_EVENTS


def test_an_unknown_event_passes_through_with_its_fields_and_is_marked() -> None:
    [event] = of(hook({"hook_event_name": "NewThing", "session_id": "s", "extra": {"a": 1}}), "event")
    assert event.values["known"] == 0
    assert event.values["data"] == {"extra": {"a": 1}}


def test_identity_comes_from_the_hooks_environment() -> None:
    [session] = of(
        hook(
            {"hook_event_name": "Stop", "session_id": "s"}, USER_NAME="ada", CLAUDE_RUN_ID="r1", USER="root"
        ),
        "session",
    )
    assert (session.values["user_name"], session.values["run_id"], session.values["host"]) == (
        "ada",
        "r1",
        "host",
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "assistant"},
        {"type": "assistant", "message": {"content": None, "usage": None}},
        {
            "type": "assistant",
            "message": {"content": [None, 3, {"type": "tool_use"}], "usage": {"input_tokens": None}},
        },
        {"type": "user", "message": {"content": [{"type": "tool_result"}]}},
        {"type": "user", "message": "text"},
        {"type": "progress", "data": {"type": "agent_progress", "message": None}},
        {"type": "system", "subtype": None},
        {"type": "never-seen", "payload": [1]},
        {"type": ["list"], "timestamp": "yesterday"},
        {"type": "attachment", "attachment": "x"},
        {"type": "cost-state", "totalCostUSD": None},
    ],
)
def test_odd_lines_map_without_losing_anything_else(body: dict[str, Any]) -> None:
    for facts in line(body):
        lift(facts, ENTITIES[facts.entity])


def test_an_unknown_line_type_is_an_event_of_its_own() -> None:
    [event] = of(line({"type": "never-seen", "sessionId": "s", "uuid": "u", "payload": [1]}), "event")
    assert (event.key, event.values["name"], event.values["known"]) == ("u", "never-seen", 0)


def test_old_lines_without_a_type_still_give_their_request_and_its_cost() -> None:
    body = {
        "timestamp": "2026-02-03T08:00:00.000Z",
        "sessionId": "s",
        "requestId": "r",
        "costUSD": 0.03,
        "message": {"role": "assistant", "id": "m", "model": "claude-x", "usage": {"input_tokens": 50}},
    }
    [request] = of(line(body), "request")
    assert request.key == "m"
    assert request.values["reported_micros"] == 30_000
    assert request.values["input_tokens"] == 50


def test_requests_are_keyed_by_message_then_request_then_line() -> None:
    def key(**body: Any) -> str:
        return of(line({"type": "assistant", "uuid": "u", **body}), "request")[0].key

    assert key(message={"id": "m"}, requestId="r") == "m"
    assert key(message={}, requestId="r") == "r"
    assert key(message={}) == "u"


def test_a_message_inside_agent_progress_counts_for_its_agent() -> None:
    nested = {
        "type": "assistant",
        "uuid": "n",
        "timestamp": "2026-02-11T00:26:09.713Z",
        "message": {
            "id": "m1",
            "model": "x",
            "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {}}],
        },
    }
    facts = line(
        {
            "type": "progress",
            "sessionId": "s",
            "parentToolUseID": "parent",
            "data": {"type": "agent_progress", "agentId": "a1", "message": nested},
        }
    )
    [call] = of(facts, "call")
    assert (call.key, call.values["agent_id"]) == ("t1", "a1")
    assert of(facts, "request")[0].values["sidechain"] == 1
    assert any(item.values.get("parent_tool_use_id") == "parent" for item in of(facts, "subagent"))


def test_a_replay_for_an_aside_never_owns_the_message() -> None:
    body = {"type": "assistant", "sessionId": "s", "message": {"id": "m", "model": "x", "content": []}}
    [main] = of(line(body), "request")
    [aside] = of(line(body | {"agentId": "aside_question-1", "isSidechain": True}), "request")
    assert main.rank < aside.rank
    assert (main.values["replay"], aside.values["replay"]) == (0, 1)


def test_an_aside_never_claims_the_calls_and_requests_that_it_repeats() -> None:
    """The main agent's own lines name no agent, so an aside that named itself would win."""
    use = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
    common = {"sessionId": "s", "isSidechain": True}
    asked = common | {"type": "assistant", "message": {"id": "m", "model": "x", "content": [use]}}
    answered = common | {"type": "user", "message": {"content": [result]}}
    for agent, expected in (("aside_question-1", None), ("a1", "a1")):
        facts = [*line(asked, agent=agent), *line(answered, agent=agent)]
        owners = [item.values["agent_id"] for item in facts if item.entity in {"call", "request"}]
        assert owners == [expected] * 3


def test_a_compaction_is_no_subagent_though_the_client_announces_its_end_as_one() -> None:
    stop = {"hook_event_name": "SubagentStop", "session_id": "s", "agent_id": "a"}
    assert of(hook(stop | {"agent_type": ""}), "subagent") == []
    assert [item.key for item in of(hook(stop | {"agent_type": "Explore"}), "subagent")] == ["a"]
    assert [item.key for item in of(hook(stop), "subagent")] == ["a"]


def test_a_time_without_a_zone_is_utc_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert time_of("2026-02-11T00:26:09.713") == time_of("2026-02-11T00:26:09.713Z")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_line_copied_into_a_fork_belongs_to_its_original() -> None:
    body = {
        "type": "user",
        "sessionId": "fork",
        "forkedFrom": {"sessionId": "original", "messageUuid": "u"},
        "uuid": "u",
        "timestamp": "2026-02-11T00:26:09.713Z",
        "message": {"role": "user", "content": "hello"},
    }
    copy = line(body)
    own = line({**body, "sessionId": "original", "forkedFrom": None})
    [copied_prompt], [own_prompt] = of(copy, "prompt"), of(own, "prompt")
    assert copied_prompt.key == own_prompt.key
    assert copied_prompt.values["session_id"] == "original"
    assert own_prompt.rank < copied_prompt.rank
    forks = [item for item in of(copy, "session") if item.key == "fork"]
    assert [item.values.get("forked_from") for item in forks] == ["original"]
    assert all("started_at" not in item.values for item in forks)


def test_counts_that_are_null_float_or_negative_are_read_right() -> None:
    usage = {
        "input_tokens": 10.0,
        "output_tokens": None,
        "cache_read_input_tokens": -1,
        "cache_creation": None,
    }
    assert usage_facts(usage) == {"input_tokens": 10}
    assert usage_facts(None) == {}
    assert usage_facts({"server_tool_use": {"web_search_requests": 2}}) == {"web_searches": 2}


@pytest.mark.parametrize("odd", [2**70, 1e300, float("inf"), float("nan"), True, "7"])
def test_numbers_that_no_count_can_be_are_not_said(odd: Any) -> None:
    assert usage_facts({"input_tokens": odd}) == {}
    assert usage_facts({}, odd) == {}
    body = {"hook_event_name": "PostToolUse", "session_id": "s", "tool_use_id": "t", "duration_ms": odd}
    [call] = of(hook(body), "call")
    assert call.values["duration_ms"] is None


def test_the_clients_own_totals_are_read_by_model_and_what_is_no_count_is_absent() -> None:
    said = {
        "claude-a": {"inputTokens": 5, "outputTokens": 7, "webSearchRequests": None, "costUSD": 0.5},
        "claude-b": {"inputTokens": -1, "cacheReadInputTokens": 3.0, "costUSD": "2"},
        "odd": "text",
        "": {"inputTokens": 1},
    }
    found, weight = client_usage(said)
    assert found == {
        "claude-a": {"input_tokens": 5, "output_tokens": 7, "cost_micros": 500_000},
        "claude-b": {"cache_read_tokens": 3},
    }
    assert weight == 500_015
    assert client_usage(None) == ({}, 0)


def test_a_run_of_lines_says_of_its_session_what_its_lines_say_one_by_one() -> None:
    seconds = ("03", "01", "05", "02")
    moments = [*(f"2026-01-05T10:00:{at}Z" for at in seconds), None, "no time", "2026-01-05T10:00:09Z"]
    lines = [
        TranscriptLine(
            "transcript:f:0:1", place, {"sessionId": session, "cwd": cwd, "timestamp": at}, None, agent
        )
        for session in ("s", "t")
        for cwd in ("/a", "/b")
        for agent in (None, "a1")
        for place, at in enumerate(moments)
    ]
    runs = SessionRuns()
    together = [item for given in lines for item in map_line(given, runs)] + runs.take()
    one_by_one = [item for given in lines for item in map_line(given)]
    assert len(together) < len(one_by_one)
    assert merged_states(together) == merged_states(one_by_one)
    assert runs.take() == []


@pytest.mark.parametrize(
    ("kinds", "title"),
    [(("summary", "user"), None), (("user", "summary"), "A title"), (("summary", "progress"), "A title")],
)
def test_a_summary_before_a_sessions_own_messages_is_the_title_of_another(
    kinds: tuple[str, ...], title: str | None
) -> None:
    bodies = {
        "summary": {"summary": "A title", "leafUuid": "u"},
        "user": {"message": {"role": "user", "content": "hello"}},
        "progress": {"data": {"type": "bash_progress"}},
    }
    facts = [
        item
        for number, kind in enumerate(kinds, 1)
        for item in map_line(TranscriptLine("t:f:0:1", number, {"type": kind, **bodies[kind]}, "s", None))
    ]
    state = decode_state(merged_states(facts)["session", "s"])
    row = derive_session("s", state)["sessions"]
    assert row is not None
    assert row["title_summary"] == title


def merged_states(items: list[Facts]) -> dict[tuple[str, str], bytes]:
    states: dict[tuple[str, str], State] = {}
    for item in items:
        fields = ENTITIES[item.entity]
        join(states.setdefault((item.entity, item.key), {}), lift(item, fields), fields)
    return {key: encode_state(state) for key, state in states.items()}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/ada/cli", "cli"),
        ("/home/ada/cli/", "cli"),
        ("/home/ada/cli/.worktrees/2", "cli/2"),
        ("/home/ada/cli/.claude/worktrees/fix-it", "cli/fix-it"),
        ("C:\\work\\cli", "cli"),
        ("/", "/"),
        (None, None),
    ],
)
def test_a_worktree_is_named_with_its_repository(path: str | None, name: str | None) -> None:
    assert project_name(path) == name


def test_superclaude_context_is_read_from_the_prompt() -> None:
    facts = framework_facts("/sc:implement login --persona-security --think-hard --uc")
    assert facts["framework_command"] == "/sc:implement"
    assert facts["persona"] == "security"
    assert facts["flags"] == ["--think-hard", "--uc"]
    assert framework_facts("please run git log --oneline") == {}


def test_an_expanded_slash_command_names_itself() -> None:
    text = "<command-message>greet</command-message><command-name>/greet</command-name><command-args>Ada</command-args>"
    assert expansion_facts(text) == {"slash_command": "greet", "slash_arguments": "Ada"}
    assert expansion_facts("plain") == {}


def test_a_call_that_only_the_batch_shows_as_refused_is_rejected() -> None:
    refused = {
        "tool_use_id": "t1",
        "tool_name": "Edit",
        "tool_input": {},
        "tool_response": "<tool_use_error>no</tool_use_error>",
    }
    ran = {"tool_use_id": "t2", "tool_name": "Bash", "tool_input": {}, "tool_response": "<b>text</b>"}
    calls = of(
        hook({"hook_event_name": "PostToolBatch", "session_id": "s", "tool_calls": [refused, ran]}), "call"
    )
    assert [call.values.get("rejected") for call in calls] == [1, None]
