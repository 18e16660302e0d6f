"""What every transcript line says about its session, said once for a run of lines instead of once for each.

Successive lines name the same folder, branch and version, and differ in their time alone. Of such a run the facts at
its first and at its last moment say all that the facts of its lines say: ``least`` and ``min`` take the first,
``latest`` and ``max`` the last. So the merged state is the same, to the byte, for a fraction of the work.
"""

from __future__ import annotations

from typing import Any

from watchkeeper.events.merge import UNKNOWN_TIME, Facts
from watchkeeper.sources.claude_code.transcript_view import RANK_MAIN, SEEN, View, text_of


class SessionRuns:
    """Joins lines into runs, in the order in which they are given; `take` gives what they said."""

    def __init__(self) -> None:
        self._told: list[Facts] = []
        self._said: tuple[Any, ...] = ()
        self._view: View | None = None
        self._first = self._last = UNKNOWN_TIME
        self._line: int | None = None

    def add(self, view: View, number: int) -> None:
        """Note what a line says about its session.

        Args:
            view: The line.
            number: Its number in its file.
        """
        if not view.session:
            return
        body = view.body
        # Where a session's messages begin is told by the first of a run, so one begins there.
        messages = view.rank == RANK_MAIN and isinstance(body.get("message"), dict)
        said = (
            view.session,
            view.rank,
            view.agent,
            view.copied_into,
            view.at == UNKNOWN_TIME,
            text_of(body.get("cwd")),
            text_of(body.get("gitBranch")),
            text_of(body.get("entrypoint")),
            text_of(body.get("version")),
            text_of(body.get("permissionMode")),
        )
        if said == self._said and (self._line is not None or not messages):
            if view.at < self._first:
                self._first = view.at
            elif view.at > self._last:
                self._last = view.at
            return
        self._end()
        self._said, self._view, self._first, self._last = said, view, view.at, view.at
        self._line = number if messages else None

    def take(self) -> list[Facts]:
        """Return the facts of all lines that were noted and not yet taken."""
        self._end()
        told, self._told = self._told, []
        return told

    def _end(self) -> None:
        if self._view is not None:
            self._told += self._facts(self._view, self._first)
            if self._last != self._first:
                self._told += self._facts(self._view, self._last)
            self._said, self._view = (), None

    def _facts(self, view: View, at: int) -> list[Facts]:
        session, rank, agent, copied_into, timeless, cwd, branch, entrypoint, version, mode = self._said
        values: dict[str, Any] = {
            "cwd": cwd,
            "git_branch": branch,
            "entrypoint": entrypoint,
            "versions": [version] if version else None,
            "permission_modes": [mode] if mode else None,
            "messages_from": self._line,
            "seen": SEEN,
        }
        times = {} if timeless else {"started_at": at, "last_at": at}
        spans = {} if timeless else {"transcript_first_at": at, "transcript_last_at": at}
        facts = [Facts("session", session, "transcript", rank, at, values | times | spans)]
        if copied_into:
            # Until it goes on, a fork is as old as the last thing it copied, and where that was.
            copy = {"forked_from": session, "cwd": cwd, "seen": SEEN}
            copy |= {} if timeless else {"last_at": at}
            facts.append(Facts("session", copied_into, "transcript", rank, at, copy))
        if agent and view.agent_at_work:
            work = {"session_id": session, **view.claim, "seen": SEEN}
            facts.append(Facts("subagent", agent, "transcript", rank, at, work | times))
        return facts
