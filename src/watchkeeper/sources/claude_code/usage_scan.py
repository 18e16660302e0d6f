"""Reads from transcripts only what usage and cost need, as quickly as that can be done.

`transcripts` maps every line to facts; that takes time which somebody who asks for the bill of a gigabyte of history
does not have. This is the same reading for requests alone: one request per ``message.id`` (else ``requestId``, else
``uuid``, else the line), the largest count of each kind, times from the first to the last line, and the most direct
line's word for session, agent and model. A test holds both readings against each other.

What `UsageScan.take` makes of a line, and `telling_lines` of a file, stands in ``native/scan_facts.c`` once more; other
tests hold that against this. Change both.

Only the standard library is imported; whole files are decoded by `usage_lines`, which needs msgspec.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

UNKNOWN_TIME = 1 << 62
LARGEST_NUMBER = 2**53

# Places in a scanned request, a plain list: there are tens of thousands, and they cross processes.
RANK, AT, SESSION, AGENT, MODEL, TIER, SPEED, REGION, BRANCH, SKILL, SERVER, CLAIMANT = range(12)
LAST_AT, INPUT, OUTPUT, WRITE, WRITE_5M, WRITE_1H, READ, SEARCHES, REPORTED = range(12, 21)
SIDECHAIN, NESTED, REPLAY, SYNTHETIC, ENDED = range(21, 26)
_COUNTS = (INPUT, OUTPUT, WRITE, WRITE_5M, WRITE_1H, READ, SEARCHES, REPORTED)

# Places in a scanned session.
CWD_RANK, CWD_AT, CWD, SESSION_LAST = range(4)

RANK_MAIN, RANK_SIDECHAIN, RANK_PROGRESS, RANK_ASIDE, RANK_COPY = 10, 11, 12, 13, 4
_SYNTHETIC_MODEL = "<synthetic>"

Request = list[Any]
Session = list[Any]


class Place(NamedTuple):
    """Where lines stand: what names a line without an id, and what the file's place says."""

    source: str
    session_hint: str | None
    agent_hint: str | None


