"""``wk checkpoint``: keep a session in one portable file, and go on with it elsewhere."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.tables import Column, table
from watchkeeper.cli.terminal import counted, one_line
from watchkeeper.errors import FormatError, NotFoundError, UsageError

if TYPE_CHECKING:
    from watchkeeper.sources.claude_code.migration.folders import SessionFiles
    from watchkeeper.sources.claude_code.migration.restoring import Checkpoint, Resumed

HELP = "Keep a session in one portable file without folders of this machine and without secrets; resume it elsewhere."

_COLUMNS = (
    Column("name"),
    Column("made"),
    Column("session", drop=2),
    Column("branch", drop=3),
    Column("commit", drop=4),
    Column("size", right=True),
    Column("first prompt", least=16, drop=1),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what to do with which checkpoint."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("create", "list", "show", "resume"),
        default="list",
        help="what to do (default: list)",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the checkpoint, or its file")
    parser.add_argument(
        "--session",
        metavar="ID",
        help="create: this session; a prefix is enough (default: the folder's latest)",
    )
    parser.add_argument("--project", metavar="DIR", help="create: the project folder (default: this one)")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="create: write to this file instead of the home"
    )
    parser.add_argument("--raw", action="store_true", help="create: do not mask secrets")
    parser.add_argument("--in", dest="into", metavar="DIR", help="resume: the project folder to go on in")
    parser.add_argument("--with-files", action="store_true", help="with the files that the session edited")
    parser.add_argument("--keep-id", action="store_true", help="resume: under its own id, where that is free")
    parser.add_argument("--yes", action="store_true", help="resume: take the foreign content without asking")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Do it; exit status 1 when a resume was not approved."""
    if arguments.action == "list":
        return _list(context)
    if not arguments.name:
        raise UsageError("no name given", hint=f"wk checkpoint {arguments.action} NAME")
    if arguments.action == "create":
        return _create(arguments, context)
    if arguments.action == "show":
        return _show(arguments.name, context)
    return _resume(arguments, context)


def _create(arguments: argparse.Namespace, context: Context) -> int:
    from watchkeeper.redaction.engine import Redactor
    from watchkeeper.sources.claude_code.migration.checkpoint import checkpoint_path, create

    settings = context.settings
    kept = checkpoint_path(settings.places.checkpoints, arguments.name)
    path = Path(arguments.output).absolute() if arguments.output else kept
    given = Path(arguments.project).expanduser().resolve() if arguments.project else None
    session, project = _session(context, arguments.session, given)
    if not arguments.output:
        settings.places.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    manifest = create(
        session,
        project,
        Path(settings.environment.get("HOME") or Path.home()),
        arguments.name,
        path,
        redactor=None if arguments.raw else Redactor.from_settings(settings),
        with_files=arguments.with_files,
    )
    if context.json:
        context.emit({"file": str(path), **manifest})
        return 0
    context.line(f"{one_line(str(path))} ({path.stat().st_size:,} bytes)")
    _say_masked(manifest, context)
    context.next_step(f"wk checkpoint resume {one_line(arguments.name)} --in DIR")
    return 0


def _session(context: Context, identity: str | None, project: Path | None) -> tuple[SessionFiles, Path]:
    from watchkeeper.sources.claude_code.migration.folders import (
        FolderChange,
        find_sessions,
        sessions_beginning,
    )

    settings = context.settings
    folder = project or Path(os.path.realpath(Path.cwd()))
    here = FolderChange((str(folder),), "/")
    found = [
        session
        for config_dir in settings.claude_config_dirs
        for session in find_sessions(config_dir, here, settings.environment)[0]
    ]
    if identity is not None:
        fitting = [session for session in found if session.session_id.startswith(identity)] or [
            session
            for config_dir in settings.claude_config_dirs
            for session in sessions_beginning(config_dir, identity)
        ]
        if len(fitting) > 1:
            raise UsageError(f"several sessions begin with {identity}", hint="Give more of the id.")
        found = fitting
    if not found:
        raise NotFoundError(
            "no such session is on disk",
            hint="Name its --session, or stand in its folder. `wk restore` brings deleted ones back.",
            place=str(folder),
        )
    session = max(found, key=lambda item: item.files[0].stat().st_mtime_ns)
    outside = project is None and session.cwd is not None and here.moved(session.cwd) is None
    return session, Path(session.cwd) if outside and session.cwd else folder


def _list(context: Context) -> int:
    from watchkeeper.sources.claude_code.migration.checkpoint import SUFFIX
    from watchkeeper.sources.claude_code.migration.restoring import read_checkpoint

    folder = context.settings.places.checkpoints
    rows, refused = list[dict[str, Any]](), list[dict[str, str]]()
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
        try:
            manifest = read_checkpoint(path).manifest
        except FormatError as error:
            refused.append({"file": str(path), "reason": error.why})
            continue
        rows.append(
            {"name": path.name.removesuffix(SUFFIX), "file": str(path), "size": path.stat().st_size}
            | {
                key: manifest.get(key)
                for key in ("created_at", "session_id", "first_prompt", "git", "redacted")
            }
        )
    if context.json:
        context.emit({"checkpoints": rows, "refused": refused})
        return 0
    for line in table(context, _COLUMNS, [_cells(row) for row in rows]) if rows else ():
        context.line(line)
    for row in refused:
        context.line(context.style(f"{one_line(row['file'])}: refused, {one_line(row['reason'])}", "warn"))
    if not rows:
        context.line("No checkpoints yet.")
        context.next_step("wk checkpoint create NAME")
    return 0


