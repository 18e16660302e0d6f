"""The status line as a witness: its input alone carries rate limits and the session's cost.

A user has one status line. Ours is a script that hands the input to the recorder and then runs the user's
own command with the same input, or ``wk statusline`` where there is none. That command is the script's only
argument, so the settings alone are enough to restore it. Beside a user's own command, ``wk statusline --record``
keeps the rate limits, in the background and once a minute at most.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from watchkeeper.errors import ConfigError
from watchkeeper.settings import Places
from watchkeeper.sources.claude_code.installer.document import Document, Edit

SCRIPT_NAME = "watchkeeper-statusline"

_SCRIPT = """\
#!/bin/sh
# Written by `wk install --statusline`: hands the agent's status to the recorder, then runs the user's own
# status line, given as $1, with the same input; without one, ours. What fails of ours never shows.
input=$(cat; printf x)
input=${{input%x}}
wk_statusline() {{
    printf '%s' "$input" | {python} -m watchkeeper.cli --home {home} statusline "$@" 2>/dev/null
}}
printf '{{"hook_event_name":"StatusLine","status":%s}}' "$input" | {hook} --home {home} >/dev/null 2>&1
if [ "$#" -gt 0 ]; then
    if [ -d {run} ] && [ -z "$(find {run}/statusline -mmin -1 2>/dev/null)" ]; then
        touch {run}/statusline 2>/dev/null && wk_statusline --record >/dev/null 2>&1 &
    fi
    printf '%s' "$input" | /bin/sh -c "$1"
else
    wk_statusline
fi
"""


def script_path(home: Path) -> Path:
    """Return where the script is in a Watchkeeper home."""
    return Places(home).bin / SCRIPT_NAME


def script_text(home: Path) -> str:
    """Return the script for a Watchkeeper home."""
    places = Places(home)
    return _SCRIPT.format(
        hook=shlex.quote(str(places.hook)),
        home=shlex.quote(str(home)),
        run=shlex.quote(str(places.run)),
        python=_python(),
    )


def _python() -> str:
    """Return the command that starts this interpreter with this package, whatever the session's environment says."""
    package = Path(__file__).resolve().parents[4]
    python = shlex.quote(sys.executable)
    if package.name in ("site-packages", "dist-packages"):
        return f"{python} -I"
    return f"PYTHONPATH={shlex.quote(str(package))} {python} -P -s"


def wrapped_command(home: Path, original: str | None) -> str:
    """Return the status line's command that wraps a user's own (None: there was none)."""
    words = [str(script_path(home)), *([] if original is None else [original])]
    return shlex.join(words)


def unwrap(command: Any) -> tuple[Path, str | None] | None:
    """Return the script and the user's own command inside a command of ours; None for anybody else's."""
    if not isinstance(command, str):
        return None
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if not words or not words[0].endswith(f"/bin/{SCRIPT_NAME}"):
        return None
    return Path(words[0]), words[1] if len(words) > 1 else None


def wrapped_by(document: Document) -> Path | None:
    """Return our script that the document's status line runs, or None."""
    found = unwrap(_command(document))
    return found[0] if found else None


def _command(document: Document) -> Any:
    line = document.root.get("statusLine")
    command = line.get("command") if line is not None and line.kind == "object" else None
    return command.value if command is not None else None


def wrap(document: Document, home: Path) -> tuple[list[Edit], list[tuple[str | None, Any]]]:
    """Return the edits, and the members to append to the root, that make the status line ours.

    Raises:
        ConfigError: There is a status line of a form that cannot be wrapped.
    """
    line = document.root.get("statusLine")
    if line is None:
        return [], [("statusLine", {"type": "command", "command": wrapped_command(home, None)})]
    command = line.get("command") if line.kind == "object" else None
    if command is None or command.kind != "string":
        raise ConfigError(
            "statusLine must be an object with a command",
            hint="Correct it, or install without --statusline; nothing was changed.",
            place=document.place(line.start),
        )
    ours = unwrap(command.value)
    text = wrapped_command(home, ours[1] if ours else command.value)
    return ([] if text == command.value else [_replace(document, text)]), []


def restore(document: Document) -> list[Edit]:
    """Return the edits that give the user's own status line back, or take ours away where there was none."""
    ours = unwrap(_command(document))
    if ours is None:
        return []
    if ours[1] is not None:
        return [_replace(document, ours[1])]
    line = document.root.get("statusLine")
    place = next(i for i, child in enumerate(document.root.children) if child.node is line)
    return document.remove(document.root, [place])


def _replace(document: Document, command: str) -> Edit:
    line = document.root.get("statusLine")
    node = line.get("command") if line is not None else None
    assert node is not None
    return Edit(node.start, node.end, json.dumps(command, ensure_ascii=False))
