"""The report on what is registered where, and the digests by which a changed registration is noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.settings import Places
from watchkeeper.sources.claude_code.hook_events import registered_events
from watchkeeper.sources.claude_code.installer.applying import apply
from watchkeeper.sources.claude_code.installer.inspection import (
    Report,
    inspect,
    registration_digest,
    registration_digests,
    watched_files,
)
from watchkeeper.sources.claude_code.installer.planning import plan_install
from watchkeeper.sources.claude_code.installer.scopes import Locations, Scope


class Machine:
    """One user's folders with all levels of settings."""

    def __init__(self, root: Path) -> None:
        self.home = root / "wk"
        self.places = Locations(root / "claude", root / "project", root / "managed")
        self.program = root / "program"
        self.program.write_text("hook")
        self.user = root / "claude" / "settings.json"
        self.local = root / "project" / ".claude" / "settings.local.json"
        self.managed = root / "managed" / "managed-settings.json"
        for path in (self.user, self.local, self.managed):
            path.parent.mkdir(parents=True)

    def install(self, scope: Scope = "user", home: Path | None = None) -> None:
        apply(plan_install(scope, home or self.home, self.places), self.program)

    def report(self, environment: dict[str, str] | None = None) -> Report:
        return inspect(self.home, self.places, packaged=self.program, environment=environment or {})

    def change(self, path: Path, **values: Any) -> None:
        old = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(old | values))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def found(report: Report) -> dict[str, str]:
    return {problem.what: problem.severity for problem in report.problems}


def test_nothing_installed_is_no_problem_but_everything_is_missing(machine: Machine) -> None:
    report = machine.report()
    assert (report.installed, report.events, report.problems) == (False, (), ())
    assert len(report.missing) == len(registered_events())
    assert [level.name for level in report.levels] == ["user", "project", "local", "managed"]


def test_a_fresh_install_has_no_problem(machine: Machine) -> None:
    machine.change(machine.user, hooks={"Stop": [{"hooks": [{"type": "command", "command": "mine"}]}]})
    machine.install()
    report = machine.report()
    assert (report.installed, report.missing, found(report)) == (True, (), {})
    assert report.levels[0].others == {"Stop": 1}
    assert any("--bare" in note for note in report.notes)


@pytest.mark.parametrize(
    ("level", "installed", "severity"),
    [("user", "user", "error"), ("local", "user", "error"), ("managed", "managed", "error")],
)
def test_hooks_that_are_switched_off_are_an_error(
    machine: Machine, level: str, installed: Scope, severity: str
) -> None:
    """Wherever it is set, and then no event counts as collected."""
    machine.install(installed)
    machine.change(getattr(machine, level), disableAllHooks=True)
    report = machine.report()
    assert found(report)["disableAllHooks is set"] == severity
    assert report.events == ()


def test_managed_hooks_survive_a_users_switch(machine: Machine) -> None:
    machine.install("managed")
    machine.change(machine.user, disableAllHooks=True)
    assert machine.report().missing == ()


def test_only_managed_hooks_run_where_the_administrator_says_so(machine: Machine) -> None:
    machine.change(machine.managed, allowManagedHooksOnly=True)
    machine.install()
    report = machine.report()
    assert found(report)["allowManagedHooksOnly is set"] == "error"
    assert report.events == ()
    machine.install("managed")
    report = machine.report()
    assert found(report) == {"allowManagedHooksOnly is set": "note"}
    assert report.missing == ()


def test_equal_entries_at_two_levels_run_once_and_are_no_problem(machine: Machine) -> None:
    machine.install("user")
    machine.install("project")
    assert found(machine.report()) == {}


def test_entries_of_two_homes_run_twice(machine: Machine, tmp_path: Path) -> None:
    machine.install("user")
    machine.install("project", tmp_path / "other")
    problems = found(machine.report())
    assert problems == {
        f"{len(registered_events())} events are registered twice": "warning",
        "hooks record into another home": "warning",
    }


def test_a_plugin_beside_the_settings_is_a_double_registration(machine: Machine) -> None:
    machine.install()
    machine.change(machine.local, enabledPlugins={"watchkeeper@tools": True, "other@tools": True})
    assert found(machine.report()) == {"the plugin and the settings both register us": "warning"}


def test_a_level_that_cannot_be_read_is_named_with_its_place(machine: Machine) -> None:
    """The others are read all the same."""
    machine.install()
    machine.local.write_text('{"a": 1\n')
    report = machine.report()
    assert [problem.place for problem in report.problems] == [f"{machine.local}:2:1"]
    assert report.missing == ()


@pytest.mark.parametrize("place", ["environment", "settings"])
def test_simple_mode_is_an_error(machine: Machine, place: str) -> None:
    machine.install()
    if place == "settings":
        machine.change(machine.user, env={"CLAUDE_CODE_SIMPLE": "1"})
    report = machine.report({"CLAUDE_CODE_SIMPLE": "1"} if place == "environment" else None)
    assert found(report) == {"CLAUDE_CODE_SIMPLE is set": "error"}


def test_the_state_of_the_program_is_reported(machine: Machine) -> None:
    machine.install()
    hook = Places(machine.home).hook
    hook.write_text("older")
    assert found(machine.report()) == {"the hook program is of another version": "warning"}
    hook.chmod(0o600)
    assert found(machine.report()) == {"the hook program cannot be executed": "error"}
    hook.unlink()
    assert found(machine.report()) == {"the hook program is missing": "error"}


def test_missing_and_altered_events_are_reported(machine: Machine) -> None:
    machine.install()
    settings = json.loads(machine.user.read_text())
    del settings["hooks"]["PreToolUse"]
    settings["hooks"]["Stop"][0]["hooks"][0]["async"] = True
    machine.user.write_text(json.dumps(settings))
    report = machine.report()
    assert report.missing == ("PreToolUse",)
    assert found(report) == {
        f"1 of {len(registered_events())} events do not reach the hook": "error",
        "hooks were altered": "warning",
    }


def test_broken_settings_never_raise(machine: Machine) -> None:
    for text in ("", "[]", "null", '{"hooks": 1}', '{"hooks": {"Stop": 1}}', '{"hooks": {"Stop": [1, {}]}}'):
        machine.user.write_text(text)
        assert not machine.report().installed


def test_the_digest_changes_with_the_registration_only(machine: Machine) -> None:
    """A new theme is none of our business; a new hook, switch, plugin or status line is."""
    files = watched_files(machine.places)
    empty = registration_digest(files)
    machine.change(machine.user, theme="dark")
    assert registration_digest(files) == empty
    seen = {empty}
    for values in ({"disableAllHooks": True}, {"hooks": {}}, {"enabledPlugins": {}}, {"statusLine": {}}):
        machine.change(machine.user, **values)
        seen.add(registration_digest(files))
    machine.user.write_text("{")
    seen.add(registration_digest(files))
    assert len(seen) == 6


def test_the_watched_files_are_those_of_all_levels_and_projects(machine: Machine, tmp_path: Path) -> None:
    machine.install("managed")
    other = tmp_path / "second"
    files = watched_files(machine.places, [other])
    drop_in = tmp_path / "managed" / "managed-settings.d" / "50-watchkeeper.json"
    assert {machine.user, machine.local, machine.managed, drop_in} <= set(files)
    assert other / ".claude" / "settings.json" in files
    digests = registration_digests(files)
    assert len({digests[str(drop_in)], digests[str(machine.user)]}) == 2
