"""Whoever changes the hooks' registration is on record: as a finding in coverage and in the verdict on the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from harness_system import wk, wk_json

Wait = Callable[[Callable[[], object]], None]


def findings(settings: Any) -> dict[str, str]:
    return {found["rule"]: found["severity"] for found in wk_json(settings, "coverage")["findings"]}


def test_hooks_that_are_switched_off_are_a_finding_while_the_daemon_runs(
    running_daemon: Any, eventually: Wait
) -> None:
    settings = running_daemon.settings
    wk(settings, "install")
    eventually(lambda: findings(settings).get("registration_changed") == "low")
    file = settings.claude_config_dirs[0] / "settings.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(document | {"disableAllHooks": True}), encoding="utf-8")
    eventually(lambda: findings(settings).get("registration_weakened") == "high")
    verdict = wk_json(settings, "verify")
    assert verdict["ok"]
    assert any("settings.json" in found["why"] for found in verdict["findings"])
    assert "settings.json" in wk(settings, "coverage").stdout


def test_a_change_while_no_daemon_ran_is_noticed_at_the_next_start(
    running_daemon: Any, eventually: Wait
) -> None:
    settings = running_daemon.settings
    wk(settings, "install")
    eventually(lambda: "registration_changed" in findings(settings))
    wk(settings, "down")
    (settings.claude_config_dirs[0] / "settings.json").write_text("{}", encoding="utf-8")
    wk(settings, "up", "--no-open")
    eventually(lambda: findings(settings).get("registration_weakened") == "high")


def test_a_removed_spool_segment_is_a_finding(
    running_daemon: Any, eventually: Wait, packaged_hook: Any
) -> None:
    from harness_system import fire

    settings = running_daemon.settings
    spool = settings.places.spool
    event = {"session_id": "s", "hook_event_name": "Notification", "message": "m"}

    def removed_behind_its_back() -> bool:
        # Once more each time: the recorder itself removes what is on record, now and then in between.
        fire(packaged_hook, settings.places.home, event)
        wk(settings, "sessions")
        for segment in spool.glob("*.wks"):
            segment.unlink(missing_ok=True)
        return findings(settings).get("spool_tampered") == "high"

    eventually(removed_behind_its_back)
