"""Decides what a move or fork takes and where it goes, without touching anything."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from watchkeeper.errors import NotFoundError, UsageError
from watchkeeper.sources.claude_code.migration.folders import (
    FolderChange,
    SessionFiles,
    encoded_name,
    find_sessions,
    folder_name,
    other_files,
)
from watchkeeper.sources.claude_code.migration.moving import Plan, plan_session


def make_plan(
    kind: str,
    change: FolderChange,
    config_dirs: Sequence[Path],
    environment: Mapping[str, str],
    session_id: str | None = None,
) -> Plan:
    """Return what to do.

    Args:
        kind: ``move`` or ``fork``.
        change: The folders.
        config_dirs: The agent's folders.
        environment: The agent's environment, for the name that it gives the folder.
        session_id: Only the session that begins so.

    Raises:
        NotFoundError: There is no such session.
        UsageError: Several sessions begin so.
    """
    plan = Plan(kind, change)
    found: list[tuple[Path, SessionFiles]] = []
    for config_dir in config_dirs:
        sessions, left = find_sessions(config_dir, change, environment)
        found.extend((config_dir, session) for session in sessions)
        plan.left.extend(left if session_id is None else ())
    if session_id is not None:
        found = _only(found, session_id)
    if not found:
        raise NotFoundError(
            "no session of this folder is there",
            hint="Give the folder as it was when the sessions were held.",
            place=change.olds[0],
        )
    for config_dir, session in found:
        _plan_one(plan, config_dir, session, environment)
    if session_id is None:
        _plan_others(plan, config_dirs, environment)
    return plan


def _plan_one(plan: Plan, config_dir: Path, session: SessionFiles, environment: Mapping[str, str]) -> None:
    target = plan.change.moved(session.cwd or plan.change.olds[0]) or plan.change.new
    plan_session(plan, session, target, config_dir / "projects" / folder_name(target, environment))
    history = config_dir / "file-history" / session.session_id
    if plan.kind != "fork" or not history.is_dir() or plan.sessions[-1:] == []:
        return
    planned = plan.sessions[-1]
    if planned.session is session:
        for path in sorted(history.rglob("*")):
            if path.is_file() and not path.is_symlink():
                plan.others.append((path, history.with_name(planned.new_id) / path.relative_to(history)))


def _only(found: list[tuple[Path, SessionFiles]], session_id: str) -> list[tuple[Path, SessionFiles]]:
    fitting = [item for item in found if item[1].session_id.startswith(session_id)]
    exact = [item for item in fitting if item[1].session_id == session_id]
    if not fitting:
        raise NotFoundError(
            f"session {session_id} is not one of this folder's", hint="Run `wk sessions` for the list."
        )
    if len(exact or fitting) > 1 and not exact:
        raise UsageError(f"several sessions begin with {session_id}", hint="Give more of the id.")
    return exact or fitting


def _plan_others(plan: Plan, config_dirs: Sequence[Path], environment: Mapping[str, str]) -> None:
    """Add what belongs to the project as a whole, unless the folder is another project's too."""
    for config_dir in config_dirs:
        for old in plan.change.olds:
            folder = config_dir / "projects" / encoded_name(old)
            target = config_dir / "projects" / folder_name(plan.change.new, environment)
            shared = any(path.parent == folder and path.suffix == ".jsonl" for path, _ in plan.left)
            if folder == target or shared or not folder.is_dir():
                continue
            for path in other_files(folder):
                there = target / path.relative_to(folder)
                if os.path.lexists(there):
                    plan.left.append((path, "the target has one of this name"))
                else:
                    plan.others.append((path, there))
