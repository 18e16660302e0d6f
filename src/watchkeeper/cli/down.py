"""``wk down``: stop the daemon of this home."""

from __future__ import annotations

import argparse

from watchkeeper.cli.context import Context
from watchkeeper.cli.demo_home import is_demo_home, remove_demo_home

HELP = "Stop the recorder and the dashboard of this home; hooks go on writing to the spool."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare whether it shall stay down."""
    parser.add_argument("--at-login", action="store_true", help="no longer start at every login either")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Stop it, and print whether anything ran, or ``{"stopped": bool, "removed": bool}``."""
    from watchkeeper.daemon import control

    if arguments.at_login:
        from watchkeeper.daemon.service import remove_service

        change = remove_service(context.settings)
        context.note(f"wk: {'removed' if change.done else 'no service at'} {change.path}")
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
