"""``wk install``: the hooks into the agent's settings, merged, backed up, reversible."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from watchkeeper.cli.context import Context
from watchkeeper.cli.terminal import reason_lines
from watchkeeper.errors import UsageError

if TYPE_CHECKING:
    from watchkeeper.cli.install_managed import ManagedInstall
    from watchkeeper.sources.claude_code.installer.applying import Outcome
    from watchkeeper.sources.claude_code.installer.inspection import Problem
    from watchkeeper.sources.claude_code.installer.planning import Plan
    from watchkeeper.sources.claude_code.installer.scopes import Locations

HELP = "Register the hooks in the agent's settings; all that is yours stays, and `wk uninstall` leads back."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    add_scope_flags(parser)
    parser.add_argument(
        "--users",
        metavar="USER[,USER]",
        help="with --scope managed: the users agents run as; daemon, keys and record are another's",
    )
    parser.add_argument(
        "--owner",
        metavar="USER",
        help="with --users: whose they are (default: the home's owner, watchkeeper)",
    )
    parser.add_argument(
        "--service", action="store_true", help="with --users: also run the daemon as a service of the system"
    )
    parser.add_argument(
        "--statusline",
        action="store_true",
        help="show cost, context and quota in the status line and record its input; yours still runs",
    )
    parser.add_argument(
        "--message-display", action="store_true", help="also record text as it is shown (delays it)"
    )


def add_scope_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which settings file is meant."""
    parser.add_argument(
        "--scope",
        choices=("user", "project", "managed"),
        default="user",
        help="whose settings (default: user)",
    )
    parser.add_argument("--project", metavar="DIR", help="the project's folder (default: the current one)")
    parser.add_argument(
        "--shared", action="store_true", help="the project's shared file instead of your local one"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the change as a diff, and change nothing"
    )


def locations_of(arguments: argparse.Namespace, context: Context) -> Locations:
    """Return the folders that the flags and the settings name.

    Raises:
        UsageError: ``--project`` without ``--scope project``.
    """
    from watchkeeper.sources.claude_code.installer.scopes import Locations

    if arguments.project and arguments.scope != "project":
        raise UsageError("--project fits only --scope project", hint="Add --scope project.")
    project = Path(arguments.project or ".").expanduser().absolute()
    config_dir = context.settings.claude_config_dirs[0].absolute()
    return Locations(config_dir, project if arguments.scope == "project" else None)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Install, or with ``--dry-run`` print what would change."""
    from watchkeeper.sources.claude_code.installer.applying import apply
    from watchkeeper.sources.claude_code.installer.planning import plan_install
    from watchkeeper.spool.binary import packaged_hook

    managed = managed_home_of(arguments, context)
    plan = plan_install(
        arguments.scope,
        context.settings.places.home,
        locations_of(arguments, context),
        shared=arguments.shared,
        with_statusline=arguments.statusline,
        message_display=arguments.message_display,
    )
    prepared = managed.prepare() if managed and not arguments.dry_run else []
    outcome = None if arguments.dry_run else apply(plan, packaged_hook())
    problems = problems_left(context) if outcome else []
    if context.json:
        rows = [dataclasses.asdict(problem) for problem in problems]
        shown = {"managed": managed.to_json()} if managed else {}
        context.emit({**answer(plan, outcome), **shown, "problems": rows})
    elif outcome is None:
        context.line(plan.diff.rstrip("\n") or f"{plan.file}: nothing would change")
    else:
        for line in prepared:
            context.line(line)
        _print(plan, outcome, context)
        for problem in problems:
            why = f": {problem.why}" if problem.why else ""
            context.note(f"{problem.severity}: {problem.place}: {problem.what}{why}. {problem.hint}")
    return 0


def managed_home_of(arguments: argparse.Namespace, context: Context) -> ManagedInstall | None:
    """Return what `--users` asks for, and let the context be the managed home's; None without the flag.

    Raises:
        UsageError: The flags do not fit each other, or name nobody.
    """
    if not arguments.users:
        if arguments.owner or arguments.service:
            flag = "--owner" if arguments.owner else "--service"
            raise UsageError(f"{flag} goes with --users", hint="Name the users agents run as.")
        return None
    from watchkeeper.cli.install_managed import managed_install

    return managed_install(arguments, context)


def problems_left(context: Context) -> list[Problem]:
    """Return what still keeps sessions in the current folder from being recorded."""
    from watchkeeper.sources.claude_code.installer.inspection import inspect
    from watchkeeper.sources.claude_code.installer.scopes import Locations

    config_dir = context.settings.claude_config_dirs[0].absolute()
    report = inspect(
        context.settings.places.home,
        Locations(config_dir, Path.cwd()),
        environment=context.settings.environment,
    )
    return [problem for problem in report.problems if problem.severity != "note"]


def answer(plan: Plan, outcome: Outcome | None) -> dict[str, object]:
    """Return the JSON of an install or uninstall; without an outcome it was a dry run."""
    document: dict[str, object] = {
        "scope": plan.scope,
        "file": str(plan.file),
        "changed": outcome.changed if outcome else plan.changed,
        "events": list(plan.events),
        "not_registered": [{"event": name, "reason": reason} for name, reason in plan.uncollected],
        "backup": str(outcome.backup) if outcome and outcome.backup else None,
        "actions": list(plan.actions),
        "notes": list(plan.notes),
    }
    return document if outcome else {**document, "diff": plan.diff}


def say_what_was_done(plan: Plan, outcome: Outcome, context: Context) -> None:
    """Print the file, what was done to it and where the backup is."""
    if not outcome.changed:
        context.line(f"{plan.file}: nothing to change")
        return
    context.line(f"{context.style(str(plan.file), 'bold')}: {', '.join(plan.actions) or 'nothing to change'}")
    if outcome.hook_changed:
        context.line(
            f"Program: {'copied into' if plan.action == 'install' else 'removed from'} {plan.home / 'bin'}"
        )
    if outcome.backup:
        context.line(f"Backup:  {outcome.backup}")


def _print(plan: Plan, outcome: Outcome, context: Context) -> None:
    say_what_was_done(plan, outcome, context)
    for note in plan.notes:
        context.line(f"Note: {note}.")
    context.line(
        f"Collected: {len(plan.events)} of {len(plan.events) + len(plan.uncollected)} kinds of events. Not:"
    )
    for name, reason in plan.uncollected:
        for line in reason_lines(name, reason, context.width):
            context.line(line)
    context.next_step("New sessions are recorded from now on · wk doctor checks the whole chain")
