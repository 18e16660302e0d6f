"""How hits of a search are shown on a terminal: where they are, and the words in their context."""

from __future__ import annotations

import re
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.terminal import clip, columns_of, visible

_KINDS = {
    "prompt": "prompt",
    "answer": "answer",
    "thinking": "thinking",
    "tool_input": "tool input",
    "tool_result": "tool result",
}
_WIDEST = max(map(len, _KINDS.values()))
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""What a program wrote to colour its output; the words are what is looked for."""


def hit_line(context: Context, hit: dict[str, Any]) -> str:
    """Return one hit as a line that fits the width, its matches highlighted and the first of them always in view."""
    agent = f" · agent {hit['agent_id'][:8]}" if hit["agent_id"] else ""
    kind = _KINDS.get(hit["kind"], hit["kind"])
    label = visible(f"  {local_time(hit['at'])}  {kind:<{_WIDEST}}{agent}  ")
    room = max(20, context.width - columns_of(label))
    parts = _fitting(_parts(hit), room)
    shown = "".join(context.style(text, "bold") if marked else text for text, marked in parts)
    return context.style(label, "dim") + shown


def _parts(hit: dict[str, Any]) -> list[tuple[str, bool]]:
    """Return the excerpt, made harmless, cut into what matched and what did not."""
    text, parts, place = hit["excerpt"], [], 0
    for start, end in hit["matches"]:
        parts += [(_plain(text[place:start]), False), (_plain(text[start:end]), True)]
        place = end
    return [*parts, (_plain(text[place:]), False)]


def _plain(text: str) -> str:
    return visible(_COLOURS.sub("", text))


def _fitting(parts: list[tuple[str, bool]], room: int) -> list[tuple[str, bool]]:
    before = parts[0][0]
    if sum(columns_of(text) for text, _ in parts) > room and columns_of(before) > room // 3:
        kept = before[-(room // 3) :]
        while columns_of(kept) > room // 3 - 1:
            kept = kept[1:]
        parts = [("…" + kept, False), *parts[1:]]
    fitted, left = [], room
    for text, marked in parts:
        piece = clip(text, left)
        if piece:
            fitted.append((piece, marked))
        left -= columns_of(text)
        if left <= 0:
            break
    return fitted
