"""Reads from transcripts only what usage and cost need, as quickly as that can be done.

`transcripts` maps every line to facts; that takes time which somebody who asks for the bill of a gigabyte of history
does not have. This is the same reading for requests alone: one request per ``message.id`` (else ``requestId``, else
``uuid``, else the line), the largest count of each kind, times from the first to the last line, and the most direct
line's word for session, agent and model. A test holds both readings against each other.

Only the standard library is imported; whole files are decoded by `usage_lines`, which needs msgspec.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

UNKNOWN_TIME = 1 << 62
LARGEST_NUMBER = 2**53

# Places in a scanned request, a plain list: there are tens of thousands, and they cross processes.
RANK, AT, SESSION, AGENT, MODEL, TIER, SPEED, REGION, BRANCH, SKILL, SERVER = range(11)
FIRST_AT, LAST_AT, INPUT, OUTPUT, WRITE, WRITE_5M, WRITE_1H, READ, SEARCHES, REPORTED = range(11, 21)
SIDECHAIN, NESTED, REPLAY, SYNTHETIC, ENDED = range(21, 26)
_COUNTS = (INPUT, OUTPUT, WRITE, WRITE_5M, WRITE_1H, READ, SEARCHES, REPORTED)

# Places in a scanned session.
CWD_RANK, CWD_AT, CWD, SESSION_FIRST, SESSION_LAST = range(5)

RANK_MAIN, RANK_SIDECHAIN, RANK_PROGRESS, RANK_ASIDE, RANK_COPY = 10, 11, 12, 13, 4
_SYNTHETIC_MODEL = "<synthetic>"

Request = list[Any]
Session = list[Any]


class Usage(Protocol):
    """The ``usage`` object of an answer, every count a number that no sum could break, or ``None``."""

    input_tokens: int | None
    output_tokens: int | None
    cache_creation_input_tokens: int | None
    cache_read_input_tokens: int | None
    cache_creation: Any
    server_tool_use: Any
    service_tier: str | None
    speed: str | None
    inference_geo: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where lines stand: what names a line without an id, and what the file's place says."""

    source: str
    session_hint: str | None
    agent_hint: str | None


