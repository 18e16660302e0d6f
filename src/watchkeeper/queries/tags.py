"""Tags that a person gives to projects and to single sessions."""

from __future__ import annotations

from typing import Any

from watchkeeper.errors import NotFoundError, UsageError
from watchkeeper.queries.forms import rfc3339
from watchkeeper.queries.projects import is_project, sessions_of_project
from watchkeeper.store.sqlite.reading import Reader
from watchkeeper.store.sqlite.state import State

PROJECT, SESSION = "project", "session"


def add_tag(state: State, tag: str, kind: str, target: str, now_ms: int) -> bool:
    """Give a tag to a project (name or path) or to a session (whole id), and say whether that is new.

    Raises:
        UsageError: The tag is empty, longer than 64 characters, or holds white space, a comma or a control.
    """
    if not tag or len(tag) > 64 or "," in tag or not tag.isprintable() or any(map(str.isspace, tag)):
        raise UsageError(
            f"{tag[:64]!r} is no tag", hint="A tag is one word of up to 64 characters, without commas."
        )
    return bool(state.change("INSERT OR IGNORE INTO tags VALUES (?, ?, ?, ?)", (tag, kind, target, now_ms)))


def remove_tag(state: State, tag: str, kind: str | None = None, target: str | None = None) -> int:
    """Take a tag from one target, or from all; return from how many.

    Raises:
        NotFoundError: Nothing has the tag.
    """
    removed = state.change(
        "DELETE FROM tags WHERE tag = :tag AND (:kind IS NULL OR (kind = :kind AND target = :target))",
        {"tag": tag, "kind": kind, "target": target},
    )
    if not removed:
        raise NotFoundError(
            f"nothing has the tag {tag!r}" if kind is None else f"{target} has no tag {tag!r}"
        )
    return removed


def list_tags(state: State) -> list[dict[str, Any]]:
    """Return every tag with its targets: ``{"tag", "targets": [{"kind", "target", "added_at"}]}``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for tag, kind, target, added_at in state.rows("SELECT * FROM tags ORDER BY tag, kind, target"):
        found.setdefault(tag, []).append({"kind": kind, "target": target, "added_at": rfc3339(added_at)})
    return [{"tag": tag, "targets": targets} for tag, targets in found.items()]


def sessions_of_tag(reader: Reader, state: State, tag: str) -> frozenset[str]:
    """Return the ids of the sessions that have a tag themselves or through their project.

    Raises:
        NotFoundError: There is no such tag.
    """
    targets = list(state.rows("SELECT kind, target FROM tags WHERE tag = ?", (tag,)))
    if not targets:
        raise NotFoundError(f"there is no tag {tag!r}", hint="Run `wk tag` for the list.")
    sessions = {target for kind, target in targets if kind == SESSION}
    for kind, target in targets:
        if kind == PROJECT:
            sessions |= sessions_of_project(reader, target)
    return frozenset(sessions)


def tags_of_session(state: State, session_id: str, project_path: str | None = None) -> list[str]:
    """Return the tags of a session, its own and its project's, in the order of their names."""
    found = {
        tag
        for tag, kind, target in state.rows("SELECT tag, kind, target FROM tags")
        if (kind == SESSION and target == session_id)
        or (kind == PROJECT and is_project(project_path, target))
    }
    return sorted(found)
