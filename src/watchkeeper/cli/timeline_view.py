"""A session's timeline as lines of text: one short block per item, trimmed unless all is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from watchkeeper.cli.call_view import body, mark, outcome_words, trimmed
from watchkeeper.cli.context import Context
from watchkeeper.cli.periods import duration, local_time
from watchkeeper.cli.terminal import clip, columns_of, one_line, pad, visible

_TEXT_LINES = 6
_CLOCK = len("09:30:00") + 2
_INDENT = "  "


class TimelineView:
    """Turns timeline items into lines.

    Args:
        context: Gives width and styles.
        agents: The session's subagents, for their depth and names.
        detail: Returns a call with its payloads.
        full: Trim nothing.
    """

    def __init__(
        self,
        context: Context,
        agents: Sequence[dict[str, Any]],
        detail: Callable[[str], dict[str, Any]],
        *,
        full: bool,
    ) -> None:
        self._context = context
        self._agents = {agent["agent_id"]: agent for agent in agents}
        self._detail = detail
        self._full = full
        self._agent_of_call: dict[str, str | None] = {}
        self._day = ""

    def lines(self, item: dict[str, Any]) -> Iterator[str]:
        """Yield the lines of one item; a new day is announced first."""
        day, clock = self._clock(item["at"])
        if day and day != self._day:
            self._day = day
            yield self._context.style(day, "dim")
        if item["kind"] == "gap":
            yield self._gap(item)
            return
        indent = _INDENT * self._depth(item["agent_id"])
        head, following = self._head_and_rest(item, self._context.width - _CLOCK - len(indent))
        yield f"{self._context.style(pad(clock, _CLOCK), 'dim')}{indent}{head}"
        margin = " " * _CLOCK + indent + _INDENT
        for line in following:
            yield (margin + line).rstrip()

    def _clock(self, at: str | None) -> tuple[str, str]:
        day, _, clock = local_time(at, seconds=True).partition(" ") if at else ("", "", "")
        return day, clock

    def _depth(self, agent_id: str | None) -> int:
        depth, seen = 0, set()
        while agent_id and agent_id not in seen:
            seen.add(agent_id)
            depth += 1
            parent_call = self._agents.get(agent_id, {}).get("parent_tool_use_id")
            agent_id = self._agent_of_call.get(parent_call) if parent_call else None
        return depth

    def _head_and_rest(self, item: dict[str, Any], width: int) -> tuple[str, list[str]]:
        call = item["call"]
        if call is not None:
            self._agent_of_call[call["tool_use_id"]] = call["agent_id"]
            return self._call_head(call, width), body(
                self._detail(call["tool_use_id"]), self._context, width=width - len(_INDENT), full=self._full
            )
        style = self._context.style
        if item["kind"] == "prompt":
            return style("› " + _prompt_words(item), "bold"), self._text(item["text"], width)
        if item["kind"] == "message":
            name = "agent" if item["name"] == "text" else one_line(item["name"])
            return style(f"  {name}", "dim"), self._text(item["text"], width)
        if item["kind"] == "finding":
            return style(clip(f"! finding: {one_line(item['name'])}", width), "warn"), self._text(
                item["text"], width
            )
        mark_of_kind = "⤷" if item["kind"] == "subagent" else "·"
        said = one_line(item["text"])
        text = f"{mark_of_kind} {one_line(item['name'])}" + (f": {said}" if said else "")
        return style(clip(text, width), "dim"), []

    def _call_head(self, call: dict[str, Any], width: int) -> str:
        symbol, style = mark(call["outcome"])
        tool = one_line(call["tool"]) or "unknown tool"
        families = one_line(" ".join(dict.fromkeys(witness.split(".")[0] for witness in call["witnesses"])))
        facts = [outcome_words(call), duration(call["duration_ms"]), families]
        if call["lines_added"] is not None or call["lines_removed"] is not None:
            facts.insert(0, f"+{call['lines_added'] or 0} −{call['lines_removed'] or 0}")
        if call["background"]:
            facts.insert(0, "in the background")
        right = " · ".join(fact for fact in facts if fact)
        room = width - columns_of(right) - 2
        left = clip(f"{symbol} {tool}  {one_line(call['subject'])}".rstrip(), max(room, 12))
        styled_left = left.replace(symbol, self._context.style(symbol, style), 1) if style else left
        return (
            styled_left
            + " " * max(2, width - columns_of(left) - columns_of(right))
            + self._context.style(right, "dim")
        )

    def _text(self, text: str | None, width: int) -> list[str]:
        lines = [
            clip(line, width - len(_INDENT)) if not self._full else line
            for line in visible(text or "").strip("\n").split("\n")
        ]
        return trimmed(lines, _TEXT_LINES, self._context, full=self._full)

    def _gap(self, item: dict[str, Any]) -> str:
        said = one_line(item["text"])
        words = f"── gap: {one_line(item['name']).replace('_', ' ')}" + (f": {said}" if said else "") + " ──"
        text = clip(words, self._context.width)
        return self._context.style(text + "─" * (self._context.width - columns_of(text)), "warn")


def _prompt_words(item: dict[str, Any]) -> str:
    command = one_line(item["data"].get("slash_command") or item["data"].get("framework_command"))
    origin = "" if item["name"] in {"prompt", "typed"} else one_line(item["name"])
    return " ".join(word for word in ("prompt", origin and f"({origin})", command) if word)
