"""``wk verify``: is the record, or an exported bundle, whole and unchanged, and how far is that anchored?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.terminal import counted, one_line
from watchkeeper.errors import ConfigError, NotFoundError, UsageError

HELP = "Check that the record, or an exported bundle, is whole and unchanged. Exit status 1 when it is not."

_ANCHORS = {
    "none": (
        "self-signed on this machine by the same user as the agent, who could re-sign what it rewrites: "
        "this shows accidents and clumsy edits, it does not exclude a careful forger"
    ),
    "other-user": (
        "another user of this machine than the agents' holds the keys and the record: no agent could change "
        "them as its own user; that user, and root, still could"
    ),
    "collector": "a collector beyond this machine holds the checkpoints",
    "object-lock": "the checkpoints lie in a store that does not allow them to be changed",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what is checked, and the export."""
    parser.add_argument(
        "bundle", nargs="?", metavar="BUNDLE", help="an exported bundle (default: this home's ledger)"
    )
    parser.add_argument(
        "--key", metavar="HEX", help="the bundle's first public key, as you know it from elsewhere"
    )
    parser.add_argument(
        "--export",
        metavar="FILE",
        help="also write the record as a bundle, with its stand-alone verifier beside it",
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the verdict, or the JSON of the contract; status 1 when the record does not hold."""
    if arguments.bundle and arguments.export:
        raise UsageError("--export goes with this home's own ledger", hint="Leave out the bundle.")
    if arguments.key and not arguments.bundle:
        raise UsageError("--key goes with a bundle", hint="Name the bundle.")
    verdict = _of_bundle(arguments.bundle, arguments.key) if arguments.bundle else _of_ledger(context)
    exported = _export(Path(arguments.export), context) if arguments.export else None
    if context.json:
        context.emit({**verdict, **({"exported": exported} if exported else {})})
    else:
        _print(verdict, context)
        _print_next(verdict, exported, context)
    return 0 if verdict["ok"] else 1


def _of_ledger(context: Context) -> dict[str, Any]:
    from watchkeeper.analysis.verdict import verify_home

    with context.progress as progress:
        verdict = verify_home(
            context.settings, progress=lambda entries: progress(entries, 0, "entries checked")
        )
    return verdict.to_json()


def _of_bundle(path: str, key: str | None) -> dict[str, Any]:
    from watchkeeper.ledger.standalone import verify_bundle

    try:
        return verify_bundle(path, key)
    except OSError as error:
        raise NotFoundError(
            "the bundle cannot be read", why=error.strerror or str(error), place=path
        ) from error


def _export(path: Path, context: Context) -> dict[str, Any]:
    """Write the bundle, and beside it the program that checks it without anything of ours."""
    import shutil

    from watchkeeper.ledger import standalone
    from watchkeeper.ledger.bundle import export_bundle

    places = context.settings.places
    verifier = path.with_name("verify_bundle.py")
    try:
        written = export_bundle(places.ledger, places.keys, path)
        shutil.copyfile(standalone.__file__, verifier)
    except OSError as error:
        raise ConfigError(
            "the bundle cannot be written", why=error.strerror or str(error), place=str(path)
        ) from error
    return {
        "bundle": str(path),
        "verifier": str(verifier),
        "entries": written.entries,
        "tree_size": written.tree_size,
    }


def _print(verdict: dict[str, Any], context: Context) -> None:
    whole = verdict["integrity"] == "intact"
    completeness = verdict["completeness"]
    tone = {"complete": "good", "truncated": "bad"}.get(completeness, "warn")
    anchor = verdict["anchor"]
    context.line(f"entries       {verdict['entries']:,}, {_signatures(verdict['checkpoints'])}")
    context.line("integrity     " + context.style(verdict["integrity"], "good" if whole else "bad"))
    context.line("completeness  " + context.style(completeness, tone))
    if verdict["first_bad"] is not None:
        context.line(f"first bad     entry {verdict['first_bad']}")
    _wrapped("anchor", f"{anchor}: {_ANCHORS.get(anchor, 'see the findings')}", context)
    for found in verdict["findings"]:
        why = f": {found['why']}" if found["why"] else ""
        place = f" ({found['place']})" if found["place"] else ""
        _wrapped("finding", one_line(found["what"] + why + place), context)


def _signatures(number: int) -> str:
    return f"{counted(number, 'signature')} {'holds' if number == 1 else 'hold'}"


def _wrapped(name: str, text: str, context: Context) -> None:
    import textwrap

    label, margin = f"{name:<14}", " " * 14
    for line in textwrap.wrap(text, context.width, initial_indent=label, subsequent_indent=margin):
        context.line(line)


def _print_next(verdict: dict[str, Any], exported: dict[str, Any] | None, context: Context) -> None:
    if exported:
        context.line(f"written       {one_line(exported['bundle'])}, {exported['entries']:,} entries")
        context.next_step(f"Anyone can check it: python3 {exported['verifier']} {exported['bundle']}")
    elif not verdict["ok"]:
        context.next_step("wk doctor checks the chain · keep a copy of the home before you mend anything")
    else:
        context.next_step("wk verify --export FILE writes a bundle that anyone can check")
