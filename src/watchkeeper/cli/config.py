"""``wk config``: every setting with its value and where it comes from."""

from __future__ import annotations

import argparse

from watchkeeper.cli.context import Context
from watchkeeper.cli.tables import Column, table

HELP = "List every setting with its value and where the value comes from."


def configure(parser: argparse.ArgumentParser) -> None:
    """Take no arguments of its own."""


def run(arguments: argparse.Namespace, context: Context) -> int:  # noqa: ARG001 - the convention of commands
    """Print the table of settings, or ``{"home", "config", "settings": [...]}``."""
    settings = context.settings
    rows = [
        {
            "name": value.setting.name,
            "value": value.value,
            "origin": value.origin,
            "default": value.setting.default,
            "env": value.setting.env,
            "help": value.setting.help,
        }
        for value in settings.values.values()
    ]
    if context.json:
        places = settings.places
        context.emit({"home": str(places.home), "config": str(places.config), "settings": rows})
        return 0
    columns = (
        Column("setting"),
        Column("value", least=12),
        Column("origin"),
        Column("meaning", least=20, drop=1),
    )
    cells = [[str(row["name"]), _shown(row["value"]), str(row["origin"]), str(row["help"])] for row in rows]
    for line in table(context, columns, cells):
        context.line(line)
    context.next_step(
        f"Change one in {settings.places.config} or by its environment variable (wk config --json)."
    )
    return 0


def _shown(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
