"""Shell commands as they are compared: in one form, by family, and with exits that say something but no error."""

from __future__ import annotations

import re
from itertools import pairwise

_SPACE = re.compile(r"\s+")
_PREFIX = re.compile(
    r"^(?:(?:cd|pushd)\s+(?:'[^']*'|\"[^\"]*\"|\S+)\s*(?:&&|;)\s*|[A-Za-z_]\w*=(?:'[^']*'|\"[^\"]*\"|\S*)\s+"
    r"|(?:sudo|time|nohup|nice|command|exec|env)\s+|timeout\s+(?:-\S+\s+)*\S+\s+|set\s+-\S+\s*(?:&&|;)\s*)"
)
_RUNNERS = {"npx", "bunx", "uvx", "pipx", "uv", "poetry", "pdm", "hatch", "rye", "bundle", "dotenv"}
_WITH_VERB = {
    "git", "npm", "pnpm", "yarn", "bun", "cargo", "go", "docker", "kubectl", "make", "just", "gh", "pip", "terraform",
    "dotnet", "mvn", "gradle", "mix", "rake", "rails", "php", "composer", "brew", "apt", "systemctl", "helm", "aws",
    "gcloud", "deno", "swift", "turbo", "nx", "task", "python -m", "python3 -m",
}  # fmt: skip

_TAKING_A_VALUE = {
    "-C",
    "-c",
    "--git-dir",
    "--work-tree",
    "--prefix",
    "--filter",
    "--dir",
    "--cwd",
    "-f",
    "-n",
}
"""Options before a verb that are followed by a value."""


def normalise_command(text: str | None) -> str:
    """Return the first line of a command that is no comment, with single blanks; what is compared and shown."""
    for line in (text or "").splitlines():
        plain = _SPACE.sub(" ", line).strip()
        if plain and not plain.startswith("#"):
            return plain
    return _SPACE.sub(" ", text or "").strip()


def whole_command(text: str | None) -> str:
    """Return the lines of a command that are no comments, with single blanks; what begins alike may differ later."""
    lines = (_SPACE.sub(" ", line).strip() for line in (text or "").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#")) or normalise_command(text)


def command_family(command: str) -> str:
    """Return program and verb: ``npm test``, ``git commit``, ``pytest``; without what merely stands before it."""
    words = _words(_core(command))
    if not words:
        return ""
    first = words[0].rsplit("/", 1)[-1]
    if first in _RUNNERS and len(words) > 1:
        words = [word for word in words[1:] if word != "run" and not word.startswith("-")]
        first = words[0].rsplit("/", 1)[-1] if words else first
    if first in {"python", "python3"} and words[1:2] == ["-m"] and len(words) > 2:
        return words[2]
    if first in _WITH_VERB:
        verb = next(
            (
                word
                for before, word in pairwise(words)
                if not word.startswith("-") and before not in _TAKING_A_VALUE
            ),
            None,
        )
        if verb == "run" and first in {"npm", "pnpm", "yarn", "bun", "deno"}:
            rest = words[words.index("run") + 1 :]
            return f"{first} run {rest[0]}" if rest else f"{first} run"
        return f"{first} {verb}" if verb else first
    return first


def _core(command: str) -> str:
    text = command.strip()
    while True:
        shorter = _PREFIX.sub("", text, count=1)
        if shorter == text or not shorter:
            return text
        text = shorter


def _words(command: str) -> list[str]:
    return [word.strip("'\"();") for word in command.split() if word.strip("'\"();")]


_TESTS = re.compile(
    r"\b(?:pytest|py\.test|unittest|tox|nox|jest|vitest|mocha|playwright test|cypress|rspec|phpunit|ctest|nextest"
    r"|(?:npm|pnpm|yarn|bun|cargo|go|make|mix|dotnet|deno|swift|gradle|gradlew|mvn|just|rake) (?:run )?[\w:.-]*test\w*"
    r"|(?:npm|pnpm|yarn) t|python3? (?:\S*/)?test_\w+\.py|python3? \S*/tests?/\S+\.py)\b"
)
_CHECKS = re.compile(
    r"\b(?:ruff|flake8|pylint|mypy|pyright|eslint|tsc|black --check|prettier --check|clippy|golangci-lint|shellcheck"
    r"|(?:npm|pnpm|yarn|make|cargo) (?:run )?[\w:.-]*(?:lint|check|typecheck|format:check)\w*)\b"
)
_SEARCHES = {"grep", "egrep", "fgrep", "rg", "ag", "pgrep", "pidof", "which", "ack", "zgrep"}
_COMPARISONS = {"diff", "cmp", "colordiff", "comm"}
_CONDITIONS = {"test", "[", "[[", "false", "expr"}


def alike(one: str, other: str) -> bool:
    """Tell whether two commands share most of their words."""
    mine, its = set(one.split()), set(other.split())
    return 5 * len(mine & its) >= 3 * len(mine | its)


def expected_exit(command: str | None, exit_code: int | None) -> str | None:
    """Return what a non-zero exit says where it is an answer rather than an error; ``None`` where it is an error.

    Searches, comparisons and conditions answer with 1; test runs and checkers report what they found. Of several
    commands the last one's status counts, as in the shell; after ``&&`` it may be an earlier one, so that only the
    sure cases count there.
    """
    if exit_code is None or exit_code == 0 or not command:
        return None
    line = normalise_command(command)
    last = _last_command(line)
    words = _words(_core(last))
    program = words[0].rsplit("/", 1)[-1] if words else _core(last)[:2].strip()
    if exit_code == 1 and (program in _SEARCHES or (program == "git" and words[1:2] == ["grep"])):
        return "no match"
    if exit_code == 1 and (program in _COMPARISONS or _diff_that_answers(program, words)):
        return "differences found"
    if exit_code == 1 and (program in _CONDITIONS or _core(last).startswith("[")):
        return "condition is false"
    # 2 and more: usage errors, crashes, missing programs; cargo and mvn use 101 and 1 for failing tests.
    if exit_code in {1, 101} and _TESTS.search(line):
        return "tests failed"
    if exit_code == 1 and _CHECKS.search(line):
        return "checks found something"
    return None


def _diff_that_answers(program: str, words: list[str]) -> bool:
    # Plain `git diff` exits with 0 whatever it shows.
    asked = {"--exit-code", "--quiet", "--no-index", "--check"} & set(words)
    return program == "git" and words[1:2] == ["diff"] and bool(asked)


def _last_command(line: str) -> str:
    """Return the command whose status the shell hands on, as far as a look without a grammar can tell."""
    for mark in (";", "||", "&&"):
        line = line.rsplit(mark, 1)[-1]
    return line.rsplit("|", 1)[-1].strip()
