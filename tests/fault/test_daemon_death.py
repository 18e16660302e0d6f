"""What ends without being asked: a part, the supervisor, a part that lives but is deaf."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.daemon import control, locks
from watchkeeper.daemon.homes import prepare_home
from watchkeeper.daemon.parts import python_command, safe_environment
from watchkeeper.daemon.sockets import is_answered
from watchkeeper.settings import Places

pytestmark = pytest.mark.fault
Wait = Callable[[Callable[[], object]], None]


def processes(supervisor: int) -> dict[str, int]:
    """Return the process ids of a supervisor's parts by their module."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    if not children.exists():
        pytest.skip("no /proc to look into")
    found = {}
    for pid in children.read_text().split():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended since the list was read
        if b"-m" in words:
            found[words[words.index(b"-m") + 1].decode().rpartition(".")[2]] = int(pid)
    return found


def is_gone(pid: int) -> bool:
    """Return whether no process has the id, or only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_killed_part_comes_back(running_daemon: Any, eventually: Wait) -> None:
    """Each part, killed without warning, answers again from a new process; the others stay as they were."""
    supervisor = control.status(running_daemon.settings).supervisor
    assert supervisor is not None
    for name in ("decider", "recorder", "server"):
        before = processes(supervisor)
        os.kill(before[name], signal.SIGKILL)
        eventually(
            lambda name=name, before=before: processes(supervisor).get(name) not in (None, before[name])
        )
        eventually(lambda: control.status(running_daemon.settings).healthy)
        after = processes(supervisor)
        assert {part: pid for part, pid in after.items() if part != name} == {
            part: pid for part, pid in before.items() if part != name
        }


def test_the_parts_die_with_the_supervisor_and_a_new_daemon_takes_over(
    running_daemon: Any, eventually: Wait
) -> None:
    """`kill -9` of the supervisor leaves no process and no lock, only stale files that stop nobody."""
    supervisor = control.status(running_daemon.settings).supervisor
    assert supervisor is not None
    children = processes(supervisor)
    os.kill(supervisor, signal.SIGKILL)
    eventually(lambda: all(is_gone(pid) for pid in (supervisor, *children.values())))
    assert locks.holder(running_daemon.places.daemon_lock) is None
    again = control.ensure_running(running_daemon.settings, wait_seconds=60)
    assert again.started


def test_a_deaf_part_is_not_taken_for_alive(running_daemon: Any) -> None:
    """A stopped decider still has its process, its socket and its lock; only the round trip tells."""
    supervisor = control.status(running_daemon.settings).supervisor
    assert supervisor is not None
    decider = processes(supervisor)["decider"]
    os.kill(decider, signal.SIGSTOP)
    try:
        found = control.status(running_daemon.settings)
        assert not found.parts["decider"].alive
        assert found.parts["recorder"].alive
        assert not found.healthy
    finally:
        os.kill(decider, signal.SIGCONT)
    assert control.status(running_daemon.settings).healthy


def test_without_a_death_signal_the_lifeline_ends_a_part(places: Places, eventually: Wait) -> None:
    """Where the kernel tells nobody of a parent's death, the end of a pipe does."""
    prepare_home(places)
    command = python_command(
        "watchkeeper.daemon.lifeline", ["watchkeeper.daemon.decider", "--home", str(places.home)]
    )
    process = subprocess.Popen(
        command, env=safe_environment(os.environ), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        eventually(lambda: is_answered(places.decider_socket))
        _, words = process.communicate(timeout=60)
        assert (process.returncode, words) == (0, "decider: stops after 0 answers, 0 refused\n")
    finally:
        process.kill()
        process.communicate()
