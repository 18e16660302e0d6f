"""What the text of a prompt says about its context: slash command, SuperClaude command, persona and flags.

SuperClaude (a prompt framework for Claude Code) is recognised by its own marks: commands ``/sc:name``, personas
``--persona-name`` or ``@agent-name``, and flags such as ``--think-hard`` or ``--uc``.
"""

from __future__ import annotations

import re
from typing import Any

_FRAMEWORK_COMMAND = re.compile(r"^\s*/(sc:[a-z-]+)")
_PERSONA = re.compile(r"(?:^|\s)(?:--persona-([a-z-]+)|--persona\s+([a-z-]+)|@agent-([a-z-]+))")
_FLAG = re.compile(r"(?:^|\s)(--[a-z][a-z0-9-]*)")
_COMMAND_NAME = re.compile(r"<command-name>\s*/?([^<\s]+)\s*</command-name>")
_COMMAND_ARGUMENTS = re.compile(r"<command-args>(.*?)</command-args>", re.DOTALL)


def framework_facts(text: str | None) -> dict[str, Any]:
    """Return the SuperClaude facts of a prompt; empty for any other prompt."""
    if not text:
        return {}
    head = text[:4000]
    command = _FRAMEWORK_COMMAND.match(head)
    persona = _PERSONA.search(head)
    if not command and not persona:
        return {}
    flags = sorted({flag for flag in _FLAG.findall(head) if not flag.startswith("--persona")})
    return {
        "framework_command": "/" + command.group(1) if command else None,
        "persona": next((name for name in persona.groups() if name), None) if persona else None,
        "flags": flags or None,
    }


def expansion_facts(text: str) -> dict[str, Any]:
    """Return the slash command that an expanded prompt in a transcript names; empty for any other text."""
    name = _COMMAND_NAME.search(text[:4000])
    if not name:
        return {}
    arguments = _COMMAND_ARGUMENTS.search(text)
    return {
        "slash_command": name.group(1),
        "slash_arguments": arguments.group(1).strip() or None if arguments else None,
    }
