"""Puts the requests of the index and those of the usage cache together, each counted once, at the prices asked for."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from watchkeeper.events.ownership import end_of, owner_of
from watchkeeper.events.usage import QUARTER_MS, quarter_of
from watchkeeper.pricing.rates import RateCard
from watchkeeper.queries.usage import Filter, Part, Requests
from watchkeeper.sources.claude_code import usage_scan as scan
from watchkeeper.store.sqlite.costs import PRICED_BY, RATES, price_of
from watchkeeper.store.sqlite.reading import Reader
from watchkeeper.store.sqlite.usage_cache import COUNTS, DIMENSIONS, UsageCache

Sums = list[Any]
"""A row of the cache's sums: dimensions, then counts."""

_GROWING = {
    "input_tokens": scan.INPUT, "output_tokens": scan.OUTPUT, "cache_write_tokens": scan.WRITE,
    "cache_write_5m_tokens": scan.WRITE_5M, "cache_write_1h_tokens": scan.WRITE_1H, "cache_read_tokens": scan.READ,
    "web_searches": scan.SEARCHES, "reported_micros": scan.REPORTED,
}  # fmt: skip
_SAID = {
    "session_id": scan.SESSION, "agent_id": scan.AGENT, "model": scan.MODEL, "service_tier": scan.TIER,
    "speed": scan.SPEED, "region": scan.REGION, "branch": scan.BRANCH, "skill": scan.SKILL,
    "mcp_server": scan.SERVER, "sidechain": scan.SIDECHAIN, "nested": scan.NESTED,
}  # fmt: skip


def requests_of(
    reader: Reader, rates: RateCard, cache: UsageCache | None, by: Iterable[str], where: Filter
) -> Requests:
    """Return all requests for a question of `queries.usage`.

    Args:
        reader: The index; temporary tables are made in its connection.
        rates: The prices to count by. Where the index was written with others, its costs are computed anew.
        cache: What the index does not hold yet.
        by: The keys that will be asked for.
        where: The filter that will be asked for.
    """
    index = _index_part(reader, rates)
    if cache is None:
        return Requests(reader, (index,))
    _attach(reader, cache)
    if "block" in by or not _whole_quarters(where) or any(reader.rows("SELECT 1 FROM requests LIMIT 1")):
        _detail(reader, cache, rates)
        others = f"{index.condition} AND request_key NOT IN (SELECT request_key FROM temp.scanned)"
        parts = (index._replace(condition=others), Part.of_sums("temp.scanned"))
        return Requests(reader, parts, cached=True)
    return Requests(reader, (Part.of_sums("usage_cache.sums"),), cached=True)


def _index_part(reader: Reader, rates: RateCard) -> Part:
    if reader.value("SELECT value FROM meta WHERE name = ?", (RATES,)) == rates.digest:
        return Part.of_requests("cost_micros", "cost_basis")

    price = partial(price_of, rates)
    reader.connection.create_scalar_function("price", price, len(PRICED_BY), deterministic=True)
    cost = f"coalesce(reported_micros, price({', '.join(PRICED_BY)}))"
    basis = (
        f"CASE WHEN reported_micros IS NOT NULL THEN 'reported' WHEN {cost} IS NOT NULL THEN 'computed' END"
    )
    return Part.of_requests(cost, basis)


def _attach(reader: Reader, cache: UsageCache) -> None:
    if _is_attached(reader):
        return
    reader.connection.execute("ATTACH ? AS usage_cache", (cache.name,))
    if cache.name == ":memory:":
        with reader.connection.backup("usage_cache", cache.connection, "main") as backup:
            backup.step()


def _is_attached(reader: Reader) -> bool:
    """Tell whether the usage cache is at hand in the index's connection."""
    return any(row[1] == "usage_cache" for row in reader.connection.execute("PRAGMA database_list"))


def _whole_quarters(where: Filter) -> bool:
    return all(moment is None or quarter_of(moment) == moment for moment in (where.since_ms, where.until_ms))


