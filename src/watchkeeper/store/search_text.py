"""What of a transcript line or hook payload can be searched, and how it is given to the full-text index.

Searchable are prompts, answers, thinking, what tools were given and what they gave back, in the main conversation and
in subagents. Images and other encoded bytes are not. Standard library only: the index is built with it, and the quick
search reads the context of its hits with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

PROMPT, ANSWER, THINKING = "prompt", "answer", "thinking"
TOOL_INPUT, TOOL_RESULT = "tool_input", "tool_result"

SEPARATOR = "\n\ue000\n"
"""Stands between two texts of one document: a token that nobody searches for, so no phrase reaches across."""

LONGEST_TOKEN = 200
"""Characters of an unbroken run beyond which it is encoded bytes and no word."""

_DEEPEST = 60
_ENCODED = re.compile(rf"[A-Za-z0-9+/=_-]{{{LONGEST_TOKEN},}}")
_WITHOUT_BLANKS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fff\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_SINGLE = re.compile(f"[{_WITHOUT_BLANKS}]")
_MEDIA = frozenset({"image", "redacted_thinking"})
_ASKED = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_NOT_TEXT = frozenset(
    {"type", "tool_use_id", "media_type", "encrypted_content", "signature", "cache_control"}
)


class Piece(NamedTuple):
    """One searchable text of a line.

    Attributes:
        kind: ``prompt``, ``answer``, ``thinking``, ``tool_input`` or ``tool_result``.
        text: The text as it is on record.
        tool_use_id: The call that it was given to or came from.
    """

    kind: str
    text: str
    tool_use_id: str | None = None


def searchable(body: Mapping[str, Any]) -> list[str]:
    """Return the searchable texts of one decoded transcript line or hook payload, none of them twice."""
    return [piece.text for piece in pieces(body)]


def pieces(body: Mapping[str, Any]) -> list[Piece]:
    """Return the searchable texts of one decoded transcript line or hook payload with their kinds, none twice."""
    found = _of_hook(body) if "hook_event_name" in body else _of_line(body)
    known: set[str] = set()
    kept = []
    for piece in found:
        if piece.text not in known:
            known.add(piece.text)
            kept.append(piece)
    return kept


def agent_of(body: Mapping[str, Any]) -> str | None:
    """Return the subagent whose text a line or payload holds, ``None`` for the main one."""
    agent = body.get("agentId") or body.get("agent_id")
    if body.get("type") == "progress" and isinstance(body.get("data"), dict):
        agent = body["data"].get("agentId") or agent
    return agent if isinstance(agent, str) and agent else None


def prepared(text: str) -> str:
    """Return a text as it is given to the tokenizer, at the index as at the query.

    Characters of scripts without blanks stand alone; runs that only encoded bytes make are left out.
    """
    if len(text) > LONGEST_TOKEN and _has_long_run(text):
        text = _ENCODED.sub(" ", text)
    if not text.isascii() and _SINGLE.search(text):
        text = _SINGLE.sub(r" \g<0> ", text)
    return text


def stands_alone(character: str) -> bool:
    """Tell whether a character belongs to a script without blanks, so that each is a token of its own."""
    return _SINGLE.match(character) is not None


def slice_text(bodies: Iterable[Mapping[str, Any]]) -> str:
    """Return the texts of several lines as one document, each text once."""
    document = Document()
    for body in bodies:
        document.add(body)
    return document.text


class Document:
    """The texts of some lines of one session, to be indexed as one row."""

    def __init__(self) -> None:
        self.texts: dict[str, None] = {}

    def add(self, body: Mapping[str, Any]) -> None:
        """Add the texts of a line; those that are there already count once."""
        for piece in pieces(body):
            self.texts[piece.text] = None

    @property
    def text(self) -> str:
        """The whole as it is given to the index; empty where there is nothing to search for."""
        return SEPARATOR.join([prepared(text) for text in self.texts])


def _has_long_run(text: str) -> bool:
    """Tell whether there may be a run of `LONGEST_TOKEN` characters without a blank; cheap, since nearly none has."""
    return max(map(len, text.split())) >= LONGEST_TOKEN if text and not text.isspace() else False


def _of_line(body: Mapping[str, Any]) -> Iterator[Piece]:
    kind = body.get("type")
    if kind == "progress":
        data = body.get("data")
        nested = (
            data.get("message") if isinstance(data, dict) and data.get("type") == "agent_progress" else None
        )
        if isinstance(nested, dict) and nested.get("type") != "progress":
            yield from _of_line(nested)
        return
    if kind == "attachment":
        yield from _of_attachment(body.get("attachment"))
        return
    if kind == "system" and isinstance(body.get("content"), str):
        yield Piece(PROMPT, body["content"])
        return
    message = body.get("message")
    if not isinstance(message, dict):
        return
    said = PROMPT if (kind or message.get("role")) == "user" else ANSWER
    content = message.get("content")
    if isinstance(content, str):
        yield Piece(said, content)
    elif isinstance(content, list):
        for block in content:
            if isinstance(block, dict):
                yield from _of_block(block, said, body)


def _kind(block: Mapping[str, Any]) -> str:
    """Return the type of a block; a line may hold anything in that place."""
    kind = block.get("type")
    return kind if isinstance(kind, str) else ""


def _of_block(block: Mapping[str, Any], said: str, body: Mapping[str, Any]) -> Iterator[Piece]:
    kind = _kind(block)
    if kind in _MEDIA:
        return
    if kind == "thinking":
        yield from _named(THINKING, block.get("thinking"), None)
    elif kind in _ASKED:
        for text in _texts(block.get("input")):
            yield Piece(TOOL_INPUT, text, _id(block.get("id")))
    elif kind.endswith("tool_result"):
        call = _id(block.get("tool_use_id"))
        texts = list(_texts(block.get("content"))) or list(_texts(body.get("toolUseResult")))
        for text in texts:
            yield Piece(TOOL_RESULT, text, call)
    elif isinstance(block.get("text"), str):
        yield Piece(said, block["text"])


def _of_attachment(attachment: Any) -> Iterator[Piece]:
    if not isinstance(attachment, dict):
        return
    kind = _kind(attachment)
    if kind == "queued_command":
        for text in _texts(attachment.get("prompt")):
            yield Piece(PROMPT, text)
    elif kind in {"file", "edited_text_file", "selected_lines_in_ide"}:
        for name in ("filename", "content", "snippet"):
            for text in _texts(attachment.get(name)):
                yield Piece(PROMPT, text)


_HOOK_FIELDS = (
    ("prompt", PROMPT),
    ("tool_input", TOOL_INPUT),
    ("tool_response", TOOL_RESULT),
    ("error", TOOL_RESULT),
    ("last_assistant_message", ANSWER),
)


def _of_hook(body: Mapping[str, Any]) -> Iterator[Piece]:
    call = _id(body.get("tool_use_id"))
    for name, kind in _HOOK_FIELDS:
        for text in _texts(body.get(name)):
            yield Piece(kind, text, call if kind in {TOOL_INPUT, TOOL_RESULT} else None)


def _named(kind: str, text: Any, call: str | None) -> Iterator[Piece]:
    if isinstance(text, str) and text:
        yield Piece(kind, text, call)


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield every text in a value, however nested; no encoded media, no names of fields."""
    if isinstance(value, str):
        if value:
            yield value
    elif depth > _DEEPEST:
        return
    elif isinstance(value, dict):
        if _kind(value) in _MEDIA or _kind(value) == "base64":
            return
        for name, item in value.items():
            if name not in _NOT_TEXT and not (name == "base64" and isinstance(item, str)):
                yield from _texts(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