@dataclass
class UsageScan:
    """What was found so far; scans of other files are merged into it.

    Attributes:
        requests: By key, lists with the places named in this module.
        sessions: By session, its first working folder and its time.
        copies: For a request that several sessions hold, all of them.
    """

    requests: dict[str, Request] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    copies: dict[str, list[str]] = field(default_factory=dict)

    def take(self, lines: Sequence[Any], place: Place, first_line: int) -> None:
        """Add decoded lines, each with the attributes of `usage_lines.Line`, or ``None`` for one to pass over."""
        session, known = None, None
        for number, line in enumerate(lines, first_line):
            if line is None:
                continue
            rank, agent = RANK_MAIN, line.agentId or place.agent_hint
            if agent or line.isSidechain:
                rank = RANK_ASIDE if _is_aside(agent) else RANK_SIDECHAIN
            owner = line.sessionId or place.session_hint
            origin = line.forkedFrom and line.forkedFrom.sessionId
            if origin and origin != owner:
                owner, rank = origin, rank + RANK_COPY
            at = line.timestamp
            at = _milliseconds(at) if at else UNKNOWN_TIME
            if owner:
                if owner != session or known is None:
                    session = owner
                    known = self.sessions.get(owner)
                    if known is None:
                        known = self.sessions[owner] = [99, UNKNOWN_TIME, None, UNKNOWN_TIME, 0]
                _see(known, rank, at, line.cwd)
            kind = line.type
            if kind == "assistant" or (kind is None and line.message and line.message.role == "assistant"):
                if line.message is not None:
                    self._answer(line, line.message, place, number, (rank, at, owner, agent, False))
            elif kind == "progress":
                self._progress(line, place, number, at, owner)

    def merge(self, other: UsageScan) -> None:
        """Add what another scan found."""
        for key, request in other.requests.items():
            mine = self.requests.get(key)
            if mine is None:
                self.requests[key] = request
            else:
                self._join(key, mine, request)
        for session, theirs in other.sessions.items():
            known = self.sessions.setdefault(session, theirs)
            if known is not theirs:
                _see(known, theirs[CWD_RANK], theirs[CWD_AT], theirs[CWD])
                known[SESSION_FIRST] = min(known[SESSION_FIRST], theirs[SESSION_FIRST])
                known[SESSION_LAST] = max(known[SESSION_LAST], theirs[SESSION_LAST])
        for key, sessions in other.copies.items():
            self.copies[key] = sorted({*self.copies.get(key, ()), *sessions})

    def _progress(self, line: Any, place: Place, number: int, at: int, owner: str | None) -> None:
        data = line.data
        inner = data.message if data is not None and data.type == "agent_progress" else None
        if inner is None or inner.type != "assistant" or inner.message is None:
            return
        if inner.timestamp:
            at = _milliseconds(inner.timestamp)
        self._answer(inner, inner.message, place, number, (RANK_PROGRESS, at, owner, data.agentId, True))

    def _answer(
        self, line: Any, message: Any, place: Place, number: int, seen: tuple[int, int, Any, Any, bool]
    ) -> None:
        rank, at, owner, agent, nested = seen
        key = message.id or line.requestId or line.uuid or f"{place.source}{number}"
        aside = _is_aside(agent)
        request: Request = [
            rank, at, owner, None if aside else agent, message.model, None, None, None,
            line.gitBranch, line.attributionSkill, line.attributionMcpServer,
            at, 0 if at == UNKNOWN_TIME else at, None, None, None, None, None, None, None, line.costUSD,
            0 if rank in (RANK_MAIN, RANK_MAIN + RANK_COPY) else 1, 1 if nested else 0, 1 if aside else 0,
            1 if message.model == _SYNTHETIC_MODEL else 0, 1 if message.stop_reason else 0,
        ]  # fmt: skip
        if line.costUSD is not None:
            request[REPORTED] = _micro_dollars(line.costUSD)
        if message.usage is not None:
            _count(request, message.usage)
        mine = self.requests.get(key)
        if mine is None:
            self.requests[key] = request
        else:
            self._join(key, mine, request)

    def _join(self, key: str, mine: Request, other: Request) -> None:
        if mine[SESSION] != other[SESSION] and mine[SESSION] and other[SESSION]:
            self.copies[key] = sorted({*self.copies.get(key, ()), mine[SESSION], other[SESSION]})
        if (other[RANK], other[AT]) < (mine[RANK], mine[AT]):
            first, second = other, mine
        else:
            first, second = mine, other
        for place in range(SESSION, SERVER + 1):
            mine[place] = second[place] if first[place] is None else first[place]
        mine[RANK], mine[AT] = first[RANK], first[AT]
        for place in _COUNTS:
            count = other[place]
            if count is not None and (mine[place] is None or count > mine[place]):
                mine[place] = count
        mine[FIRST_AT] = min(mine[FIRST_AT], other[FIRST_AT])
        mine[LAST_AT] = max(mine[LAST_AT], other[LAST_AT])
        for place in (SIDECHAIN, NESTED, REPLAY):
            mine[place] = min(mine[place], other[place])
        for place in (SYNTHETIC, ENDED):
            mine[place] = max(mine[place], other[place])


def _see(known: Session, rank: int, at: int, cwd: str | None) -> None:
    """Note a line of a session: the folder of its earliest most direct line, and its time."""
    if at != UNKNOWN_TIME:
        if at > known[SESSION_LAST]:
            known[SESSION_LAST] = at
        if at < known[SESSION_FIRST]:
            known[SESSION_FIRST] = at
    if cwd and (rank, at) < (known[CWD_RANK], known[CWD_AT]):
        known[CWD_RANK], known[CWD_AT], known[CWD] = rank, at, cwd


