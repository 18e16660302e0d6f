"""What usage's scan says of files, once as Python reads them and once as the native scanner does."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.pipeline import usage_scan
from watchkeeper.pipeline.usage_scan import Piece
from watchkeeper.sources.claude_code.discovery import TranscriptFile
from watchkeeper.sources.claude_code.native_scan import Found, Part, scan_natively
from watchkeeper.sources.claude_code.usage_scan import Place, UsageScan

SOURCE = "transcript:test:"
SESSION = "11111111-2222-4333-8444-555555555555"


class Reading(NamedTuple):
    """What a file says, and where its last whole line ends."""

    requests: dict[str, Any]
    sessions: dict[str, Any]
    copies: dict[str, Any]
    position: int


def transcript(path: Path) -> TranscriptFile:
    """Return a file as it would be listed, with hints from its name."""
    agent = path.stem.removeprefix("agent-") if path.stem.startswith("agent-") else None
    session = path.parts[-3] if agent else path.stem
    size = path.stat().st_size
    return TranscriptFile(str(path), path.name, path.parent, session, agent, size, 0, 0, 0)


def read_plainly(file: TranscriptFile, start: int = 0) -> Reading:
    """Return what Python says of a file."""
    found = UsageScan()
    buffer = bytearray(min(file.size, usage_scan._BLOCK))
    position = usage_scan._scan_piece(Piece(file, start, SOURCE), found, buffer, bulk=True)
    return Reading(found.requests, found.sessions, found.copies, position[3])


def read_natively(
    files: Sequence[TranscriptFile], program: Path | str | None, threads: int = 2, start: int = 0
) -> list[Reading | None]:
    """Return what the scanner says of files, unfinished lines read in Python as they are meant to be."""
    parts = [Part(file.location, start, file.size, file.session_hint, file.agent_hint) for file in files]
    answers = scan_natively(parts, threads, None if program is None else str(program))
    return [
        None if answer is None else _whole(file, answer) for file, answer in zip(files, answers, strict=True)
    ]


def _whole(file: TranscriptFile, answer: Found) -> Reading:
    found = UsageScan(answer.requests, answer.sessions)
    if answer.rest:
        with open(file.location, "rb") as stream:
            stream.seek(answer.position)
            rest = stream.read(answer.rest)
        place = Place(SOURCE, file.session_hint, file.agent_hint)
        usage_scan._take(found, rest, len(rest), place, (file.location, answer.position), bulk=False)
    return Reading(found.requests, found.sessions, found.copies, answer.position)


def assert_equal(paths: Iterable[Path], program: Path | str | None) -> tuple[int, int]:
    """Check that both readings are equal where the scanner speaks; return how often it did, of how many times."""
    files = [transcript(path) for path in paths]
    answers = read_natively(files, program)
    spoken = 0
    for file, answer in zip(files, answers, strict=True):
        if answer is not None:
            spoken += 1
            assert answer == read_plainly(file), file.location
    return spoken, len(files)


HOSTILE = (
    b'"assistant"', b'"cwd"', b'"timestamp"', b"\\u0061", b"\\ud800", b"\\ud83d\\ude00", b"\\n", b'\\"', b"\\",
    b"\0", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc3\xa9", b"null", b"true", b"-1", b"1.0", b"1e3", b"1e999",
    b"01", b"-0", b"9007199254740992", b"9007199254740993", b"99999999999999999999", b'""', b"{}", b"[]", b"[" * 70,
    b'"type":"assistant",', b'"type":"progress",', b'"type":null,', b'"message":null,', b'"id":"m1",', b'"id":"",',
    b'"isSidechain":true,', b'"agentId":"a1",', b'"agentId":"aside_question-1",', b'"agentId":"",', b"\t", b"\r",
    b'"forkedFrom":{"sessionId":"other"},', b'"forkedFrom":null,', b'"sessionId":"other",', b'"sessionId":"",',
    b'"cwd":"C:\\\\work",', b'"gitBranch":"",', b'"costUSD":0.0000005,', b'"costUSD":1.5e-3,', b'"costUSD":2,',
    b'"timestamp":"2026-02-29T00:00:00.000Z",', b'"timestamp":"2024-02-29T23:59:59.999Z",', b'"timestamp":"",',
    b'"timestamp":"2026-01-05T10:00:00Z",', b'"stop_reason":"end_turn",', b'"stop_reason":"",', b'"uuid":"u",',
    b'"model":"<synthetic>",', b'"service_tier":"priority",', b'"speed":"fast",', b'"inference_geo":"eu",',
    b'"server_tool_use":{"web_search_requests":3},', b'"server_tool_use":{},', b'"cache_creation":null,',
    b"\n", b"\n\n", b"}\n{", b"}{", b",", b":", b"{", b"}", b"[", b"]", b'"', b"\xef\xbb\xbf",
)  # fmt: skip
"""What is put into lines, in place of bytes or between them."""


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return transcript bytes with a few things wrong, or only different."""
    changed = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 5))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(8):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                changed[at : at + 1] = chance.choice(string.printable).encode()
            case 2:
                del changed[at : at + chance.randrange(1, 9)]
            case 3:
                changed = changed[:at] or changed
            case 4 | 5:
                # Behind a comma or a brace, where a field may stand.
                comma = max(changed.rfind(b",", 0, at), changed.rfind(b"{", 0, at)) + 1
                changed[comma:comma] = chance.choice(HOSTILE)
            case 6:
                changed[at:at] = chance.choice(HOSTILE)
            case _:
                colon = changed.find(b":", at) + 1
                comma = changed.find(b",", colon)
                changed[colon : max(comma, colon)] = chance.choice(HOSTILE).rstrip(b",")
    return bytes(changed)


