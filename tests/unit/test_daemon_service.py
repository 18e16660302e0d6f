"""The service manager's files: what they say, where they lie, and that nothing is left behind."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from watchkeeper.daemon import service
from watchkeeper.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's service manager")


def settings_for(tmp_path: Path, home: str = "wk home", **more: str) -> Settings:
    """Return settings whose user has no reachable service manager."""
    return Settings(tmp_path / home, {"HOME": str(tmp_path), "PATH": str(tmp_path / "no programs"), **more})


@pytest.mark.parametrize("home", ["plain", 'sp ace "quote" 100% $HOME back\\slash'])
def test_systemd_finds_nothing_to_say_about_the_unit(tmp_path: Path, home: str) -> None:
    """`systemd-analyze verify` prints what it does not know and still exits 0, so any output fails."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / service.UNIT
    unit.write_text(service.unit_text(settings_for(tmp_path, home, CLAUDE_CONFIG_DIR="/a b/c")))
    done = subprocess.run(
        [program, "--user", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    if "Failed to initialize manager" in done.stderr or "XDG_RUNTIME_DIR" in done.stderr:
        done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_keeps_every_word_of_its_command_whole(tmp_path: Path) -> None:
    """Spaces, quotes, specifiers and variables in a path reach the daemon unchanged."""
    text = service.unit_text(settings_for(tmp_path, 'a "b" 5% $X \\'))
    assert f'"{tmp_path}/a \\"b\\" 5%% $$X \\\\"' in text


def test_launchd_reads_the_agent(tmp_path: Path) -> None:
    """The property list names the command, word by word."""
    found = plistlib.loads(service.agent_text(settings_for(tmp_path)).encode())
    assert found["ProgramArguments"][-2:] == ["--home", str(tmp_path / "wk home")]
    assert found["KeepAlive"] == {"SuccessfulExit": False}


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """It names file, text and commands, and leaves the disk alone."""
    change = service.install_service(settings_for(tmp_path), dry_run=True)
    assert not change.done
    assert change.commands[-1] == ("systemctl", "--user", "enable", "--now", service.UNIT)
    assert list(tmp_path.iterdir()) == []


def test_installing_twice_is_installing_once_and_removing_leaves_nothing(tmp_path: Path) -> None:
    """The file lies below XDG_CONFIG_HOME; without a service manager the problem is named."""
    settings = settings_for(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config"))
    first = service.install_service(settings)
    second = service.install_service(settings)
    assert first == second
    assert first.path == tmp_path / "config" / "systemd" / "user" / service.UNIT
    assert first.problem == "systemctl is not installed"
    assert first.path.read_text() == first.text
    removed = service.remove_service(settings)
    assert removed.done
    assert [path for path in (tmp_path / "config").rglob("*") if path.is_file()] == []
    assert not service.remove_service(settings).done


def test_another_home_s_service_is_not_started_in_its_stead(tmp_path: Path) -> None:
    """Only the service of this very home starts this home's daemon."""
    service.install_service(settings_for(tmp_path, "one"))
    assert not service.start_installed(settings_for(tmp_path, "two"), 7878)


def test_the_commands_are_run_in_order_and_a_failure_is_told(tmp_path: Path) -> None:
    """A program that stands for systemctl sees each command; its complaint becomes the problem."""
    programs = tmp_path / "programs"
    programs.mkdir()
    manager = programs / "systemctl"
    refusal = '[ "$2" = daemon-reload ] || { echo no bus >&2; exit 1; }'
    manager.write_text(f'#!/bin/sh\necho "$*" >> "{tmp_path}/seen"\n{refusal}\n')
    manager.chmod(0o755)
    settings = Settings(tmp_path / "wk", {"HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"})
    change = service.install_service(settings)
    assert (tmp_path / "seen").read_text().splitlines() == [
        "--user daemon-reload",
        f"--user enable --now {service.UNIT}",
    ]
    assert change.problem == f"systemctl --user enable --now {service.UNIT}: no bus"


def test_a_home_without_a_user_s_folder_has_no_service_to_start(tmp_path: Path) -> None:
    """Without HOME there is no place for a service's file, and the daemon is started by hand."""
    assert not service.start_installed(Settings(tmp_path / "wk", {}), 7878)


def test_only_the_port_that_the_service_would_use_is_started_by_it(tmp_path: Path) -> None:
    """A port of this shell's environment is unknown to the service manager."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "systemctl").write_text("#!/bin/sh\nexit 0\n")
    (programs / "systemctl").chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"}
    settings = Settings(tmp_path / "wk", environment)
    service.install_service(settings)
    assert service.start_installed(settings, 7878)
    assert not service.start_installed(settings, 7879)
    shell = Settings(tmp_path / "wk", environment | {"WATCHKEEPER_PORT": "7879"})
    assert not service.start_installed(shell, 7879)
