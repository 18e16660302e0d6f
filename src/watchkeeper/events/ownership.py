"""Whose is what several sessions' transcripts hold?

An old client that resumed a session wrote a new file: every line of the old one copied under the new session's id,
with the same message ids, uuids and times and without any mark (newer clients write ``forkedFrom``, or go on in the
same file). So a request, call, prompt or message can be claimed by several sessions.

**The rule.** *The owner is the claimant whose own transcript ended first.* In full:

1. Claimants are the sessions named by the plain transcript lines that hold the thing: a line's ``sessionId``, else the
   session that the file's place names. Marked copies, which belong to their origin (lines with ``forkedFrom``, answers
   whose ``requestSessionId`` is another session), and the files of asides (``agent-aside_question*``) claim nothing.
2. With one claimant, or where a hook was there and said whose it is, there is nothing to decide.
3. A session's end is the latest time of any line of any file that names it (its fact ``transcript_last_at``; subagents
   and progress lines count, lines with ``forkedFrom`` count for their origin). A session without any time ended last.
4. Of the claimants the one with the earliest end owns it; with equal ends the one whose id sorts first. A session that
   some line shows to be a fork comes after all that are none: its origin may go on beside it, and of what
   ``--fork-session`` copies only answers are marked.

A copy is made of all that the older session had, and the newer one goes on from there, so it ends later; in a chain of
resumptions each part falls to the session that first wrote it. Only a session that was itself continued after its copy
had ended is judged wrongly, and nothing in such files tells it apart; totals are right even then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from watchkeeper.events.fields import WITNESS_RANK

if TYPE_CHECKING:
    from watchkeeper.events.merge import State

_FORKED = 1 << 52
"""Later than any end."""

_FIRST_TRANSCRIPT_RANK = WITNESS_RANK["transcript"] * 10


def contested_by(state: State) -> tuple[str, ...]:
    """Return the sessions, sorted, that claim an entity, or nothing where its owner is certain."""
    claimants = state.get("sessions")
    if claimants is None or len(claimants) < 2 or state["session_id"][0] < _FIRST_TRANSCRIPT_RANK:
        return ()
    return tuple(claimants)


def end_of(session: State) -> int | None:
    """Return when a session ended, as `owner_of` compares it, from the session's state."""
    end: int | None = session.get("transcript_last_at")
    return end if end is None or not session.get("forked_from") else end + _FORKED


def owner_of(claimants: Iterable[str], ends: Mapping[str, int | None]) -> str:
    """Return the session that owns what several claim.

    Args:
        claimants: At least one session.
        ends: For each its `end_of`, or ``None``.
    """

    def order(session: str) -> tuple[bool, int, str]:
        end = ends.get(session)
        return end is None, end or 0, session

    return min(claimants, key=order)


def owned_by(state: State, owner: str) -> State:
    """Return the state as its owner's, for the rows that follow from it; the facts stay as they are."""
    rank, at, _ = state["session_id"]
    return {**state, "session_id": [rank, at, owner]}
