"""What is registered where: every level of the agent's settings, read as the agent reads them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from watchkeeper.errors import ConfigError
from watchkeeper.settings import Places
from watchkeeper.sources.claude_code.hook_events import registered_events
from watchkeeper.sources.claude_code.installer.document import Document, parse_bytes
from watchkeeper.sources.claude_code.installer.entries import Entry, entries, wanted_entry
from watchkeeper.sources.claude_code.installer.files import read_file, real_path
from watchkeeper.sources.claude_code.installer.scopes import Locations
from watchkeeper.sources.claude_code.installer.statusline import wrapped_by

Severity = Literal["error", "warning", "note"]

REGISTRATION_KEYS = ("hooks", "disableAllHooks", "allowManagedHooksOnly", "enabledPlugins", "statusLine")
"""What decides whether we are called; changes of anything else are none of our business."""

BARE_NOTE = (
    "sessions started with `claude --bare` or CLAUDE_CODE_SIMPLE=1 run no hooks; coverage shows the gap"
)


@dataclass(frozen=True)
class Problem:
    """Something that keeps events from the record, or counts them twice.

    Attributes:
        place: File, or ``file:line:column``.
        severity: ``error``: nothing, or not all, is collected; ``warning``: it may be so; ``note``: worth
            knowing.
    """

    what: str
    why: str
    hint: str
    place: str
    severity: Severity


@dataclass(frozen=True)
class Level:
    """One settings file as the agent reads it.

    Attributes:
        name: ``user``, ``project``, ``local`` or ``managed``.
        ours: Our entries.
        others: How many handlers of others each event has.
        values: The whole document; empty where it cannot be read.
        problem: Why it cannot be read, or None.
    """

    name: str
    file: Path
    exists: bool
    ours: tuple[Entry, ...] = ()
    others: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    wraps_statusline: bool = False
    problem: Problem | None = None

    @property
    def managed(self) -> bool:
        """Only the machine's administrator can change this file."""
        return self.name == "managed"

    @property
    def plugins(self) -> tuple[str, ...]:
        """Plugins of ours that this file enables."""
        enabled = self.values.get("enabledPlugins")
        items = enabled.items() if isinstance(enabled, dict) else ()
        return tuple(name for name, on in items if on and name.split("@")[0] == "watchkeeper")


