"""What the installer writes, what it refuses, and what it leaves as it was."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.errors import ConfigError, LockedError, UsageError
from watchkeeper.settings import Places
from watchkeeper.sources.claude_code.hook_events import HOOK_EVENTS, registered_events, uncollected_events
from watchkeeper.sources.claude_code.installer.applying import Outcome, apply
from watchkeeper.sources.claude_code.installer.planning import plan_install, plan_uninstall
from watchkeeper.sources.claude_code.installer.scopes import Locations, Scope
from watchkeeper.sources.claude_code.installer.statusline import script_path


class Machine:
    """One user's folders, and a stand-in program to copy."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, root / "wk"
        self.places = Locations(root / "claude", root / "project", root / "managed")
        for folder in (self.places.config_dir, root / "project", root / "managed"):
            folder.mkdir()
        self.file = self.places.config_dir / "settings.json"
        self.program = root / "program"
        self.program.write_text('#!/bin/sh\ncat >> "$2/seen"\n')

    def install(self, scope: Scope = "user", **flags: bool) -> Outcome:
        return apply(plan_install(scope, self.home, self.places, **flags), self.program)

    def uninstall(self, scope: Scope = "user", **flags: bool) -> Outcome:
        return apply(plan_uninstall(scope, self.home, self.places, **flags), None)

    def settings(self) -> Any:
        return json.loads(self.file.read_bytes())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_table_has_the_33_events_and_gives_a_reason_for_each_that_is_left_out() -> None:
    assert len({event.name for event in HOOK_EVENTS}) == 33
    left_out = {event.name: event.reason for event in uncollected_events()}
    assert set(left_out) == {"WorktreeCreate", "WorktreeRemove", "MessageDisplay"}
    assert all(left_out.values())
    assert not any(event.reason for event in registered_events())
    assert all(event.can_decide for event in HOOK_EVENTS if event.asks_decider)


def test_a_worktree_hook_is_never_registered() -> None:
    """Not even on request: the agent would leave its work to us."""
    names = {event.name for event in registered_events(message_display=True)}
    assert "MessageDisplay" in names
    assert not names & {"WorktreeCreate", "WorktreeRemove"}


def test_hooks_are_registered_by_absolute_path_in_exec_form(machine: Machine) -> None:
    machine.install()
    hooks = machine.settings()["hooks"]
    base = ["--home", str(machine.home)]
    command = str(machine.home / "bin" / "watchkeeper-hook")
    handler = {"type": "command", "command": command, "args": base, "timeout": 10}
    assert hooks["SessionEnd"] == [{"hooks": [handler]}]
    assert hooks["PostToolUse"] == [{"matcher": "*", "hooks": [handler]}]
    asking = {name for name, groups in hooks.items() if "--decide" in groups[0]["hooks"][0]["args"]}
    assert asking == {"PreToolUse", "PermissionRequest", "UserPromptSubmit"}
    assert "async" not in json.dumps(hooks)
    assert "CLAUDE.md" in hooks["FileChanged"][0]["matcher"].split("|")


def test_what_is_new_is_for_its_owner_only(machine: Machine) -> None:
    machine.install()
    assert mode(machine.file) == 0o600
    assert [mode(machine.home), mode(machine.home / "bin"), mode(Places(machine.home).spool)] == [0o700] * 3
    assert mode(Places(machine.home).hook) == 0o755
    assert {mode(path) for path in (machine.home / "backups").rglob("*.json")} == {0o600}


@pytest.mark.parametrize("former", [0o600, 0o640, 0o644])
def test_the_mode_of_the_settings_is_kept(machine: Machine, former: int) -> None:
    machine.file.write_text("{}")
    machine.file.chmod(former)
    machine.install()
    assert mode(machine.file) == former


def test_settings_behind_links_are_edited_where_they_are(machine: Machine) -> None:
    """A dotfiles repository keeps its file and its link."""
    real = machine.root / "dotfiles" / "claude.json"
    real.parent.mkdir()
    real.write_text('{"model": "opus"}')
    machine.file.symlink_to("../dotfiles/claude.json")
    machine.install()
    assert machine.file.is_symlink()
    assert "hooks" in json.loads(real.read_text())
    assert [path.name for path in real.parent.iterdir()] == ["claude.json"]
    machine.uninstall()
    assert machine.file.is_symlink()
    assert real.read_text() == '{"model": "opus"}'


