"""The quick commands start quickly: a list of what they may not import, checked on the real programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "src"
FORBIDDEN = {
    "asyncio",
    "concurrent",
    "cryptography",
    "dataclasses",
    "inspect",
    "litestar",
    "msgspec",
    "multiprocessing",
    "rich",
    "shutil",
    "sqlite3",
    "ssl",
    "subprocess",
    "uvicorn",
    "watchfiles",
    "websockets",
    "zstandard",
}
"""Each costs 5 to 300 ms; ``wk sessions`` has 80 ms in all."""

QUICK = (
    ["--help"],
    ["--version"],
    ["config"],
    ["config", "--json"],
    ["sessions"],
    ["sessions", "--json", "--since", "7d", "--", "word"],
    ["statusline"],
    ["statusline", "--json"],
    ["budget", "check", "--quiet"],
    ["prices"],
)


def imported(home: Path, *words: str) -> set[str]:
    """Run ``wk`` and return the top-level names of the modules it imported."""
    env = {
        "HOME": str(home.parent),
        "WATCHKEEPER_HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home.parent / ".claude"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCES),
    }
    program = (
        "import sys\n"
        "from watchkeeper.cli.entry import run\n"
        "status = run(sys.argv[1:])\n"
        "print('modules', *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        "raise SystemExit(status)\n"
    )
    command = [sys.executable, "-P", "-c", program, *words]
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("modules ")]
    return set(line.split()[1:])


@pytest.fixture
def recorded_home(home: Path) -> Path:
    """A home whose store is up to date, so that a quick command has nothing to take in."""
    folder = home.parent / ".claude" / "projects" / "-project"
    folder.mkdir(parents=True)
    line = (
        '{"type":"user","uuid":"u-1","parentUuid":null,"sessionId":"11111111-1111-4111-8111-111111111111",'
        '"timestamp":"2026-11-01T10:00:00.000Z","cwd":"/project","version":"2.1.330","isSidechain":false,'
        '"userType":"external","message":{"role":"user","content":"a word"}}\n'
    )
    (folder / "11111111-1111-4111-8111-111111111111.jsonl").write_text(line)
    imported(home, "import")
    return home


@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_a_quick_command_imports_nothing_heavy(recorded_home: Path, words: list[str]) -> None:
    """None of the slow packages is loaded when the store is up to date."""
    assert imported(recorded_home, *words) & FORBIDDEN == set()


def test_the_list_would_notice(recorded_home: Path) -> None:
    """A command that does heavy work does load forbidden modules, so an empty answer means something."""
    assert imported(recorded_home, "rebuild") & FORBIDDEN >= {"msgspec", "zstandard"}


def test_a_search_with_hits_unpacks_them_and_imports_nothing_else(recorded_home: Path) -> None:
    """The context of a hit is read from the archive, so its decompressor is all that comes on top."""
    assert imported(recorded_home, "sessions", "--", "word") & FORBIDDEN == {"zstandard"}


def test_a_running_session_costs_the_list_nothing_heavy(recorded_home: Path) -> None:
    """Its last lines are looked at without what records them."""
    (path,) = (recorded_home.parent / ".claude" / "projects" / "-project").glob("*.jsonl")
    with path.open("a") as file:
        file.write(path.read_text().replace("u-1", "u-2").replace("a word", "another"))
    assert imported(recorded_home, "sessions") & FORBIDDEN == set()
    assert imported(recorded_home, "sessions", "--", "nowhere") & FORBIDDEN == set()
