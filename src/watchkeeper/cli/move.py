"""``wk move``: take a project's sessions along to another folder, or undo that."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.terminal import counted, one_line, reason_lines
from watchkeeper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchkeeper.sources.claude_code.migration.audit import AuditFinding
    from watchkeeper.sources.claude_code.migration.moving import Plan

HELP = "Take the sessions of a project folder along to where it is now. What would be lost or exposed is said first."
_STYLES = {"block": "bad", "warn": "warn", "note": "dim"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the folders, and what to do with them."""
    configure_change(parser, old="the project folder as it was", new="the project folder as it is now")
    parser.add_argument(
        "--undo",
        nargs="?",
        const="",
        metavar="ID",
        help="put back what the latest (or this) move or fork did",
    )


def configure_change(parser: argparse.ArgumentParser, *, old: str, new: str) -> None:
    """Declare what move and fork have in common, with what the two folders are to them."""
    parser.add_argument("old", nargs="?", metavar="FROM", help=old)
    parser.add_argument("new", nargs="?", metavar="TO", help=new)
    parser.add_argument("--session", metavar="ID", help="only this session; a prefix is enough")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--force", action="store_true", help="go on in spite of blocking findings")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Move, or undo; exit status 1 when a finding blocks it or something could not be put back."""
    if arguments.undo is not None:
        if arguments.old:
            raise UsageError("--undo takes no folders", hint="Give the id that the move printed, or none.")
        return _undo(arguments.undo or None, context, force=arguments.force)
    return change(arguments, context, "move")


def change(arguments: argparse.Namespace, context: Context, kind: str) -> int:
    """Audit, and unless something blocks it or it is only a rehearsal, do it."""
    if not arguments.old or not arguments.new:
        raise UsageError("two folders are needed", hint=f"wk {kind} FROM TO")
    from watchkeeper.redaction.engine import Redactor
    from watchkeeper.sources.claude_code.migration.audit import BLOCK, audit
    from watchkeeper.sources.claude_code.migration.folders import change_of
    from watchkeeper.sources.claude_code.migration.moving import carry_out
    from watchkeeper.sources.claude_code.migration.planning import make_plan

    settings = context.settings
    config_dirs = settings.claude_config_dirs
    folders = change_of(arguments.old, arguments.new)
    plan = make_plan(kind, folders, config_dirs, settings.environment, arguments.session)
    findings = audit(plan, config_dirs, settings.environment, Redactor.from_settings(settings))
    blocked = any(finding.severity == BLOCK for finding in findings) and not arguments.force
    nothing = not plan.sessions
    _print_audit(plan, findings, context)
    identity = None
    if not (arguments.dry_run or blocked or nothing):
        with context.progress as progress:
            identity = carry_out(plan, settings.places.moves, progress)
    if context.json:
        context.emit(_document(plan, findings, identity, blocked=blocked, dry_run=arguments.dry_run))
    elif identity is None:
        _say_not_done(context, kind, blocked=blocked, nothing=nothing)
    else:
        _say_done(plan, identity, context)
    return 1 if blocked or nothing else 0


def _document(
    plan: Plan, findings: Sequence[AuditFinding], identity: str | None, *, blocked: bool, dry_run: bool
) -> dict[str, Any]:
    return {
        "id": identity,
        "kind": plan.kind,
        "old": plan.change.olds[0],
        "new": plan.change.new,
        "done": identity is not None,
        "dry_run": dry_run,
        "blocked": blocked,
        "sessions": [
            {
                "session_id": item.session.session_id,
                "new_session_id": item.new_id,
                "cwd": plan.change.moved(item.session.cwd or plan.change.olds[0]),
                "files": len(item.files),
                "folder": str(item.folder),
                "resume": f"claude --resume {item.new_id}",
            }
            for item in plan.sessions
        ],
        "other_files": len(plan.others),
        "left": [{"file": str(path), "reason": reason} for path, reason in plan.left],
        "audit": [finding.to_json() for finding in findings],
    }


def _print_audit(plan: Plan, findings: Sequence[AuditFinding], context: Context) -> None:
    files = sum(len(item.files) for item in plan.sessions) + len(plan.others)
    heading = f"{plan.kind} {counted(len(plan.sessions), 'session')}, {counted(files, 'file')}"
    context.line(context.style(heading, "bold"))
    context.line(f"from {one_line(plan.change.olds[0])}")
    context.line(f"to   {one_line(plan.change.new)}")
    context.line()
    for finding in findings:
        head, *rest = reason_lines(finding.rule, finding.what, context.width)
        mark = context.style(f"{finding.severity:5}", _STYLES[finding.severity])
        context.line(f"{mark}{head} ({finding.count:,})" if not rest else f"{mark}{head}")
        for line in rest:
            context.line(f"     {line}")
        for rule, count in sorted(finding.by_rule.items()):
            context.line(context.style(f"         {count:,} {one_line(rule)}", "dim"))
        for place in finding.places[:5]:
            context.line(context.style(f"         {one_line(place)}", "dim"))
        if len(finding.places) > 5:
            context.line(
                context.style(f"         and {len(finding.places) - 5:,} more: --json lists them", "dim")
            )
    if not findings:
        context.line("The audit found nothing.")


def _say_not_done(context: Context, kind: str, *, blocked: bool, nothing: bool) -> None:
    if nothing:
        context.next_step("There is nothing to do.")
    elif blocked:
        context.next_step(f"Nothing was done. Mend what blocks it, or: wk {kind} ... --force")
    else:
        context.next_step(f"Nothing was done. To do it, leave out --dry-run: wk {kind} FROM TO")


def _say_done(plan: Plan, identity: str, context: Context) -> None:
    import shlex

    first = plan.sessions[0]
    context.line()
    past = "moved" if plan.kind == "move" else "forked"
    context.line(context.style(f"{counted(len(plan.sessions), 'session')} {past}.", "good"))
    if plan.kind == "fork":
        for item in plan.sessions:
            context.line(f"  {one_line(item.session.session_id)} -> {one_line(item.new_id)}")
    where = plan.change.moved(first.session.cwd or plan.change.olds[0]) or plan.change.new
    resume = f"cd {shlex.quote(where)} && claude --resume {shlex.quote(first.new_id)}"
    context.next_step(f"{one_line(resume)}\nwk move --undo {identity}")


def _undo(identity: str | None, context: Context, *, force: bool) -> int:
    from watchkeeper.sources.claude_code.migration.journal import find_journal
    from watchkeeper.sources.claude_code.migration.undoing import undo

    journal = find_journal(context.settings.places.moves, identity)
    result = undo(journal, force=force)
    if context.json:
        context.emit(
            {
                "id": journal.identity,
                "kind": journal.kind,
                "undone": not result.kept,
                "files": result.files,
                "continued": result.continued,
                "kept": [{"file": path, "reason": reason} for path, reason in result.kept],
            }
        )
    context.line(f"{journal.kind} {journal.identity}: {counted(result.files, 'file')} put back")
    for path in result.continued:
        context.line(f"  {one_line(path)}: what was written since went back with it")
    for path, reason in result.kept:
        context.line(context.style(f"  {one_line(path)}: {one_line(reason)}; left as it is", "warn"))
    return 1 if result.kept else 0
