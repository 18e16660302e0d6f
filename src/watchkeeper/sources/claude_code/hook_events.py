"""The hook events of Claude Code 2.1.330: which are registered, how, and why some are not.

Names, matchers and what an answer can do come from the SDK's published types and from recorded sessions of
the real client. ``docs/decisions/registration.md`` gives the reasons at length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Registration = Literal["default", "on_request", "never"]

TIMEOUT_SECONDS = 10
"""Far above what the hook needs, far below the client's 600 s. Named explicitly so that the client waits for
SessionEnd, whose hooks otherwise share 1.5 s."""

WATCHED_FILES = (".env", ".env.local", ".envrc", ".mcp.json", "AGENTS.md", "CLAUDE.md", "CLAUDE.local.md")
"""FileChanged is sent only for files that its matcher names, relative to the session's folder: these hold
secrets or steer the agent."""


@dataclass(frozen=True)
class HookEvent:
    """One hook event of the agent.

    Attributes:
        name: As in ``hook_event_name``.
        registration: ``default``, ``on_request`` (a flag of ``wk install``) or ``never``.
        can_decide: The agent heeds an answer: it can block, allow or rewrite something.
        asks_decider: Our hook asks the guard for this event (``--decide``); a subset of ``can_decide``.
        matches_on: The field that the agent compares matchers with, or None where it ignores them.
        matcher: The matcher that we register, or None for none (which matches all).
        timeout_seconds: Seconds after which the agent stops waiting for the hook.
        reason: Why the event is not collected by default, as a clause for people; empty where it is.
    """

    name: str
    registration: Registration = "default"
    can_decide: bool = False
    asks_decider: bool = False
    matches_on: str | None = None
    matcher: str | None = None
    timeout_seconds: int = TIMEOUT_SECONDS
    reason: str = ""


def _tool(name: str, *, can_decide: bool = False, asks_decider: bool = False) -> HookEvent:
    return HookEvent(
        name, can_decide=can_decide, asks_decider=asks_decider, matches_on="tool_name", matcher="*"
    )


HOOK_EVENTS: tuple[HookEvent, ...] = (
    HookEvent("SessionStart", matches_on="source"),
    HookEvent("Setup", matches_on="trigger"),
    HookEvent("InstructionsLoaded", matches_on="load_reason"),
    HookEvent("UserPromptSubmit", can_decide=True, asks_decider=True),
    HookEvent("UserPromptExpansion", can_decide=True, matches_on="command_name"),
    _tool("PreToolUse", can_decide=True, asks_decider=True),
    _tool("PermissionRequest", can_decide=True, asks_decider=True),
    _tool("PermissionDenied"),
    _tool("PostToolUse", can_decide=True),
    _tool("PostToolUseFailure"),
    HookEvent("PostToolBatch", can_decide=True),
    HookEvent("Notification", matches_on="notification_type"),
    HookEvent("SubagentStart", matches_on="agent_type"),
    HookEvent("SubagentStop", can_decide=True, matches_on="agent_type"),
    HookEvent("Stop", can_decide=True),
    HookEvent("StopFailure", matches_on="error"),
    HookEvent("TaskCreated", can_decide=True),
    HookEvent("TaskCompleted", can_decide=True),
    HookEvent("TeammateIdle", can_decide=True),
    HookEvent("PreCompact", can_decide=True, matches_on="trigger"),
    HookEvent("PostCompact", matches_on="trigger"),
    HookEvent("PreModelSwitch", can_decide=True),
    HookEvent("PostModelSwitch"),
    HookEvent("ConfigChange", can_decide=True, matches_on="source"),
    HookEvent("CwdChanged"),
    HookEvent("DirectoryAdded", matches_on="source"),
    HookEvent("FileChanged", matches_on="file name", matcher="|".join(WATCHED_FILES)),
    HookEvent(
        "WorktreeCreate",
        registration="never",
        can_decide=True,
        reason="such a hook replaces git's own making of the worktree",
    ),
    HookEvent(
        "WorktreeRemove",
        registration="never",
        reason="it is sent only for worktrees that a WorktreeCreate hook made, and one that merely records"
        " would make the agent believe that the worktree is gone",
    ),
    HookEvent("Elicitation", can_decide=True, matches_on="mcp_server_name"),
    HookEvent("ElicitationResult", can_decide=True, matches_on="mcp_server_name"),
    HookEvent(
        "MessageDisplay",
        registration="on_request",
        reason="it delays what the agent shows on the screen; `wk install --message-display` collects it",
    ),
    HookEvent("SessionEnd", matches_on="reason"),
)


def registered_events(*, message_display: bool = False) -> tuple[HookEvent, ...]:
    """Return the events that an install registers, in the table's order."""
    return tuple(
        event
        for event in HOOK_EVENTS
        if event.registration == "default" or (event.registration == "on_request" and message_display)
    )


def uncollected_events(*, message_display: bool = False) -> tuple[HookEvent, ...]:
    """Return the events that an install leaves out; each has its ``reason``."""
    registered = registered_events(message_display=message_display)
    return tuple(event for event in HOOK_EVENTS if event not in registered)