@dataclass(frozen=True)
class Report:
    """The registration in force.

    Attributes:
        levels: All files, weakest first, existing or not.
        events: Events that reach our hook.
        missing: Events that an install would register and that do not reach it.
        problems: What is wrong, worst first.
        notes: What no file can show.
    """

    levels: tuple[Level, ...]
    events: tuple[str, ...]
    missing: tuple[str, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = (BARE_NOTE,)

    @property
    def installed(self) -> bool:
        """Some level registers our hook."""
        return any(level.ours or level.plugins for level in self.levels)


def inspect(
    home: Path,
    locations: Locations,
    *,
    packaged: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Report:
    """Read all levels and say what is registered and what is wrong; writes nothing and raises nothing.

    Args:
        home: The Watchkeeper home that the entries should name.
        locations: Where to look.
        packaged: The hook of this package, to compare the installed one with; None: no comparison.
        environment: The environment of sessions to come (default: this process's own).
    """
    levels = tuple(_read_level(name, path) for name, path in locations.levels())
    running = _running_levels(levels)
    called = {entry.event for level in running for entry in level.ours}
    wanted = [event.name for event in registered_events()]
    problems = [level.problem for level in levels if level.problem]
    problems += _switches(levels, os.environ if environment is None else environment)
    problems += _doubles(running)
    problems += _entries(levels, home)
    if any(level.ours for level in levels):
        problems += _program(Places(home).hook, packaged)
        problems += _missing(wanted, called, running)
    ranks = ("error", "warning", "note")
    return Report(
        levels=levels,
        events=tuple(event.name for event in registered_events(message_display=True) if event.name in called),
        missing=tuple(name for name in wanted if name not in called),
        problems=tuple(sorted(problems, key=lambda problem: ranks.index(problem.severity))),
    )


def _read_level(name: str, path: Path) -> Level:
    try:
        data = read_file(path)
        if data is None:
            return Level(name, path, exists=False)
        document = parse_bytes(data, path)
    except ConfigError as error:
        # The error's own hint is for a command that was about to write.
        problem = Problem(error.what, error.why, "Correct the file.", error.place, "error")
        return Level(name, path, exists=True, problem=problem)
    values = document.root.plain() if document.root.kind == "object" else {}
    others: dict[str, int] = {}
    ours: list[Entry] = []
    for entry in entries(document):
        if entry.command:
            ours.append(entry)
        else:
            others[entry.event] = others.get(entry.event, 0) + 1
    return Level(
        name,
        path,
        exists=True,
        ours=tuple(ours),
        others=others,
        values=values,
        wraps_statusline=wrapped_by(document) is not None,
        problem=_malformed(document),
    )


def _malformed(document: Document) -> Problem | None:
    hooks = document.root.get("hooks") if document.root.kind == "object" else document.root
    if document.duplicates:
        first = document.duplicates[0]
        what, position = f"{first.field} appears twice; the last one counts", first.position
    elif hooks is not None and hooks.kind != "object":
        what, position = f"hooks must be an object, found {hooks.kind}", hooks.start
    else:
        return None
    return Problem(what, "", "Correct the file.", document.place(position), "warning")


def _set_in(levels: Iterable[Level], key: str) -> Level | None:
    return next((level for level in levels if level.values.get(key) is True), None)


def _running_levels(levels: tuple[Level, ...]) -> list[Level]:
    """Return the levels whose hooks the agent runs."""
    managed = [level for level in levels if level.managed]
    if _set_in(managed, "disableAllHooks"):
        return []
    if _set_in(managed, "allowManagedHooksOnly") or _set_in(levels, "disableAllHooks"):
        return managed
    return list(levels)


def _switches(levels: tuple[Level, ...], environment: Mapping[str, str]) -> list[Problem]:
    problems = []
    managed = [level for level in levels if level.managed]
    off = _set_in(managed, "disableAllHooks") or _set_in(levels, "disableAllHooks")
    if off:
        why = "no hook runs" if off.managed else "no hook runs but managed ones"
        hint = "Set disableAllHooks to false." if not off.managed else "Ask the machine's administrator."
        problems.append(Problem("disableAllHooks is set", why, hint, str(off.file), "error"))
    only = _set_in(managed, "allowManagedHooksOnly")
    if only:
        hint = "Install with --scope managed."
        severity: Severity = "note" if any(level.ours for level in managed) else "error"
        problems.append(
            Problem("allowManagedHooksOnly is set", "only managed hooks run", hint, str(only.file), severity)
        )
    for level in levels:
        variables = level.values.get("env")
        if isinstance(variables, dict) and _on(variables.get("CLAUDE_CODE_SIMPLE")):
            problems.append(_simple(str(level.file)))
    if _on(environment.get("CLAUDE_CODE_SIMPLE")):
        problems.append(_simple("CLAUDE_CODE_SIMPLE"))
    return problems


def _on(value: Any) -> bool:
    return str(value).lower() in {"1", "true", "yes", "on"}


def _simple(place: str) -> Problem:
    return Problem("CLAUDE_CODE_SIMPLE is set", "the agent runs no hooks then", "Unset it.", place, "error")


def _doubles(running: list[Level]) -> list[Problem]:
    """Find events that reach us more than once: the agent runs equal handlers of several files only once."""
    seen: dict[str, dict[str, Level]] = {}
    twice: dict[Path, set[str]] = {}
    for level in running:
        for entry in level.ours:
            handlers = seen.setdefault(entry.event, {})
            key = json.dumps(entry.handler, sort_keys=True)
            if handlers and key not in handlers:
                twice.setdefault(level.file, set()).add(entry.event)
            handlers[key] = level
    problems = [
        Problem(
            f"{len(events)} events are registered twice",
            "another file registers a different hook of ours for them, so both run",
            "Uninstall one scope, or install both from the same home.",
            str(file),
            "warning",
        )
        for file, events in twice.items()
    ]
    plugin = next((level for level in running if level.plugins), None)
    if plugin and seen:
        hint = "Disable the plugin, or run `wk uninstall`."
        why = "a plugin's hooks run beside those of the settings"
        problems.append(
            Problem("the plugin and the settings both register us", why, hint, str(plugin.file), "warning")
        )
    return problems


def _entries(levels: tuple[Level, ...], home: Path) -> list[Problem]:
    wanted = {event.name: wanted_entry(event, home) for event in registered_events(message_display=True)}
    problems = []
    for level in levels:
        homes = sorted({str(entry.home) for entry in level.ours if entry.home != home})
        if homes:
            why = f"they name {', '.join(homes)}"
            hint = f"Run `wk install --scope {_scope(level)}` to use {home}."
            problems.append(Problem("hooks record into another home", why, hint, str(level.file), "warning"))
        altered = sorted(
            entry.event
            for entry in level.ours
            if entry.home == home and not _equal(entry, wanted.get(entry.event))
        )
        if altered:
            hint = f"Run `wk install --scope {_scope(level)}` again."
            why = f"{', '.join(altered)} differ from what this version registers"
            problems.append(Problem("hooks were altered", why, hint, str(level.file), "warning"))
    return problems


def _equal(entry: Entry, wanted: Entry | None) -> bool:
    return wanted is not None and entry.group == wanted.group


def _scope(level: Level) -> str:
    return {"local": "project", "project": "project --shared"}.get(level.name, level.name)


def _program(hook: Path, packaged: Path | None) -> list[Problem]:
    hint, place = "Run `wk install` again.", str(hook)
    if not hook.is_file():
        return [Problem("the hook program is missing", "the agent skips it", hint, place, "error")]
    if not os.access(hook, os.X_OK):
        return [Problem("the hook program cannot be executed", "the agent skips it", hint, place, "error")]
    if packaged is not None and read_file(hook) != read_file(packaged):
        return [Problem("the hook program is of another version", "", hint, place, "warning")]
    return []


def _missing(wanted: list[str], called: set[str], running: list[Level]) -> list[Problem]:
    missing = [name for name in wanted if name not in called]
    place = next((str(level.file) for level in running if level.ours), None)
    if not missing or place is None:  # what switches all of it off is a problem of its own
        return []
    what = f"{len(missing)} of {len(wanted)} events do not reach the hook"
    return [Problem(what, ", ".join(missing), "Run `wk install` again.", place, "error")]


def watched_files(locations: Locations, projects: Iterable[Path] = ()) -> list[Path]:
    """Return every settings file whose change may change the registration, existing or not, behind all links.

    Args:
        locations: Where to look.
        projects: Further projects whose files count.
    """
    everywhere = [locations] + [
        Locations(locations.config_dir, project, locations.managed_dir) for project in projects
    ]
    return sorted({real_path(path) for each in everywhere for _, path in each.levels()})


def registration_digests(files: Iterable[Path]) -> dict[str, str]:
    """Return for each settings file a SHA-256 (hexadecimal) over what decides whether we are called.

    A file that does not exist, or registers nothing, has the digest of nothing; one that cannot be parsed that
    of its bytes.
    """
    return {str(file): hashlib.sha256(_registration(file)).hexdigest() for file in files}


def registration_digest(files: Iterable[Path]) -> str:
    """Return one SHA-256 (hexadecimal) over all `registration_digests`."""
    rows = sorted(registration_digests(files).items())
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _registration(file: Path) -> bytes:
    try:
        data = read_file(file)
    except ConfigError as error:
        return f"unreadable: {error.why}".encode()
    try:
        values = {} if data is None else parse_bytes(data, file).root.plain()
    except ConfigError:
        return data or b""
    if not isinstance(values, dict):
        return data or b""
    kept = {key: values[key] for key in REGISTRATION_KEYS if key in values}
    variables = values.get("env")
    if isinstance(variables, dict) and "CLAUDE_CODE_SIMPLE" in variables:
        kept["env"] = {"CLAUDE_CODE_SIMPLE": variables["CLAUDE_CODE_SIMPLE"]}
    return json.dumps(kept, sort_keys=True).encode() if kept else b""
