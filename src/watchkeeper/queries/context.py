"""The context of a session: its size at every request, what filled it, and what carrying that along cost.

Sizes and totals are the provider's own. What each item takes of them is estimated (`context_model`). The costs of all
items add up to the cost of the session's input, in micro-dollars and exactly; output is beside it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from math import lcm
from typing import Any

from watchkeeper.events.identity import whole_number
from watchkeeper.pricing.rates import RateCard, Rates
from watchkeeper.queries.context_model import UNSEEN, Item, Lane, Sent
from watchkeeper.queries.context_sources import Extras, extras_of
from watchkeeper.queries.forms import dollars, project_name, rfc3339
from watchkeeper.queries.shares import divide
from watchkeeper.queries.stats import COUNTED
from watchkeeper.queries.token_estimates import estimated_tokens, kind_of_path
from watchkeeper.sources.claude_code.transcript_view import text_of
from watchkeeper.store.sqlite.reading import Reader

Row = dict[str, Any]
LaneKey = tuple[str | None, int]

_FILE_TOOLS = frozenset({"Read", "NotebookRead", "Edit", "MultiEdit", "NotebookEdit", "Write"})
_SMALL_WINDOW, _LARGE_WINDOW = 200_000, 1_000_000


def session_context(
    reader: Reader, session_id: str, card: RateCard, *, limit: int | None = None
) -> dict[str, Any]:
    """Return what filled the contexts of a session and what it cost.

    Args:
        reader: The index.
        session_id: The whole id.
        card: The prices, to tell input from output and each item from the others.
        limit: Items to list, dearest first; all when absent.
    """
    requests = list(
        reader.rows(
            f"SELECT * FROM requests WHERE session_id = ? AND {COUNTED} ORDER BY at IS NULL, at, request_key",
            (session_id,),
        )
    )
    compactions = _compactions(reader, session_id)
    prices = _Prices(card, requests)
    model = next((row["model"] for row in requests if row["model"]), None)
    lanes = _lanes(requests)
    extras: dict[LaneKey, Extras] = {(None, 0): extras_of(reader, session_id, model)}
    if extras[None, 0].definitions or extras[None, 0].attached:
        # Of the same client: subagents' files say the same about theirs.
        for agent, inline in lanes:
            if agent is not None:
                extras[agent, inline] = extras_of(reader, session_id, lanes[agent, inline][0]["model"], agent)
    arrivals = _Arrivals(reader, session_id, extras)
    charged: list[tuple[LaneKey, Item]] = []
    series: list[Row] = []
    for key, rows in lanes.items():
        items, points = _run(key, rows, arrivals, compactions, prices)
        charged += [(key, item) for item in items]
        series += points
    series.sort(key=lambda point: (point["at"] is None, point["at"] or "", point["request_key"]))
    return _document(
        reader, session_id, requests, series, charged, prices, compactions, extras[None, 0], limit
    )


def _lanes(requests: list[Row]) -> dict[LaneKey, list[Row]]:
    lanes: dict[LaneKey, list[Row]] = defaultdict(list)
    for row in requests:
        lanes[row["agent_id"], 1 if row["sidechain"] and row["agent_id"] is None else 0].append(row)
    return lanes


class _Prices:
    """The rates of every request in one unit, and how its cost divides into input and output."""

    def __init__(self, card: RateCard, requests: list[Row]) -> None:
        self._rates: dict[str, Rates | None] = {}
        for row in requests:
            found = card.rates_for(
                row["model"],
                row["at"],
                service_tier=row["service_tier"],
                speed=row["speed"],
                region=row["region"],
                prompt_tokens=prompt_tokens(row),
            )
            known = found is not None and row["cost_micros"] is not None and None not in found.rates
            self._rates[row["request_key"]] = found if known else None
        self._unit = lcm(*(rates.scale for rates in self._rates.values() if rates is not None))

    def of(self, row: Row) -> tuple[int, int, int, int] | None:
        """Return the rates of what was read, written for five minutes, written for an hour, and fresh."""
        rates = self._rates[row["request_key"]]
        if rates is None:
            return None
        times = self._unit // rates.scale
        fresh, _output, short, long, read = (int(rate or 0) * times for rate in rates.rates)
        return read, short, long, fresh

    def input_micros(self, row: Row) -> int | None:
        """Return the part of a request's cost that its input made, in micro-dollars; ``None`` where unpriced."""
        rates = self._rates[row["request_key"]]
        if rates is None:
            return None
        fresh, output, short, long, read = (int(rate or 0) for rate in rates.rates)
        sent = sent_of(row)
        inside = sent.read * read + sent.written_5m * short + sent.written_1h * long + sent.fresh * fresh
        outside = (row["output_tokens"] or 0) * output + (row["web_searches"] or 0) * rates.web_search
        return divide(row["cost_micros"], [inside, outside])[0]


