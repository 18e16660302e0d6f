"""One part of the daemon: how its process is started, watched and started again.

The child is forked and executed by hand, because it must ask the kernel to be told of its parent's death
between the two, and because the supervisor stays small without ``subprocess``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FIRST_DELAY = 0.1
"""Seconds before the first restart; doubled each time."""
LONGEST_DELAY = 10.0
HEALTHY_AFTER = 30.0
"""A part that lived this many seconds is taken for healthy: its next restart is quick again."""
PR_SET_PDEATHSIG = 1
"""``prctl`` option: the signal to get when the parent dies (Linux, ``sys/prctl.h``)."""
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Number of the system call (``asm/unistd.h``); few C libraries have a function for it."""
SCHED_ATTR = struct.Struct("=IIQiIQQQII")
"""``struct sched_attr``: size, policy, flags, nice, priority, runtime (of a turn), deadline, period, clamps."""
INSTALLED_IN = ("site-packages", "dist-packages")
PASSED_ON = frozenset(
    {"HOME", "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME", "TMPDIR", "CLAUDE_CONFIG_DIR"}
)
PASSED_ON_PREFIXES = ("WATCHKEEPER_", "XDG_")


@dataclass(frozen=True)
class PartPlan:
    """What a part is: its name, its module, the module's arguments, and how it shares the processor.

    ``niceness`` is added to the supervisor's. ``slice_ns`` asks for short turns that come soon (Linux from 6.12).
    A part that is up has its ``sockets`` bound.
    """

    name: str
    module: str
    arguments: Sequence[str] = ()
    niceness: int = 0
    slice_ns: int = 0
    sockets: Sequence[Path] = ()


@dataclass
class Part:
    """A part's process and its history. Times are seconds of the monotonic clock."""

    plan: PartPlan
    pid: int | None = None
    lifeline: int | None = None
    started: float = 0.0
    due: float = 0.0
    delay: float = FIRST_DELAY
    restarts: int = 0
    was_bound: bool = False
    last_exit: str = field(default="")

    @property
    def state(self) -> str:
        """Return ``up`` or ``waiting`` (for its next start)."""
        return "up" if self.pid is not None else "waiting"

    def is_unreachable(self) -> bool:
        """Tell whether the part's sockets were there once, and somebody has removed one since."""
        bound = all(socket.is_socket() for socket in self.plan.sockets)
        lost = self.pid is not None and self.was_bound and not bound
        self.was_bound = bound
        return lost

    def start(self, now: float, log: int, environment: Mapping[str, str]) -> None:
        """Start the part's process, with the descriptor ``log`` as its output."""
        self.pid, self.lifeline = spawn(self.plan, log, environment)
        self.started = now

    def ended(self, now: float, status: int) -> None:
        """Take note of the process's end and say when the next one is due."""
        if now - self.started >= HEALTHY_AFTER:
            self.delay = FIRST_DELAY
        self.pid = None
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None
        self.last_exit = describe_exit(status)
        self.due = now + self.delay
        self.delay = min(self.delay * 2, LONGEST_DELAY)
        self.restarts += 1


def describe_exit(status: int) -> str:
    """Return the words for a wait status: ``exit 3`` or ``SIGKILL``."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def safe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the parts' environment: what they may see of another, so that no secret of the shell lives on."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    # The parts' threads take turns anyway; with a heap for each, freed memory would not come together and not go back.
    kept["MALLOC_ARENA_MAX"] = "1"
    source = source_folder()
    if source is not None:
        kept["PYTHONPATH"] = str(source)
    return kept


def source_folder() -> Path | None:
    """Return the folder the package is run from where it is not installed, else None."""
    folder = Path(__file__).resolve().parents[2]
    return None if folder.name in INSTALLED_IN else folder


def python_command(module: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs a module of this installation.

    ``-P`` and ``-s`` keep the working folder and the user's own site folder off the module path.
    """
    return [sys.executable, "-P", "-s", "-m", module, *arguments]


def spawn(plan: PartPlan, log: int, environment: Mapping[str, str]) -> tuple[int, int | None]:
    """Start the plan's process; return its id and, where one is needed, the descriptor that keeps it alive.

    It ends with its parent: by the kernel's parent death signal on Linux, elsewhere by ``daemon.lifeline``,
    which reads standard input until the parent's end of the pipe is gone.
    """
    linux = sys.platform.startswith("linux")
    command = python_command(plan.module, plan.arguments)
    if not linux:
        command = python_command("watchkeeper.daemon.lifeline", [plan.module, *plan.arguments])
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(reading)
        if linux:
            os.close(writing)
            return pid, None
        return pid, writing
    try:
        os.setpgid(0, 0)
        if linux:
            _die_with(parent)
        if plan.niceness:
            os.nice(plan.niceness)
        if plan.slice_ns and linux:
            _take_short_turns(plan.slice_ns)
        os.dup2(reading, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(command[0], command, dict(environment))  # noqa: S606  our own interpreter
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(log, f"{plan.name} cannot be started: {error}\n".encode())
        raise
    finally:
        # Reached only where the program was not replaced: nothing of the parent's may run twice.
        os._exit(127)


def _die_with(parent: int) -> None:
    import ctypes  # only ever loaded in the child, which is about to become another program

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def _take_short_turns(slice_ns: int) -> None:
    import ctypes  # as above

    number = SCHED_SETATTR.get(os.uname().machine)
    if number is not None:
        niceness = os.getpriority(os.PRIO_PROCESS, 0)
        wanted = SCHED_ATTR.pack(SCHED_ATTR.size, 0, 0, niceness, 0, slice_ns, 0, 0, 0, 0)
        # A kernel that does not know of it, or a sandbox that forbids it, changes nothing: it is a wish.
        ctypes.CDLL(None).syscall(number, 0, wanted, 0)
