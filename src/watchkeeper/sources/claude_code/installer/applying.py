"""Carries out a plan: first the program, then the backup, then the settings, each atomically."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from watchkeeper.errors import ConfigError
from watchkeeper.settings import Places
from watchkeeper.sources.claude_code.installer.backups import (
    Manifest,
    digest,
    discard_backup,
    manifests,
    write_backup,
)
from watchkeeper.sources.claude_code.installer.files import (
    commit,
    expect_unchanged,
    make_directories,
    missing_directories,
    read_file,
    replacement,
    sync_directory,
    write_private,
)
from watchkeeper.sources.claude_code.installer.planning import Plan
from watchkeeper.sources.claude_code.installer.statusline import script_path, script_text


@dataclass(frozen=True)
class Outcome:
    """What a plan has changed.

    Attributes:
        changed: The settings file, the hook or the script differs from before.
        backup: The folder that holds the former settings; None where they did not change.
        hook_changed: The hook was copied, replaced or removed.
    """

    changed: bool
    backup: Path | None
    hook_changed: bool


def apply(plan: Plan, hook_source: Path | None, *, now: datetime | None = None) -> Outcome:
    """Carry out a plan.

    Args:
        plan: What to do.
        hook_source: The native hook to copy into the home; needed to install.
        now: The time that names the backup (default: the clock).

    Raises:
        ConfigError: Something cannot be written; the settings are untouched then.
        LockedError: The settings changed since the plan was made; they are untouched.
    """
    moment = now or datetime.now(UTC)
    if plan.action == "uninstall":
        backup = _write_settings(plan, moment) if plan.changed else None
        removed = remove_programs(plan.home)
        return Outcome(plan.changed or removed, backup, removed)
    if hook_source is None:
        raise ConfigError("the hook is not part of this installation", hint="Install the package again.")
    hook_changed = copy_hook(hook_source, plan.home)
    make_directories(
        (Places(plan.home).spool,), 0o700
    )  # the hook makes no folders: without it nothing is kept
    script_changed = plan.with_script and _copy(
        script_text(plan.home).encode(), script_path(plan.home), plan.home
    )
    backup = _write_settings(plan, moment) if plan.changed else None
    return Outcome(plan.changed or hook_changed or script_changed, backup, hook_changed)


def copy_hook(source: Path, home: Path) -> bool:
    """Copy the native hook into the home where it differs, and say whether it did.

    Raises:
        ConfigError: It cannot be read or written.
    """
    data = read_file(source)
    if data is None:
        raise ConfigError("the hook is missing", hint="Install the package again.", place=str(source))
    return _copy(data, Places(home).hook, home)


def _copy(data: bytes, target: Path, home: Path) -> bool:
    make_directories((*missing_directories(home), home, target.parent), 0o700)
    if not target.is_symlink() and read_file(target) == data and target.stat().st_mode & 0o777 == 0o755:
        return False
    write_private(target, data, 0o755)
    return True


def _write_settings(plan: Plan, now: datetime) -> Path:
    make_directories((*missing_directories(plan.home), plan.home), 0o700)
    manifest = Manifest(
        scope=plan.scope,
        action=plan.action,
        file=plan.file,
        pristine=plan.pristine,
        written=digest(plan.after),
        created=plan.created,
        directories=plan.directories,
    )
    if plan.after is None:
        return _remove_settings(plan, manifest, now)
    make_directories(missing_directories(plan.file), 0o700 if plan.scope == "user" else 0o755)
    with replacement(plan.file, plan.after, plan.new_mode) as temporary:
        expect_unchanged(plan.file, plan.before)
        folder = write_backup(plan.home, manifest, plan.before, now)
        try:
            commit(temporary, plan.file)
        except OSError:
            discard_backup(folder)
            raise
    return folder


def _remove_settings(plan: Plan, manifest: Manifest, now: datetime) -> Path:
    expect_unchanged(plan.file, plan.before)
    folder = write_backup(plan.home, manifest, plan.before, now)
    try:
        plan.file.unlink()
        sync_directory(plan.file.parent)
    except OSError as error:
        discard_backup(folder)
        raise ConfigError(
            "the file cannot be removed", why=str(error.strerror), place=str(plan.file)
        ) from error
    for directory in reversed(plan.directories):
        with suppress(OSError):  # somebody uses the folder by now
            directory.rmdir()
    return folder


def remove_programs(home: Path) -> bool:
    """Remove the hook and the script from the home unless a settings file we changed still names them.

    Raises:
        ConfigError: A settings file cannot be read, so that nobody knows what it names.
        FormatError: The record of an install cannot be read.
    """
    texts = [read_file(file) or b"" for file in {manifest.file for manifest in manifests(home)}]
    hook, script = Places(home).hook, script_path(home)
    script_used = any(_names(text, script) for text in texts)
    removed = False
    for program, used in ((script, script_used), (hook, script_used or any(_names(t, hook) for t in texts))):
        if not used and program.exists():
            program.unlink()
            removed = True
    with suppress(OSError):  # it is missing, or holds something else
        Places(home).bin.rmdir()
    return removed


def _names(text: bytes, program: Path) -> bool:
    return json.dumps(str(program), ensure_ascii=False)[1:-1].encode() in text
