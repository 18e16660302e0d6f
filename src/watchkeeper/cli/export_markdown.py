"""A conversation as Markdown: what was said stays Markdown, what was run stands in fences that it cannot break."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from watchkeeper.cli.export_text import call_heading, call_parts, cost, facts_of, remarks_of, title_of, tokens
from watchkeeper.cli.periods import local_time
from watchkeeper.cli.terminal import one_line, visible

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_TICKS = re.compile(r"`+")
_CODE_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|])")


def markdown(document: dict[str, Any]) -> str:
    """Return the whole conversation."""
    return "\n".join(_lines(document)).rstrip() + "\n"


def _lines(document: dict[str, Any]) -> Iterator[str]:
    yield f"# {_plain(title_of(document))}"
    yield ""
    for name, value in facts_of(document):
        yield f"- **{name}:** {_plain(value)}"
    yield ""
    for remark in remarks_of(document):
        yield f"> {_plain(remark)}"
        yield ""
    for turn in document["turns"]:
        yield from _turn(turn)


def _turn(turn: dict[str, Any]) -> Iterator[str]:
    clock = local_time(turn["at"], seconds=True) if turn["at"] else "time unknown"
    yield f"## {turn['number']} · {clock}" if turn["prompt"] else f"## Before the first prompt · {clock}"
    yield ""
    if turn["prompt"]:
        yield "**Prompt**"
        yield ""
        yield prose(turn["prompt"]["text"] or "")
        yield ""
    for item in turn["items"]:
        yield from _item(item)
    if turn["usage"]["requests"]:
        yield f"*{_plain(tokens(turn['usage']))} · {_plain(cost(turn['usage']))}*"
        yield ""


def _item(item: dict[str, Any]) -> Iterator[str]:
    who = f" (subagent {_plain(item['agent_id'])})" if item["agent_id"] else ""
    if item["kind"] == "call":
        yield f"**Call{who}:** {_plain(call_heading(item))}"
        yield ""
        for heading, language, text in call_parts(item):
            yield f"{heading}:"
            yield ""
            yield fenced(text, language)
            yield ""
        return
    if item["kind"] in {"text", "thinking"}:
        yield f"**{'Answer' if item['kind'] == 'text' else 'Thinking'}{who}**"
        yield ""
        yield prose(item["text"] or item["unavailable"] or "")
    else:
        yield f"*{_plain(item['kind'])}: {_plain(item['name'] or '')}{who}* {_plain(item['text'] or '')}".rstrip()
    yield ""


def fenced(text: str, language: str = "") -> str:
    """Return a code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{visible(text)}\n{fence}"


def prose(text: str) -> str:
    """Return text as Markdown that runs no markup, loads no image, and closes its own fences."""
    lines, open_fence = [], ""
    for line in visible(text).split("\n"):
        match = _FENCE.match(line)
        if open_fence:
            bare = line.strip()
            if match and bare.startswith(open_fence) and not bare.strip(open_fence[0]):
                open_fence = ""
            lines.append(line)
        elif match:
            open_fence = match.group(1)
            lines.append(line)
        else:
            lines.append(_without_markup(line))
    if open_fence:
        lines.append(open_fence)
    return "\n".join(lines)


def _without_markup(line: str) -> str:
    pieces, done = list[str](), 0
    for span in _CODE_SPAN.finditer(line):
        pieces += (_escape_markup(line[done : span.start()]), span.group())
        done = span.end()
    pieces.append(_escape_markup(line[done:]))
    return "".join(pieces)


def _escape_markup(text: str) -> str:
    return text.replace("<", "&lt;").replace("![", "!\\[")


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", one_line(text))
