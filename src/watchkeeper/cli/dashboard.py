"""The dashboard's address, and a browser to show it in."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from watchkeeper.errors import DaemonError

if TYPE_CHECKING:
    from threading import Event

    from watchkeeper.cli.context import Context
    from watchkeeper.settings import Settings

_LOOK_SECONDS = 5.0
"""How often a command in the foreground looks whether the daemon is still there."""


def sign_in_url(settings: Settings) -> str:
    """Return an address that signs a browser in, once.

    Raises:
        DaemonError: No server answers.
    """
    from watchkeeper.client.http import ServerClient

    return str(ServerClient(settings.places).signin()["url"])


def open_browser(context: Context, address: str) -> bool:
    """Show the address in the user's browser where there is a screen, and return whether one was started."""
    environment = context.settings.environment
    if sys.platform != "darwin" and not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        return False
    import subprocess

    opener = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        # In a session of its own, so that closing the terminal does not close the browser.
        subprocess.Popen(
            [opener, address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=dict(os.environ),
        )
    except OSError:
        return False
    return True


def requests_to_end() -> Event:
    """Return an event that Ctrl-C and requests to end set, instead of ending the command, from now on."""
    import signal
    import threading

    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: asked.set())
    return asked


def stay(context: Context, asked: Event) -> None:
    """Wait until the command is asked to end.

    Raises:
        DaemonError: The daemon went away by itself.
    """
    from watchkeeper.daemon import control

    if sys.stderr.isatty():
        context.note("Ctrl-C stops it.")
    while not asked.wait(_LOOK_SECONDS):
        if control.status(context.settings).supervisor is None:
            log = str(context.settings.places.log)
            raise DaemonError("the daemon went away", hint="See the log.", place=log)
