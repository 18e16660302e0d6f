"""Starts the daemon at login: by a systemd user unit, or by a launchd agent on macOS.

The daemon of a managed home starts with the machine, by a systemd unit of the system.
"""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from watchkeeper.daemon.parts import python_command, safe_environment
from watchkeeper.errors import DaemonError
from watchkeeper.settings import Settings

UNIT = "watchkeeper.service"
SYSTEM_UNITS = Path("/etc/systemd/system")
AGENT = "dev.watchkeeper.daemon"
MANAGER_SECONDS = 30
SEEN_BY_MANAGER = ("HOME", "PATH", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS", "LANG")
CHOSEN_BY_USER = ("CLAUDE_CONFIG_DIR",)
"""Variables that the service must see as the installing shell did; everything else comes from the manager."""


@dataclass(frozen=True)
class ServiceChange:
    """What installing or removing did, or would do: the file, its text, and each command with its outcome."""

    path: Path
    text: str
    commands: tuple[tuple[str, ...], ...]
    done: bool
    problem: str = ""


def install_service(settings: Settings, *, dry_run: bool = False) -> ServiceChange:
    """Write the service's file for this home and enable it, to be started now and at each login.

    Where no service manager answers (a container, say) the file is written and ``problem`` says so.

    Raises:
        DaemonError: The file cannot be written, or this platform has no service manager that is known here.
    """
    path = service_file(settings.environment)
    text = agent_text(settings) if sys.platform == "darwin" else unit_text(settings)
    if sys.platform == "darwin":
        commands: tuple[tuple[str, ...], ...] = (("launchctl", "bootstrap", f"gui/{os.getuid()}", str(path)),)
    else:
        commands = (
            ("systemctl", "--user", "daemon-reload"),
            ("systemctl", "--user", "enable", "--now", UNIT),
        )
    if dry_run:
        return ServiceChange(path, text, commands, False)
    return _install(path, text, commands, settings)


def install_system_service(
    settings: Settings, owner: tuple[int, int], *, folder: Path = SYSTEM_UNITS
) -> ServiceChange:
    """Write the system's unit for a managed home and enable it, to be started now and with the machine.

    Args:
        settings: The managed home.
        owner: User and group id that the daemon runs as.
        folder: Where the system's units are.

    Raises:
        DaemonError: The file cannot be written, or this platform has no systemd.
    """
    if sys.platform == "darwin":
        raise DaemonError("a managed home has a service only with systemd", hint="Run wk up as its owner.")
    commands = (("systemctl", "daemon-reload"), ("systemctl", "enable", "--now", UNIT))
    return _install(folder / UNIT, system_unit_text(settings, owner), commands, settings)


def remove_system_service(settings: Settings, *, folder: Path = SYSTEM_UNITS) -> ServiceChange:
    """Disable and stop the system's unit and remove it; nothing happens where it is none or another home's."""
    path = folder / UNIT
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if f"ReadWritePaths={_quote(str(settings.places.home))}" not in text.splitlines():
        return ServiceChange(path, "", (), False)
    before, after = (("systemctl", "disable", "--now", UNIT),), (("systemctl", "daemon-reload"),)
    problem = _run_all(before, settings.environment)
    path.unlink(missing_ok=True)
    return ServiceChange(path, text, before + after, True, problem or _run_all(after, settings.environment))


def _install(
    path: Path, text: str, commands: tuple[tuple[str, ...], ...], settings: Settings
) -> ServiceChange:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise DaemonError("the service cannot be written", why=str(error), place=str(path)) from error
    return ServiceChange(path, text, commands, True, _run_all(commands, settings.environment))


def remove_service(settings: Settings, *, dry_run: bool = False) -> ServiceChange:
    """Disable and stop the service and remove its file; nothing happens where there is none."""
    path = service_file(settings.environment)
    if not path.exists():
        return ServiceChange(path, "", (), False)
    if sys.platform == "darwin":
        before: tuple[tuple[str, ...], ...] = (("launchctl", "bootout", f"gui/{os.getuid()}/{AGENT}"),)
        after: tuple[tuple[str, ...], ...] = ()
    else:
        before = (("systemctl", "--user", "disable", "--now", UNIT),)
        after = (("systemctl", "--user", "daemon-reload"),)
    text = path.read_text(encoding="utf-8")
    if dry_run:
        return ServiceChange(path, text, before + after, False)
    problem = _run_all(before, settings.environment)
    path.unlink(missing_ok=True)
    return ServiceChange(path, text, before + after, True, problem or _run_all(after, settings.environment))


def start_installed(settings: Settings, port: int) -> bool:
    """Start the daemon through its service, and return whether that was possible.

    A process that the service manager starts outlives the terminal's own scope. It is not possible when no
    service is installed, when it is another home's or port's, or when the manager does not answer.
    """
    setting = settings.values["server.port"]
    # The service does not see this shell's variables.
    if port != setting.value or setting.origin == setting.setting.env:
        return False
    try:
        installed = service_file(settings.environment).read_text(encoding="utf-8")
    except (OSError, DaemonError):
        return False
    wanted = agent_text(settings) if sys.platform == "darwin" else unit_text(settings)
    if installed != wanted:
        return False
    if sys.platform == "darwin":
        command = ("launchctl", "kickstart", f"gui/{os.getuid()}/{AGENT}")
    else:
        command = ("systemctl", "--user", "start", UNIT)
    return not _run_all((command,), settings.environment)


def service_file(environment: Mapping[str, str]) -> Path:
    """Return the path of the service's file for the user whose environment it is.

    Raises:
        DaemonError: ``HOME`` is not set.
    """
    home = environment.get("HOME")
    if not home:
        raise DaemonError("HOME is not set", hint="The service's file belongs below it.")
    if sys.platform == "darwin":
        return Path(home) / "Library" / "LaunchAgents" / f"{AGENT}.plist"
    return Path(environment.get("XDG_CONFIG_HOME") or Path(home) / ".config") / "systemd" / "user" / UNIT


def unit_text(settings: Settings) -> str:
    """Return the systemd user unit for this home."""
    command = " ".join(_quote(word) for word in _command(settings))
    lines = [
        "[Unit]",
        "Description=Watchkeeper, the flight recorder for coding agents",
        "StartLimitIntervalSec=60",
        "StartLimitBurst=5",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={command}",
        *(f"Environment={_quote(f'{name}={value}')}" for name, value in _variables(settings).items()),
        "Restart=on-failure",
        "RestartSec=2",
        "# The supervisor stops its parts in order; only what is left then is killed.",
        "KillMode=mixed",
        "TimeoutStopSec=20",
        "UMask=0077",
        "NoNewPrivileges=yes",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def system_unit_text(settings: Settings, owner: tuple[int, int]) -> str:
    """Return the systemd unit of the system for a managed home, whose daemon runs as ``owner``.

    It may write below its home and nowhere else. Names of settings in the installing shell play no part: what
    is to differ belongs into the home's ``config.toml``.
    """
    source = safe_environment({}).get("PYTHONPATH")
    variables = {"HOME": str(settings.places.home)} | ({"PYTHONPATH": source} if source else {})
    lines = [
        "[Unit]",
        "Description=Watchkeeper, the flight recorder for coding agents (managed)",
        "StartLimitIntervalSec=60",
        "StartLimitBurst=5",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={' '.join(_quote(word) for word in _command(settings))}",
        *(f"Environment={_quote(f'{name}={value}')}" for name, value in variables.items()),
        f"User={owner[0]}",
        f"Group={owner[1]}",
        "Restart=on-failure",
        "RestartSec=2",
        "# The supervisor stops its parts in order; only what is left then is killed.",
        "KillMode=mixed",
        "TimeoutStopSec=20",
        "UMask=0077",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        f"ReadWritePaths={_quote(str(settings.places.home))}",
        "PrivateTmp=yes",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def agent_text(settings: Settings) -> str:
    """Return the launchd property list for this home."""
    content = {
        "Label": AGENT,
        "ProgramArguments": _command(settings),
        "EnvironmentVariables": _variables(settings),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": 20,
        "Umask": 0o077,
        "ProcessType": "Background",
    }
    return plistlib.dumps(content, sort_keys=True).decode("utf-8")


def _command(settings: Settings) -> list[str]:
    return python_command("watchkeeper.daemon", ["--home", str(settings.places.home)])


def _variables(settings: Settings) -> dict[str, str]:
    chosen = {name: settings.environment[name] for name in CHOSEN_BY_USER if name in settings.environment}
    source = safe_environment({}).get("PYTHONPATH")
    return chosen | ({"PYTHONPATH": source} if source else {})


def _quote(word: str) -> str:
    """Return a word quoted so that systemd reads it back unchanged."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or not word or any(sign in word for sign in " \t'") else word


def _run_all(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> str:
    """Run the manager's commands and return why one did not succeed, in words; empty when all did."""
    seen = {name: environment[name] for name in SEEN_BY_MANAGER if name in environment}
    for command in commands:
        program = shutil.which(command[0], path=environment.get("PATH"))
        if program is None:
            return f"{command[0]} is not installed"
        try:
            done = subprocess.run(
                [program, *command[1:]],
                env=seen,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=MANAGER_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{command[0]} did not answer within {MANAGER_SECONDS} s"
        if done.returncode != 0:
            return f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}"
    return ""