def test_a_file_and_folders_that_install_made_go_with_uninstall(machine: Machine) -> None:
    machine.install("project")
    file = machine.root / "project" / ".claude" / "settings.local.json"
    assert file.exists()
    machine.uninstall("project")
    assert list((machine.root / "project").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('{\n  "a": 1,\n  // mine\n  "b": 2\n}', ":3:3", "comments are not JSON"),
        ('{"a": 1,}', ":1:9", "a name in double quotes"),
        ('{\r\n"a" 1}', ":2:5", "`:` is expected"),
        ('{"a": 1} x', ":1:10", "text follows the end"),
        ('{"a": "b\n"}', ":1:7", "not closed"),
        ("[" * 300, ":1:102", "deeper than 100 levels"),
        ('{"a": nul}', ":1:7", "a value is expected"),
        ("[]", ":1:1", "must be an object, found array"),
        ('{"hooks": null}', ":1:11", "hooks must be an object, found null"),
        ('{"hooks": {"Stop": {}}}', ":1:20", "hooks.Stop must be an array, found object"),
        ('{"hooks": {"Stop": [1]}}', ":1:21", "hooks.Stop[0] must be an object, found number"),
        ('{"hooks": {"Stop": [{}]}}', ":1:21", "hooks.Stop[0].hooks is missing"),
        ('{"hooks": {"Stop": [{"hooks": ["x"]}]}}', ":1:32", "hooks.Stop[0].hooks[0] must be an object"),
        ('{"a": {"b": 1, "b": 2}}', ":1:16", "a.b appears twice"),
        ('{"hooks": {}, "hooks": {}}', ":1:15", "hooks appears twice"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_edited_safely_are_refused(
    machine: Machine, text: str, place: str, words: str
) -> None:
    """The refusal names file, line and column (or the field), and nothing at all is written."""
    machine.file.write_bytes(text.encode())
    with pytest.raises(ConfigError) as caught:
        machine.install()
    assert caught.value.place == f"{machine.file}{place}"
    assert words in str(caught.value)
    assert caught.value.hint
    assert machine.file.read_bytes() == text.encode()
    assert not machine.home.exists()


def test_bytes_that_are_not_utf8_are_refused_with_their_place(machine: Machine) -> None:
    machine.file.write_bytes(b'{\n "a": "\xff"}')
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        machine.install()
    assert caught.value.place == f"{machine.file}:2:8"


def test_a_status_line_that_cannot_be_wrapped_is_refused(machine: Machine) -> None:
    machine.file.write_text('{"statusLine": "echo"}')
    with pytest.raises(ConfigError, match="statusLine must be an object"):
        machine.install(with_statusline=True)
    machine.install()
    assert machine.settings()["statusLine"] == "echo"


def test_a_folder_that_cannot_be_written_is_named_and_the_settings_stay() -> None:
    """As another user where the tests run as root, who may write everywhere."""
    root = Path(tempfile.mkdtemp(prefix="wk-"))
    user = os.geteuid()
    try:
        machine = Machine(root)
        machine.file.write_text("{}")
        for path in (machine.file, machine.program, machine.places.config_dir):
            path.chmod(0o555)
        machine.home.mkdir()
        for path in (root, machine.home):
            path.chmod(0o777)
        os.seteuid(user or 65534)
        with pytest.raises(ConfigError, match="cannot be written: Permission denied") as caught:
            machine.install()
        os.seteuid(user)
        assert caught.value.place == str(machine.file)
        assert machine.file.read_text() == "{}"
        assert [path.name for path in machine.file.parent.iterdir()] == ["settings.json"]
        assert not (machine.home / "backups").exists()
    finally:
        os.seteuid(user)
        (root / "claude").chmod(0o755)
        shutil.rmtree(root)


def test_a_change_between_plan_and_apply_is_not_overwritten(machine: Machine) -> None:
    machine.file.write_text("{}")
    plan = plan_install("user", machine.home, machine.places)
    machine.file.write_text('{"model": "opus"}')
    with pytest.raises(LockedError, match="changed while"):
        apply(plan, machine.program)
    assert machine.file.read_text() == '{"model": "opus"}'
    assert not list((machine.home / "backups").glob("*/*"))


def test_planning_writes_nothing_and_its_diff_shows_the_change(machine: Machine) -> None:
    machine.file.write_text('{\n  "model": "opus"\n}')
    plan = plan_install("user", machine.home, machine.places)
    assert '-  "model": "opus"\n+  "model": "opus",\n+  "hooks": {\n' in plan.diff
    assert "\\ No newline at end of file" in plan.diff
    assert not machine.home.exists()
    assert replace(plan, after=plan.before).diff == ""


def test_an_install_from_another_home_replaces_the_entries_of_the_first(machine: Machine) -> None:
    machine.file.write_text('{"model": "opus"}')
    machine.install(with_statusline=True)
    other = machine.root / "other home"
    plan = plan_install("user", other, machine.places)
    assert any(str(machine.home) in action for action in plan.actions)
    apply(plan, machine.program)
    text = machine.file.read_text()
    assert f'"{machine.home}"' not in text
    assert text.count("--home") == len(registered_events())
    assert str(script_path(other)) in text


def test_the_program_stays_while_another_scope_uses_it(machine: Machine) -> None:
    machine.install()
    machine.install("project")
    machine.uninstall()
    assert Places(machine.home).hook.exists()
    machine.uninstall("project")
    assert not Places(machine.home).hook.exists()


def test_a_newer_program_replaces_the_old_one_and_the_settings_stay(machine: Machine) -> None:
    machine.install()
    machine.program.write_text("newer")
    outcome = machine.install()
    assert (outcome.hook_changed, outcome.backup) == (True, None)
    assert Places(machine.home).hook.read_text() == "newer"


def test_entries_of_ours_that_somebody_altered_are_mended(machine: Machine) -> None:
    machine.install()
    wanted = machine.settings()
    altered = machine.settings()
    altered["hooks"]["Stop"][0]["hooks"][0]["timeout"] = 1
    altered["hooks"]["PreToolUse"].append(altered["hooks"]["PreToolUse"][0])
    del altered["hooks"]["Setup"]
    machine.file.write_text(json.dumps(altered, indent=2))
    machine.install()
    assert machine.settings() == wanted


def test_a_handler_of_ours_in_somebody_elses_group_goes_alone(machine: Machine) -> None:
    machine.install()
    settings = machine.settings()
    mine = {"type": "command", "command": "mine"}
    settings["hooks"]["Stop"][0]["hooks"].insert(0, mine)
    machine.file.write_text(json.dumps(settings))
    machine.uninstall()
    assert machine.settings() == {"hooks": {"Stop": [{"hooks": [mine]}]}}


def test_managed_settings_are_a_drop_in_that_all_users_can_read(machine: Machine) -> None:
    outcome = machine.install("managed")
    file = machine.root / "managed" / "managed-settings.d" / "50-watchkeeper.json"
    assert outcome.changed
    assert mode(file) == 0o644
    machine.uninstall("managed")
    assert list((machine.root / "managed").iterdir()) == []


def test_flags_that_do_not_fit_are_refused(machine: Machine) -> None:
    with pytest.raises(UsageError, match="--shared"):
        plan_install("user", machine.home, machine.places, shared=True)
    with pytest.raises(UsageError, match="needs a project"):
        plan_install("project", machine.home, replace(machine.places, project=None))
    with pytest.raises(UsageError, match="no folder"):
        plan_install("project", machine.home, replace(machine.places, project=machine.root / "none"))


@pytest.mark.parametrize("original", ['printf "%s|" "it\'s" "$(cat)"', "cat; exit 3", None])
def test_a_wrapped_status_line_prints_what_the_users_own_prints(
    machine: Machine, original: str | None
) -> None:
    """Ours where there is none; and the recorder gets the same input, what it does never shows."""
    before = (
        {} if original is None else {"statusLine": {"type": "command", "command": original, "padding": 0}}
    )
    machine.file.write_text(json.dumps(before))
    machine.install(with_statusline=True)
    line = machine.settings()["statusLine"]
    assert line == {"padding": 0} | line if original else line
    status = b'{"session_id":"s","cost":{"total_cost_usd":0.1},"text":"a\\\\n%s \\"q\\""}\n'
    plain = {**os.environ, "NO_COLOR": "1"}
    ours = original or "echo 'wk · session $0.10 reported'"
    wrapped = subprocess.run(["/bin/sh", "-c", line["command"]], input=status, env=plain, capture_output=True)
    own = subprocess.run(["/bin/sh", "-c", ours], input=status, capture_output=True)
    assert (wrapped.stdout, wrapped.stderr, wrapped.returncode) == (own.stdout, own.stderr, own.returncode)
    seen = json.loads((machine.home / "seen").read_bytes())
    assert seen == {"hook_event_name": "StatusLine", "status": json.loads(status)}
    Places(machine.home).hook.unlink()
    alone = subprocess.run(["/bin/sh", "-c", line["command"]], input=status, env=plain, capture_output=True)
    assert (alone.stdout, alone.stderr) == (own.stdout, b"")
    machine.uninstall()
    assert json.loads(machine.file.read_text()) == before
    assert not script_path(machine.home).exists()
