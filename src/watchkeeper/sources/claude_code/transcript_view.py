"""One transcript line, or the message nested in a progress line, as the mappers look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from watchkeeper.events.entities import WITNESS_BITS
from watchkeeper.events.fields import WITNESS_RANK
from watchkeeper.events.identity import ref, shorten, whole_number
from watchkeeper.events.merge import UNKNOWN_TIME, Facts

SEEN = WITNESS_BITS["transcript"]
RANK_MAIN = WITNESS_RANK["transcript"] * 10
RANK_SIDECHAIN = RANK_MAIN + 1
RANK_PROGRESS = RANK_MAIN + 2
RANK_ASIDE = RANK_MAIN + 3
RANK_COPY = 4
"""Added for a copy, so that the original's own line is believed first."""

Path = list[str | int]


@dataclass(frozen=True, slots=True)
class TranscriptLine:
    """One decoded line and where it stands.

    Attributes:
        source: Identity of the observation: file, generation and line.
        number: Line number in its file, from 0.
        body: The decoded line.
        session_hint: Session that the file's place names, for lines without an id.
        agent_hint: Subagent that the file's name names.
    """

    source: str
    number: int
    body: Mapping[str, Any]
    session_hint: str | None
    agent_hint: str | None


@dataclass(frozen=True, slots=True)
class View:
    """A line, or the message nested in a progress line, with what both mappers need."""

    source: str
    body: Mapping[str, Any]
    path: Path
    at: int
    session: str | None
    agent: str | None
    rank: int
    copied_into: str | None = None
    """The session whose file this is a copy in, where the line belongs to the session it was forked from."""

    @property
    def main(self) -> bool:
        """Whether the line is the main agent's own, be it in the original or in a copy."""
        return self.rank in {RANK_MAIN, RANK_MAIN + RANK_COPY}

    @property
    def agent_at_work(self) -> str | None:
        """The subagent that did what the line tells.

        An aside (``/btw``) only answers; the requests and calls in its file are copies of the main agent's, whose own
        lines name no agent and so could not contradict it.
        """
        return None if is_aside(self.agent) else self.agent

    @property
    def claim(self) -> dict[str, Any]:
        """The fact by which a line of the session's own claims for it what it tells; empty for copies."""
        own = self.session and RANK_MAIN <= self.rank < RANK_ASIDE
        return {"sessions": [self.session]} if own else {}

    def facts(self, entity: str, key: str, values: dict[str, Any]) -> Facts:
        """Return facts as this line's witness states them."""
        if "session_id" in values:
            values |= self.claim
        return Facts(entity, key, "transcript", self.rank, self.at, values)


def view_of(line: TranscriptLine) -> View:
    """Return the line with its time, session, agent and rank."""
    body = line.body
    agent = text_of(body.get("agentId")) or line.agent_hint
    rank = RANK_MAIN
    if agent or body.get("isSidechain") is True:
        rank = RANK_ASIDE if is_aside(agent) else RANK_SIDECHAIN
    session = text_of(body.get("sessionId")) or line.session_hint
    origin = original_session(body)
    copied = origin is not None and origin != session
    return View(
        source=line.source,
        body=body,
        path=[],
        at=time_of(body.get("timestamp")),
        session=origin if copied else session,
        agent=agent,
        rank=rank + RANK_COPY if copied else rank,
        copied_into=session if copied else None,
    )


def is_aside(agent: str | None) -> bool:
    """Tell whether an agent's name is that of a question asked aside (``/btw``)."""
    return agent is not None and agent.startswith("aside_question")


def original_session(body: Mapping[str, Any]) -> str | None:
    """Return the session that a forked session's file copied this line from, or ``None`` for a line of its own.

    ``--fork-session`` writes no ``forkedFrom``; of its copies only answers name the session that asked for them.
    """
    origin = body.get("forkedFrom")
    named = text_of(origin.get("sessionId")) if isinstance(origin, dict) else None
    return named or text_of(body.get("requestSessionId"))


def event_facts(view: View, line: TranscriptLine, name: str, *, known: bool) -> Facts:
    """Return a line as an event of its own."""
    body = view.body
    own = {key: value for key, value in body.items() if key not in _ENVELOPE}
    values = {
        "session_id": view.session,
        "agent_id": view.agent,
        "prompt_id": text_of(body.get("promptId")),
        "at": known_time(view.at),
        "name": name,
        "known": 1 if known else 0,
        "text": _event_text(body),
        "data": own if len(str(own)) <= 2000 else None,
        "ref": ref(line.source, [], dict(body)),
        "seen": SEEN,
    }
    return view.facts("event", text_of(body.get("uuid")) or line.source, values)


def _event_text(body: Mapping[str, Any]) -> str | None:
    error = body.get("error")
    for value in (
        body.get("content"),
        error.get("message") if isinstance(error, dict) else error,
        body.get("prUrl"),
    ):
        if isinstance(value, str) and value:
            return shorten(value, 500)
    return None


def time_of(value: Any) -> int:
    """Return a timestamp in epoch milliseconds, or `UNKNOWN_TIME`; one without a zone is in UTC."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return round(moment.timestamp() * 1000)
        except (ValueError, OverflowError):
            return UNKNOWN_TIME
    number = whole_number(value)
    if number is None or number <= 0:
        return UNKNOWN_TIME
    return number if number > 10**11 else number * 1000


def known_time(at: int) -> int | None:
    """Return a time, or ``None`` for the unknown one."""
    return None if at == UNKNOWN_TIME else at


def text_of(value: Any) -> str | None:
    """Return a text that is not empty, or ``None``."""
    return value if isinstance(value, str) and value else None


_ENVELOPE = {
    "uuid", "parentUuid", "logicalParentUuid", "sessionId", "timestamp", "cwd", "gitBranch", "version", "isSidechain",
    "userType", "entrypoint", "agentId", "slug", "type", "subtype", "isMeta",
}  # fmt: skip
