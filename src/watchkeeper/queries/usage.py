"""Tokens and cost, summed by any key. The sum of every breakdown equals the total to the micro-dollar.

A request belongs to the moment of its answer's last line. Days are those of the local time zone: sums are taken by
quarter-hour, which every zone's days are made of, and put together here. Requests that only the usage cache holds
(see `store.sqlite.usage_cache`) are counted with those of the index; of one that both hold, the larger counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from watchkeeper.errors import UsageError
from watchkeeper.events.usage import quarter_of
from watchkeeper.queries.forms import dollars, project_name, rfc3339
from watchkeeper.store.sqlite.reading import Reader
from watchkeeper.store.sqlite.usage_cache import COUNTS

QUICK_KEYS = (
    "day",
    "week",
    "month",
    "project",
    "model",
    "session",
    "agent",
    "block",
    "user",
    "branch",
    "skill",
    "mcp",
)
"""Keys that a request itself or its session answers."""

KEYS = (*QUICK_KEYS, "tool")
"""All keys; ``tool`` needs the calls, which only the index holds."""

BLOCK_MS = 5 * 3_600_000
_COLUMNS = (("agent", "agent_id"), ("branch", "branch"), ("skill", "skill"), ("mcp", "mcp_server"))

_UNITS = (
    "1", "coalesce(input_tokens, 0)", "coalesce(output_tokens, 0)", "coalesce(cache_write_5m_tokens, 0)",
    "coalesce(cache_write_1h_tokens, 0)", "coalesce(cache_read_tokens, 0)", "coalesce(web_searches, 0)",
    "coalesce({cost}, 0)", "{basis} IS 'reported'", "{basis} IS 'computed'", "{cost} IS NULL",
    "coalesce(partial, 0)", "coalesce(nested, 0)",
)  # fmt: skip
"""What one request adds to each of `COUNTS`."""

_TOTALS = (
    "count(*)", "coalesce(sum(input_tokens), 0)", "coalesce(sum(output_tokens), 0)",
    "coalesce(sum(cache_write_5m_tokens), 0)", "coalesce(sum(cache_write_1h_tokens), 0)",
    "coalesce(sum(cache_read_tokens), 0)", "coalesce(sum(web_searches), 0)", "coalesce(sum({cost}), 0)",
    "coalesce(sum({basis} = 'reported'), 0)", "count({cost}) - coalesce(sum({basis} = 'reported'), 0)",
    "count(*) - count({cost})", "coalesce(sum(partial), 0)", "coalesce(sum(nested), 0)",
)  # fmt: skip
"""The same of many requests: half the work of adding up `_UNITS`."""

_BY_REQUEST = {"day", "week", "month", "model", "block", "agent", "branch", "skill", "mcp", "tool"}
"""Keys that say nothing of the session."""

Sums = list[int]


class Filter(NamedTuple):
    """Which requests are counted.

    Attributes:
        since_ms: Those at or after this time.
        until_ms: Those before this time.
        project: Part of the project's path.
        session: A session's id, or a beginning of it.
        model: Part of the model's id.
        agent: ``main`` or a subagent's id.
        sessions: Only these sessions, where given.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    project: str | None = None
    session: str | None = None
    model: str | None = None
    agent: str | None = None
    sessions: frozenset[str] | None = None


class SessionFacts(NamedTuple):
    """What the keys need to know of a session."""

    path: str | None = None
    user: str | None = None
    title: str | None = None
    client_micros: int | None = None


class Part(NamedTuple):
    """Some of the requests: a table, what of it is taken, what a row adds to each of `COUNTS`, and what many do."""

    table: str
    condition: str = "1"
    units: tuple[str, ...] = ()
    totals: tuple[str, ...] = ()
    agent: str = "agent_id"

    @classmethod
    def of_requests(cls, cost: str, basis: str) -> Part:
        """Return the index's own table, with the expressions for a request's cost in micro-dollars and its basis."""
        units = tuple(unit.format(cost=cost, basis=basis) for unit in _UNITS)
        totals = tuple(total.format(cost=cost, basis=basis) for total in _TOTALS)
        agent = "coalesce(agent_id, CASE WHEN sidechain = 1 THEN 'sidechain' END)"
        return cls("requests", "counted = 1", units, totals, agent)

    @classmethod
    def of_sums(cls, table: str) -> Part:
        """Return a table that has a column for each of `COUNTS`."""
        return cls(table, units=COUNTS, totals=tuple(f"sum({name})" for name in COUNTS))


