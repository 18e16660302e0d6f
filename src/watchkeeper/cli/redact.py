"""``wk redact``: what would be masked in a text, a file or a session, and by which rule; changes nothing."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.tables import Column, table
from watchkeeper.cli.terminal import counted
from watchkeeper.errors import NotFoundError, UsageError

HELP = "Show what would be masked in a text, a file or a session, and by which rule. Changes nothing."

_SHOWN = 100
_AROUND = 24


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what to look at, and the mode to try."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="a file, or - for standard input")
    parser.add_argument("--session", metavar="ID", help="the transcripts of one session; a prefix is enough")
    parser.add_argument(
        "--mode", choices=("redact", "hash", "metadata"), help="another mode than the setting"
    )
    parser.add_argument("--text", action="store_true", help="print the whole text as it would be stored")
    parser.add_argument("--rules", action="store_true", help="list the rules in force")
    parser.add_argument(
        "-n", "--limit", type=int, default=_SHOWN, metavar="N", help="places to list (default 100)"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the places, or ``{"mode", "version", "bytes", "rules", "found": [{"file", "line", ...}]}``."""
    if arguments.limit < 0:
        raise UsageError("-n must not be negative")
    redactor = _redactor(arguments.mode, context)
    if arguments.rules:
        return _list_rules(redactor, context)
    if (arguments.file is None) == (arguments.session is None):
        raise UsageError(
            "name a file (- for standard input) or --session ID", hint="Or --rules for the list of rules."
        )
    texts = _texts(arguments, context)
    if arguments.text:
        return _print_text(redactor, texts, context)
    found: list[dict[str, Any]] = []
    for name, data in texts:
        found += _found(redactor, name, data)
    size = sum(len(data) for _, data in texts)
    rules = dict(Counter(item["rule"] for item in found).most_common())
    document = {
        "mode": redactor.mode,
        "version": redactor.version,
        "bytes": size,
        "rules": rules,
        "found": found,
    }
    if context.json:
        context.emit(document)
    else:
        _show(document, arguments.limit, context)
    return 0


def _redactor(mode: str | None, context: Context) -> Any:
    from watchkeeper.redaction.engine import Redactor
    from watchkeeper.settings import Settings

    if mode is None:
        return Redactor.from_settings(context.settings)
    environment = context.settings.environment | {"WATCHKEEPER_REDACTION": mode}
    return Redactor.from_settings(Settings(context.settings.places.home, environment))


def _texts(arguments: argparse.Namespace, context: Context) -> list[tuple[str, bytes]]:
    if arguments.file == "-":
        return [("standard input", sys.stdin.buffer.read())]
    if arguments.file is not None:
        return [(arguments.file, Path(arguments.file).read_bytes())]
    from watchkeeper.sources.claude_code.discovery import find_transcripts

    wanted = str(arguments.session)
    paths = [
        file.path
        for folder in context.settings.claude_config_dirs
        for file in find_transcripts(folder).files
        if wanted and (file.session_hint or "").startswith(wanted)
    ]
    if not paths:
        raise NotFoundError(f"no transcript of a session {wanted}", hint="Run `wk sessions` for the list.")
    return [(str(path), path.read_bytes()) for path in paths]


def _found(redactor: Any, name: str, data: bytes) -> list[dict[str, Any]]:
    found = []
    line, counted_to = 1, 0
    spans = redactor.find(data)
    for place, (start, end, rule) in enumerate(spans):
        line += data.count(b"\n", counted_to, start)
        counted_to = start
        line_start = data.rfind(b"\n", 0, start) + 1
        # Never as far as the secret beside it.
        least = max(line_start, start - _AROUND, spans[place - 1][1] if place else 0)
        most = min(end + _AROUND, spans[place + 1][0] if place + 1 < len(spans) else len(data))
        before = data[least:start].decode("utf-8", "replace")
        after = data[end:most].split(b"\n")[0].decode("utf-8", "replace")
        found.append(
            {
                "file": name,
                "line": line,
                "column": start - line_start + 1,
                "rule": rule,
                "length": end - start,
                "excerpt": f"{before}{_masked(data[start:end])}{after}",
            }
        )
    return found


def _masked(secret: bytes) -> str:
    """Return enough of a secret to recognise it by, and far too little to use it."""
    shown = secret[:4].decode("ascii", "replace") if len(secret) >= 20 else ""
    return f"{shown}{'•' * min(8, len(secret) - len(shown))}"


def _print_text(redactor: Any, texts: list[tuple[str, bytes]], context: Context) -> int:
    outcome = [(name, redactor.redact(data)) for name, data in texts]
    if context.json:
        context.emit(
            [
                {"file": name, "text": done.data.decode("utf-8", "replace"), "rules": done.hits}
                for name, done in outcome
            ]
        )
        return 0
    for _, done in outcome:
        for line in done.data.decode("utf-8", "replace").splitlines():
            context.line(line)
    return 0


def _list_rules(redactor: Any, context: Context) -> int:
    rows = [(rule.name, _known_by(rule)) for rule in redactor.rules]
    if context.json:
        context.emit([{"name": name, "known_by": known_by} for name, known_by in rows])
        return 0
    for line in table(context, (Column("rule"), Column("known by", least=20)), rows):
        context.line(line)
    context.next_step(f"{len(rows)} rules, version {redactor.version} · redaction.rules_off turns one off")
    return 0


def _known_by(rule: Any) -> str:
    if rule.anchors:
        return " ".join(anchor.decode() for anchor in rule.anchors)
    if rule.names:
        return f"a name like {rule.names.decode()}"
    if rule.scans:
        return " ".join(dict.fromkeys(literal.decode().strip() for literal, _ in rule.scans))
    return "where it stands"


def _show(document: dict[str, Any], limit: int, context: Context) -> None:
    found = document["found"]
    if not found:
        context.line(f"Nothing would be masked in {document['bytes']:,} bytes.")
    several = len({item["file"] for item in found}) > 1
    columns = (Column("place"), Column("rule"), Column("length", right=True), Column("excerpt", least=30))
    rows = [
        [
            f"{Path(item['file']).name + ':' if several else ''}{item['line']}:{item['column']}",
            item["rule"],
            f"{item['length']:,}",
            item["excerpt"],
        ]
        for item in found[:limit]
    ]
    for line in table(context, columns, rows) if rows else ():
        context.line(line)
    if len(found) > limit:
        context.line(context.style(f"… {len(found) - limit:,} more: -n {len(found)}", "dim"))
    if found:
        context.line()
        parts = ", ".join(f"{count} {rule}" for rule, count in document["rules"].items())
        context.line(f"{counted(len(found), 'secret')} would be masked: {parts}.")
    if document["mode"] == "metadata":
        context.line("Mode metadata: besides, no content at all would be stored; --text shows what would.")
    context.next_step(
        "wk redact --rules lists the rules · redaction.toml in the home adds rules and exceptions"
    )
