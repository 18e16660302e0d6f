"""Calls and timelines as text: each tool in its own form, trimmed, and harmless whatever the data holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from watchkeeper.cli.call_view import body, call_in_full, diff_lines, outcome_words
from watchkeeper.cli.context import Context
from watchkeeper.cli.terminal import columns_of
from watchkeeper.cli.timeline_view import TimelineView
from watchkeeper.settings import Settings

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\u202e\x9b1mtext"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Settings(tmp_path, {"COLUMNS": "80", "HOME": str(tmp_path)}), json=False)


def call(**changes: Any) -> dict[str, Any]:
    row = {
        "tool_use_id": "toolu_1",
        "session_id": "s-1",
        "prompt_id": None,
        "agent_id": None,
        "tool": "Bash",
        "mcp_server": None,
        "subject": "make test",
        "started_at": "2026-11-01T10:00:00.000Z",
        "ended_at": "2026-11-01T10:00:02.400Z",
        "duration_ms": 2400,
        "duration_basis": "reported",
        "outcome": "ok",
        "outcome_by": None,
        "permission": "allow",
        "permission_source": None,
        "permission_mode": "default",
        "witnesses": ["hook.pre", "hook.post", "transcript.use"],
        "gap": None,
        "lines_added": None,
        "lines_removed": None,
        "error": None,
        "exit_code": None,
        "background": False,
        "message_id": None,
        "previous_tool": None,
        "next_tool": None,
        "parallel": False,
    }
    return row | changes


def detail(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    whole = {
        "call": row,
        "context": {
            "prompt": None,
            "slash_command": None,
            "framework_command": None,
            "persona": None,
            "flags": [],
            "reasoning": None,
            "thinking": None,
        },
        "input": {},
        "response": None,
        "result": None,
        "diff": None,
        "stdout": None,
        "stderr": None,
        "evidence": [],
        "masked": {},
    }
    return whole | changes


def item(kind: str, **changes: Any) -> dict[str, Any]:
    row = {
        "key": "k",
        "at": "2026-11-01T10:00:00.000Z",
        "order": 0,
        "kind": kind,
        "agent_id": None,
        "name": kind,
        "text": None,
        "call": None,
        "data": {},
    }
    return row | changes


def lines_of(context: Context, items: list[dict[str, Any]], *, full: bool = False, **parts: Any) -> list[str]:
    details = {
        entry["call"]["tool_use_id"]: detail(entry["call"], **parts) for entry in items if entry["call"]
    }
    view = TimelineView(context, [], details.__getitem__, full=full)
    return [line for entry in items for line in view.lines(entry)]


def test_terminal_output_is_trimmed_and_says_by_how_much(context: Context) -> None:
    output = "\n".join(f"line {number}" for number in range(30))
    short = body(detail(call(), stdout=output), context, width=60, full=False)
    assert short[-1] == "… 22 more lines"
    assert body(detail(call(), stdout=output), context, width=60, full=True)[-1] == "line 29"


def test_one_line_over_the_limit_is_shown_rather_than_counted(context: Context) -> None:
    output = "\n".join(str(number) for number in range(9))
    assert body(detail(call(), stdout=output), context, width=60, full=False)[-1] == "8"


def test_a_command_of_several_lines_is_shown_and_one_of_a_single_line_is_the_subject(
    context: Context,
) -> None:
    assert body(detail(call(), input={"command": "make test"}), context, width=60, full=False) == []
    shown = body(detail(call(), input={"command": "cd x\nmake"}), context, width=60, full=False)
    assert shown == ["$ cd x", "make"]


def test_an_edit_shows_its_diff_and_not_its_result(context: Context) -> None:
    diff = "@@ -1,2 +1,2 @@\n-old\n+new\n same"
    edit = call(tool="Edit", subject="a.py", lines_added=1, lines_removed=1)
    lines = lines_of(context, [item("call", call=edit)], diff=diff, result="The file was updated")
    assert "+1 −1" in lines[1]
    assert [line.strip() for line in lines[2:]] == ["@@ -1,2 +1,2 @@", "-old", "+new", "same"]


def test_a_failure_shows_its_error_and_words_for_it(context: Context) -> None:
    failed = call(outcome="failed", exit_code=2, error="Exit code 2\nno rule")
    lines = lines_of(context, [item("call", call=failed)])
    assert "✗ Bash" in lines[1]
    assert "failed with exit code 2" in lines[1]
    assert [line.strip() for line in lines[2:]] == ["Exit code 2", "no rule"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outcome": "denied", "outcome_by": "user"}, "denied by user"),
        ({"outcome": "denied"}, "denied"),
        ({"outcome": "rejected"}, "rejected by the schema"),
        ({"outcome": "interrupted"}, "interrupted"),
        ({"outcome": "unknown"}, "unknown"),
    ],
)
def test_every_outcome_has_words(changes: dict[str, Any], words: str) -> None:
    assert outcome_words(call(**changes)) == words


def test_a_gap_is_a_line_of_its_own_across_the_width(context: Context) -> None:
    gap = item("gap", name="hook_not_installed", text="no hook was registered then")
    last = lines_of(context, [gap])[-1]
    assert last.startswith("── gap: hook not installed: no hook was registered then ──")
    assert columns_of(last) == 80


def test_subagents_are_indented_below_the_call_that_started_them(context: Context) -> None:
    agents = [
        {"agent_id": "outer", "parent_tool_use_id": "t-outer"},
        {"agent_id": "inner", "parent_tool_use_id": "t-inner"},
    ]
    rows = [
        call(tool_use_id="t-outer", tool="Agent", subject="outer"),
        call(tool_use_id="t-inner", tool="Agent", subject="inner", agent_id="outer"),
        call(tool_use_id="t-leaf", tool="Read", subject="leaf", agent_id="inner"),
    ]
    view = TimelineView(
        context, agents, lambda key: detail(next(r for r in rows if r["tool_use_id"] == key)), full=False
    )
    lines = [line for row in rows for line in view.lines(item("call", call=row, agent_id=row["agent_id"]))]
    columns = [line.index("✓") for line in lines[1:]]
    assert columns == [10, 12, 14]


def test_a_new_day_is_announced_once(context: Context) -> None:
    items = [
        item("prompt", text="a"),
        item("prompt", text="b"),
        item("prompt", text="c", at="2026-11-03T10:00:00Z"),
    ]
    days = [line for line in lines_of(context, items) if line.startswith("2026-")]
    assert days == ["2026-11-01", "2026-11-03"]


def test_nothing_in_recorded_data_reaches_the_terminal_as_a_control(context: Context) -> None:
    hostile = call(
        tool=HOSTILE, subject=HOSTILE, error=HOSTILE, gap=HOSTILE, witnesses=[HOSTILE], tool_use_id=HOSTILE
    )
    parts: dict[str, Any] = {
        "input": {"command": f"a\n{HOSTILE}"},
        "stdout": HOSTILE,
        "stderr": HOSTILE,
        "result": HOSTILE,
        "response": {HOSTILE: [HOSTILE]},
        "evidence": [{"witness": HOSTILE, "source": HOSTILE, "at": HOSTILE, "ledger_seq": 1}],
        "masked": {HOSTILE: 1},
    }
    kinds = ("prompt", "message", "event", "subagent", "gap", "finding")
    items = [item(kind, name=HOSTILE, text=HOSTILE, at=HOSTILE) for kind in kinds]
    items.append(item("call", call=hostile))
    lines = lines_of(context, items, **parts) + lines_of(context, items, full=True, diff=HOSTILE)
    lines += call_in_full(detail(hostile, diff=HOSTILE, **parts), context)
    lines += diff_lines(HOSTILE, context)
    shown = "\n".join(lines)
    assert "\\x1b]0;owned\\x07" in shown
    controls = {character for character in shown if ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0}
    assert controls == {"\n"}
    assert "\u202e" not in shown


def test_lines_keep_to_the_width_of_the_terminal(context: Context) -> None:
    long = "日本語 " * 40
    items = [
        item("prompt", text=long),
        item("gap", name="x", text=long),
        item("event", name="Notification", text=long),
        item("call", call=call(subject=long)),
    ]
    assert max(columns_of(line) for line in lines_of(context, items, stdout=long)) <= 80


def test_a_call_in_full_trims_nothing_and_names_its_evidence(context: Context) -> None:
    output = "\n".join(f"line {number}" for number in range(100))
    evidence = [
        {"witness": "hook.pre", "source": "spool:ab:32", "at": "2026-11-01T10:00:00Z", "ledger_seq": 7}
    ]
    lines = call_in_full(detail(call(), stdout=output, evidence=evidence, input={"command": "x"}), context)
    text = "\n".join(lines)
    assert "line 99" in text
    assert "spool:ab:32" in text
    assert '"command": "x"' in text
    assert "2.4 s (reported)" in text


def test_a_change_that_was_refused_is_not_shown_as_made(context: Context) -> None:
    refused = detail(call(tool="Edit", outcome="denied"), diff="--- a\n+++ a\n@@ -1 +1 @@\n-old\n+new")
    assert body(refused, context, width=60, full=False) == ["not applied:", "@@ -1 +1 @@", "-old", "+new"]