class Requests(NamedTuple):
    """All requests, each in one part only; `queries.usage_sources` adds what the usage cache holds."""

    reader: Reader
    parts: tuple[Part, ...]
    cached: bool = False

    def select(self, columns: Sequence[str], where: Filter, *, summed: bool) -> Iterator[tuple[Any, ...]]:
        """Yield the columns and then `COUNTS`, by request or summed by the columns."""
        condition, bindings = _condition(where)
        for part in self.parts:
            names = ", ".join(part.agent if column == "agent_id" else column for column in columns)
            counts = ", ".join(part.totals if summed else part.units)
            grouping = f" GROUP BY {names}" if summed else ""
            yield from self.reader.connection.execute(
                f"SELECT {names}, {counts} FROM {part.table} WHERE {part.condition} AND {condition}{grouping}",
                bindings,
            )


def usage(requests: Requests, by: Sequence[str], where: Filter) -> dict[str, Any]:
    """Return ``{"rows": [...], "total": {...}}`` as published, rows in the order of their keys.

    Args:
        requests: See `queries.usage_sources.requests_of`.
        by: Keys of `KEYS`, the first decides first.
        where: What is counted.

    Raises:
        UsageError: A key is unknown, or one that cannot be combined.
    """
    unknown = [key for key in by if key not in KEYS]
    if unknown or not by:
        raise UsageError(f"there is no key {', '.join(unknown)!r}", hint=f"Use one of {', '.join(KEYS)}.")
    told = set(by) <= _BY_REQUEST and where[2:] == Filter()[2:]
    sessions = {} if told else _sessions(requests)
    grouped = _grouped(requests, by, where, sessions)
    # What the cache took back leaves rows behind that add up to nothing.
    # Of a shared request only one tool has the request, and the others have parts of its tokens and cost.
    grouped = {key: sums for key, sums in grouped.items() if any(sums)}
    total = [0] * len(COUNTS)
    for sums in grouped.values():
        _add(total, sums)
    rows = [
        {"key": _named(by, key, sessions), **_figures(sums), **_reconciled(by, key, sums, sessions, where)}
        for key, sums in sorted(grouped.items(), key=_order)
    ]
    return {"rows": rows, "total": _figures(total)}


def _grouped(
    requests: Requests, by: Sequence[str], where: Filter, sessions: dict[str, SessionFacts]
) -> dict[tuple[Any, ...], Sums]:
    if "tool" in by:
        return _by_tool(requests, by, where, sessions)
    columns = ["quarter"]
    if not set(by) <= {"day", "week", "month"} or where[2:] != Filter()[2:]:
        columns += ["session_id", "model"]
    columns += [column for key, column in _COLUMNS if key in by or (key == "agent" and where.agent)]
    if "block" in by:
        columns.append("last_at")
    return _fold(requests.select(columns, where, summed=True), columns, by, where, sessions)


def _fold(
    found: Iterable[tuple[Any, ...]],
    columns: Sequence[str],
    by: Sequence[str],
    where: Filter,
    sessions: dict[str, SessionFacts],
) -> dict[tuple[Any, ...], Sums]:
    """Put rows of (columns, sums) together by the keys asked for."""
    width = len(columns)
    place = {name: index for index, name in enumerate(columns)}
    admit = _admission(where, sessions, place)
    keys = _keys(by, sessions, place)
    rows = list(found)
    if "block" in by:
        keys = _with_blocks(rows, keys, by, place)
    grouped: dict[tuple[Any, ...], Sums] = {}
    for row in rows:
        if admit is not None and not admit(row):
            continue
        key = keys(row)
        sums = grouped.get(key)
        if sums is None:
            grouped[key] = list(row[width:])
        else:
            _add(sums, row[width:])
    return grouped


