"""Keys are listed and rotated, with and without a daemon, and the record verifies across a rotation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness_system import wk_json

from watchkeeper.pipeline.demo import load_demo
from watchkeeper.pipeline.recording import Recording
from watchkeeper.settings import Settings
from watchkeeper.spool.writer import append_frame


def test_a_rotated_key_is_vouched_for_and_the_record_still_verifies(settings: Settings) -> None:
    with Recording(settings) as recording:
        load_demo(recording)
    [first] = wk_json(settings, "keys")["keys"]
    rotated = wk_json(settings, "keys", "--rotate")["keys"]
    assert rotated[0] == first
    assert rotated[1]["signed_by"] == first["key_id"]
    with Recording(settings) as recording:
        recording.note("heartbeat", {"pid": 1})
    verdict = wk_json(settings, "verify")
    assert (verdict["ok"], verdict["integrity"], verdict["completeness"]) == (True, "intact", "complete")


def test_a_running_daemon_rotates_its_key(running_daemon: Any) -> None:
    settings = running_daemon.settings
    assert len(wk_json(settings, "keys", "--rotate")["keys"]) == 2
    assert wk_json(settings, "verify")["integrity"] == "intact"


def test_before_anything_is_signed_it_says_what_to_do(settings: Settings) -> None:
    assert "wk up" in wk_json(settings, "keys", status=1)["error"]["hint"]


def test_raw_payloads_leave_the_spool_once_they_are_on_record(
    running_daemon: Any, eventually: Callable[[Callable[[], object]], None]
) -> None:
    spool = running_daemon.places.spool
    append_frame(spool, b'{"session_id":"s","hook_event_name":"Notification","message":"a secret thing"}')
    assert list(spool.glob("*.wks"))
    eventually(lambda: not list(spool.glob("*.wks")))
