"""Which texts of lines and payloads can be searched."""

from __future__ import annotations

from typing import Any

import pytest

from watchkeeper.store.search_text import pieces, searchable


def line(role: str, *blocks: Any, **more: Any) -> dict[str, Any]:
    """Return a decoded line."""
    return {"type": role, "message": {"role": role, "content": list(blocks)}, **more}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "user", "message": {"content": "do it"}}, [("prompt", "do it", None)]),
        ({"message": {"role": "assistant", "content": "done"}}, [("answer", "done", None)]),
        (line("assistant", {"type": "text", "text": "ok"}), [("answer", "ok", None)]),
        (
            line("assistant", {"type": "thinking", "thinking": "hm", "signature": "c2ln"}),
            [("thinking", "hm", None)],
        ),
        (
            line(
                "assistant",
                {
                    "type": "tool_use",
                    "id": "t1",
                    "name": "X",
                    "input": {"a": "in", "b": [{"c": "deep"}], "n": 7},
                },
            ),
            [("tool_input", "in", "t1"), ("tool_input", "deep", "t1"), ("tool_input", "7", "t1")],
        ),
        (
            line(
                "user",
                {"type": "tool_result", "tool_use_id": "t1", "content": "out"},
                toolUseResult={"stdout": "out"},
            ),
            [("tool_result", "out", "t1")],
        ),
        (
            line(
                "user",
                {"type": "tool_result", "tool_use_id": "t1", "content": ""},
                toolUseResult={"stdout": "only here"},
            ),
            [("tool_result", "only here", "t1")],
        ),
        (
            line(
                "user",
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [
                        {"type": "text", "text": "seen"},
                        {"type": "image", "source": {"type": "base64", "data": "aGVsbG8"}},
                    ],
                },
            ),
            [("tool_result", "seen", "t1")],
        ),
        (line("user", {"type": "image", "source": {"type": "base64", "data": "aGVsbG8"}}), []),
        (
            {
                "type": "progress",
                "data": {"type": "agent_progress", "message": line("user", {"type": "text", "text": "sub"})},
            },
            [("prompt", "sub", None)],
        ),
        ({"type": "progress", "data": {"type": "bash_progress", "output": "tick"}}, []),
        (
            {"type": "attachment", "attachment": {"type": "queued_command", "prompt": "and then"}},
            [("prompt", "and then", None)],
        ),
        ({"type": "summary", "summary": "a title"}, []),
        ({"type": "user", "message": "broken"}, []),
        (
            {
                "hook_event_name": "PostToolUse",
                "tool_use_id": "t2",
                "tool_input": {"command": "ls"},
                "tool_response": {"stdout": "f"},
            },
            [("tool_input", "ls", "t2"), ("tool_result", "f", "t2")],
        ),
        ({"hook_event_name": "UserPromptSubmit", "prompt": "typed"}, [("prompt", "typed", None)]),
    ],
)
def test_the_texts_of_a_line_are_found_with_their_kinds(body: dict[str, Any], expected: list[Any]) -> None:
    """Every shape of line and payload gives what a person would look for, and nothing encoded."""
    assert [tuple(piece) for piece in pieces(body)] == expected


def test_a_text_that_stands_twice_on_a_line_counts_once() -> None:
    """Clients repeat themselves."""
    assert searchable(line("assistant", {"type": "text", "text": "ok"}, {"type": "text", "text": "ok"})) == [
        "ok"
    ]


def test_nesting_without_end_is_left_at_some_depth() -> None:
    """A hostile value costs no recursion."""
    value: Any = "deep"
    for _ in range(500):
        value = [value]
    assert searchable(line("assistant", {"type": "tool_use", "id": "t", "input": value})) == []