def sent_of(row: Row) -> Sent:
    """Return what a request sent; writes that are not split are for five minutes."""
    long = row["cache_write_1h_tokens"] or 0
    short = max(row["cache_write_5m_tokens"] or 0, (row["cache_write_tokens"] or 0) - long)
    return Sent(row["cache_read_tokens"] or 0, short, long, row["input_tokens"] or 0)


def prompt_tokens(row: Row) -> int:
    """Return the size of the context that a request sent."""
    return sent_of(row).tokens


class _Arrivals:
    """The items that came into a context before each request, from what is on record."""

    def __init__(self, reader: Reader, session_id: str, extras: dict[LaneKey, Extras]) -> None:
        self._calls: dict[str, list[Row]] = defaultdict(list)
        for row in reader.rows(
            "SELECT tool_use_id, message_id, tool, subject, input_size, result_size FROM calls WHERE session_id = ?"
            " ORDER BY started_at, tool_use_id",
            (session_id,),
        ):
            self._calls[row["message_id"]].append(row)
        self._messages: dict[str, list[Row]] = defaultdict(list)
        for row in reader.rows(
            "SELECT message_id, kind, text, size FROM messages WHERE session_id = ? AND role = 'assistant'"
            " ORDER BY at, message_key",
            (session_id,),
        ):
            self._messages[row["message_id"]].append(row)
        prompts = reader.rows(
            "SELECT at, text, size FROM prompts WHERE session_id = ? ORDER BY at IS NULL, at, prompt_key",
            (session_id,),
        )
        self._waiting = [(row["at"], row) for row in prompts]
        self._attached = {
            key: sorted(found.attached, key=lambda pair: pair[0] or 0) for key, found in extras.items()
        }
        self._definitions = {key: found.definitions for key, found in extras.items()}

    def before(self, key: LaneKey, row: Row, previous: Row | None) -> list[Item]:
        """Return what came between a request and the one before it in the same lane, oldest first."""
        model = row["model"]
        items = self.of_answer(previous, model) if previous is not None else []
        if previous is None:
            items += self._definitions.get(key, ())
        at = row["at"]
        attached = self._attached.get(key)
        while attached and (at is None or (attached[0][0] or 0) <= at):
            items.append(attached.pop(0)[1])
        if key != (None, 0):
            return items
        while self._waiting and at is not None and (self._waiting[0][0] or 0) <= at:
            prompt = self._waiting.pop(0)[1]
            label = " ".join((prompt["text"] or "").split())[:120]
            size = prompt["size"] if prompt["size"] is not None else len(prompt["text"] or "")
            items.append(Item("prompt", label, estimated_tokens(size, "prose", model)))
        return items

    def of_answer(self, row: Row, model: str | None) -> list[Item]:
        """Return what an answer left in the context: its texts, its calls and their results."""
        items, thinking = [], []
        for message in self._messages.get(row["request_key"], ()):
            kind = "thinking" if message["kind"] == "thinking" else "answer"
            label = " ".join((message["text"] or "").split())[:80]
            item = Item(kind, label, estimated_tokens(message["size"], "prose", model))
            items.append(item)
            if kind == "thinking":
                thinking.append(item)
        results = []
        for call in self._calls.get(row["request_key"], ()):
            named = {"tool": call["tool"], "tool_use_id": call["tool_use_id"]}
            label = call["subject"] or call["tool"] or "unknown tool"
            text = kind_of_path(label) if call["tool"] in _FILE_TOOLS else "code"
            items.append(
                Item("tool input", label, estimated_tokens(call["input_size"], text, model), **named)
            )
            results.append(
                Item("tool result", label, estimated_tokens(call["result_size"], text, model), **named)
            )
        if thinking and not row["partial"]:
            # Thinking is often shown shortened; what the answer is longer than all else in it, was thought.
            others = sum(item.estimate for item in items if item.kind != "thinking")
            thought = (row["output_tokens"] or 0) - others
            if thought > sum(item.estimate for item in thinking):
                thinking[0].estimate += thought - sum(item.estimate for item in thinking)
        return items + results


