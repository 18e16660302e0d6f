"""``wk statusline``: one line for the agent's status line, from its status JSON and what is on record.

The agent runs it at every change and shows whatever it prints, so it is quick, imports nothing heavy, waits for
nobody, and never fails loudly: what cannot be known is left out. The input alone carries rate limits, so they are
kept for the other questions (`queries.quota`).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from watchkeeper.cli.terminal import columns_of, harmless, one_line, styled
from watchkeeper.errors import WatchkeeperError

if TYPE_CHECKING:
    from watchkeeper.cli.context import Context
    from watchkeeper.queries.now import Today
    from watchkeeper.queries.quota import Status
    from watchkeeper.settings import Settings

HELP = "Print one line for the agent's status line; its status JSON comes on standard input."

_MOST_BYTES = 4 << 20
_GAP = " · "
_FULL_CONTEXT, _HIGH_CONTEXT = 9_000, 7_500
_FULL_QUOTA, _HIGH_QUOTA = 9_500, 8_000


class Segment(NamedTuple):
    """One part of the line.

    Attributes:
        text: What it says.
        style: A style of `cli.terminal`, or empty.
        drop: Segments with a higher number are left out first when space is short; 0 stays.
        note: Dim words behind it, left out before any segment is.
    """

    text: str
    style: str = ""
    drop: int = 0
    note: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare how it is run from a wrapper."""
    parser.add_argument("--record", action="store_true", help="keep the figures and print nothing")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the line, or with ``--json`` what it is made of; always 0."""
    document = _input()
    if context.json:
        context.emit(_facts(document, context.settings))
    else:
        _answer(document, context.settings, record_only=arguments.record)
    return 0


def run_alone(words: list[str]) -> int | None:
    """Do the work without the machinery that other commands need; None where that machinery is asked for.

    Args:
        words: The words of the command line but for the command itself.
    """
    home = ""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--home" and rest:
            home = rest.pop(0)
        elif word.startswith("--home="):
            home = word[7:]
        elif word != "--record":
            return None
    try:
        _answer(_input(), _settings(home), record_only="--record" in words)
    except BrokenPipeError:
        # The agent gave up on this line and has started the next one.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _settings(home: str) -> Settings | None:
    from pathlib import Path

    from watchkeeper.settings import Settings

    try:
        return Settings(Path(home).expanduser().absolute() if home else None)
    except (WatchkeeperError, OSError, RuntimeError):
        return None


def _input() -> dict[str, Any]:
    import json

    if sys.stdin is None or sys.stdin.isatty():
        return {}
    try:
        document = json.loads(sys.stdin.buffer.read(_MOST_BYTES))
    except (ValueError, OSError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _answer(document: dict[str, Any], settings: Settings | None, *, record_only: bool) -> None:
    from watchkeeper.queries.quota import parse_status

    now = time.time_ns() // 1_000_000
    status = parse_status(document)
    if not record_only:
        environment = settings.environment if settings is not None else dict(os.environ)
        found = None if settings is None else _look_up(document, status, settings, now)
        segments = _segments(document, status, found, now)
        colour = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        print(harmless(_fit(segments, _width(environment), colour=colour), colour=colour), flush=True)
    if settings is not None:
        _keep(status, settings, now)


def _look_up(
    document: dict[str, Any], status: Status, settings: Settings, now: int
) -> tuple[Today | None, str]:
    """Return today's figures where there is an index, and how the session is paid for."""
    import apsw

    from watchkeeper.pricing.billing import billed_as
    from watchkeeper.queries.now import today
    from watchkeeper.store.sqlite.reading import open_present
    from watchkeeper.store.sqlite.state import read_state

    paid = billed_as(str(settings["billing.mode"]), quota_seen=bool(status.quota), model=status.model)
    transcript = document.get("transcript_path")
    try:
        reader = open_present(settings.places)
        if reader is None:
            return None, paid
        reader.connection.set_busy_timeout(5)
        with reader, read_state(settings.places, wait_ms=5) as state:
            path = transcript if isinstance(transcript, str) else None
            return today(reader, state, billing=paid, now_ms=now, transcript=path), paid
    except (apsw.Error, WatchkeeperError, OSError):
        return None, paid