def _detail(reader: Reader, cache: UsageCache, rates: RateCard) -> None:
    """Fill ``temp.scanned`` with every request of the cache, and what the index knows of these."""
    connection = reader.connection
    connection.pragma("query_only", 0)
    connection.execute("DROP TABLE IF EXISTS temp.scanned")
    connection.execute(f"CREATE TEMP TABLE scanned ({', '.join(_DETAILS)}, counted DEFAULT 1)")
    connection.execute("CREATE INDEX temp.scanned_by_key ON scanned (request_key)")
    marks = ", ".join("?" for _ in _DETAILS)
    names = ", ".join(_DETAILS)
    connection.executemany(f"INSERT INTO scanned ({names}) VALUES ({marks})", _details(reader, cache, rates))


_DETAILS = ("request_key", *DIMENSIONS, "last_at", *COUNTS)


def _details(reader: Reader, cache: UsageCache, rates: RateCard) -> Iterator[tuple[Any, ...]]:
    columns = ", ".join(("at", "last_at", "partial", "replay", "synthetic", *_GROWING, *_SAID))
    known = f"SELECT {columns} FROM main.requests WHERE request_key = ?"
    copies, owners, cached = cache.copies(), _Owners(reader, cache), cache.requests()
    found = chain(cached.items(), ((key, None) for key in owners.moved() if key not in cached))
    for key, facts in found:
        row = reader.row(known, (key,))
        if row is not None:
            facts = _of_row(row) if facts is None else _joined(key, facts, _of_row(row))
        if facts is not None and (row is not None or key in copies):
            facts[scan.SESSION] = owners.of(key, facts, row, copies.get(key, ()))
        counts = None if facts is None else counts_of(facts, rates)
        if facts is not None and counts is not None:
            yield (key, *dimensions_of(facts), moment(facts), *counts)


def _joined(key: str, facts: list[Any], others: list[Any]) -> list[Any]:
    """Return what cache and index know of one request, as one reading of all its lines would have it."""
    both = scan.UsageScan({key: others})
    both.merge(scan.UsageScan({key: facts}))
    return both.requests[key]


def _of_row(row: dict[str, Any]) -> list[Any]:
    """Return what the index knows of a request in the form of a scanned one."""
    mine: list[Any] = [None] * (scan.ENDED + 1)
    for name, place in (*_GROWING.items(), *_SAID.items()):
        mine[place] = row[name]
    if row["nested"] or row["replay"]:
        mine[scan.RANK] = scan.RANK_PROGRESS if row["nested"] else scan.RANK_ASIDE
    else:
        mine[scan.RANK] = scan.RANK_SIDECHAIN if row["sidechain"] else scan.RANK_MAIN
    mine[scan.AT] = scan.UNKNOWN_TIME if row["at"] is None else row["at"]
    mine[scan.LAST_AT] = row["last_at"] or 0
    mine[scan.ENDED] = 0 if row["partial"] else 1
    for name, place in (("sidechain", scan.SIDECHAIN), ("nested", scan.NESTED), ("replay", scan.REPLAY)):
        mine[place] = row[name] or 0
    mine[scan.SYNTHETIC] = row["synthetic"] or 0
    return mine


class _Owners:
    """Whose is what index and cache both hold: see `events.ownership`."""

    def __init__(self, reader: Reader, cache: UsageCache) -> None:
        self._reader = reader
        self._cache = cache
        self._groups: dict[str, str] = dict(
            reader.connection.execute("SELECT sessions, owner FROM main.owners")
        )
        self._ends: dict[str, int | None] = {}

    def moved(self) -> Iterator[str]:
        """Yield the requests of the index whose owner is another by what the cache knows of the sessions' ends."""
        query = "SELECT key FROM main.contested WHERE entity = 'request' AND sessions = ?"
        seen = {name for (name,) in self._cache.connection.execute("SELECT session_id FROM sessions")}
        for group, owner in self._groups.items():
            claimants = json.loads(group)
            if not seen.isdisjoint(claimants) and self._first(claimants) != owner:
                yield from (key for (key,) in self._reader.connection.execute(query, (group,)))

    def of(self, key: str, facts: list[Any], row: dict[str, Any] | None, cached: Iterable[str]) -> Any:
        """Return the session that owns a request.

        Args:
            key: The request's.
            facts: What is known of it.
            row: What the index knows, if anything.
            cached: The sessions that claim it in the cache, where there are several.
        """
        claimants = {*cached, facts[scan.CLAIMANT]}
        if row is not None and not row["replay"]:
            claimants.add(row["session_id"])
        if self._groups:
            query = "SELECT sessions FROM main.contested WHERE entity = 'request' AND key = ?"
            claimants.update(json.loads(self._reader.value(query, (key,)) or "[]"))
        claimants.discard(None)
        if len(claimants) < 2:
            return next(iter(claimants), facts[scan.SESSION])
        return self._first(claimants)

    def _first(self, claimants: Collection[str]) -> str:
        return owner_of(claimants, {session: self._end(session) for session in claimants})

    def _end(self, session: str) -> int | None:
        if session not in self._ends:
            query = "SELECT transcript_last_at, forked_from FROM main.sessions WHERE session_id = ?"
            row = self._reader.row(query, (session,)) or {}
            scanned = self._cache.sessions([session]).get(session)
            known = (row.get("transcript_last_at"), scanned and scanned[scan.SESSION_LAST])
            self._ends[session] = end_of(
                {**row, "transcript_last_at": max(filter(None, known), default=None)}
            )
        return self._ends[session]


