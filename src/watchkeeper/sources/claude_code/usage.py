"""Reads the ``usage`` object of an API answer, and the client's own totals by model.

``input_tokens`` counts only what no cache held. ``cache_creation_input_tokens`` is the sum of the 5-minute and 1-hour
writes; older clients give the sum alone. ``iterations`` are already inside the totals.
"""

from __future__ import annotations

from typing import Any

from watchkeeper.events.identity import LARGEST_NUMBER, whole_number


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


_CLIENT_COUNTS = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "thinking_tokens": "thinkingTokens",
    "cache_write_tokens": "cacheCreationInputTokens",
    "cache_read_tokens": "cacheReadInputTokens",
    "web_searches": "webSearchRequests",
}


def client_usage(models: Any) -> tuple[dict[str, dict[str, int]], int]:
    """Return the client's own totals by model (``modelUsage`` of a ``cost-state`` line), and how much they count.

    They include what no transcript holds: the requests of helper models. Counts are tokens, ``cost_micros``
    micro-dollars; what is not said is absent. The second value only grows from one state of a session to the next.
    """
    found: dict[str, dict[str, int]] = {}
    for model, said in models.items() if isinstance(models, dict) else ():
        if not isinstance(said, dict) or not model:
            continue
        counts = {name: whole_number(said.get(key)) for name, key in _CLIENT_COUNTS.items()}
        counts["cost_micros"] = micro_dollars(said.get("costUSD"))
        found[model] = {name: count for name, count in counts.items() if count is not None and count >= 0}
    return found, min(sum(sum(counts.values()) for counts in found.values()), LARGEST_NUMBER)
