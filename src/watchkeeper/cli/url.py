"""``wk url``: a one-time sign-in address of the dashboard."""

from __future__ import annotations

import argparse

from watchkeeper.cli.context import Context
from watchkeeper.cli.dashboard import sign_in_url

HELP = "Print an address that signs a browser in to the dashboard, once."


def configure(parser: argparse.ArgumentParser) -> None:
    """Take no arguments of its own."""


def run(arguments: argparse.Namespace, context: Context) -> int:  # noqa: ARG001 - the convention of commands
    """Print the address, or ``{"url": ...}``."""
    address = sign_in_url(context.settings)
    if context.json:
        context.emit({"url": address})
    context.line(address)
    return 0