class UsageScan:
    """What was found so far; scans of other files are merged into it.

    Attributes:
        requests: By key, lists with the places named in this module.
        sessions: By session, its first working folder and its latest time.
        copies: For a request that several sessions claim (see `events.ownership`), all of them.
    """

    def __init__(
        self,
        requests: dict[str, Request] | None = None,
        sessions: dict[str, Session] | None = None,
        copies: dict[str, list[str]] | None = None,
    ) -> None:
        self.requests = {} if requests is None else requests
        self.sessions = {} if sessions is None else sessions
        self.copies = {} if copies is None else copies

    def take(self, lines: Iterable[Any], place: Place, number_of: Callable[[int], int]) -> None:
        """Add decoded lines of one file.

        Args:
            lines: Each with the attributes of `usage_lines.Line`.
            place: The file.
            number_of: Gives the number in the file of the line at an index; asked only for a line without any id.
        """
        request: Request | None = None
        answer = usage = later = aside = None
        for index, line in enumerate(lines):
            message = line.message
            if (
                request is not None
                and message is not None
                and message.id == answer
                and message.usage == usage
                and line.type == "assistant"
                and line.isSidechain == aside
                and not message.stop_reason
            ):
                # The next block of the same answer says nothing new but its time.
                later = line.timestamp
                continue
            if later and request is not None:
                _finish(request, later)
            later = None
            rank, agent = RANK_MAIN, line.agentId or place.agent_hint
            if agent or line.isSidechain:
                rank = RANK_ASIDE if agent and _is_aside(agent) else RANK_SIDECHAIN
            session = owner = line.sessionId or place.session_hint
            if line.forkedFrom is not None or line.requestSessionId:
                origin = None if line.forkedFrom is None else line.forkedFrom.sessionId
                origin = origin or line.requestSessionId or session
                if origin != session:
                    owner, rank = origin, rank + RANK_COPY
            at = milliseconds(line.timestamp) if line.timestamp else UNKNOWN_TIME
            if owner:
                self._see(owner, rank, at, line.cwd)
            kind = line.type
            if message is not None and (
                kind == "assistant" or (kind is None and message.role == "assistant")
            ):
                seen = (rank, at, owner, agent, False)
                request = self._answer(line, message, place, index, number_of, seen)
                answer, usage, aside = message.id, message.usage, line.isSidechain
                if answer is None or owner != session:
                    request = None
            elif kind == "progress":
                self._progress(line, place, index, number_of, at, owner)
        if later and request is not None:
            _finish(request, later)

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
                _see_line(known, theirs[CWD_RANK], theirs[CWD_AT], theirs[CWD])
                known[SESSION_LAST] = max(known[SESSION_LAST], theirs[SESSION_LAST])
        for key, sessions in other.copies.items():
            self.copies[key] = sorted({*self.copies.get(key, ()), *sessions})

    def _see(self, session: str, rank: int, at: int, cwd: str | None) -> None:
        known = self.sessions.get(session)
        if known is None:
            known = self.sessions[session] = [99, UNKNOWN_TIME, None, 0]
        _see_line(known, rank, at, cwd)

    def _progress(
        self, line: Any, place: Place, index: int, number_of: Callable[[int], int], at: int, owner: str | None
    ) -> None:
        data = line.data
        inner = data.message if data is not None and data.type == "agent_progress" else None
        if inner is None or inner.type != "assistant" or inner.message is None:
            return
        if inner.timestamp:
            at = milliseconds(inner.timestamp)
        seen = (RANK_PROGRESS, at, owner, data.agentId, True)
        self._answer(inner, inner.message, place, index, number_of, seen)

    def _answer(
        self,
        line: Any,
        message: Any,
        place: Place,
        index: int,
        number_of: Callable[[int], int],
        seen: tuple[int, int, Any, Any, bool],
    ) -> Request:
        rank, at, owner, agent, nested = seen
        key = message.id or line.requestId or line.uuid or f"{place.source}{number_of(index)}"
        aside = agent is not None and _is_aside(agent)
        model, usage, reported = message.model, message.usage, line.costUSD
        said = (rank, at, owner, None if aside else agent, model)
        names = (line.gitBranch, line.attributionSkill, line.attributionMcpServer)
        marks = (
            0 if rank in (RANK_MAIN, RANK_MAIN + RANK_COPY) else 1, 1 if nested else 0, 1 if aside else 0,
            1 if model == _SYNTHETIC_MODEL else 0, 1 if message.stop_reason else 0,
        )  # fmt: skip
        claimant, done = owner if rank < RANK_ASIDE else None, 0 if at == UNKNOWN_TIME else at
        cost = None if reported is None else _micro_dollars(reported)
        if usage is None:
            request = [*said, None, None, None, *names, claimant, done, *_NO_COUNTS, cost, *marks]
        else:
            created, tools = usage.cache_creation, usage.server_tool_use
            request = [
                *said, usage.service_tier, usage.speed, usage.inference_geo, *names, claimant, done,
                usage.input_tokens, usage.output_tokens, usage.cache_creation_input_tokens,
                None if created is None else created.ephemeral_5m_input_tokens,
                None if created is None else created.ephemeral_1h_input_tokens,
                usage.cache_read_input_tokens, None if tools is None else tools.web_search_requests, cost, *marks,
            ]  # fmt: skip
            for count in _COUNTS:
                value = request[count]
                if value is not None and not 0 <= value <= LARGEST_NUMBER:
                    request[count] = None
        mine = self.requests.get(key)
        if mine is None:
            self.requests[key] = request
            return request
        self._join(key, mine, request)
        return mine

    def _join(self, key: str, mine: Request, other: Request) -> None:
        claimant = other[CLAIMANT]
        if mine[CLAIMANT] != claimant and claimant:
            if mine[CLAIMANT]:
                self.copies[key] = sorted({*self.copies.get(key, ()), mine[CLAIMANT], claimant})
            else:
                mine[CLAIMANT] = claimant
        if (other[RANK], other[AT]) < (mine[RANK], mine[AT]):
            mine[RANK], mine[AT] = other[RANK], other[AT]
            for place in _SAID:
                if other[place] is not None:
                    mine[place] = other[place]
        else:
            for place in _SAID:
                if mine[place] is None:
                    mine[place] = other[place]
        for place in _COUNTS:
            count = other[place]
            if count is not None and (mine[place] is None or count > mine[place]):
                mine[place] = count
        for place in _LEAST:
            if other[place] < mine[place]:
                mine[place] = other[place]
        for place in _MOST:
            if other[place] > mine[place]:
                mine[place] = other[place]


_SAID = range(SESSION, CLAIMANT)
_NO_COUNTS = (None,) * 7
_LEAST = (SIDECHAIN, NESTED, REPLAY)
_MOST = (LAST_AT, SYNTHETIC, ENDED)


def _finish(request: Request, timestamp: str) -> None:
    """Note the time of an answer's last line."""
    at = milliseconds(timestamp)
    if request[LAST_AT] < at != UNKNOWN_TIME:
        request[LAST_AT] = at


