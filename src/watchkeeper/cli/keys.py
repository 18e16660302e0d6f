"""``wk keys``: the public keys that sign the record, and a new one where it is time."""

from __future__ import annotations

import argparse
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.errors import DaemonError, NotFoundError

HELP = "List the public keys that sign the record; note the first one elsewhere to check bundles against it."


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the rotation."""
    parser.add_argument(
        "--rotate", action="store_true", help="sign with a new key from here on, vouched for by the old one"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Rotate where asked, and print the keys, oldest first, or ``{"keys": [...], "rotated": bool}``."""
    if arguments.rotate:
        _rotate(context)
    keys = _keys(context)
    if context.json:
        context.emit({"keys": keys, "rotated": arguments.rotate})
        return 0
    from watchkeeper.cli.periods import local_time
    from watchkeeper.queries.forms import rfc3339

    for place, key in enumerate(keys):
        state = "signs now" if place == len(keys) - 1 else "retired"
        context.line(f"{local_time(rfc3339(key['created_at']))}  {key['public_key']}  {state}")
    context.next_step(
        "wk verify BUNDLE --key HEX checks a bundle against the first key, as you noted it elsewhere"
    )
    return 0


def _keys(context: Context) -> list[dict[str, Any]]:
    from watchkeeper.ledger.keys import KeyRing

    directory = context.settings.places.keys
    if not directory.is_dir():
        raise NotFoundError(
            "nothing is signed yet", hint="Run `wk up`, then this again.", place=str(directory)
        )
    return [key.to_json() for key in KeyRing(directory, create_if_missing=False).public_keys()]


def _rotate(context: Context) -> None:
    """Let the daemon rotate, or do it ourselves where none runs."""
    from watchkeeper.client.recorder import RecorderClient

    places = context.settings.places
    try:
        RecorderClient(places).ping()
    except DaemonError:
        from watchkeeper.pipeline.recording import Recording

        with Recording(context.settings) as recording:
            recording.ledger.rotate_key()
        return
    RecorderClient(places, timeout=10.0).rotate_key()