def _compactions(reader: Reader, session_id: str) -> dict[LaneKey, list[Row]]:
    found: dict[LaneKey, list[Row]] = defaultdict(list)
    for row in reader.rows(
        "SELECT at, agent_id, data FROM events WHERE session_id = ? AND name = 'compact_boundary' AND at IS NOT NULL"
        " ORDER BY at, event_key",
        (session_id,),
    ):
        data = json.loads(row["data"]) if row["data"] else {}
        meta = data.get("compactMetadata")
        meta = meta if isinstance(meta, dict) else {}
        found[row["agent_id"], 0].append(
            {
                "agent_id": row["agent_id"],
                "ms": row["at"],
                "at": rfc3339(row["at"]),
                "trigger": text_of(meta.get("trigger")),
                "pre_tokens": whole_number(meta.get("preTokens")),
                "post_tokens": whole_number(meta.get("postTokens")),
                "basis": "reported",
            }
        )
    return found


def _run(
    key: LaneKey, rows: list[Row], arrivals: _Arrivals, compactions: dict[LaneKey, list[Row]], prices: _Prices
) -> tuple[list[Item], list[Row]]:
    lane, points, previous = Lane(), [], None
    waiting = list(compactions.get(key, ()))
    for row in rows:
        sent = sent_of(row)
        sent.rates = prices.of(row) or (0, 0, 0, 0)
        while waiting and row["at"] is not None and waiting[0]["ms"] <= row["at"]:
            _complete(waiting.pop(0), previous, sent)
            sent.compacted = previous is not None
        lane.send(sent, arrivals.before(key, row, previous))
        points.append(_point(row, sent, previous, prices))
        previous = row
    return lane.finish(), points


def _complete(compaction: Row, previous: Row | None, sent: Sent) -> None:
    """Fill in the sizes that the client did not write, from the requests around the compaction."""
    if compaction["pre_tokens"] is None and previous is not None:
        compaction["pre_tokens"], compaction["basis"] = prompt_tokens(previous), "computed"
    if compaction["post_tokens"] is None:
        compaction["post_tokens"], compaction["basis"] = sent.tokens, "computed"


def _point(row: Row, sent: Sent, previous: Row | None, prices: _Prices) -> Row:
    return {
        "request_key": row["request_key"],
        "agent_id": row["agent_id"],
        "sidechain": bool(row["sidechain"]),
        "at": rfc3339(row["at"]),
        "model": row["model"],
        "tokens": sent.tokens,
        "growth": None if previous is None else sent.tokens - prompt_tokens(previous),
        "input_tokens": sent.fresh,
        "cache_write_tokens": sent.written_5m + sent.written_1h,
        "cache_read_tokens": sent.read,
        "output_tokens": row["output_tokens"],
        "compacted": sent.compacted,
        "input_cost_usd": dollars(prices.input_micros(row)),
    }


def _document(
    reader: Reader,
    session_id: str,
    requests: list[Row],
    series: list[Row],
    charged: list[tuple[LaneKey, Item]],
    prices: _Prices,
    compactions: dict[LaneKey, list[Row]],
    extras: Extras,
    limit: int | None,
) -> dict[str, Any]:
    priced = [row for row in requests if prices.input_micros(row) is not None]
    input_micros = sum(prices.input_micros(row) or 0 for row in priced)
    whole = sum(row["cost_micros"] for row in priced)
    items = _priced(charged, input_micros)
    path = reader.value(
        "SELECT coalesce(project_path, cwd) FROM sessions WHERE session_id = ?", (session_id,)
    )
    sizes = [point["tokens"] for point in series if point["agent_id"] is None and not point["sidechain"]]
    peak = max((point["tokens"] for point in series), default=None)
    named = any("[1m]" in (row["model"] or "") for row in requests)
    listed = sorted(items, key=lambda row: (-row["cost_micros"], -row["tokens"], row["label"]))
    return {
        "session_id": session_id,
        "project": project_name(path),
        "window_tokens": _LARGE_WINDOW if named or (peak or 0) > _SMALL_WINDOW else _SMALL_WINDOW,
        "window_basis": "reported" if named else "assumed",
        "peak_tokens": peak,
        "last_tokens": sizes[-1] if sizes else None,
        "agents": _agents(series),
        "requests": series,
        "compactions": [
            {name: value for name, value in row.items() if name != "ms"}
            for rows in compactions.values()
            for row in rows
        ],
        "by_kind": _grouped(items, "kind", lambda _row: True),
        "by_tool": _grouped(items, "tool", lambda row: row["kind"] in {"tool input", "tool result"}),
        "by_file": _grouped(items, "label", lambda row: row["tool"] in _FILE_TOOLS)[:limit],
        "items": [_published(row) for row in listed[:limit]],
        "items_total": len(items),
        "offered": _offered(items, extras),
        "input_cost_usd": dollars(input_micros) if priced or not requests else None,
        "output_cost_usd": dollars(whole - input_micros) if priced or not requests else None,
        "cost_usd": dollars(whole) if priced or not requests else None,
        "remainder_usd": dollars(sum(row["cost_micros"] for row in items if row["kind"] == UNSEEN)),
        "unpriced_requests": len(requests) - len(priced),
        "estimated": "tokens and cost of items: sizes of their texts, fitted to the exact totals of the requests",
    }


