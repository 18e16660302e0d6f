"""Every command that the documents show exists, takes the options shown, and does what is said on a real record."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness_system import wk

from watchkeeper.pipeline.demo import load_demo
from watchkeeper.pipeline.recording import Recording
from watchkeeper.queries.sessions import list_sessions
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


def blocks(document: Path) -> list[str]:
    return re.findall(r"^```\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def block_lines(prefix: str) -> list[str]:
    lines = {line for document in DOCUMENTS for block in blocks(document) for line in block.splitlines()}
    return sorted(line for line in lines if line.startswith(prefix))


def inline_commands() -> list[str]:
    text = " ".join(re.sub(r"\s+", " ", document.read_text(encoding="utf-8")) for document in DOCUMENTS)
    return sorted(set(re.findall(r"`wk ([a-z]+)", text)))


@pytest.mark.parametrize("line", block_lines("wk "))
def test_a_shown_command_runs_on_a_real_record(line: str, settings: Settings, tmp_path: Path) -> None:
    words = line.removeprefix("wk ").split()
    if words[0] in NOT_RUN:
        wk(settings, words[0], "--help")
        return
    with Recording(settings) as recording:
        load_demo(recording)
    with open_reader(settings.places) as reader:
        session = list_sessions(reader)["sessions"][0]["session_id"]
        items = timeline(reader, session)["items"]
    call = next(item["call"]["tool_use_id"] for item in items if item["call"])
    values = {"SESSION": session, "CALL": call, "FILE": str(tmp_path / "bundle.jsonl")}
    done = wk(settings, *(values.get(word, word) for word in words))
    assert done.stdout.strip()


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
