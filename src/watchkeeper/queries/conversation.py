"""One session as a conversation: turns in order, each with its prompt, what followed, and what it cost.

Texts and payloads come whole from ledger and archive, so that a conversation reads the same after the agent has deleted
its transcript. What redaction took is a placeholder there, and counted here.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from watchkeeper.errors import FormatError, NotFoundError
from watchkeeper.events.derive import values_of
from watchkeeper.events.merge import decode_state
from watchkeeper.queries.calls import unified_diff
from watchkeeper.queries.forms import dollars
from watchkeeper.queries.sessions import get_session
from watchkeeper.queries.timeline import timeline
from watchkeeper.sources.claude_code.transcripts import content_text
from watchkeeper.store.payloads import Payloads
from watchkeeper.store.sqlite.reading import Reader
from watchkeeper.store.tables import ENTITY_NUMBERS

Item = dict[str, Any]

_ALL = 1 << 30
_PLACEHOLDER = re.compile(r"\[REDACTED:([A-Za-z0-9_.-]+)")
_TOKENS = ("input_tokens", "output_tokens", "cache_write_tokens", "cache_read_tokens")
_LATEST_RANGES = 8


def conversation(reader: Reader, session_id: str, now_ms: int | None = None) -> dict[str, Any]:
    """Return a session as turns.

    ==================== ============================================================================================
    key                  value
    ==================== ============================================================================================
    ``session``          the session's row (`models.SessionRow`)
    ``agents``           its subagents
    ``turns``            ``{number, at, ended_at, prompt, items, usage}``; turn 0, where there is one, is what came
                         before the first prompt. ``prompt`` is ``{text, at, origin, ...}``
    ``turns[].items``    in order of time: ``{kind, at, agent_id, depth, name, text, call, input, result, stdout,
                         stderr, diff, unavailable}``; kind is text, thinking, call, subagent, event, gap or finding
    ``usage``            requests, tokens by kind, cost with its provenance; the turns' add up to the session's
    ``forked_from``      the session that holds what came before, where this one is a fork
    ``masked``           placeholders in what is shown, by rule
    ``unavailable``      items whose payload the record no longer holds
    ==================== ============================================================================================

    Args:
        reader: The index.
        session_id: The id, or a beginning of it that fits only one session.
        now_ms: The present time; the clock's when absent.

    Raises:
        NotFoundError: No session has this id.
        UsageError: Several sessions begin so.
    """
    now = int(time.time() * 1000) if now_ms is None else now_ms
    detail = get_session(reader, session_id, now)
    full = detail["session"]["session_id"]
    source = _Contents(reader, detail["agents"])
    turns = _turns(timeline(reader, full, limit=_ALL, now_ms=now)["items"], source)
    requests = list(
        reader.rows(
            "SELECT * FROM requests WHERE session_id = ? AND counted = 1 ORDER BY at, request_key",
            (full,),
        )
    )
    for turn, share in zip(turns, _by_turn(turns, requests), strict=True):
        turn["usage"] = usage_of(share)
        del turn["start"]
    return {
        "session": detail["session"],
        "agents": detail["agents"],
        "turns": turns,
        "usage": usage_of(requests),
        "forked_from": reader.value("SELECT forked_from FROM sessions WHERE session_id = ?", (full,)),
        "masked": dict(sorted(source.masked.items())),
        "unavailable": source.unavailable,
    }


def usage_of(requests: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return what some requests used: tokens, cost, and where the cost comes from."""
    rows = list(requests)
    priced = [row["cost_micros"] for row in rows if row["cost_micros"] is not None]
    basis = Counter(row["cost_basis"] for row in rows if row["cost_micros"] is not None)
    return {
        "requests": len(rows),
        **{name: sum(row[name] or 0 for row in rows) for name in _TOKENS},
        "lower_bound": any(row["partial"] for row in rows),
        "cost_usd": dollars(sum(priced)) if priced or not rows else None,
        "cost_micros": sum(priced) if priced or not rows else None,
        "cost_basis": {"reported": basis["reported"], "computed": basis["computed"], "estimated": 0},
        "unpriced_requests": len(rows) - len(priced),
        "models": sorted({row["model"] for row in rows if row["model"]}),
    }