def _cells(row: dict[str, Any]) -> list[str]:
    git = row["git"] if isinstance(row["git"], dict) else {}
    return [
        row["name"],
        str(row["created_at"]),
        str(row["session_id"])[:8],
        str(git.get("branch") or "—"),
        str(git.get("commit") or "—")[:10],
        f"{row['size']:,}",
        str(row["first_prompt"] or "—"),
    ]


def _find(name: str, context: Context) -> Checkpoint:
    from watchkeeper.sources.claude_code.migration.checkpoint import checkpoint_path
    from watchkeeper.sources.claude_code.migration.restoring import read_checkpoint

    named = Path(name).expanduser()
    path = (
        named
        if "/" in name or named.is_file()
        else checkpoint_path(context.settings.places.checkpoints, name)
    )
    if not path.is_file():
        raise NotFoundError("there is no such checkpoint", hint="Run `wk checkpoint list`.", place=str(path))
    return read_checkpoint(path)


def _show(name: str, context: Context) -> int:
    checkpoint = _find(name, context)
    if context.json:
        context.emit({"file": str(checkpoint.path), **checkpoint.manifest})
        return 0
    _describe(checkpoint, context)
    for member, (size, _) in checkpoint.members.items():
        context.line(f"  {size:>12,}  {one_line(member)}")
    return 0


def _describe(checkpoint: Checkpoint, context: Context) -> None:
    manifest = checkpoint.manifest
    git = manifest.get("git") if isinstance(manifest.get("git"), dict) else {}
    context.line(context.style(one_line(str(manifest.get("name"))), "bold"))
    context.line(
        f"made {one_line(str(manifest.get('created_at')))}, session {one_line(manifest['session_id'])}"
    )
    if git:
        dirty = git.get("dirty")
        changed = counted(len(dirty), "changed file") if isinstance(dirty, list) else "—"
        context.line(
            f"git {one_line(str(git.get('branch')))} {one_line(str(git.get('commit')))[:12]}, {changed}"
        )
    if manifest.get("first_prompt"):
        context.line(f"first prompt: {one_line(str(manifest['first_prompt']))}")
    _say_masked(manifest, context)
    edited = manifest.get("edited_files")
    if isinstance(edited, list) and edited:
        taken = sum(bool(row.get("included")) for row in edited if isinstance(row, dict))
        context.line(f"{counted(len(edited), 'edited file')}, {taken} of them included")


def _say_masked(manifest: Any, context: Context) -> None:
    masked = manifest.get("masked")
    if not manifest.get("redacted"):
        context.line(context.style("Secrets are NOT masked in it.", "warn"))
    elif isinstance(masked, dict) and masked:
        kinds = ", ".join(f"{count} {rule}" for rule, count in masked.items())
        context.line(f"masked: {one_line(kinds)}")
        places = manifest.get("masked_places")
        for row in places[:10] if isinstance(places, list) else ():
            context.line(
                context.style(f"  {one_line(str(row))}" if isinstance(row, str) else _place(row), "dim")
            )


def _place(row: Any) -> str:
    return (
        f"  {one_line(str(row.get('place')))} {one_line(str(row.get('rules')))}"
        if isinstance(row, dict)
        else ""
    )


def _resume(arguments: argparse.Namespace, context: Context) -> int:
    from watchkeeper.sources.claude_code.migration.restoring import resume

    if not arguments.into:
        raise UsageError("no folder given", hint="wk checkpoint resume NAME --in DIR")
    checkpoint = _find(arguments.name, context)
    project = Path(os.path.realpath(Path(arguments.into).expanduser()))
    if not context.json:
        _describe(checkpoint, context)
    if not arguments.yes and not _approved(project, context):
        return 1
    settings = context.settings
    done = resume(
        checkpoint,
        project,
        settings.claude_config_dirs[0],
        settings.environment,
        settings.places.moves,
        keep_id=arguments.keep_id,
        with_files=arguments.with_files,
    )
    if context.json:
        context.emit(
            {
                "session_id": done.session_id,
                "origin": checkpoint.manifest["session_id"],
                "cwd": done.cwd,
                "id": done.journal,
                "files": done.files,
                "dropped_lines": done.dropped_lines,
                "files_written": done.files_written,
                "files_kept": done.files_kept,
                "resume": f"claude --resume {done.session_id}",
            }
        )
    else:
        _say_resumed(done, context)
    return 0


def _approved(project: Path, context: Context) -> bool:
    """Ask: what the session says will be read by an agent that acts in the folder."""
    warning = (
        f"This puts what somebody recorded before an agent that will act in {one_line(str(project))}. Text in it can"
        " instruct the agent. Go on only if you know who made it."
    )
    if context.json or not sys.stdin.isatty():
        context.note(f"wk: {warning} Give --yes to approve.")
        if context.json:
            context.emit({"approved": False, "session_id": None})
        return False
    context.line()
    context.line(warning)
    print("Resume it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _say_resumed(done: Resumed, context: Context) -> None:
    import shlex

    context.line()
    context.line(context.style(f"{counted(done.files, 'file')} put in place.", "good"))
    if done.dropped_lines:
        context.line(
            f"{counted(done.dropped_lines, 'line')} that a conversation does not need were left out."
        )
    for path in done.files_written:
        context.line(f"  written: {one_line(path)}")
    for path in done.files_kept:
        context.line(context.style(f"  differs here and stays: {one_line(path)}", "warn"))
    context.next_step(
        f"cd {one_line(shlex.quote(done.cwd))} && claude --resume {done.session_id} · wk move --undo {done.journal}"
    )
