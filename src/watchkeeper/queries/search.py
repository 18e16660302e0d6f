"""Full-text search: which sessions hold all the words, newest first, each with the context of some hits.

A word may stand anywhere in a session, its subagents included, or in its title, its id or its project's path. The
number of sessions is always exact; only what the page shows is unpacked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from watchkeeper.queries.search_context import Contexts, Place
from watchkeeper.queries.search_words import Word, Words, split_query
from watchkeeper.queries.sessions import listed_condition, page_of_sessions
from watchkeeper.store.sqlite.reading import Reader

__all__ = ["search_sessions", "split_query"]

_IN_TEXTS = (
    "SELECT d.session_id, d.doc FROM search JOIN search_docs d ON d.doc = search.rowid WHERE search MATCH ?"
)
_IN_NAMES = """
SELECT s.session_id FROM sessions s
WHERE instr(lower(coalesce(s.title_custom, '') || char(10) || coalesce(s.title_ai, '') || char(10) ||
  coalesce(s.title_summary, '') || char(10) || coalesce(s.project_path, s.cwd, '') || char(10) || s.session_id), ?) > 0
"""
_DOCUMENTS = """
SELECT doc, place, generation, first_line, agent_id, by_hook, last_at FROM search_docs
WHERE session_id = ? ORDER BY last_at DESC, place, generation DESC, first_line DESC
"""


def search_sessions(
    reader: Reader,
    *,
    words: Sequence[str],
    project: str | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
    limit: int = 10,
    cursor: str | None = None,
    now_ms: int | None = None,
    newer: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return the sessions that hold every word, in the form of `sessions.list_sessions`, each with ``hits``.

    A hit is ``{"at", "kind", "agent_id", "excerpt", "matches", "tool_use_id"}``: ``matches`` are the characters of
    the excerpt that matched, as ``[start, end]``. A session whose name alone holds the words has none.
    ``only_in_names`` are the words without a letter or digit, which texts are not searched for; ``contexts_lost`` is
    how often the record no longer holds the text of a hit.

    Args:
        reader: The index.
        words: A word with blanks is a phrase; one in double quotes is meant to the letter, any other may go on.
        project: Part of the project's path.
        since_ms: Only sessions with an event at or after this time.
        until_ms: Only sessions that began before this time.
        limit: Sessions on the page.
        cursor: The ``next`` of the page before.
        now_ms: The present time; the clock's when absent.
        newer: As for `sessions.list_sessions`.

    Raises:
        UsageError: The cursor is not one of ours.
    """
    understood = Words(reader.connection, words)
    found = [_documents_with(reader, word) for word in understood.all]
    condition, bindings = listed_condition(reader.places, project, since_ms, until_ms)
    if understood.all:
        named = [_named(reader, word) for word in understood.all]
        ids = set.intersection(*({*texts, *names} for texts, names in zip(found, named, strict=True)))
        condition += " AND s.session_id IN (SELECT value FROM json_each(:found))"
        bindings["found"] = json.dumps(sorted(ids))
    answer = page_of_sessions(reader, condition, bindings, limit, cursor, now_ms, newer)
    contexts = Contexts(reader, understood)
    for session in answer["sessions"]:
        documents = _preferred(reader, session["session_id"], found)
        session["hits"] = contexts.hits(session["session_id"], documents)
    answer["only_in_names"] = [word.given for word in understood.all if not word.tokens]
    answer["contexts_lost"] = contexts.lost
    return answer


def _documents_with(reader: Reader, word: Word) -> dict[str, set[int]]:
    """Return by session the documents whose texts hold a word."""
    found: dict[str, set[int]] = {}
    if word.tokens:
        for session_id, document in reader.connection.execute(_IN_TEXTS, (word.match,)):
            found.setdefault(session_id, set()).add(document)
    return found


def _named(reader: Reader, word: Word) -> set[str]:
    """Return the sessions whose title, id or project's path holds a word as it was given."""
    return {session_id for (session_id,) in reader.connection.execute(_IN_NAMES, (word.given.lower(),))}


def _preferred(
    reader: Reader, session_id: str, found: list[dict[str, set[int]]]
) -> list[tuple[Place, set[int]]]:
    """Return a session's documents with the numbers of the words in each: those with the most words first."""
    holding = [documents.get(session_id, set()) for documents in found]
    known = []
    for doc, *place in reader.connection.execute(_DOCUMENTS, (session_id,)):
        numbers = {number for number, documents in enumerate(holding) if doc in documents}
        if numbers:
            known.append((Place(*place), numbers))
    return sorted(known, key=lambda item: -len(item[1]))
