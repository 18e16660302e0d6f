"""Every command that the documents show exists, takes the options shown, and does what is said on a real record."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from documented_history import PROJECT, SECRETS, SESSION, make_history
from harness_system import wk

from watchkeeper.queries.timeline import timeline
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import open_reader

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
NOT_RUN = {"up", "demo", "doctor", "install", "uninstall", "url", "down"}
"""They start or change what a test of documents should not; each has tests of its own."""
WIDTH = 88
"""Columns of the terminal that outputs were shown on: what a page of code has room for."""


def blocks(document: Path) -> list[str]:
    return re.findall(r"^```\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def block_lines(prefix: str) -> list[str]:
    lines = {line for document in DOCUMENTS for block in blocks(document) for line in block.splitlines()}
    return sorted(line for line in lines if line.startswith(prefix))


def inline_commands() -> list[str]:
    text = " ".join(re.sub(r"\s+", " ", document.read_text(encoding="utf-8")) for document in DOCUMENTS)
    return sorted(set(re.findall(r"`wk ([a-z]+)", text)))


def shown_outputs() -> list[tuple[str, str]]:
    """Return each command that the documents show the output of, with that output."""
    shown = re.compile(r"^```\n(wk [^\n]+)\n```\n\n```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [pair for document in DOCUMENTS for pair in shown.findall(document.read_text(encoding="utf-8"))]


@pytest.fixture
def values(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A home with a history, and what the words in capitals stand for in it."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    make_history(settings)
    (tmp_path / "moved").mkdir()
    (tmp_path / "deploy.txt").write_text(SECRETS)
    return {
        "SESSION": SESSION,
        "FILE": str(tmp_path / "bundle.jsonl"),
        "FROM": PROJECT,
        "TO": str(tmp_path / "moved"),
        "deploy.txt": str(tmp_path / "deploy.txt"),
    }


def words_of(line: str, values: dict[str, str]) -> list[str]:
    return [values.get(word, word) for word in shlex.split(line)[1:]]


@pytest.mark.parametrize("line", block_lines("wk "))
def test_a_shown_command_runs_on_a_real_record(line: str, settings: Settings, values: dict[str, str]) -> None:
    words = words_of(line, values)
    if words[0] in NOT_RUN:
        wk(settings, words[0], "--help")
        return
    if "CALL" in words:
        wk(settings, "sessions")
        with open_reader(settings.places) as reader:
            items = timeline(reader, SESSION)["items"]
        call = next(item["call"]["tool_use_id"] for item in items if item["call"])
        words[words.index("CALL")] = call
    done = wk(settings, *words)
    assert done.stdout.strip()


@pytest.mark.parametrize(("line", "shown"), shown_outputs())
def test_a_shown_output_is_what_the_command_prints(
    line: str, shown: str, settings: Settings, values: dict[str, str]
) -> None:
    """Line by line and in this order; an ellipsis stands for lines left out."""
    printed = iter([row.rstrip() for row in wk(settings, *words_of(line, values)).stdout.splitlines()])
    for row in shown.splitlines():
        assert row in {"", "…"} or row in printed, f"not printed here: {row}"


def test_outputs_are_shown_at_all() -> None:
    assert len(shown_outputs()) >= 5


@pytest.mark.parametrize("command", inline_commands())
def test_a_command_named_in_the_text_exists(command: str, settings: Settings) -> None:
    wk(settings, command, "--help")


@pytest.mark.parametrize("line", block_lines("make "))
def test_a_shown_make_target_exists(line: str) -> None:
    assert line.split()[1] in MAKE_TARGETS


def test_every_command_stands_in_the_readme(settings: Settings) -> None:
    from watchkeeper.cli.entry import COMMANDS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"`wk {name}" not in readme]
    assert not missing


def test_every_link_inside_the_repository_leads_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_place_that_the_architecture_names_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.*-]+/[\w./*-]*)`", text))
    missing = [
        place
        for place in named
        if not any(list(folder.glob(place)) for folder in (ROOT, ROOT / "src" / "watchkeeper"))
    ]
    assert named
    assert not missing
