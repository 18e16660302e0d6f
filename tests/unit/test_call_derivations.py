"""What follows from the facts of a call: outcome, duration, permission, gap, errors, file and git operations."""

from __future__ import annotations

from typing import Any

import pytest

from watchkeeper.events.derive import (
    call_contradictions,
    call_duration,
    call_finding,
    call_outcome,
    call_times,
    derive_call,
    error_type,
    values_of,
)
from watchkeeper.events.entities import (
    CALL,
    SEEN_HOOK_BATCH,
    SEEN_HOOK_FAILURE,
    SEEN_HOOK_POST,
    SEEN_HOOK_PRE,
    SEEN_TRANSCRIPT_RESULT,
    SEEN_TRANSCRIPT_USE,
)
from watchkeeper.events.gaps import GAP_EXPLANATIONS, LIVE_MS, call_gap, permission, session_is_over
from watchkeeper.events.merge import Facts, State, join, lift
from watchkeeper.sources.claude_code.tools import error_facts, git_facts, input_facts, patch_lines

NOW = 10_000_000


def state(*facts: tuple[str, int, dict[str, Any]]) -> State:
    merged: State = {}
    for witness, at, values in facts:
        rank = 0 if witness == "hook" else 10
        join(merged, lift(Facts("call", "c", witness, rank, at, values), CALL), CALL)
    return merged


def call(**values: Any) -> dict[str, Any]:
    return values_of("call", state(("hook", 1, values)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"failed": 0}, ("ok", None)),
        ({"failed": 1}, ("failed", None)),
        ({"failed": 1, "denied": "user"}, ("denied", "user")),
        ({"failed": 1, "rejected": 1}, ("rejected", None)),
        ({"failed": 1, "interrupted": 1}, ("interrupted", None)),
        ({"seen": SEEN_HOOK_PRE}, ("running", None)),
        ({"failed": 1, "seen": SEEN_HOOK_PRE | SEEN_HOOK_BATCH}, ("denied", None)),
        ({"failed": 1, "seen": SEEN_HOOK_PRE | SEEN_HOOK_BATCH | SEEN_HOOK_FAILURE}, ("failed", None)),
        ({"failed": 1, "seen": SEEN_HOOK_PRE}, ("failed", None)),
        ({"failed": 1, "exit_code": 1, "seen": SEEN_HOOK_PRE | SEEN_HOOK_BATCH}, ("failed", None)),
        ({"seen": SEEN_HOOK_PRE | SEEN_HOOK_BATCH, "batch_at": 5}, ("unknown", None)),
    ],
)
def test_the_outcome_follows_from_what_was_seen(
    values: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    assert call_outcome(call(**values)) == expected


def test_the_clients_own_duration_beats_the_difference_of_two_events() -> None:
    assert call_duration(call(duration_ms=7, pre_at=100, post_at=200)) == (7, "reported")
    assert call_duration(call(pre_at=100, post_at=250)) == (150, "computed")
    assert call_duration(call(asked_at=100, answered_at=900)) == (None, None)


def test_a_clock_that_was_set_back_makes_a_duration_unknown_and_never_negative() -> None:
    jumped = call(pre_at=5_000, post_at=1_000)
    assert call_duration(jumped) == (None, None)
    counted = call(pre_at=5_000, post_at=1_000, pre_clock=["b", 100], post_clock=["b", 350])
    assert call_duration(counted) == (250, "computed")
    restarted = call(pre_at=5_000, post_at=9_000, pre_clock=["b", 100], post_clock=["c", 350])
    assert call_duration(restarted) == (None, None)
    start, end = call_times(jumped)
    assert start is not None
    assert end is not None
    assert end >= start


def test_witnesses_that_contradict_each_other_are_both_kept_and_a_finding() -> None:
    merged = state(
        ("hook", 1, {"tool": "Bash", "failed": 0}), ("transcript", 2, {"tool": "Bash", "failed": 1})
    )
    assert call_contradictions(merged) == [{"field": "failed", "said": {"hook": 0, "transcript": 1}}]
    finding = call_finding("c", values_of("call", merged), call_contradictions(merged))
    assert finding is not None
    assert "hook says 0, transcript says 1" in finding["what"]
    assert derive_call("c", merged)["calls"]["outcome"] == "ok"  # type: ignore[index]


def test_a_call_without_an_error_leaves_no_row_among_the_errors() -> None:
    rows = derive_call("c", state(("hook", 1, {"tool": "Read", "failed": 0, "file_path": "/a"})))
    assert rows["errors"] is None
    assert rows["findings"] is None
    assert rows["file_operations"]["kind"] == "read"  # type: ignore[index]


SESSION = {"hook_first_at": 1, "transcript_first_at": 1, "last_at": NOW, "ended_at": None}
BOTH = SEEN_HOOK_PRE | SEEN_HOOK_POST | SEEN_TRANSCRIPT_USE | SEEN_TRANSCRIPT_RESULT


def row(**changes: Any) -> dict[str, Any]:
    base = {"tool": "Bash", "outcome": "ok", "seen": BOTH, "started_at": 2, "ended_at": 3, "background": 0}
    return (
        base
        | {"agent_id": None, "signature": "x", "outcome_by": None, "permission_mode": "default"}
        | changes
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"seen": SEEN_TRANSCRIPT_USE | SEEN_TRANSCRIPT_RESULT}, ("hook_stopped", ["hook"])),
        ({"seen": SEEN_TRANSCRIPT_USE, "outcome": "rejected"}, ("schema_rejected", ["hook"])),
        ({"seen": SEEN_HOOK_PRE | SEEN_HOOK_POST}, ("transcript_missing", ["transcript"])),
        ({"seen": SEEN_HOOK_PRE | SEEN_TRANSCRIPT_USE, "outcome": "denied"}, ("user_denied", [])),
        ({"seen": SEEN_HOOK_PRE | SEEN_TRANSCRIPT_USE, "outcome": "interrupted"}, ("interrupted", [])),
        ({"tool": "Agent", "background": 1}, ("background_agent", [])),
        ({"seen": SEEN_HOOK_PRE | SEEN_TRANSCRIPT_USE | SEEN_TRANSCRIPT_RESULT}, ("unknown", ["hook.post"])),
    ],
)
def test_every_gap_has_its_class(changes: dict[str, Any], expected: tuple[str, list[str]] | None) -> None:
    assert call_gap(row(**changes), SESSION, now=NOW, first_hook_ever=1) == expected


