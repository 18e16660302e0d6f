"""Why a call was let through, and why a witness did not see it: pure functions of rows of the index.

Kept apart from the derivations of states, so that a quick command can classify gaps without decoding anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from watchkeeper.events.entities import (
    SEEN_HOOK,
    SEEN_HOOK_POST,
    SEEN_HOOK_PRE,
    SEEN_TRANSCRIPT,
    SEEN_TRANSCRIPT_RESULT,
)

Row = dict[str, Any]

AGENT_TOOLS = {"Agent", "Task"}

_MODES_THAT_ALLOW = {"bypassPermissions", "auto"}
_EDITS = {"Edit", "MultiEdit", "Write", "NotebookEdit"}
"""What the mode ``acceptEdits`` lets through; in it, and in ``dontAsk``, all else passes for other reasons."""

LIVE_MS = 10 * 60 * 1000
"""A session without an announced end counts as over when it has been silent for this long."""

TRANSCRIPT_LAG_MS = 60_000
"""A call this young may be missing from a transcript that is written behind the work."""

GAP_EXPLANATIONS: dict[str, str] = {
    "schema_rejected": (
        "The client refused the input before any hook ran; only the batch event and the transcript show it."
    ),
    "user_denied": "The call was denied, so it never ran and no result event was sent.",
    "interrupted": "The call was stopped while it ran; the client sends no result event then.",
    "unfinished": "The session ended, or fell silent, before a result of this call was announced.",
    "background_agent": "The work went on in the background after the result event; its end is not announced.",
    "hook_not_installed": "No hook was installed on this machine yet when this was done.",
    "hooks_off": "Hooks were installed, but none fired in this session: hooks off, --bare, or another config folder.",
    "hook_stopped": "Hooks fired in this session before or after, but not for this call.",
    "transcript_missing": "The transcript does not show this call: deleted, switched off, or not yet written.",
    "unknown": "No known cause explains why this witness is missing.",
}


def call_gap(
    call: Row, session: Row, *, now: int, first_hook_ever: int | None
) -> tuple[str, list[str]] | None:
    """Return the class of the gap in a call's coverage and the missing witnesses, or ``None`` for none.

    Args:
        call: A row of table ``calls``.
        session: The row of its session: ``hook_first_at``, ``transcript_first_at``.
        now: Epoch milliseconds.
        first_hook_ever: Time of the first hook event on record; before it no hook was installed.
    """
    missing = missing_witnesses(call, session, now=now)
    if "hook" in missing:
        if _before(call, first_hook_ever):
            return "hook_not_installed", missing
        return "schema_rejected" if call["outcome"] == "rejected" else "hook_stopped", missing
    if "transcript" in missing:
        return "transcript_missing", missing
    if not call["seen"] & SEEN_HOOK:
        return _gap_without_hooks(call, first_hook_ever)
    return _gap_in_pair(call, session, now)


def session_is_over(session: Row, now: int) -> bool:
    """Tell whether a session has ended, by its announced end or by its long silence."""
    last = session["last_at"] or 0
    ended = session["ended_at"]
    return (ended is not None and ended >= last) or now - last >= LIVE_MS


def missing_witnesses(call: Row, session: Row, *, now: int) -> list[str]:
    """Return the witnesses that were active in the session and did not see the call."""
    missing = []
    if session["hook_first_at"] is not None and not call["seen"] & SEEN_HOOK:
        missing.append("hook")
    young = call["started_at"] is not None and now - call["started_at"] < TRANSCRIPT_LAG_MS
    if session["transcript_first_at"] is not None and not call["seen"] & SEEN_TRANSCRIPT and not young:
        missing.append("transcript")
    return missing


def _gap_without_hooks(call: Row, first_hook_ever: int | None) -> tuple[str, list[str]]:
    before = first_hook_ever is None or call["started_at"] is None or _before(call, first_hook_ever)
    return "hook_not_installed" if before else "hooks_off", []


def _before(call: Row, first_hook_ever: int | None) -> bool:
    """Tell whether a call was made before any hook is known to have fired on this machine."""
    if first_hook_ever is None or call["started_at"] is None:
        return False
    return bool(call["started_at"] < first_hook_ever)


def _gap_in_pair(call: Row, session: Row, now: int) -> tuple[str, list[str]] | None:
    seen = call["seen"]
    if call["outcome"] == "denied" and not seen & SEEN_HOOK_POST:
        return "user_denied", []
    if call["outcome"] == "interrupted" and not seen & SEEN_HOOK_POST:
        return "interrupted", []
    if call["outcome"] == "rejected":
        return "schema_rejected", []
    if call["background"] and call["tool"] in AGENT_TOOLS:
        return "background_agent", []
    if call["outcome"] == "running" and session_is_over(session, now):
        return "unfinished", []
    result_known = call["outcome"] not in {"running", "denied", "interrupted"}
    result_hooked = seen & (SEEN_HOOK & ~SEEN_HOOK_PRE)
    if result_known and seen & SEEN_TRANSCRIPT_RESULT and not result_hooked:
        return "unknown", ["hook.post"]
    return None


def permission(call: Row, requests: Iterable[Row]) -> tuple[str | None, str | None]:
    """Return the permission decision of a call and its source, as far as the record shows.

    Args:
        call: A row of table ``calls``.
        requests: Rows of table ``permissions`` of the same session: the client asked a person or a hook.
    """
    if call["outcome"] == "denied":
        return "deny", call["outcome_by"]
    if call["outcome"] in {"rejected", "running", "unknown"}:
        return None, None
    if any(_asked_for(call, request) for request in requests):
        return "ask", "user"
    if not call["seen"] & SEEN_HOOK:
        return None, None
    if call["permission_mode"] in _MODES_THAT_ALLOW:
        return "allow", f"mode {call['permission_mode']}"
    if call["permission_mode"] == "acceptEdits" and call["tool"] in _EDITS:
        return "allow", "mode acceptEdits"
    return "allow", "not asked" if call["permission_mode"] else None


def _asked_for(call: Row, request: Row) -> bool:
    if request["signature"] != call["signature"] or request["agent_id"] != call["agent_id"]:
        return False
    start, end = call["started_at"], call["ended_at"]
    if request["at"] is None or start is None:
        return False
    return bool(start - 1000 <= request["at"] and (end is None or request["at"] <= end + 1000))
