"""``wk doctor``: every link of the chain, checked with a synthetic event, and how to mend what is broken."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import watchkeeper
from watchkeeper.analysis.doctor import (
    Check,
    State,
    check_clock,
    check_home,
    check_hook,
    check_transcripts,
    timed,
)
from watchkeeper.cli.context import Context
from watchkeeper.cli.terminal import columns_of, counted, one_line, pad
from watchkeeper.errors import NotFoundError
from watchkeeper.spool.binary import packaged_hook

if TYPE_CHECKING:
    from watchkeeper.settings import Settings
    from watchkeeper.sources.claude_code.installer.inspection import Level, Problem

HELP = "Check every link of the chain with a synthetic event, and say how to mend what is broken."

_QUICKLY_VERIFIED = 64 << 20
"""Bytes of ledger that are checked within a second or two."""
_MARKS = {"ok": ("✓", "good"), "failed": ("✗", "bad"), "skipped": ("–", "dim")}


def configure(parser: argparse.ArgumentParser) -> None:
    """Take no arguments of its own."""


def run(arguments: argparse.Namespace, context: Context) -> int:  # noqa: ARG001 - the convention of commands
    """Print one line per link, or ``{"ok", "checks": [...]}``; status 1 when one failed."""
    checks = collect(context)
    ok = all(check.state != "failed" for check in checks)
    if context.json:
        context.emit({"ok": ok, "checks": [check.to_json() for check in checks]})
    else:
        _print(checks, context)
    return 0 if ok else 1


def collect(context: Context) -> list[Check]:
    """Run every check and return them in the order of the chain."""
    from watchkeeper.cli.doctor_chain import Journey, daemon_checks
    from watchkeeper.daemon.control import status

    settings, places = context.settings, context.settings.places
    packaged = _packaged()
    home = timed("home", lambda: check_home(places))
    checks = [home, timed("clock", lambda: check_clock(places))]
    checks.append(timed("hook program", lambda: check_hook(places, packaged, watchkeeper.__version__)))
    checks += registration_checks(context, packaged)
    daemon = status(settings)
    checks += daemon_checks(daemon)
    recording = daemon.supervisor is not None and daemon.parts["recorder"].alive
    if home.state == "ok":
        hook = places.hook if places.hook.exists() else packaged
        checks += Journey(settings, hook, daemon=recording).checks()
    else:
        checks.append(Check("synthetic event", "skipped", "needs: home"))
    folders = settings.claude_config_dirs
    follows = bool(settings["sources.watch"])
    checks.append(timed("transcripts", lambda: check_transcripts(folders, watch=follows, daemon=recording)))
    checks.append(timed("record", lambda: check_record(settings)))
    return checks


def check_record(settings: Settings) -> Check:
    """Check a record of ordinary size against its signatures, and say how far it is anchored."""
    from watchkeeper.analysis.verdict import verify_home

    size = sum(path.stat().st_size for path in settings.places.ledger.rglob("*") if path.is_file())
    if size > _QUICKLY_VERIFIED:
        detail = f"{size >> 20:,} MiB take their time"
        return Check("record", "skipped", detail, "wk verify")
    verdict = verify_home(settings)
    detail = (
        f"{counted(verdict.entries, 'entry', 'entries')}, {verdict.integrity}, {verdict.completeness},"
        f" anchor {verdict.anchor}"
    )
    if not verdict.ok:
        return Check("record", "failed", detail, "wk verify says where")
    return Check("record", "ok", detail)


def registration_checks(context: Context, packaged: Path | None) -> list[Check]:
    """Return one check per settings file that the agent would read here, and one for each thing wrong."""
    from watchkeeper.sources.claude_code.installer.inspection import inspect
    from watchkeeper.sources.claude_code.installer.scopes import Locations

    settings = context.settings
    locations = Locations(settings.claude_config_dirs[0], Path.cwd())
    report = inspect(settings.places.home, locations, packaged=packaged, environment=settings.environment)
    checks = []
    if report.installed:
        total = len(report.events) + len(report.missing)
        detail = f"{len(report.events)} of {total} events reach the hook"
        checks.append(Check("registration", "ok", detail))
    else:
        checks.append(Check("registration", "failed", "no settings file names the hook", "wk install"))
    checks += [_level_check(level) for level in report.levels if level.exists]
    checks += [_problem_check(problem) for problem in report.problems]
    return checks


def _level_check(level: Level) -> Check:
    name = f"registration {level.name}"
    others = sum(level.others.values())
    beside = f", {others} handlers of others" if others else ""
    if level.ours or level.plugins:
        plugin = f", plugin {level.plugins[0]}" if level.plugins else ""
        return Check(name, "ok", f"{level.file}: {len(level.ours)} of ours{plugin}{beside}")
    return Check(name, "skipped", f"{level.file}: none of ours{beside}")


def _problem_check(problem: Problem) -> Check:
    why = f": {problem.why}" if problem.why else ""
    state: State = "skipped" if problem.severity == "note" else "failed"
    return Check("registration problem", state, f"{problem.place}: {problem.what}{why}", problem.hint)


def _packaged() -> Path | None:
    try:
        return packaged_hook()
    except NotFoundError:
        return None


def _print(checks: list[Check], context: Context) -> None:
    width = max(columns_of(check.name) for check in checks)
    for check in checks:
        symbol, style = _MARKS[check.state]
        state = "" if check.state == "ok" else f"{check.state}: "
        context.line(
            f"{context.style(symbol, style)} {pad(check.name, width)}  {state}{one_line(check.detail)}"
        )
        if check.hint and check.state != "ok":
            context.line(f"{'':{width + 4}}{context.style('→ ' + one_line(check.hint), 'bold')}")
    broken = [check for check in checks if check.state == "failed"]
    if not broken:
        context.next_step(
            "Every link holds · wk coverage says what is on record · wk verify checks the record"
        )
    else:
        context.next_step(
            f"{len(broken)} of {len(checks)} links {'is' if len(broken) == 1 else 'are'} broken; "
            "mend the first and run wk doctor again"
        )
