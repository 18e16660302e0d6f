"""A folder of the agent with sessions of one project, in every form that a move has to take along."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from watchkeeper.sources.claude_code.migration.folders import encoded_name

SECRET = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
FIRST = "0a0a0a0a-1111-4222-8333-444444444444"
SECOND = "1b1b1b1b-1111-4222-8333-444444444444"
BELOW = "2c2c2c2c-1111-4222-8333-444444444444"

Json = dict[str, Any]


def line(session: str, number: int, cwd: str, **fields: Any) -> Json:
    """Return the envelope of a transcript line."""
    return {
        "parentUuid": None if number == 0 else f"{session}-{number - 1}",
        "isSidechain": False,
        "uuid": f"{session}-{number}",
        "timestamp": f"2026-11-01T10:00:{number:02d}.000Z",
        "cwd": cwd,
        "sessionId": session,
        "version": "2.1.330",
        "gitBranch": "main",
        **fields,
    }


def user(session: str, number: int, cwd: str, content: Any, **fields: Any) -> Json:
    """Return a user's line."""
    return line(session, number, cwd, type="user", message={"role": "user", "content": content}, **fields)


def assistant(session: str, number: int, cwd: str, *blocks: Json, **fields: Any) -> Json:
    """Return one line of the model's answer."""
    message = {
        "id": f"msg_{session[:8]}_{number}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": list(blocks),
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 100, "output_tokens": 50, "cache_read_input_tokens": 1000},
    }
    request = f"req_{session[:8]}_{number}"
    return line(session, number, cwd, type="assistant", message=message, requestId=request, **fields)


def conversation_lines(session: str, cwd: str, secret: str = "") -> list[Json]:
    """Return a short session: a prompt, thinking, a command, an edit, an answer, and a second prompt."""
    call, edit = f"toolu_{session[:8]}_1", f"toolu_{session[:8]}_2"
    return [
        {"type": "mode", "mode": "normal", "sessionId": session},
        user(session, 0, cwd, f"Look at {cwd}/app.py {secret}", promptId=f"{session[:8]}-p0"),
        assistant(session, 1, cwd, {"type": "thinking", "thinking": "Let me see."}),
        assistant(
            session,
            2,
            cwd,
            {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": "echo $DEPLOY_STAGE <b>"}},
        ),
        user(
            session,
            3,
            cwd,
            [{"type": "tool_result", "tool_use_id": call, "content": "staging"}],
            toolUseResult={"stdout": "staging", "stderr": "", "interrupted": False, "cwd": cwd},
        ),
        assistant(
            session,
            4,
            cwd,
            {
                "type": "tool_use",
                "id": edit,
                "name": "Edit",
                "input": {"file_path": f"{cwd}/app.py", "old_string": "a - b", "new_string": "a + b"},
            },
        ),
        user(
            session,
            5,
            cwd,
            [{"type": "tool_result", "tool_use_id": edit, "content": "The file was updated."}],
            toolUseResult={
                "filePath": f"{cwd}/app.py",
                "structuredPatch": [
                    {
                        "oldStart": 1,
                        "oldLines": 1,
                        "newStart": 1,
                        "newLines": 1,
                        "lines": ["-a - b", "+a + b"],
                    }
                ],
            },
        ),
        assistant(session, 6, cwd, {"type": "text", "text": "It adds now."}),
        user(session, 7, cwd, "Thank you.", promptId=f"{session[:8]}-p1"),
        assistant(session, 8, cwd, {"type": "text", "text": "You are welcome."}),
        {"type": "cost-state", "sessionId": session, "totalCostUSD": 0.25, "hasUnknownModelCost": False},
    ]


def write_lines(path: Path, lines: list[Json]) -> Path:
    """Write a transcript as the agent does, with a time and a mode of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in lines]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    path.chmod(0o600)
    os.utime(path, ns=(1_700_000_000_123_456_789, 1_700_000_000_987_654_321))
    return path


def make_sessions(config_dir: Path, project: Path, secret: str = "") -> None:
    """Write three sessions: two of the project, the first with all that may belong to one, one of a folder in it."""
    cwd = str(project)
    folder = config_dir / "projects" / encoded_name(cwd)
    lines = conversation_lines(FIRST, cwd, secret)
    spilled = f"{folder}/{FIRST}/tool-results/out.txt"
    lines.append(user(FIRST, 9, cwd, f"Output saved to: {spilled}", isMeta=True))
    write_lines(folder / f"{FIRST}.jsonl", lines)
    agent = [
        user(FIRST, 20, cwd, "Count.", agentId="a1b2c3d4e5f6a7b8c", isSidechain=True),
        assistant(
            FIRST, 21, cwd, {"type": "text", "text": "One."}, agentId="a1b2c3d4e5f6a7b8c", isSidechain=True
        ),
    ]
    write_lines(folder / FIRST / "subagents" / "agent-a1b2c3d4e5f6a7b8c.jsonl", agent)
    meta = folder / FIRST / "subagents" / "agent-a1b2c3d4e5f6a7b8c.meta.json"
    meta.write_text('{"agentType":"general-purpose","toolUseId":"toolu_x"}')
    spill = folder / FIRST / "tool-results" / "out.txt"
    spill.parent.mkdir()
    spill.write_text("much output\n")
    write_lines(folder / f"{SECOND}.jsonl", conversation_lines(SECOND, cwd))
    old_agent = [assistant(SECOND, 30, cwd, {"type": "text", "text": "Two."}, agentId="7777777")]
    write_lines(folder / "agent-7777777.jsonl", old_agent)
    (folder / "memory").mkdir()
    (folder / "memory" / "MEMORY.md").write_text("- it adds\n")
    below = f"{cwd}/packages/core"
    write_lines(
        config_dir / "projects" / encoded_name(below) / f"{BELOW}.jsonl", conversation_lines(BELOW, below)
    )


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return every file below a folder with its mode, time of change, and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status = path.stat()
            found[path.relative_to(folder).as_posix()] = (
                status.st_mode,
                status.st_mtime_ns,
                path.read_bytes(),
            )
    return found


def objects(path: Path) -> list[Json]:
    """Return a transcript's lines."""
    return [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]
