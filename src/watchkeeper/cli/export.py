"""``wk export``: a conversation as Markdown, as one HTML page, or as JSON."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.freshness import fresh_reader, with_age
from watchkeeper.cli.terminal import counted, one_line
from watchkeeper.errors import UsageError, WatchkeeperError

HELP = "Write a conversation down from the record, also when the agent has deleted its transcript."

FORMATS = ("md", "html", "json")
_SUFFIXES = {".md": "md", ".markdown": "md", ".html": "html", ".htm": "html", ".json": "json"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the session, the format and the file."""
    parser.add_argument("session", metavar="SESSION", help="session id; a prefix is enough")
    parser.add_argument(
        "--format", choices=FORMATS, help="md (default), html, json; else by the file's ending"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a file, readable by you alone")
    parser.add_argument("--force", action="store_true", help="overwrite the file")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the conversation, or write it to the file and say what is in it."""
    from watchkeeper.queries.conversation import conversation

    chosen = arguments.format or _SUFFIXES.get(Path(arguments.output or "").suffix.lower(), "md")
    if arguments.output and Path(arguments.output).exists() and not arguments.force:
        raise UsageError(
            "the file is there already", hint="Name another, or give --force.", place=arguments.output
        )
    with fresh_reader(context) as (reader, age):
        document = with_age(conversation(reader, arguments.session), age)
    if context.json and not arguments.output:
        context.emit(document)
        return 0
    text = render(document, chosen)
    if not arguments.output:
        print(text, end="")
        return 0
    _write(Path(arguments.output), text)
    if context.json:
        context.emit(
            {
                "file": str(Path(arguments.output).absolute()),
                "format": chosen,
                "session_id": document["session"]["session_id"],
                "turns": len(document["turns"]),
                "masked": document["masked"],
                "unavailable": document["unavailable"],
            }
        )
    else:
        _say(document, arguments.output, context)
    return 0


def render(document: dict[str, Any], chosen: str) -> str:
    """Return a conversation in one of `FORMATS`."""
    if chosen == "json":
        import json

        return json.dumps(document, indent=2) + "\n"
    if chosen == "html":
        from watchkeeper.cli.export_html import html_page

        return html_page(document)
    from watchkeeper.cli.export_markdown import markdown

    return markdown(document)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WatchkeeperError(
            "the file cannot be written", why=error.strerror or str(error), place=str(path)
        ) from error


def _say(document: dict[str, Any], output: str, context: Context) -> None:
    context.line(f"{one_line(output)}: {counted(len(document['turns']), 'turn')}")
    if document["masked"]:
        kinds = ", ".join(f"{count} {rule}" for rule, count in document["masked"].items())
        context.line(f"Secrets are placeholders: {one_line(kinds)}.")
    if document["unavailable"]:
        context.line(
            f"{counted(document['unavailable'], 'payload')} no longer on record; said where they were."
        )