class _Remembering(Payloads):
    """Payloads whose neighbours are asked for next: the last ranges are kept."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._ranges: dict[tuple[str, int], bytes] = {}

    def range_content(self, row: dict[str, Any]) -> bytes:
        """Return the archived lines of a range, from memory where it was asked for lately."""
        key = (str(row["pack"]), int(row["position"] or 0))
        found = self._ranges.pop(key, None)
        if found is None:
            found = super().range_content(row)
        self._ranges[key] = found
        while len(self._ranges) > _LATEST_RANGES:
            del self._ranges[next(iter(self._ranges))]
        return found


class _Contents:
    """Fetches what the items only begin to say."""

    def __init__(self, reader: Reader, agents: list[dict[str, Any]]) -> None:
        self._reader = reader
        self._payloads = _Remembering(reader)
        self._agents = {agent["agent_id"]: agent for agent in agents}
        self._agent_of_call: dict[str, str | None] = {}
        self.masked: Counter[str] = Counter()
        self.unavailable = 0

    def prompt(self, item: Item) -> dict[str, Any]:
        """Return a prompt in full."""
        text, missing = self._text("prompt", item)
        known = {name: value for name, value in item["data"].items() if name != "witnesses"}
        return {"text": text, "at": item["at"], "unavailable": missing} | known

    def item(self, item: Item) -> Item:
        """Return one item in the conversation's form."""
        kind = item["name"] if item["kind"] == "message" else item["kind"]
        shown: Item = {
            "kind": kind if kind in {"text", "thinking"} or item["kind"] != "message" else "text",
            "at": item["at"],
            "agent_id": item["agent_id"],
            "depth": self._depth(item["agent_id"]),
            "name": item["name"],
            "text": item["text"],
            "call": item["call"],
            "unavailable": None,
        }
        if item["kind"] == "message":
            shown["text"], shown["unavailable"] = self._text("message", item)
        elif item["kind"] == "call":
            self._agent_of_call[item["call"]["tool_use_id"]] = item["agent_id"]
            shown |= self._call(item)
        elif item["text"]:
            self._count(item["text"])
        return shown

    def _text(self, entity: str, item: Item) -> tuple[str | None, str | None]:
        value, missing = self._resolve(self._facts(entity, item).get("ref"))
        text = value if isinstance(value, str) else content_text(value) or item["text"]
        self._count(text)
        return text, missing

    def _call(self, item: Item) -> Item:
        facts = self._facts("call", item)
        arguments, lost = self._resolve(facts.get("input"))
        response, lost_response = self._resolve(facts.get("response"))
        result, lost_result = self._resolve(facts.get("result"))
        output = response if isinstance(response, dict) else {}
        shown = {
            "input": arguments,
            "result": content_text(result) if result is not None else None,
            "stdout": output.get("stdout") if isinstance(output.get("stdout"), str) else None,
            "stderr": output.get("stderr") if isinstance(output.get("stderr"), str) else None,
            "diff": unified_diff(item["name"], arguments, response),
            "unavailable": lost or lost_result or lost_response,
        }
        self._count(*strings(arguments), shown["result"] or shown["stdout"])
        return shown

    def _facts(self, entity: str, item: Item) -> dict[str, Any]:
        state = self._reader.value(
            "SELECT state FROM facts WHERE entity = ? AND key = ?",
            (ENTITY_NUMBERS[entity], item["key"].partition(":")[2]),
        )
        return {} if state is None else values_of(entity, decode_state(state))

    def _resolve(self, reference: list[Any] | None) -> tuple[Any, str | None]:
        try:
            return self._payloads.resolve(reference), None
        except (NotFoundError, FormatError) as error:
            # An erased or damaged payload costs itself only.
            self.unavailable += 1
            return None, str(error)

    def _count(self, *texts: str | None) -> None:
        for text in texts:
            if text and "[REDACTED:" in text:
                self.masked.update(_PLACEHOLDER.findall(text))

    def _depth(self, agent_id: str | None) -> int:
        depth, seen = 0, set()
        while agent_id and agent_id not in seen:
            seen.add(agent_id)
            depth += 1
            call = self._agents.get(agent_id, {}).get("parent_tool_use_id")
            agent_id = self._agent_of_call.get(call) if call else None
        return depth


def strings(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def _turns(items: Iterable[Item], source: _Contents) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    early: list[Item] = []
    for item in items:
        if item["kind"] == "prompt":
            number = turns[-1]["number"] + 1 if turns else 1
            turns.append(_turn(number, item, source.prompt(item)))
        elif not turns and item["kind"] == "gap":
            # What nobody saw opens no turn; it stands at the head of the first.
            early.append(source.item(item))
        else:
            if not turns:
                turns.append(_turn(0, item, None))
            turns[-1]["items"].append(source.item(item))
            turns[-1]["ended_at"] = item["at"] or turns[-1]["ended_at"]
    turns = turns or [_turn(0, {"at": None, "order": 0}, None)]
    turns[0]["items"][:0] = early
    return turns


def _turn(number: int, item: Item, prompt: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "number": number,
        "at": item["at"],
        "ended_at": item["at"],
        "start": item["order"],
        "prompt": prompt,
        "items": [],
    }


def _by_turn(turns: list[dict[str, Any]], requests: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Give each request to the turn that it began in, the first one where its time is not known or too early."""
    shares: list[list[dict[str, Any]]] = [[] for _ in turns]
    starts = [turn["start"] for turn in turns]
    for request in requests:
        at = request["at"] or 0
        shares[max(0, bisect_right(starts, at) - 1)].append(request)
    return shares
