"""``wk uninstall``: our entries out of the agent's settings, and nothing else."""

from __future__ import annotations

import argparse

from watchkeeper.cli.context import Context
from watchkeeper.cli.install import add_scope_flags, answer, locations_of, say_what_was_done

HELP = "Remove our hooks from the agent's settings, and nothing else. What was recorded stays."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    add_scope_flags(parser)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Uninstall, or with ``--dry-run`` print what would change."""
    from watchkeeper.sources.claude_code.installer.applying import apply
    from watchkeeper.sources.claude_code.installer.planning import plan_uninstall

    managed = _in_managed_home(arguments, context)
    places = context.settings.places
    plan = plan_uninstall(
        arguments.scope, places.home, locations_of(arguments, context), shared=arguments.shared
    )
    outcome = None if arguments.dry_run else apply(plan, None)
    removed = _remove_service(context) if managed and outcome else []
    if context.json:
        context.emit(answer(plan, outcome))
    elif outcome is None:
        context.line(plan.diff.rstrip("\n") or f"{plan.file}: nothing would change")
    else:
        say_what_was_done(plan, outcome, context)
        for line in removed:
            context.line(line)
        context.next_step("The record stays · wk sessions lists it")
    return 0


def _in_managed_home(arguments: argparse.Namespace, context: Context) -> bool:
    """Turn to the managed home where root names no other, and return whether the home is one."""
    if arguments.scope != "managed":
        return False
    from watchkeeper.cli.install_managed import use_managed_home
    from watchkeeper.daemon.managed_home import default_managed_home
    from watchkeeper.managed import read_managed
    from watchkeeper.settings import Places

    if read_managed(Places(default_managed_home())) is not None:
        use_managed_home(arguments, context)
    return read_managed(context.settings.places) is not None


def _remove_service(context: Context) -> list[str]:
    from watchkeeper.cli.install_managed import remove_managed

    return remove_managed(context)
