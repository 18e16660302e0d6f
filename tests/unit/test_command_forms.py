"""Commands are compared in one form; exits that merely report something are no errors; stacks are found in texts."""

from __future__ import annotations

import pytest

from watchkeeper.analysis.proposals import with_proposals
from watchkeeper.queries.commands import command_family, expected_exit, normalise_command, whole_command
from watchkeeper.queries.errors import stack_of


@pytest.mark.parametrize(
    ("command", "normal", "family"),
    [
        ("npm   test -- user\n# later", "npm test -- user", "npm test"),
        ("# first\n\n  pytest -q tests/test_a.py", "pytest -q tests/test_a.py", "pytest"),
        (
            "cd '/a b' && FOO=1 timeout 60 uv run pytest -x",
            "cd '/a b' && FOO=1 timeout 60 uv run pytest -x",
            "pytest",
        ),
        ("npm run build:web", "npm run build:web", "npm run build:web"),
        ("python3 -m pytest", "python3 -m pytest", "pytest"),
        ("git -C . status", "git -C . status", "git status"),
        ("/usr/bin/make -j8 all", "/usr/bin/make -j8 all", "make all"),
        ("", "", ""),
        (None, "", ""),
    ],
)
def test_commands_have_one_form_and_a_family(command: str | None, normal: str, family: str) -> None:
    assert normalise_command(command) == normal
    assert command_family(normal) == family


def test_scripts_that_only_begin_alike_are_different_commands() -> None:
    one, other = ("python3 - <<'EOF'\nimport one\nEOF", "# try\npython3  - <<'EOF'\nimport other\nEOF\n")
    assert normalise_command(one) == normalise_command(other)
    assert whole_command(one) == one
    assert whole_command(other) == "python3 - <<'EOF'\nimport other\nEOF"
    assert whole_command("npm   test\n# later") == "npm test"


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("grep -rn needle src", 1, "no match"),
        ("cat notes | rg needle", 1, "no match"),
        ("grep -rn needle src", 2, None),
        ("diff a b", 1, "differences found"),
        ("git diff --exit-code", 1, "differences found"),
        ("git diff HEAD~1", 1, None),
        ("test -f pyproject.toml", 1, "condition is false"),
        ("[ -d src ]", 1, "condition is false"),
        ("cd app && pytest -q", 1, "tests failed"),
        ("npm test -- user", 1, "tests failed"),
        ("cargo test", 101, "tests failed"),
        ("python3 test_app.py", 1, "tests failed"),
        ("python run.py", 1, None),
        ("pytest -q", 2, None),
        ("ruff check .", 1, "checks found something"),
        ("grep needle file | npm install", 1, None),
        ("npm install", 1, None),
        ("ls missing", 2, None),
        ("grep needle file", 0, None),
        (None, 1, None),
    ],
)
def test_an_exit_that_says_something_is_told_from_an_error(
    command: str | None, code: int, says: str | None
) -> None:
    assert expected_exit(command, code) == says


def test_the_stack_of_python_and_of_other_languages_is_found() -> None:
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    f()\nKeyError: 1'
    assert stack_of(f"Exit code 1\n{trace}\nmore") == trace
    node = "TypeError: x is undefined\n    at f (/a/b.js:1:2)\n    at g (/a/c.js:3:4)\nNode.js v22"
    assert stack_of(node) == "TypeError: x is undefined\n    at f (/a/b.js:1:2)\n    at g (/a/c.js:3:4)"
    assert stack_of("Exit code 1\nno such thing") is None
    assert stack_of(None) is None


def command_row(**changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "command": "deploy --now", "family": "deploy", "failures": 4, "sessions": 2, "exit_codes": [1],
        "kinds": {"exit_status": 4}, "expected": {}, "last_error": "Exit code 1\nno such host",
    }  # fmt: skip
    return row | changes


@pytest.mark.parametrize(
    ("changes", "place", "part"),
    [
        ({}, "CLAUDE.md", "last with: no such host"),
        ({"kinds": {"command_not_found": 4}}, "hook", "SessionStart"),
        ({"kinds": {"permission": 4}}, "permission rule", "Bash(deploy:*)"),
        ({"kinds": {"timeout": 4}}, "CLAUDE.md", "background"),
        ({"command": "ruff check .", "family": "ruff"}, "hook", "PostToolUse"),
        ({"command": "pytest", "family": "pytest", "expected": {"tests failed": 4}}, "skill", "testing"),
    ],
)
def test_a_failing_command_names_the_part_of_the_configuration_to_change(
    changes: dict[str, object], place: str, part: str
) -> None:
    row = with_proposals({"failing_commands": [command_row(**changes)]})["failing_commands"][0]
    assert row["change"] == place
    assert part in row["proposal"]
    assert "4 times in 2 sessions" in row["proposal"]
