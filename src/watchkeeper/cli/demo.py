"""``wk demo``: the dashboard on packaged recorded sessions, in a throw-away home."""

from __future__ import annotations

import argparse

from watchkeeper.cli.context import Context
from watchkeeper.cli.dashboard import requests_to_end, stay
from watchkeeper.cli.demo_home import free_port, make_demo_home, remove_demo_home
from watchkeeper.cli.up import add_arguments, announce, check_port

HELP = "Show the dashboard on packaged recorded sessions, in a throw-away home beside your own."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the same as ``up``."""
    add_arguments(parser)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Start a daemon on a fresh home, load the sessions, and print what ``up`` prints."""
    check_port(arguments.port)
    settings = make_demo_home(context.settings)
    demo = Context(settings, json=context.json)
    from watchkeeper.client.recorder import RecorderClient
    from watchkeeper.daemon import control

    asked = requests_to_end() if arguments.foreground else None
    keep = False
    try:
        control.ensure_running(settings, port=arguments.port or free_port(settings["server.port"]))
        RecorderClient(settings.places).demo()
        leave = f"wk --home {settings.places.home} down stops the demo and removes its home"
        announce(demo, open_page=not arguments.no_open, next_step=leave)
        if asked is not None:
            stay(demo, asked)
        keep = asked is None
    finally:
        if not keep:
            control.stop(settings)
            remove_demo_home(settings.places)
    return 0