def test_a_young_call_is_not_held_against_a_transcript_that_lags() -> None:
    young = row(seen=SEEN_HOOK_PRE | SEEN_HOOK_POST, started_at=NOW - 1000)
    assert call_gap(young, SESSION, now=NOW, first_hook_ever=1) is None


def test_a_call_that_never_ended_is_a_gap_once_its_session_is_over() -> None:
    open_call = row(seen=SEEN_HOOK_PRE | SEEN_TRANSCRIPT_USE, outcome="running")
    assert call_gap(open_call, SESSION, now=NOW, first_hook_ever=1) is None
    later = NOW + LIVE_MS
    assert session_is_over(SESSION, later)
    assert call_gap(open_call, SESSION, now=later, first_hook_ever=1) == ("unfinished", [])


def test_before_the_first_hook_it_was_not_installed_after_it_was_off() -> None:
    bare = SESSION | {"hook_first_at": None}
    written = row(seen=SEEN_TRANSCRIPT_USE | SEEN_TRANSCRIPT_RESULT)
    assert call_gap(written, bare, now=NOW, first_hook_ever=None) == ("hook_not_installed", [])
    assert call_gap(written, bare, now=NOW, first_hook_ever=1) == ("hooks_off", [])


def test_what_was_done_before_the_first_hook_ever_is_not_held_against_the_hooks() -> None:
    """A session that goes on after the installation holds calls from before it."""
    written = row(seen=SEEN_TRANSCRIPT_USE | SEEN_TRANSCRIPT_RESULT, started_at=4)
    assert call_gap(written, SESSION, now=NOW, first_hook_ever=5) == ("hook_not_installed", ["hook"])
    assert call_gap(written, SESSION, now=NOW, first_hook_ever=4) == ("hook_stopped", ["hook"])


def test_every_class_of_gap_is_explained() -> None:
    for name, text in GAP_EXPLANATIONS.items():
        assert text.endswith("."), name