def _count(request: Request, usage: Usage) -> None:
    request[INPUT] = _sound(usage.input_tokens)
    request[OUTPUT] = _sound(usage.output_tokens)
    request[WRITE] = _sound(usage.cache_creation_input_tokens)
    request[READ] = _sound(usage.cache_read_input_tokens)
    created = usage.cache_creation
    if created is not None:
        request[WRITE_5M] = _sound(created.ephemeral_5m_input_tokens)
        request[WRITE_1H] = _sound(created.ephemeral_1h_input_tokens)
    tools = usage.server_tool_use
    if tools is not None:
        request[SEARCHES] = _sound(tools.web_search_requests)
    request[TIER], request[SPEED] = usage.service_tier or None, usage.speed or None
    request[REGION] = usage.inference_geo or None


def _sound(count: int | None) -> int | None:
    return count if count is not None and 0 <= count <= LARGEST_NUMBER else None


def _micro_dollars(dollars: float) -> int | None:
    micros = dollars * 1_000_000
    return round(micros) if 0 <= micros <= LARGEST_NUMBER else None


def _is_aside(agent: str | None) -> bool:
    return agent is not None and agent.startswith("aside_question")


_midnights: dict[str, int] = {}


def _milliseconds(text: str) -> int:
    """Return a timestamp in epoch milliseconds; those that the client writes today are read without a parser."""
    if len(text) == 24 and text[23] == "Z" and text[19] == ".":
        midnight = _midnights.get(text[:11])
        if midnight is None:
            midnight = _midnights[text[:11]] = _parse(text[:11] + "00:00:00Z")
        try:
            seconds = int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])
            if midnight != UNKNOWN_TIME and seconds < 86_400:
                return midnight + seconds * 1000 + int(text[20:23])
        except ValueError:
            pass
    return _parse(text)


def _parse(text: Any) -> int:
    from watchkeeper.sources.claude_code.transcript_view import time_of

    return time_of(text)


class _Plain:
    """An object of a line with the attributes of its `usage_lines` twin; what has a wrong type is absent."""

    __slots__ = ("values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def __getattr__(self, name: str) -> Any:
        value = self.values.get(name)
        if value is None:
            return None
        shape = _SHAPES[name]
        if shape is _Plain:
            return _Plain(value) if isinstance(value, dict) else None
        return shape(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value) if -LARGEST_NUMBER <= value <= LARGEST_NUMBER else None


def _amount(value: Any) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


def _moment(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    at = _parse(value)
    if at == UNKNOWN_TIME:
        return None
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at / 1000, UTC).isoformat()


_SHAPES: dict[str, Callable[[Any], Any] | type[_Plain]] = {
    **dict.fromkeys(("message", "forkedFrom", "data", "usage", "cache_creation", "server_tool_use"), _Plain),
    **dict.fromkeys(
        ("type", "sessionId", "requestId", "uuid", "agentId", "cwd", "gitBranch", "attributionSkill", "id"), _text
    ),
    **dict.fromkeys(
        ("attributionMcpServer", "model", "role", "stop_reason", "service_tier", "speed", "inference_geo"), _text
    ),
    **dict.fromkeys(
        (
            "input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens",
            "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "web_search_requests",
        ),
        _whole,
    ),
    "timestamp": _moment,
    "isSidechain": lambda value: value is True,
    "costUSD": _amount,
}  # fmt: skip


def plain_lines(data: bytes) -> Iterable[_Plain | None]:
    """Yield the lines of some bytes, decoded one by one and mended where need be; ``None`` for one without object."""
    for line in data.split(b"\n"):
        body = _decode(line)
        yield _Plain(body) if isinstance(body, dict) else None


def _decode(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        from watchkeeper.sources.claude_code.lines import decode

        return decode(line)