def _by_tool(
    requests: Requests, by: Sequence[str], where: Filter, sessions: dict[str, SessionFacts]
) -> dict[tuple[Any, ...], Sums]:
    """Share each request among the tools that it asked for, in whole units, the first names taking the rest."""
    columns = ["quarter", "session_id", "model", *(column for _, column in _COLUMNS), "last_at"]
    tools: dict[str, list[str]] = {}
    for message, tool in requests.reader.connection.execute(
        "SELECT DISTINCT message_id, tool FROM calls WHERE message_id IS NOT NULL ORDER BY message_id, tool"
    ):
        tools.setdefault(message, []).append(tool or "unknown")
    width = 1 + len(columns)
    shared = (
        (*row[1:width], tool, *(_share(value, part, len(names)) for value in row[width:]))
        for row in requests.select(["request_key", *columns], where, summed=False)
        for names in (tools.get(row[0], [None]),)
        for part, tool in enumerate(names)
    )
    return _fold(shared, [*columns, "tool"], by, where, sessions)


def _share(value: int, part: int, parts: int) -> int:
    return value // parts + (1 if part < value % parts else 0)


def _condition(where: Filter) -> tuple[str, dict[str, Any]]:
    conditions, bindings = ["1"], dict[str, Any]()
    for name, sign in (("since_ms", ">="), ("until_ms", "<")):
        moment = getattr(where, name)
        if moment is None:
            continue
        bindings[name] = moment
        if quarter_of(moment) == moment:
            conditions.append(f"quarter {sign} :{name}")
        else:
            # The quarter narrows by the index, the moment decides.
            conditions.append(
                f"quarter {sign} :{name}{' - 900000' if sign == '>=' else ''} AND last_at {sign} :{name}"
            )
    return " AND ".join(conditions), bindings


def _admission(
    where: Filter, sessions: dict[str, SessionFacts], place: dict[str, int]
) -> Callable[[tuple[Any, ...]], bool] | None:
    """Return the test that a row must pass, or ``None`` where every row does."""
    if where[2:] == Filter()[2:]:
        return None
    session_at, model_at, agent_at = place["session_id"], place["model"], place.get("agent_id", 0)
    project, model = (where.project or "").lower(), (where.model or "").lower()
    wanted = None if where.agent in {None, "main"} else where.agent
    nothing = SessionFacts()

    def admit(row: tuple[Any, ...]) -> bool:
        session = row[session_at] or ""
        if project and project not in (sessions.get(session, nothing).path or "").lower():
            return False
        if where.session and not session.startswith(where.session):
            return False
        if where.sessions is not None and session not in where.sessions:
            return False
        if model and model not in (row[model_at] or "").lower():
            return False
        return not where.agent or row[agent_at] == wanted

    return admit


def _keys(
    by: Sequence[str], sessions: dict[str, SessionFacts], place: dict[str, int]
) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return the function that gives a row's key."""
    nothing = SessionFacts()

    def of_session(pick: Callable[[SessionFacts], Any]) -> Callable[[tuple[Any, ...]], Any]:
        at = place["session_id"]
        return lambda row: pick(sessions.get(row[at], nothing))

    def of_time(form: Callable[[int], str]) -> Callable[[tuple[Any, ...]], Any]:
        at, known = place["quarter"], dict[int, str]()

        def name(row: tuple[Any, ...]) -> str | None:
            quarter = row[at]
            if quarter is None:
                return None
            if quarter not in known:
                known[quarter] = form(quarter)
            return known[quarter]

        return name

    def of_column(column: str) -> Callable[[tuple[Any, ...]], Any]:
        at = place.get(column, 0)
        return lambda row: row[at]

    makers: dict[str, Callable[[], Callable[[tuple[Any, ...]], Any]]] = {
        "day": lambda: of_time(_day),
        "week": lambda: of_time(_week),
        "month": lambda: of_time(lambda quarter: _day(quarter)[:7]),
        "project": lambda: of_session(lambda facts: facts.path),
        "user": lambda: of_session(lambda facts: facts.user),
        "session": lambda: of_column("session_id"),
        "model": lambda: of_column("model"),
        "agent": lambda: of_column("agent_id"),
        "branch": lambda: of_column("branch"),
        "skill": lambda: of_column("skill"),
        "mcp": lambda: of_column("mcp_server"),
        "tool": lambda: of_column("tool"),
        "block": lambda: of_column("last_at"),
    }
    parts = [makers[key]() for key in by]
    if len(parts) == 1:
        only = parts[0]
        return lambda row: (only(row),)
    return lambda row: tuple(part(row) for part in parts)