def test_permission_says_who_let_a_call_through_as_far_as_known() -> None:
    asked = {"signature": "x", "agent_id": None, "at": 2}
    assert permission(row(), []) == ("allow", "not asked")
    assert permission(row(), [asked]) == ("ask", "user")
    assert permission(row(permission_mode="bypassPermissions"), []) == ("allow", "mode bypassPermissions")
    edits = row(permission_mode="acceptEdits", tool="Edit")
    assert permission(edits, []) == ("allow", "mode acceptEdits")
    assert permission(edits | {"tool": "Bash"}, []) == ("allow", "not asked")
    assert permission(row(permission_mode="dontAsk"), []) == ("allow", "not asked")
    assert permission(row(outcome="denied", outcome_by="hook"), []) == ("deny", "hook")
    assert permission(row(seen=SEEN_TRANSCRIPT_USE), []) == (None, None)
    assert permission(row(), [asked | {"at": 5_000}]) == ("allow", "not asked")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Exit code 3\nboom", {"exit_code": 3}),
        ("The user doesn't want to proceed with this tool use. STOP", {"denied": "user"}),
        ("<tool_use_error>String to replace not found in file.</tool_use_error>", {"rejected": 1}),
        ("<tool_use_error>Sibling tool call errored</tool_use_error>", {"interrupted": 1}),
        ("PreToolUse:Bash hook error: [x]: blocked by policy", {"denied": "hook"}),
        ("This command requires approval", {"denied": "rule"}),
        ("Permission to use Bash with command x has been denied.", {"denied": "rule"}),
    ],
)
def test_an_error_text_says_who_refused_and_how(text: str, expected: dict[str, Any]) -> None:
    facts = error_facts(text)
    assert {name: value for name, value in facts.items() if name not in {"error", "failed"}} == expected


def test_error_texts_fall_into_classes() -> None:
    assert error_type("Exit code 1\nfoo") == "exit_status"
    assert error_type("File does not exist.") == "not_found"
    assert error_type("strange") == "other"
    assert error_type(None) == "other"


def test_lines_added_and_removed_come_from_the_clients_patch() -> None:
    patch = {"structuredPatch": [{"lines": [" a", "-b", "+c", "+d"]}]}
    assert patch_lines("Edit", patch) == (2, 1)
    assert patch_lines("Write", {"type": "create", "structuredPatch": [], "content": "a\nb\n"}) == (2, 0)
    assert patch_lines("Bash", {"stdout": ""}) == (None, None)
    cell = {"new_source": "a\nb", "edit_mode": "insert", "cell_id": "1"}
    assert patch_lines("NotebookEdit", cell) == (2, 0)
    assert patch_lines("NotebookEdit", cell | {"edit_mode": "replace"}) == (None, None)
    written = {"filePath": "/f", "content": "a\nb\n", "originalFile": None}
    assert patch_lines("Write", written) == (2, 0)
    assert patch_lines(None, written | {"originalFile": "a\nb\n", "structuredPatch": []}) == (0, 0)
    assert patch_lines("Write", written | {"originalFile": "a\n"}) == (None, None)


def test_a_commit_is_read_from_what_git_printed() -> None:
    printed = "[main 1a2b3c4] Fix\n 3 files changed, 12 insertions(+), 1 deletion(-)\n"
    assert git_facts({"stdout": printed}) == {
        "operation": "commit",
        "branch": "main",
        "commit": "1a2b3c4",
        "files_changed": 3,
        "insertions": 12,
        "deletions": 1,
    }
    assert git_facts({"stdout": "nothing of git"}) is None
    statistics = git_facts({"stdout": " 1 file changed, 2 deletions(-)\n"})
    assert statistics == {"files_changed": 1, "insertions": 0, "deletions": 2}


@pytest.mark.parametrize(
    ("command", "operation"),
    [
        ("git status --short; sleep 1", "status"),
        ("git add -A && git commit -q -m x && git show --stat", "commit"),
        ("git -C /repo -c a=b push origin main", "push"),
        ("cd /repo && GIT_PAGER= git --no-pager -c core.editor=true rebase main", "rebase"),
        ("if true; then git stash; fi", "stash"),
        ("x=$(git rev-parse HEAD)", "rev-parse"),
        ("echo " + "x" * 400 + " && git push", "push"),
        ("echo git commit", None),
        ("diffstat x", None),
    ],
)
def test_of_several_git_commands_the_weightiest_is_the_operation(command: str, operation: str | None) -> None:
    facts = input_facts("Bash", {"command": command}) | {"failed": 0, "git": {"files_changed": 1}}
    row = derive_call("c", state(("hook", 1, facts)))["git_operations"]
    assert (row["operation"] if row else None) == operation