def _keep(status: Status, settings: Settings, now: int) -> None:
    """Keep the client's figures where the home is in use; a line that cannot is shown all the same."""
    if not (status.quota or status.session_id):
        return
    try:
        # A file of ours in another's home would be one that its owner cannot use.
        if settings.places.home.stat().st_uid != os.geteuid():
            return
    except OSError:
        return
    import apsw

    from watchkeeper.queries.quota import record_status
    from watchkeeper.store.sqlite.state import open_state

    try:
        with open_state(settings.places, wait_ms=20) as state:
            record_status(state, status, now)
    except (apsw.Error, WatchkeeperError, OSError):
        return


def _facts(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    from watchkeeper.queries.forms import dollars, rfc3339
    from watchkeeper.queries.now import basis_words
    from watchkeeper.queries.quota import parse_status

    now = time.time_ns() // 1_000_000
    status = parse_status(document)
    found, paid = _look_up(document, status, settings, now)
    _keep(status, settings, now)
    return {
        "session_id": status.session_id,
        "model": status.model,
        "billing": paid,
        "session_cost_usd": dollars(status.cost_micros),
        "session_cost_basis": None if status.cost_micros is None else "reported",
        "today_cost_usd": dollars(found.spent.micros) if found else None,
        "today_cost_basis": (basis_words(found.spent) or None) if found else None,
        "today_is_lower_bound": _is_least(found) if found else None,
        "context_percent": None if status.context_used is None else status.context_used / 100,
        "quota": {
            window: {"used_percent": None if used is None else used / 100, "resets_at": rfc3339(resets)}
            for window, (used, resets) in status.quota.items()
        },
        "budget": found.budget if found else None,
        "budget_percent": found.budget_percent if found else None,
        "alerts": found.alerts if found else None,
        "branch": _branch(document),
    }


def _segments(
    document: dict[str, Any], status: Status, looked_up: tuple[Today | None, str] | None, now: int
) -> list[Segment]:
    found, paid = looked_up if looked_up is not None else (None, "api")
    segments = [Segment(one_line(_model(document, status)) or "wk", "bold")]
    if status.context_used is not None:
        tone = _tone(status.context_used, _HIGH_CONTEXT, _FULL_CONTEXT)
        segments.append(Segment(f"context {status.context_used / 100:.0f} %", tone, drop=1))
    segments += _costs(status, found, paid)
    segments += _quotas(status, now)
    # A quota that is not over stands in the line by itself, under its own name.
    if (
        found is not None
        and found.budget_percent is not None
        and not (found.quota and found.budget != "over")
    ):
        tone = {"over": "bad", "warn": "warn"}.get(found.budget, "")
        what = "quota" if found.quota else "budget"
        words = f"{what} over" if found.budget == "over" else what
        drop = 0 if found.budget == "over" else 4
        segments.append(Segment(f"{words} {found.budget_percent:.0f} %", tone, drop))
    if found is not None and found.alerts:
        segments.append(Segment(f"{found.alerts} alert{'s' if found.alerts > 1 else ''}", "bad"))
    branch = _branch(document)
    if branch:
        segments.append(Segment(one_line(branch), "dim", drop=6))
    return segments


def _costs(status: Status, found: Today | None, paid: str) -> list[Segment]:
    equivalent = "API-equivalent" if paid == "subscription" else ""
    segments = []
    if status.cost_micros is not None:
        segments.append(
            Segment(f"session {_money(status.cost_micros)}", drop=2, note=equivalent or "reported")
        )
    if found is not None and found.spent.requests > found.spent.unpriced:
        from watchkeeper.queries.now import basis_words

        sign = "≥" if _is_least(found) else ""
        note = equivalent or basis_words(found.spent)
        segments.append(Segment(f"today {sign}{_money(found.spent.micros)}", drop=3, note=note))
    return segments


def _is_least(found: Today) -> bool:
    return bool(found.behind or found.spent.unpriced or found.spent.partial)


def _quotas(status: Status, now: int) -> list[Segment]:
    segments = []
    for window, name, drop in (("five_hour", "5h", 2), ("seven_day", "7d", 5)):
        used, resets = status.quota.get(window, (None, None))
        if used is not None:
            tone = _tone(used, _HIGH_QUOTA, _FULL_QUOTA)
            segments.append(Segment(f"{name} {used / 100:.0f} %", tone, drop, _reset(resets, now)))
    return segments


def _reset(moment: int | None, now: int) -> str:
    if moment is None or moment <= now or moment - now > 60 * 86_400_000:
        return ""
    form = "%H:%M" if moment - now < 86_400_000 else "%a %H:%M"
    return "until " + time.strftime(form, time.localtime(moment / 1000))


def _tone(used: int, high: int, full: int) -> str:
    return "bad" if used >= full else "warn" if used >= high else ""


def _money(micros: int) -> str:
    cents = (micros + 5_000) // 10_000
    return f"${cents // 100:,}.{cents % 100:02d}"


def _model(document: dict[str, Any], status: Status) -> str:
    model = document.get("model")
    name = model.get("display_name") if isinstance(model, dict) else model
    return name[:60] if isinstance(name, str) and name else (status.model or "")


def _branch(document: dict[str, Any]) -> str | None:
    """Return the branch that is checked out in the session's folder, as git's own files say."""
    workspace = document.get("workspace")
    inside = workspace.get("current_dir") if isinstance(workspace, dict) else None
    folder = inside if isinstance(inside, str) else document.get("cwd")
    if not isinstance(folder, str) or not folder.startswith("/") or "\0" in folder:
        return None
    for _ in range(64):
        found = _head(folder + "/.git")
        if found is not None or folder in ("", "/"):
            return found
        folder = folder.rpartition("/")[0]
    return None


def _head(git: str) -> str | None:
    try:
        if os.path.isfile(git):  # noqa: PTH113 - path objects cost more than the reading
            text = _start_of(git)
            if not text.startswith("gitdir: "):
                return None
            git = os.path.join(os.path.dirname(git), text[8:].strip())  # noqa: PTH118, PTH120
        head = _start_of(git + "/HEAD").strip()
    except (OSError, ValueError):
        return None
    return head.removeprefix("ref: refs/heads/") if head.startswith("ref: ") else head[:8] or None


def _start_of(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read(4096)


def _width(environment: dict[str, str]) -> int:
    given = environment.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and 0 < len(given) < 6:
        return max(20, int(given))
    for descriptor in (2, 1):
        try:
            return max(20, os.get_terminal_size(descriptor).columns)
        except OSError:
            continue
    return 120


def _fit(segments: list[Segment], width: int, *, colour: bool) -> str:
    """Return the line: notes go first when space is short, then whole segments, the least important one first."""
    shown, notes = list(segments), True

    def length() -> int:
        words = sum(
            columns_of(part.text) + (len(part.note) + 1 if notes and part.note else 0) for part in shown
        )
        return words + len(_GAP) * (len(shown) - 1)

    while length() > width:
        droppable = [part for part in shown if part.drop]
        if notes:
            notes = False
        elif droppable:
            # What is coloured says that something needs attention.
            calm = [part for part in droppable if part.style not in ("warn", "bad")]
            shown.remove(max(calm or droppable, key=lambda part: part.drop))
        else:
            break
    parts = []
    for part in shown:
        text = styled(part.text, part.style, colour=colour) if part.style else part.text
        parts.append(f"{text} {styled(part.note, 'dim', colour=colour)}" if notes and part.note else text)
    return styled(_GAP, "dim", colour=colour).join(parts)