def _with_blocks(
    rows: list[tuple[Any, ...]],
    keys: Callable[[tuple[Any, ...]], tuple[Any, ...]],
    by: Sequence[str],
    place: dict[str, int],
) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Replace the moment in the key by the start of its block.

    A block starts at the full hour (UTC) of its first request and lasts five hours; a request after its end, or after
    five hours without any, starts the next.
    """
    at, at_key = place["last_at"], by.index("block")
    starts: dict[int, int] = {}
    start = last = -BLOCK_MS
    for moment in sorted({row[at] for row in rows if row[at] is not None}):
        if moment >= start + BLOCK_MS or moment - last >= BLOCK_MS:
            start = moment - moment % 3_600_000
        starts[moment] = start
        last = moment

    def key(row: tuple[Any, ...]) -> tuple[Any, ...]:
        found = list(keys(row))
        found[at_key] = None if found[at_key] is None else starts[found[at_key]]
        return tuple(found)

    return key


def _day(moment: int) -> str:
    day = time.localtime(moment // 1000)
    return f"{day.tm_year:04d}-{day.tm_mon:02d}-{day.tm_mday:02d}"


def _week(moment: int) -> str:
    """Return the Monday that the week of a moment begins with."""
    day = time.localtime(moment // 1000)
    noon = time.mktime((day.tm_year, day.tm_mon, day.tm_mday - day.tm_wday, 12, 0, 0, 0, 0, -1))
    return _day(int(noon) * 1000)


def _named(by: Sequence[str], key: tuple[Any, ...], sessions: dict[str, SessionFacts]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in zip(by, key, strict=True):
        if name == "project":
            named |= {"project": project_name(value), "project_path": value}
        elif name == "block":
            named |= {"block": rfc3339(value), "ends": None if value is None else rfc3339(value + BLOCK_MS)}
        elif name == "agent":
            named["agent"] = value or "main"
        elif name == "session":
            facts = sessions.get(value, SessionFacts())
            named |= {"session": value, "project": project_name(facts.path), "title": facts.title}
        else:
            named[name] = value
    return named


def _figures(sums: Sums) -> dict[str, Any]:
    figures = dict(zip(COUNTS, sums, strict=True))
    micros = figures.pop("cost_micros")
    priced = micros or figures["requests"] > figures["unpriced_requests"] or not any(sums)
    return {
        "requests": figures["requests"],
        **{name: figures[name] for name in COUNTS[1:7]},
        "cost_usd": dollars(micros) if priced else None,
        "cost_basis": {"reported": figures["reported"], "computed": figures["computed"], "estimated": 0},
        "unpriced_requests": figures["unpriced_requests"],
        "partial_requests": figures["partial_requests"],
        "nested_requests": figures["nested_requests"],
    }


def _reconciled(
    by: Sequence[str], key: tuple[Any, ...], sums: Sums, sessions: dict[str, SessionFacts], where: Filter
) -> dict[str, Any]:
    """Return the client's own total beside ours, where a row is one whole session."""
    if tuple(by) != ("session",) or where._replace(project=None, session=None, sessions=None) != Filter():
        return {}
    client = sessions.get(key[0], SessionFacts()).client_micros
    if client is None:
        return {}
    difference = client - sums[COUNTS.index("cost_micros")]
    sign = "-" if difference < 0 else ""
    return {"client_cost_usd": dollars(client), "difference_usd": f"{sign}{dollars(abs(difference))}"}


def _add(total: Sums, more: Sequence[int]) -> None:
    for place, value in enumerate(more):
        total[place] += value


def _order(item: tuple[tuple[Any, ...], Sums]) -> tuple[tuple[bool, Any], ...]:
    return tuple((part is None, "" if part is None else part) for part in item[0])


def _sessions(requests: Requests) -> dict[str, SessionFacts]:
    found: dict[str, SessionFacts] = {}
    execute = requests.reader.connection.execute
    if requests.cached:
        found.update(
            (row[0], SessionFacts(row[1]))
            for row in execute("SELECT session_id, cwd FROM usage_cache.sessions")
        )
    for row in execute(
        "SELECT session_id, coalesce(project_path, cwd), coalesce(user_email, user_name),"
        " coalesce(title_custom, title_ai, title_summary, first_prompt), cost_micros FROM sessions"
    ):
        scanned = found.get(row[0])
        facts = SessionFacts(*row[1:])
        found[row[0]] = facts if facts.path or scanned is None else facts._replace(path=scanned.path)
    return found