def _see_line(known: Session, rank: int, at: int, cwd: str | None) -> None:
    """Note a line of a session: the folder of its earliest most direct line, and its time."""
    if known[SESSION_LAST] < at != UNKNOWN_TIME:
        known[SESSION_LAST] = at
    if cwd and (rank < known[CWD_RANK] or (rank == known[CWD_RANK] and at < known[CWD_AT])):
        known[CWD_RANK], known[CWD_AT], known[CWD] = rank, at, cwd


def _micro_dollars(dollars: float) -> int | None:
    micros = dollars * 1_000_000
    return round(micros) if 0 <= micros <= LARGEST_NUMBER else None


def _is_aside(agent: str) -> bool:
    return agent.startswith("aside_question")


_midnights: dict[str, int] = {}


def milliseconds(text: str) -> int:
    """Return a timestamp in epoch milliseconds, or `UNKNOWN_TIME`; today's form is read without a parser."""
    if len(text) == 24 and text[23] == "Z" and text[19] == ".":
        midnight = _midnights.get(text[:11])
        if midnight is None:
            midnight = _midnights[text[:11]] = _midnight(text)
        try:
            seconds = int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])
            if midnight != UNKNOWN_TIME and seconds < 86_400:
                return midnight + seconds * 1000 + int(text[20:23])
        except ValueError:
            pass
    return _parse(text)


def _midnight(text: str) -> int:
    """Return the beginning of a timestamp's day in UTC, without what a parser of every form would import."""
    from datetime import date

    if text[4] == text[7] == "-" and text[10] == "T" and text[:4].isdecimal():
        try:
            return (date.fromisoformat(text[:10]).toordinal() - _EPOCH_DAY) * 86_400_000
        except ValueError:
            pass
    return _parse(text[:11] + "00:00:00Z")


_EPOCH_DAY = 719_163
"""The number of 1 January 1970 among the days of the calendar."""


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

    try:
        return datetime.fromtimestamp(at / 1000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None  # beyond the year 9999


_SHAPES: dict[str, Callable[[Any], Any] | type[_Plain]] = {
    **dict.fromkeys(("message", "forkedFrom", "data", "usage", "cache_creation", "server_tool_use"), _Plain),
    **dict.fromkeys(
        ("type", "sessionId", "requestSessionId", "requestId", "uuid", "agentId", "cwd", "gitBranch", "id"), _text
    ),
    **dict.fromkeys(
        (
            "attributionSkill", "attributionMcpServer", "model", "role", "stop_reason", "service_tier", "speed",
            "inference_geo",
        ),
        _text,
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


Telling = tuple[list[Any], list[int]]
"""Lines, and for each the place where it begins."""


def decode_plainly(lines: Sequence[bytes | bytearray], starts: Sequence[int]) -> Telling:
    """Return lines decoded one by one and mended where need be: an object each, several, or none."""
    found: list[Any] = []
    places: list[int] = []
    for line, start in zip(lines, starts, strict=True):
        for body in _objects(line):
            if isinstance(body, dict):
                found.append(_Plain(body))
                places.append(start)
    return found, places


def telling_lines(data: bytes | bytearray, size: int) -> Telling:
    """Return the lines that say something of usage, one with the session's folder and one with its end; and offsets.

    Text inside a line has its quotes escaped, so what looks for a quoted word finds structure alone.

    Args:
        data: Lines; what is behind them is of no concern.
        size: Bytes that the lines take.
    """
    starts: list[int] = []
    lines: list[bytes | bytearray] = []
    find, behind = data.find, data.rfind

    def take(at: int) -> int:
        start, end = behind(b"\n", 0, at) + 1, find(b"\n", at, size)
        starts.append(start)
        lines.append(data[start:size] if end < 0 else data[start:end])
        return end

    at = find(b'"cwd"', 0, size)
    if at >= 0:
        take(at)
    at = find(_ANSWER, 0, size)
    while at >= 0:
        end = take(at)
        at = -1 if end < 0 else find(_ANSWER, end, size)
    at = behind(b'"timestamp"', 0, size)
    if at >= 0:
        take(at)
    return lines, starts


_ANSWER = b'"assistant"'


def _objects(line: bytes | bytearray) -> Sequence[Any]:
    try:
        return (json.loads(line),)
    except (ValueError, RecursionError):
        from watchkeeper.sources.claude_code.lines import decode_objects

        return decode_objects(bytes(line))
