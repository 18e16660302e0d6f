"""``wk down``: stop the daemon of this home."""

from __future__ import annotations

import argparse

from watchkeeper.cli.context import Context
from watchkeeper.cli.demo_home import is_demo_home, remove_demo_home

HELP = "Stop the recorder and the dashboard of this home; hooks go on writing to the spool."


def configure(parser: argparse.ArgumentParser) -> None:
    """Take no arguments of its own."""


def run(arguments: argparse.Namespace, context: Context) -> int:  # noqa: ARG001 - the convention of commands
    """Stop it, and print whether anything ran, or ``{"stopped": bool, "removed": bool}``."""
    from watchkeeper.daemon import control

    stopped = control.stop(context.settings)
    places = context.settings.places
    removed = is_demo_home(places)
    if removed:
        remove_demo_home(places)
    if context.json:
        context.emit({"stopped": stopped, "removed": removed})
        return 0
    context.line("Stopped." if stopped else "Nothing was running.")
    if removed:
        context.line(f"Removed the demo's home {places.home}.")
    else:
        context.next_step("Hooks go on writing to the spool; wk up takes it in.")
    return 0