def _agents(series: list[Row]) -> list[Row]:
    """Return each agent with its requests and the largest size of its context, in the order of their first request."""
    found: dict[tuple[str | None, bool], Row] = {}
    for point in series:
        key = point["agent_id"], point["sidechain"] and point["agent_id"] is None
        new = {"agent_id": key[0], "sidechain": point["sidechain"], "requests": 0, "peak_tokens": 0}
        agent = found.setdefault(key, new)
        agent["requests"] += 1
        agent["peak_tokens"] = max(agent["peak_tokens"], point["tokens"])
    return list(found.values())


def _priced(charged: list[tuple[LaneKey, Item]], input_micros: int) -> list[Row]:
    """Return the items with their costs in whole micro-dollars, which add up to the cost of the input."""
    weights = [weight for _, item in charged for weight in (item.entry, item.carried)]
    parts = divide(input_micros, weights) if any(weights) else [0] * len(weights)
    return [
        {
            "kind": item.kind,
            "label": item.label,
            "tool": item.tool,
            "tool_use_id": item.tool_use_id,
            "agent_id": key[0],
            "used": item.used,
            "tokens": item.tokens,
            "first_request": item.first + 1,
            "sent": max(0, item.last - item.first + 1) if item.tokens else 0,
            "entry_micros": parts[2 * place],
            "carried_micros": parts[2 * place + 1],
            "cost_micros": parts[2 * place] + parts[2 * place + 1],
        }
        for place, (key, item) in enumerate(charged)
    ]


def _published(row: Row) -> Row:
    return {name: value for name, value in row.items() if not name.endswith("_micros")} | _costs([row])


def _costs(rows: list[Row]) -> Row:
    return {
        f"{name}_usd": dollars(sum(row[f"{part}_micros"] for row in rows))
        for name, part in (("entry_cost", "entry"), ("carried_cost", "carried"), ("cost", "cost"))
    }


def _grouped(items: list[Row], name: str, wanted: Any) -> list[Row]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in items:
        if wanted(row):
            groups[row[name] or "unknown"].append(row)
    order = sorted(groups.items(), key=lambda pair: (-sum(row["cost_micros"] for row in pair[1]), pair[0]))
    return [
        {name: key, "items": len(rows), "tokens": sum(row["tokens"] for row in rows), **_costs(rows)}
        for key, rows in order
    ]


def _offered(items: list[Row], extras: Extras) -> Row | None:
    """Return what the requests offered against what was used; ``None`` where the client did not write their shape."""
    tools = [row for row in items if row["kind"] == "tool definition"]
    skills = [row for row in items if row["kind"] == "skill listing"]
    if not tools and not skills:
        return None
    servers: dict[str, list[Row]] = defaultdict(list)
    for row in tools:
        parts = (row["tool"] or "").split("__")
        if parts[0] == "mcp" and len(parts) > 2:
            servers[parts[1]].append(row)
    return {
        "tools": _use(tools),
        "skills": _use(skills) if extras.skills else None,
        "mcp_servers": [
            {"server": server, "idle": not any(row["used"] for row in rows), **_use(rows)}
            for server, rows in sorted(servers.items())
        ],
    }


def _use(rows: list[Row]) -> Row:
    """Return the use of what was offered, by name: subagents are offered the same, and compactions list it again."""
    used = {row["label"] for row in rows if row["used"]}
    largest: dict[str, Row] = {}
    for row in rows:
        if row["label"] not in largest or row["tokens"] > largest[row["label"]]["tokens"]:
            largest[row["label"]] = row
    idle = [row for row in largest.values() if row["label"] not in used]
    return {
        "offered": len(largest),
        "used": len(largest) - len(idle),
        "tokens": sum(row["tokens"] for row in largest.values()),
        "idle_tokens": sum(row["tokens"] for row in idle),
        "idle_cost_usd": dollars(sum(row["cost_micros"] for row in rows if row["label"] not in used)),
        "unused": [row["label"] for row in sorted(idle, key=lambda row: (-row["tokens"], row["label"]))],
    }