DIFFERENCES: tuple[tuple[str, Any], ...] = (
    ("isSidechain", True), ("isSidechain", False), ("isSidechain", None), ("agentId", "a1"), ("agentId", None),
    ("gitBranch", "main"), ("cwd", "/c"), ("requestId", "r1"), ("attributionSkill", "review"), ("costUSD", 0.5),
    ("model", "claude-haiku-5-5"), ("stop_reason", "end_turn"), ("usage", None), ("usage", {}), ("type", None),
    ("usage", {"input_tokens": 1, "cache_creation": {}}), ("usage", {"input_tokens": 1, "cache_creation": None}),
)  # fmt: skip


def sound_lines(chance: random.Random, count: int, *, plain: bool = False) -> list[bytes]:
    """Return lines of answers in blocks, prompts and progress, of few sessions and agents.

    Args:
        chance: Where all choices come from.
        count: At least how many.
        plain: Whether they are to be such as the scanner reads itself: one session, ids, no codes in names.
    """
    lines: list[bytes] = []
    while len(lines) < count:
        answer = _answer(chance)
        if plain:
            answer["message"]["id"] = f"m{chance.randrange(len(lines) + 6)}"
        blocks = [answer] * chance.choice((1, 1, 2, 3))
        for block in blocks:
            body = dict(block, uuid=f"u{chance.randrange(40)}", timestamp=_moment(chance))
            if chance.random() < 0.3:
                # A further block that differs from the answer's others in one thing alone.
                name, value = chance.choice(DIFFERENCES)
                inner = name in {"model", "stop_reason", "usage"}
                body |= {"message": body["message"] | {name: value}} if inner else {name: value}
            if chance.random() < 0.2:
                body = _nested(body, chance)
            if plain:
                body |= {"sessionId": SESSION, "forkedFrom": None}
            ascii_only = not plain and chance.random() < 0.5
            lines.append(json.dumps(body, ensure_ascii=ascii_only, separators=(",", ":")).encode())
        if chance.random() < 0.4:
            prompt = {"type": "user", "cwd": "/b", "sessionId": SESSION, "timestamp": _moment(chance)}
            prompt["message"] = {"role": "user", "content": 'say "assistant"\n'}
            lines.append(json.dumps(prompt).encode())
    return lines


def _moment(chance: random.Random) -> str:
    day = f"2026-0{chance.randrange(1, 10)}-{chance.randrange(1, 29):02d}"
    return f"{day}T10:{chance.randrange(60):02d}:00.{chance.randrange(1000):03d}Z"


def _count(chance: random.Random) -> int | None:
    return chance.choice((None, 0, 1, 7, 40_000, 2**31, 2**53))


def _answer(chance: random.Random) -> dict[str, Any]:
    usage: dict[str, Any] = {"input_tokens": _count(chance), "output_tokens": _count(chance)}
    if chance.random() < 0.7:
        usage |= {"cache_creation_input_tokens": _count(chance), "cache_read_input_tokens": _count(chance)}
        usage["cache_creation"] = chance.choice(
            (None, {}, {"ephemeral_5m_input_tokens": _count(chance), "ephemeral_1h_input_tokens": 5})
        )
        usage["server_tool_use"] = chance.choice((None, {"web_search_requests": 2, "other": [1.5, {}]}))
        usage["service_tier"] = chance.choice((None, "standard", "priority"))
    message = {
        "id": chance.choice((f"m{chance.randrange(6)}", f"m{chance.randrange(6)}", None, "")),
        "role": "assistant",
        "model": chance.choice(("claude-opus-4-6", "<synthetic>", None)),
        "content": [{"type": "text", "text": 'tab\t quote " é \U0001f600'}],
        "stop_reason": chance.choice((None, None, "end_turn", "")),
        "usage": chance.choice((usage, usage, usage, None)),
    }
    kind = chance.choice(("assistant", "assistant", "assistant", None))
    body: dict[str, Any] = {"type": kind, "message": message}
    optional = {
        "sessionId": chance.choice((SESSION, "another", "", None)),
        "cwd": chance.choice(("/home/ada", "C:\\work\\né", "", None)),
        "gitBranch": chance.choice(("main", "", 'q"/\\x', None)),
        "requestId": chance.choice((f"r{chance.randrange(6)}", None)),
        "isSidechain": chance.choice((True, False, None)),
        "agentId": chance.choice((None, None, "a1", "aside_question-1", "")),
        "costUSD": chance.choice((None, None, 0.0123456, 0.0000005, 3, -1.5, 1e-9)),
        "forkedFrom": chance.choice((None, None, None, {"sessionId": "another", "messageUuid": "x"}, {})),
        "attributionSkill": chance.choice((None, "review")),
        "attributionMcpServer": chance.choice((None, "files")),
    }
    body |= {name: value for name, value in optional.items() if chance.random() < 0.7}
    return body


def _nested(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    kind = chance.choice(("agent_progress", "agent_progress", "bash_progress"))
    data = {"type": kind, "agentId": chance.choice(("a1", "", None, "aside_question-2")), "message": body}
    return {
        "type": "progress",
        "sessionId": SESSION,
        "timestamp": _moment(chance),
        "cwd": "/home",
        "data": data,
    }
