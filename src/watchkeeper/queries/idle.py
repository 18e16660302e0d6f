"""Definitions that every request carries and nothing uses: MCP servers and skills, over the newest sessions.

Which tools and skills a session was offered stands in its archived lines, for clients that write them; so only the
newest sessions of a stretch are looked at, and how many is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from watchkeeper.pricing.rates import RateCard
from watchkeeper.queries.context_sources import offered_at_start
from watchkeeper.queries.forms import dollars, words
from watchkeeper.queries.stats import COUNTED
from watchkeeper.queries.stretches import Stretch
from watchkeeper.store.sqlite.reading import Reader

LOOKED_AT = 40
"""Sessions whose archived lines are read for one answer."""
LEAST_TOKENS = 50
"""What takes less is not worth a word."""
_SINCE = (2, 1, 200)
"""Older clients do not write the shape of their requests."""


@dataclass(slots=True)
class _Offer:
    """What one server or skill took in the sessions that were looked at."""

    sessions: int = 0
    used: int = 0
    tokens: int = 0
    micros: int | None = 0
    tools: set[str] = field(default_factory=set)


def idle_definitions(reader: Reader, stretch: Stretch, card: RateCard) -> dict[str, Any]:
    """Return ``{"looked_at": sessions, "idle": [...]}``: servers and skills that were offered and never used.

    Tokens are those of one request, estimated from the definitions' sizes; the cost is that of reading them from the
    cache with every request of the main agent.
    """
    writing = {
        session
        for session, versions in reader.connection.execute("SELECT session_id, versions FROM sessions")
        if any(version_key(version) >= _SINCE for version in words(versions))
    }
    sessions = reader.connection.execute(
        f"SELECT session_id, max(model), count(*), max(at) FROM requests WHERE {stretch.of_requests()} AND {COUNTED}"
        " AND agent_id IS NULL GROUP BY session_id ORDER BY 4 DESC, 1",
        stretch.bindings,
    )
    offers: dict[tuple[str, str], _Offer] = {}
    looked_at = 0
    for session, model, requests, at in [row for row in sessions if row[0] in writing][:LOOKED_AT]:
        found = _of_session(reader, session, model)
        looked_at += bool(found)
        for key, (tokens, used, tools) in found.items():
            offer = offers.setdefault(key, _Offer())
            offer.sessions += 1
            offer.used += used
            offer.tokens = max(offer.tokens, tokens)
            offer.tools |= tools
            cost = _carried(card, tokens * requests, model, at)
            offer.micros = None if offer.micros is None or cost is None else offer.micros + cost
    idle: list[dict[str, Any]] = [
        {
            "kind": kind,
            "name": name,
            "sessions": offer.sessions,
            "tools": len(offer.tools),
            "tokens": offer.tokens,
            "cost_usd": dollars(offer.micros),
            "cost_basis": "estimated",
        }
        for (kind, name), offer in offers.items()
        if not offer.used and offer.tokens >= LEAST_TOKENS
    ]
    idle.sort(key=lambda row: (row["kind"] != "mcp_server", -row["tokens"], row["name"]))
    return {"looked_at": looked_at, "idle": idle}


def version_key(version: str) -> tuple[int, ...]:
    """Return a version as numbers that can be compared."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


def _of_session(
    reader: Reader, session: str, model: str | None
) -> dict[tuple[str, str], tuple[int, bool, set[str]]]:
    """Return for each MCP server and skill that a session was offered: tokens, whether it was used, and tools."""
    found: dict[tuple[str, str], tuple[int, bool, set[str]]] = {}
    for item in offered_at_start(reader, session, model):
        key = ("skill", item.label)
        if item.kind == "tool definition":
            parts = item.label.split("__")
            if parts[0] != "mcp" or len(parts) < 3:
                continue
            key = ("mcp_server", parts[1])
        tokens, used, tools = found.get(key, (0, False, set()))
        found[key] = (tokens + item.estimate, used or bool(item.used), tools | {item.label})
    return found


def _carried(card: RateCard, tokens: int, model: str | None, at: int | None) -> int | None:
    return card.cost(
        model=model,
        at_ms=at,
        input_tokens=0,
        output_tokens=0,
        cache_write_tokens=0,
        cache_write_5m_tokens=0,
        cache_write_1h_tokens=0,
        cache_read_tokens=tokens,
        web_searches=0,
        service_tier=None,
        speed=None,
        region=None,
    )