def sums_of(requests: Iterable[list[Any]], rates: RateCard, sign: int = 1) -> list[Sums]:
    """Return the sums of some requests as rows of the cache; with a negative sign such as take away."""
    found: dict[tuple[Any, ...], Sums] = {}
    for facts in requests:
        counts = counts_of(facts, rates)
        if counts is None:
            continue
        key = dimensions_of(facts)
        sums = found.get(key)
        if sums is None:
            found[key] = list(counts)
            continue
        # Spelt out, as this is done for every request of a first bill.
        (
            requests_,
            fresh,
            output,
            five,
            hour,
            read,
            searches,
            cost,
            reported,
            computed,
            free,
            partial_,
            nested,
        ) = counts
        sums[0] += requests_
        sums[1] += fresh
        sums[2] += output
        sums[3] += five
        sums[4] += hour
        sums[5] += read
        sums[7] += cost
        sums[8] += reported
        sums[9] += computed
        sums[11] += partial_
        if searches or free or nested:
            sums[6] += searches
            sums[10] += free
            sums[12] += nested
    if sign < 0:
        return [[*key, *(-count for count in sums)] for key, sums in found.items()]
    return [[*key, *sums] for key, sums in found.items()]


def dimensions_of(facts: list[Any]) -> tuple[Any, ...]:
    """Return a scanned request's value of each of the cache's dimensions."""
    at = facts[scan.LAST_AT]
    agent = facts[scan.AGENT] or ("sidechain" if facts[scan.SIDECHAIN] else None)
    return (
        at - at % QUARTER_MS if at else None,
        facts[scan.SESSION],
        facts[scan.MODEL],
        agent,
        facts[scan.BRANCH],
        facts[scan.SKILL],
        facts[scan.SERVER],
    )


def moment(facts: list[Any]) -> int | None:
    """Return when a scanned request's answer was complete, in epoch milliseconds."""
    return facts[scan.LAST_AT] or None


def counts_of(facts: list[Any], rates: RateCard) -> tuple[int, ...] | None:
    """Return what a scanned request adds to each of the cache's counts, or ``None`` for one that is none."""
    if facts[scan.SYNTHETIC]:
        return None
    fresh, output, read = facts[scan.INPUT], facts[scan.OUTPUT], facts[scan.READ] or 0
    hour = facts[scan.WRITE_1H] or 0
    five = max(facts[scan.WRITE_5M] or 0, (facts[scan.WRITE] or 0) - hour)  # as `split_cache_writes` does
    searches, reported = facts[scan.SEARCHES] or 0, facts[scan.REPORTED]
    cost = reported
    if reported is None and (fresh is not None or output is not None):
        terms = (
            facts[scan.MODEL], facts[scan.LAST_AT] or None, facts[scan.TIER], facts[scan.SPEED], facts[scan.REGION]
        )  # fmt: skip
        cost = rates.price(terms, fresh or 0, output or 0, five, hour, read, searches)
    computed = 1 if reported is None and cost is not None else 0
    return (
        1, fresh or 0, output or 0, five, hour, read, searches, cost or 0,
        0 if reported is None else 1, computed, 1 if cost is None else 0,
        0 if facts[scan.ENDED] else 1, facts[scan.NESTED],
    )  # fmt: skip
