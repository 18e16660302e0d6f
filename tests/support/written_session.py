"""Writes a session's transcript line by line, in the shape of version 2.1."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Json = dict[str, Any]
MODEL = "claude-sonnet-4-6"
START = datetime(2026, 2, 3, 10, 0, tzinfo=UTC)


class WrittenSession:
    """One session of the main agent; every call of a method is one step of the conversation.

    Args:
        config_dir: The agent's folder.
        session_id: Names session and file.
        start: Time of the first line.
    """

    def __init__(self, config_dir: Path, session_id: str, start: datetime = START) -> None:
        self.session_id = session_id
        self.clock = start
        self.size = 20_000
        self.path = config_dir / "projects" / "-home-dev-app" / f"{session_id}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._count = 0

    def line(self, body: Json, seconds: float = 1) -> None:
        """Append a line with time, session and folder."""
        self.clock += timedelta(seconds=seconds)
        self._count += 1
        head = {
            "uuid": f"{self.session_id}-{self._count}",
            "sessionId": self.session_id,
            "timestamp": self.clock.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self.clock.microsecond // 1000:03d}Z",
            "cwd": "/home/dev/app",
            "version": "2.1.330",
            "isSidechain": False,
        }
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(head | body) + "\n")

    def prompt(self, text: str) -> None:
        """Let somebody type a prompt."""
        self.line({"type": "user", "message": {"role": "user", "content": text}})

    def answer(self, *blocks: Json, grows: int = 500, **extra: Any) -> str:
        """Write one API answer; the context grows, and what was there before is read from the cache."""
        message_id = f"msg_{self.session_id}_{self._count}"
        usage = {
            "input_tokens": 3,
            "output_tokens": 100,
            "cache_creation_input_tokens": grows,
            "cache_read_input_tokens": self.size,
        }
        self.size += grows
        message = {
            "id": message_id,
            "role": "assistant",
            "model": MODEL,
            "content": list(blocks) or [{"type": "text", "text": "Done."}],
            "stop_reason": "end_turn",
            "usage": usage,
        }
        self.line({"type": "assistant", "requestId": f"req_{message_id}", "message": message, **extra})
        return message_id

    def call(
        self,
        tool: str,
        arguments: Json,
        result: str = "fine",
        *,
        error: bool = False,
        response: Any = None,
        **extra: Any,
    ) -> str:
        """Let the agent call a tool and get its result; returns the call's id."""
        key = f"toolu_{self.session_id}_{self._count}"
        self.answer({"type": "tool_use", "id": key, "name": tool, "input": arguments}, **extra)
        block: Json = {"type": "tool_result", "tool_use_id": key, "content": result}
        if error:
            block["is_error"] = True
        body: Json = {"type": "user", "message": {"role": "user", "content": [block]}}
        if response is not None:
            body["toolUseResult"] = response
        self.line(body, seconds=2)
        return key

    def read(self, path: str, text: str = "x = 1\n" * 50, **arguments: Any) -> str:
        """Read a file."""
        return self.call(
            "Read",
            {"file_path": path, **arguments},
            text,
            response={"type": "text", "file": {"filePath": path, "content": text, "numLines": 50}},
        )

    def edit(self, path: str) -> str:
        """Edit a file."""
        return self.call(
            "Edit",
            {"file_path": path, "old_string": "x", "new_string": "y"},
            response={
                "filePath": path,
                "structuredPatch": [
                    {"oldStart": 1, "oldLines": 1, "newStart": 1, "newLines": 1, "lines": ["-x", "+y"]}
                ],
            },
        )

    def bash(self, command: str, result: str = "fine", *, error: bool = False) -> str:
        """Run a command."""
        return self.call("Bash", {"command": command}, result, error=error)

    def compact(self, left: int = 20_000) -> None:
        """Compact the conversation."""
        meta = {"trigger": "auto", "preTokens": self.size}
        self.line({"type": "system", "subtype": "compact_boundary", "content": "…", "compactMetadata": meta})
        self.size = left
