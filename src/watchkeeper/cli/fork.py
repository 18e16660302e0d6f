"""``wk fork``: copy a project's sessions to another folder under new ids."""

from __future__ import annotations

import argparse

from watchkeeper.cli.context import Context
from watchkeeper.cli.move import change, configure_change

HELP = "Copy the sessions of a project folder to another one under new ids; their cost is still counted once."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the folders."""
    configure_change(parser, old="the project folder", new="the folder that gets the copies")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Fork; exit status 1 when a finding blocks it. ``wk move --undo`` takes it back."""
    return change(arguments, context, "fork")
