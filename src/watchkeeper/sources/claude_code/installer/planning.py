"""What an install or uninstall would do. Planning reads; only `applying` writes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path

from watchkeeper.errors import UsageError
from watchkeeper.settings import Places
from watchkeeper.sources.claude_code.hook_events import registered_events, uncollected_events
from watchkeeper.sources.claude_code.installer import statusline
from watchkeeper.sources.claude_code.installer.backups import Action, Manifest, digest, latest_manifest
from watchkeeper.sources.claude_code.installer.document import BOM, Document, parse_bytes
from watchkeeper.sources.claude_code.installer.entries import (
    Entry,
    add_entries,
    check,
    entries,
    remove_entries,
    wanted_entry,
)
from watchkeeper.sources.claude_code.installer.files import missing_directories, read_file, real_path
from watchkeeper.sources.claude_code.installer.scopes import (
    Locations,
    Scope,
    new_file_mode,
    settings_file,
)


@dataclass(frozen=True)
class Plan:
    """One change of one settings file, not yet made.

    Attributes:
        file: The file to write, behind all links.
        before: Its bytes now; None where it does not exist.
        after: Its bytes afterwards; None where it is to go.
        pristine: Its bytes without us; None where there would be no file.
        created: Containers that installs made in the file.
        directories: Folders to create for it, or on removal to take away when empty; outermost first.
        new_mode: The mode of the file where it is created.
        events: The hook events registered afterwards.
        uncollected: Events that are not registered, with the reason.
        with_script: The status line script belongs to the result.
        actions: What will be done, for people.
        notes: What they should know beside it.
    """

    action: Action
    scope: Scope
    home: Path
    file: Path
    before: bytes | None
    after: bytes | None
    pristine: bytes | None
    created: frozenset[str] = frozenset()
    directories: tuple[Path, ...] = ()
    new_mode: int = 0o600
    events: tuple[str, ...] = ()
    uncollected: tuple[tuple[str, str], ...] = ()
    with_script: bool = False
    actions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """The settings file will differ."""
        return self.before != self.after

    @property
    def diff(self) -> str:
        """A unified diff of the settings file; empty where nothing changes."""
        old, new = _text(self.before), _text(self.after)
        names = ("/dev/null" if self.before is None else str(self.file),
                 "/dev/null" if self.after is None else str(self.file))  # fmt: skip
        lines = difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), names[0], names[1]
        )
        marker = "\n\\ No newline at end of file\n"
        return "".join(line if line.endswith("\n") else line + marker for line in lines)


def _text(data: bytes | None) -> str:
    return (data or b"").removeprefix(BOM).decode()


@dataclass
class _Draft:
    document: Document
    created: set[str]
    actions: list[str] = field(default_factory=list)


def plan_install(
    scope: Scope,
    home: Path,
    locations: Locations,
    *,
    shared: bool = False,
    with_statusline: bool = False,
    message_display: bool = False,
) -> Plan:
    """Work out what an install changes; writes nothing.

    An entry of ours from another home is replaced. A status line that is ours already stays ours.

    Raises:
        ConfigError: The settings cannot be parsed or edited safely; the place is named.
        UsageError: The scope does not fit the other arguments.
        FormatError: The record of an earlier install cannot be read.
    """
    _check_home(home)
    file = real_path(settings_file(scope, locations, shared=shared))
    before, manifest = read_file(file), latest_manifest(home, file)
    draft = _Draft(parse_bytes(before or b"", file), set(_created(manifest) or ()))
    check(draft.document)
    wanted = [wanted_entry(event, home) for event in registered_events(message_display=message_display)]
    _replace_stale(draft, wanted, home)
    with_script = with_statusline or statusline.wrapped_by(draft.document) is not None
    _add_missing(draft, wanted, with_script=with_script, home=home)
    after = draft.document.encode() if draft.actions else before
    missing = missing_directories(file)
    return Plan(
        action="install",
        scope=scope,
        home=home,
        file=file,
        before=before,
        after=after,
        pristine=_pristine(before, file, manifest),
        created=frozenset(draft.created),
        directories=missing or (manifest.directories if manifest else ()),
        new_mode=new_file_mode(scope, shared=shared),
        events=tuple(entry.event for entry in wanted),
        uncollected=tuple(
            (event.name, event.reason) for event in uncollected_events(message_display=message_display)
        ),
        with_script=with_script,
        actions=tuple(draft.actions),
        notes=_notes(scope, home, shared=shared),
    )


def plan_uninstall(scope: Scope, home: Path, locations: Locations, *, shared: bool = False) -> Plan:
    """Work out what an uninstall changes; writes nothing.

    Where the file is still what the install wrote, its former bytes come back. Otherwise only our entries go,
    from whatever home, and the containers that an install made for them.

    Raises:
        ConfigError: The settings cannot be parsed or edited safely; the place is named.
        UsageError: The scope does not fit the other arguments.
        FormatError: The record of an earlier install cannot be read.
    """
    file = real_path(settings_file(scope, locations, shared=shared))
    before, manifest = read_file(file), latest_manifest(home, file)
    after = _pristine(before, file, manifest)
    actions: list[str] = []
    if before is not None and before != after:
        document = parse_bytes(before, file)
        ours = [entry for entry in entries(document) if entry.command]
        actions.append(f"removed {len(ours)} hooks")
        actions += _foreign(ours, home)
        if statusline.wrapped_by(document):
            actions.append("restored the status line")
    return Plan(
        action="uninstall",
        scope=scope,
        home=home,
        file=file,
        before=before,
        after=after,
        pristine=after,
        directories=manifest.directories if manifest and after is None else (),
        new_mode=new_file_mode(scope, shared=shared),
        actions=tuple(actions),
    )


def _check_home(home: Path) -> None:
    try:
        str(home).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "the home's path is not UTF-8", hint="Choose another with WATCHKEEPER_HOME."
        ) from error
    if not home.is_absolute():
        raise UsageError("the home must be an absolute path", place=str(home))


def _created(manifest: Manifest | None) -> frozenset[str] | None:
    return manifest.created if manifest and manifest.action == "install" else None


def _pristine(before: bytes | None, file: Path, manifest: Manifest | None) -> bytes | None:
    """Return the file without us."""
    installed = manifest if manifest and manifest.action == "install" else None
    if before is None:
        return None
    if installed and digest(before) == installed.written:
        return installed.pristine
    document = parse_bytes(before, file)
    check(document)
    left = document.edited(
        remove_entries(document, lambda entry: entry.command is not None, _created(manifest))
    )
    left = left.edited(statusline.restore(left))  # a pass of its own: both may remove from the root
    if left.text == document.text:
        return before
    return None if installed and installed.pristine is None and not left.root.children else left.encode()


def _replace_stale(draft: _Draft, wanted: list[Entry], home: Path) -> None:
    """Take out entries of ours that are not, or no more, exactly what is wanted."""
    missing = {(entry.event, entry.matcher, str(entry.handler)) for entry in wanted}
    stale: list[Entry] = []
    for entry in entries(draft.document):
        key = (entry.event, entry.matcher, str(entry.handler))
        if entry.command is None:
            continue
        if key in missing:
            missing.remove(key)
        else:
            stale.append(entry)
    if not stale:
        return
    positions = {entry.position for entry in stale}
    created = frozenset(draft.created)
    edits = remove_entries(draft.document, lambda entry: entry.position in positions, created)
    draft.document = draft.document.edited(edits)
    draft.actions += [f"replaced {len(stale)} hooks of an earlier install", *_foreign(stale, home)]


def _foreign(found: list[Entry], home: Path) -> list[str]:
    homes = sorted({str(entry.home) for entry in found if entry.home != home})
    return [f"they belonged to another home: {each}" for each in homes]


def _add_missing(draft: _Draft, wanted: list[Entry], *, with_script: bool, home: Path) -> None:
    present = {entry.event for entry in entries(draft.document) if entry.command}
    additions = [entry for entry in wanted if entry.event not in present]
    edits, members, made = add_entries(draft.document, additions)
    if additions:
        draft.created.update(made)
        draft.actions.append(f"registered {len(additions)} hooks")
    if with_script:
        line_edits, line_members = statusline.wrap(draft.document, home)
        if line_edits or line_members:
            draft.actions.append("added a status line" if line_members else "wrapped the status line")
        edits, members = edits + line_edits, members + line_members
    if members:
        edits.append(draft.document.append(draft.document.root, members))
    if edits:
        draft.document = draft.document.edited(edits)


def _notes(scope: Scope, home: Path, *, shared: bool) -> tuple[str, ...]:
    hook = Places(home).hook
    if shared:
        return (f"whoever shares this file needs the hook at {hook}; elsewhere the agent skips it",)
    if scope == "managed":
        return (f"each user of this machine must be able to run {hook} and to write the spool beside it",)
    return ()
