"""The commands that resume a session, safe to paste into a shell."""

from __future__ import annotations

import re
import shlex

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def resume_here(session_id: str) -> str | None:
    """Return the command that resumes a session in its own folder; ``None`` for an id that no agent gives."""
    return f"claude --resume {session_id}" if _SAFE_ID.fullmatch(session_id) else None


def resume_anywhere(session_id: str, folder: str | None) -> str | None:
    """Return the command that resumes a session wherever it is typed.

    The agent finds a session only in the folder that it was begun in.

    Args:
        session_id: The session.
        folder: That folder; where it is not known, or a terminal could not show its name, no change is proposed.
    """
    command = resume_here(session_id)
    if command is None or not folder or not folder.isprintable():
        return command
    return f"cd {shlex.quote(folder)} && {command}"
