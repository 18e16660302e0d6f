"""``python -m watchkeeper.daemon [--home H] [--port N] [--background]``: run the daemon of a home."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from watchkeeper.daemon.supervisor import supervise
from watchkeeper.errors import LockedError, UsageError, WatchkeeperError
from watchkeeper.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """Run the supervisor and return the exit status: 0 also when a healthy daemon runs already."""
    try:
        home, port, background = parse(arguments)
        settings = Settings(home)
        chosen = port if port is not None else int(settings["server.port"])
        if background:
            leave_the_terminal()
        supervise(settings.places, chosen, settings.environment)
    except LockedError:
        return report_running(settings)
    except WatchkeeperError as error:
        sys.stderr.write(f"watchkeeper: {error}\n")
        return 2 if isinstance(error, UsageError) else 1
    return 0


def parse(arguments: Sequence[str]) -> tuple[Path | None, int | None, bool]:
    """Return home, port and whether to go to the background; by hand, because argparse would stay in memory.

    Raises:
        UsageError: An option is unknown or lacks its value.
    """
    home: Path | None = None
    port: int | None = None
    background = False
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        if option == "--background":
            background = True
        elif option == "--home" and rest:
            home = Path(rest.pop(0)).absolute()
        elif option == "--port" and rest and rest[0].isdigit():
            port = int(rest.pop(0))
        else:
            raise UsageError(
                f"cannot use {option!r}", hint="Usage: python -m watchkeeper.daemon [--home H] [--port N]"
            )
    return home, port, background


def leave_the_terminal() -> None:
    """Go on in a process without terminal, session or parent; the first process ends here with status 0."""
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def report_running(settings: Settings) -> int:
    """Say that a daemon runs already; return 0 when it is healthy and 1 when it is not."""
    from watchkeeper.daemon.control import status

    found = status(settings)
    if found.healthy:
        sys.stderr.write(f"watchkeeper: already running at {found.url}\n")
        return 0
    sys.stderr.write(
        f"watchkeeper: a daemon holds {settings.places.daemon_lock} but does not answer: {found.problem}. "
        f"See {settings.places.log}\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
