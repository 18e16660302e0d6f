"""The frame of the command line, run as users run it: arguments, help, errors, exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from watchkeeper.cli.entry import COMMANDS, GROUPS

SOURCES = Path(__file__).parents[2] / "src"


def wk(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``wk`` with a home and an agent folder of its own."""
    env = {
        "HOME": str(home),
        "WATCHKEEPER_HOME": str(home / "watchkeeper"),
        "CLAUDE_CONFIG_DIR": str(home / "agent"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCES),
        "PYTHONDONTWRITEBYTECODE": "1",
        **environment,
    }
    command = [sys.executable, "-m", "watchkeeper.cli", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_every_command_and_imports_none_of_them(tmp_path: Path) -> None:
    shown = wk(tmp_path, "--help")
    assert shown.returncode == 0
    assert all(f"  {name} " in shown.stdout for name in COMMANDS)
    assert sorted(" ".join(GROUPS.values()).split()) == sorted(COMMANDS)
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    script = (
        "import sys\n"
        "sys.argv = ['wk', '--help']\n"
        "from watchkeeper.cli import main\n"
        "main()\n"
        "print(*sorted(name for name in sys.modules if name.startswith('watchkeeper')), file=sys.stderr)\n"
    )
    env = {"PYTHONPATH": str(SOURCES), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stderr.split() == [
        "watchkeeper",
        "watchkeeper.cli",
        "watchkeeper.cli.entry",
        "watchkeeper.errors",
    ]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(tmp_path: Path, name: str) -> None:
    shown = wk(tmp_path, name, "--help")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"usage: wk {name}")
    assert "--json" in shown.stdout
    assert not (tmp_path / "watchkeeper").exists(), "help must leave no trace"


def test_version_is_said_in_words_and_in_json(tmp_path: Path) -> None:
    words = wk(tmp_path, "--version").stdout
    document = json.loads(wk(tmp_path, "--version", "--json").stdout)
    assert words == f"watchkeeper {document['version']}\n"


WRONG: list[tuple[Sequence[str], str]] = [
    (["confg"], "Did you mean `wk config`?"),
    (["config", "--nope"], "--nope"),
    (["sessions", "-n", "many"], "invalid int value"),
    (["sessions", "-n", "0"], "at least 1"),
    (["sessions", "--since", "soon"], "yesterday"),
    (["show"], "wk sessions"),
    (["up", "--port", "99999"], "no port"),
    (["verify", "a.bundle", "--export", "b"], "--export"),
    (["--nope"], "--nope"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_wrong_use_is_one_line_on_standard_error_and_status_2(
    tmp_path: Path, words: Sequence[str], said: str
) -> None:
    done = wk(tmp_path, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("wk: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_wrong_use_with_json_is_one_document_on_standard_output(
    tmp_path: Path, words: Sequence[str], said: str
) -> None:
    done = wk(tmp_path, *words, "--json")
    assert done.returncode == 2
    assert done.stderr == ""
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "usage"
    assert said in error["what"] + error.get("hint", "")


def test_global_flags_may_stand_before_or_after_the_command(tmp_path: Path) -> None:
    other = tmp_path / "other"
    before = wk(tmp_path, "--json", "--home", str(other), "config")
    after = wk(tmp_path, "config", "--json", f"--home={other}")
    assert before.stdout == after.stdout
    assert json.loads(before.stdout)["home"] == str(other)


def test_config_names_each_value_with_its_origin(tmp_path: Path) -> None:
    home = tmp_path / "watchkeeper"
    home.mkdir()
    (home / "config.toml").write_text("[ledger]\ncheckpoint_seconds = 3\n")
    document = json.loads(wk(tmp_path, "config", "--json", WATCHKEEPER_PORT="9001").stdout)
    origins = {row["name"]: (row["value"], row["origin"]) for row in document["settings"]}
    assert origins["server.port"] == (9001, "WATCHKEEPER_PORT")
    assert origins["ledger.checkpoint_seconds"] == (3, "config.toml")
    assert origins["ledger.checkpoint_entries"] == (1000, "default")
    table = wk(tmp_path, "config", WATCHKEEPER_PORT="9001").stdout
    assert "server.port" in table
    assert "\x1b" not in table


def test_a_broken_configuration_is_named_with_its_place(tmp_path: Path) -> None:
    home = tmp_path / "watchkeeper"
    home.mkdir()
    (home / "config.toml").write_text("[ledger\n")
    done = wk(tmp_path, "config")
    assert done.returncode == 1
    assert str(home / "config.toml") in done.stderr
    assert done.stderr.count("\n") == 1


def test_escape_sequences_in_an_argument_do_not_reach_the_terminal(tmp_path: Path) -> None:
    done = wk(tmp_path, "x\x1b[2Jy")
    assert "\x1b" not in done.stderr
    assert done.returncode == 2


def test_a_folder_with_other_things_is_not_made_a_home(tmp_path: Path) -> None:
    """The home is closed to everybody else, which a folder in use would not survive."""
    folder = tmp_path / "documents"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    (folder / "letter.txt").write_text("kept")
    for command in (["sessions"], ["up", "--no-open"], ["import"], ["install"]):
        done = wk(tmp_path, "--home", str(folder), *command)
        assert done.returncode == 1
        assert done.stderr == (
            f"wk: {folder}: this folder is no Watchkeeper home: it holds other things, such as letter.txt, "
            "and a home is closed to everybody else. Name an empty or a new folder.\n"
        )
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]
    assert folder.stat().st_mode & 0o777 == 0o755
    done = wk(tmp_path, "--home", str(folder / "letter.txt"), "sessions")
    assert done.returncode == 1
    assert "the home is no folder" in done.stderr


def test_a_home_with_nothing_but_its_settings_is_a_home(tmp_path: Path) -> None:
    home = tmp_path / "watchkeeper"
    home.mkdir()
    (home / "config.toml").write_text("[server]\nport = 7999\n")
    assert wk(tmp_path, "sessions").returncode == 0


def test_a_limit_beyond_what_the_store_can_count_is_no_limit(tmp_path: Path) -> None:
    done = wk(tmp_path, "sessions", "-n", "99999999999999999999")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_home_that_cannot_be_made_is_said_once_and_with_its_reason(tmp_path: Path) -> None:
    done = wk(tmp_path, "--home", "/proc/none", "coverage")
    assert done.stderr.count("\n") == 1
    assert "another process" not in done.stderr


def test_a_reader_that_goes_away_is_no_error_message(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES)}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "watchkeeper.cli", "config"],
            env=env,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""
