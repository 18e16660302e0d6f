"""``wk up``: run the recorder and the dashboard, and sign a browser in."""

from __future__ import annotations

import argparse
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.dashboard import open_browser, requests_to_end, sign_in_url, stay
from watchkeeper.cli.terminal import counted
from watchkeeper.errors import UsageError

HELP = "Run the recorder and the dashboard; they go on when the terminal closes. wk down stops them."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare port, browser, whether to stay, and whether to start at every login."""
    add_arguments(parser)
    parser.add_argument(
        "--at-login", action="store_true", help="also start at every login, by systemd or launchd"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what ``up`` and ``demo`` share."""
    parser.add_argument(
        "--port", type=int, metavar="N", help="port on 127.0.0.1 (default: server.port, 7878)"
    )
    parser.add_argument("--no-open", action="store_true", help="open no browser")
    parser.add_argument("--foreground", action="store_true", help="stay until Ctrl-C, then stop it all")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Start what does not run yet, and print the address, or ``{"url", "home", "port", "sessions", ...}``."""
    check_port(arguments.port)
    from watchkeeper.daemon import control

    # Before anything runs, so that no request to end can come too early.
    asked = requests_to_end() if arguments.foreground else None
    if arguments.at_login:
        start_at_login(context)
    control.ensure_running(context.settings, port=arguments.port)
    if asked is None:
        announce(context, open_page=not arguments.no_open)
        return 0
    try:
        announce(context, open_page=not arguments.no_open)
        stay(context, asked)
    finally:
        control.stop(context.settings)
    return 0


def start_at_login(context: Context) -> None:
    """Install the user's service, and say where; where no service manager answers, say that."""
    from watchkeeper.daemon.service import install_service

    change = install_service(context.settings)
    context.note(f"wk: starts at every login: {change.path}")
    if change.problem:
        context.note(f"wk: the service manager did not take it now: {change.problem}")


def check_port(port: int | None) -> None:
    """Refuse a number that is no port.

    Raises:
        UsageError: It is not between 1 and 65535.
    """
    if port is not None and not 0 < port < 65_536:
        raise UsageError(f"{port} is no port", hint="Choose one between 1024 and 65535.")


def announce(context: Context, *, open_page: bool, next_step: str = "") -> None:
    """Say where the dashboard is and what is on record; show it in a browser where there is one.

    Args:
        context: The home whose dashboard it is.
        open_page: Whether a browser may be started.
        next_step: The last line, where it is not to follow from the state.
    """
    from watchkeeper.client.http import ServerClient

    address = sign_in_url(context.settings)
    status = ServerClient(context.settings.places).get("/api/status")
    opened = open_page and not context.json and open_browser(context, address)
    if context.json:
        facts = {name: status[name] for name in ("home", "sessions", "tool_calls", "demo_available")}
        context.emit({"url": address, **facts, "import_progress": status["import_progress"]})
        return
    context.line(f"dashboard  {address}")
    context.line(
        "           signs one browser in, once" + ("; opened" if opened else "; wk url prints another")
    )
    context.line(f"on record  {_on_record(status)}")
    context.next_step(next_step or _suggestion(status))


def _on_record(status: dict[str, Any]) -> str:
    text = f"{counted(status['sessions'], 'session')}, {counted(status['tool_calls'], 'tool call')}"
    progress = status["import_progress"]
    if progress["running"]:
        text += f"; importing {progress['files_done']:,} of {progress['files_total']:,} transcripts"
    return text


def _suggestion(status: dict[str, Any]) -> str:
    if not status["hooks_installed"]:
        return "wk install registers the hooks, so that sessions appear while they run"
    if status["demo_available"] and not status["import_progress"]["running"]:
        return "Nothing is on record yet: start a session, or see packaged ones with wk demo"
    return "wk sessions lists them · wk down stops it all"
