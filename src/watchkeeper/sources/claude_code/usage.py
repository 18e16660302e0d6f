"""Reads the ``usage`` object of an API answer.

``input_tokens`` counts only what no cache held. ``cache_creation_input_tokens`` is the sum of the 5-minute and 1-hour
writes; older clients give the sum alone. ``iterations`` are already inside the totals.
"""

from __future__ import annotations

from typing import Any

from watchkeeper.events.identity import whole_number


def micro_dollars(dollars: Any) -> int | None:
    """Return an amount in US dollars as integer micro-dollars, or ``None`` for what is no amount."""
    if isinstance(dollars, bool) or not isinstance(dollars, int | float) or dollars < 0:
        return None
    return whole_number(dollars * 1_000_000)


def usage_facts(usage: Any, cost_usd: Any = None) -> dict[str, Any]:
    """Return the request facts of a usage object; counts that are missing, null or negative are not said.

    Args:
        usage: The provider's usage object, or anything else.
        cost_usd: ``costUSD`` of the line, which clients of the 1.0 series wrote.
    """
    cost = micro_dollars(cost_usd)
    facts: dict[str, Any] = {} if cost is None else {"reported_micros": cost}
    if not isinstance(usage, dict):
        return facts
    created = usage.get("cache_creation")
    created = created if isinstance(created, dict) else {}
    tools = usage.get("server_tool_use")
    tools = tools if isinstance(tools, dict) else {}
    counts = {
        "input_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cache_write_tokens": usage.get("cache_creation_input_tokens"),
        "cache_write_5m_tokens": created.get("ephemeral_5m_input_tokens"),
        "cache_write_1h_tokens": created.get("ephemeral_1h_input_tokens"),
        "cache_read_tokens": usage.get("cache_read_input_tokens"),
        "web_searches": tools.get("web_search_requests"),
    }
    for name, value in counts.items():
        count = whole_number(value)
        if count is not None and count >= 0:
            facts[name] = count
    words = {
        "service_tier": usage.get("service_tier"),
        "speed": usage.get("speed"),
        "region": usage.get("inference_geo"),
    }
    facts.update({name: value for name, value in words.items() if isinstance(value, str) and value})
    return facts
