"""Which sessions belong to a project that a person names."""

from __future__ import annotations

from watchkeeper.queries.forms import project_name
from watchkeeper.store.sqlite.reading import Reader


def is_project(path: str | None, wanted: str) -> bool:
    """Return whether a session's project is the one named: by its whole path, a folder above it, or its name."""
    if not path:
        return False
    if path == wanted or project_name(path) == wanted:
        return True
    above = wanted.rstrip("/")
    return above.startswith("/") and path.startswith(above + "/")


def sessions_of_project(reader: Reader, wanted: str) -> set[str]:
    """Return the ids of a project's sessions."""
    found = reader.connection.execute("SELECT session_id, coalesce(project_path, cwd) FROM sessions")
    answers: dict[str, bool] = {}
    sessions = set()
    for session_id, path in found:
        if path not in answers:
            answers[path] = is_project(path, wanted)
        if answers[path]:
            sessions.add(session_id)
    return sessions
