"""A scripted model API on loopback, for the real client: streamed answers, the same ones in every run.

A script is named by the first part of the base URL's path. Each conversation of a session (the main one, and one for
each subagent) goes through its own list of turns. Requests beside the conversation, such as one for a title, get a
default answer and use up no turn.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

MAIN = "main"
HOLD_SECONDS = 60
"""How long a held turn waits to be let go; then the client is told of an error."""
SIDE_ANSWER = '{"title": "A scripted session", "isNewTopic": true}'
PIECE = 24
"""Characters in one delta."""

Block = dict[str, Any]


@dataclass
class Turn:
    """One answer of the model. With ``hold`` it waits until the event is set; ``reached`` says that it does."""

    content: Sequence[Block]
    hold: threading.Event | None = None
    reached: threading.Event = field(default_factory=threading.Event)


@dataclass
class Script:
    """The turns of a session's main conversation, and of each subagent by a part of its prompt."""

    main: Sequence[Turn]
    agents: Mapping[str, Sequence[Turn]] = field(default_factory=dict)


def turn(*content: Block, hold: threading.Event | None = None) -> Turn:
    """Return a turn of these blocks."""
    return Turn(content, hold)


def text(words: str) -> Block:
    """Return a block of text."""
    return {"type": "text", "text": words}


def thinking(words: str) -> Block:
    """Return a block of reasoning."""
    return {"type": "thinking", "thinking": words}


def use(tool: str, **arguments: Any) -> Block:
    """Return a call of a tool."""
    return {"type": "tool_use", "name": tool, "input": arguments}


def call_id(script: str, conversation: str, turn_number: int, block: int = 0) -> str:
    """Return the id that the call in a script's block has, in every run."""
    return "toolu_" + _digest("call", script, conversation, turn_number, block)


class MockModel:
    """The server; a context manager. Scripts may be added while it runs."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.problems: list[str] = []
        self.requests: list[tuple[str, str, str]] = []
        """Script, session and conversation of each answered turn, in the order of the requests."""
        self._at: dict[tuple[str, str, str], int] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, name: str, script: Script) -> str:
        """Add a script and return the base URL of sessions that follow it."""
        self.scripts[name] = script
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def answer(self, name: str, headers: Mapping[str, str], body: dict[str, Any]) -> dict[str, Any]:
        """Return the next message of the conversation that a request belongs to."""
        if not body.get("tools"):
            return _message(_digest("side", name, len(self.requests)), body, [text(SIDE_ANSWER)])
        session = headers.get("x-claude-code-session-id", "")
        agent = headers.get("x-claude-code-agent-id", "")
        conversation, turns = self._conversation(self.scripts[name], agent, body)
        with self._lock:
            place = (name, session, agent or MAIN)
            number = self._at.get(place, 0)
            self._at[place] = number + 1
            self.requests.append((name, session, conversation))
        if number >= len(turns):
            return _message(_digest("end", *place, number), body, [text("Nothing more to say.")])
        step = turns[number]
        step.reached.set()
        if step.hold is not None and not step.hold.wait(HOLD_SECONDS):
            raise TimeoutError(f"turn {number} of {name} was never let go")
        blocks = [
            {**block, "id": call_id(name, conversation, number, at)} if block["type"] == "tool_use" else block
            for at, block in enumerate(step.content)
        ]
        return _message(_digest("message", *place, number), body, blocks)

    def _conversation(self, script: Script, agent: str, body: dict[str, Any]) -> tuple[str, Sequence[Turn]]:
        if not agent:
            return MAIN, script.main
        prompt = json.dumps(body["messages"][0]["content"], ensure_ascii=False)
        for part, turns in script.agents.items():
            if part in prompt:
                return part, turns
        self.problems.append(f"no turns for the subagent that was asked {prompt[:200]}")
        return agent, ()


def _digest(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:24]


def _message(identity: str, body: dict[str, Any], blocks: Sequence[Block]) -> dict[str, Any]:
    calls = any(block["type"] == "tool_use" for block in blocks)
    return {
        "id": f"msg_{identity}",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": list(blocks),
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 7,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 1000,
            "output_tokens": 31,
        },
    }


def _pieces(content: str) -> list[str]:
    return [content[at : at + PIECE] for at in range(0, len(content), PIECE)] or [""]


def _deltas(block: Block) -> tuple[Block, list[Block]]:
    """Return a block as it begins, and the deltas that fill it."""
    if block["type"] == "text":
        return block | {"text": ""}, [{"type": "text_delta", "text": part} for part in _pieces(block["text"])]
    if block["type"] == "thinking":
        parts = [{"type": "thinking_delta", "thinking": part} for part in _pieces(block["thinking"])]
        signature = {"type": "signature_delta", "signature": "bW9jaw=="}
        return block | {"thinking": "", "signature": ""}, [*parts, signature]
    written = json.dumps(block["input"], ensure_ascii=False)
    return block | {"input": {}}, [
        {"type": "input_json_delta", "partial_json": part} for part in _pieces(written)
    ]


def _stream(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed message."""
    beginning = {"content": [], "stop_reason": None, "usage": message["usage"] | {"output_tokens": 1}}
    yield {"type": "message_start", "message": message | beginning}
    for index, block in enumerate(message["content"]):
        empty, deltas = _deltas(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": message["usage"]}
    yield {"type": "message_stop"}


def _handler(mock: MockModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
            _, name, *rest = self.path.partition("?")[0].split("/")
            if rest == ["v1", "messages", "count_tokens"]:
                self._json(200, {"input_tokens": 100})
            elif rest != ["v1", "messages"] or name not in mock.scripts:
                mock.problems.append(f"unexpected request {self.path}")
                self._json(404, _error("not_found_error", self.path))
            else:
                self._answer(name, body)

        def do_GET(self) -> None:
            self._json(200, {"data": [], "has_more": False})

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def _answer(self, name: str, body: dict[str, Any]) -> None:
            try:
                message = mock.answer(name, self.headers, body)
            except TimeoutError as error:
                mock.problems.append(str(error))
                self._json(400, _error("invalid_request_error", str(error)))
                return
            if not body.get("stream"):
                self._json(200, message)
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream; charset=utf-8")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for event in _stream(message):
                row = f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(row), row))
            self.wfile.write(b"0\r\n\r\n")

        def _json(self, status: int, document: dict[str, Any]) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                # The client ended while it was answered; a test that kills it wants just that.
                self.close_connection = True

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name is the base class's
            """Say nothing."""

    return Handler


def _error(kind: str, words: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": words}}
