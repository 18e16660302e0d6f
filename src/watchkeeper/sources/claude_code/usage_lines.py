"""The parts of a transcript line that usage needs, decoded from whole files at once.

What a line says beside them is passed over without making an object of it. Where one line does not fit, the file is
read line by line.
"""

from __future__ import annotations

from typing import Any

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from watchkeeper.sources.claude_code.usage_scan import Telling, decode_plainly


class CacheCreation(Struct):
    """Cache writes by how long they are kept."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class ServerToolUse(Struct):
    """What the provider's own tools did."""

    web_search_requests: int | None = None


class Usage(Struct):
    """The provider's usage object."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    server_tool_use: ServerToolUse | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None


class Message(Struct):
    """An answer of the model, or a message of the user."""

    id: str | None = None
    model: str | None = None
    role: str | None = None
    usage: Usage | None = None
    stop_reason: str | None = None


class Fork(Struct):
    """Where a copied line comes from."""

    sessionId: str | None = None  # noqa: N815 - names as the client writes them


class Nested(Struct):
    """A subagent's line inside a progress line."""

    type: str | None = None
    message: Message | None = None
    timestamp: str | None = None
    requestId: str | None = None  # noqa: N815
    uuid: str | None = None
    costUSD: float | None = None  # noqa: N815
    gitBranch: str | None = None  # noqa: N815
    attributionSkill: str | None = None  # noqa: N815
    attributionMcpServer: str | None = None  # noqa: N815


class Progress(Struct):
    """What a progress line reports."""

    type: str | None = None
    agentId: str | None = None  # noqa: N815
    message: Nested | None = None


class Line(Struct):
    """One line."""

    type: str | None = None
    message: Message | None = None
    sessionId: str | None = None  # noqa: N815
    timestamp: str | None = None
    requestId: str | None = None  # noqa: N815
    uuid: str | None = None
    isSidechain: bool | None = None  # noqa: N815
    agentId: str | None = None  # noqa: N815
    cwd: str | None = None
    gitBranch: str | None = None  # noqa: N815
    costUSD: float | None = None  # noqa: N815
    attributionSkill: str | None = None  # noqa: N815
    attributionMcpServer: str | None = None  # noqa: N815
    forkedFrom: Fork | None = None  # noqa: N815
    requestSessionId: str | None = None  # noqa: N815
    data: Progress | None = None


_decoder = Decoder(Line)


def decode_telling(lines: list[bytes | bytearray], starts: list[int]) -> Telling:
    """Return the lines decoded, those that do not fit as `usage_scan.decode_plainly` reads them."""
    try:
        return _decoder.decode_lines(b"\n".join(lines)), starts
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return _one_by_one(lines, starts)


def _one_by_one(lines: list[bytes | bytearray], starts: list[int]) -> Telling:
    found: list[Any] = []
    places: list[int] = []
    for line, start in zip(lines, starts, strict=True):
        try:
            found.append(_decoder.decode(line))
            places.append(start)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            objects, there = decode_plainly((line,), (start,))
            found += objects
            places += there
    return found, places
