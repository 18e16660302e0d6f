"""Puts the packaged demo sessions on record: what hooks and transcripts of two real sessions said.

They were recorded with Claude Code 2.1.330 against a scripted model, and go through the same spool, archive and ledger
as anything else.
"""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.transcripts import TranscriptIntake
from watchkeeper.spool.follower import FrameAt
from watchkeeper.spool.frames import Frame, FrameKind
from watchkeeper.store.sqlite.writing import Changes


def demo_folder() -> Path:
    """Return the folder of the packaged sessions."""
    return Path(str(resources.files("watchkeeper") / "demo"))


def load_demo(recording: Recording) -> Changes:
    """Record every packaged session that is not on record yet."""
    recording.recover()
    changes = Changes()
    for session in sorted(path for path in demo_folder().iterdir() if path.is_dir()):
        frames = read_hooks(session / "hooks.jsonl", session.name)
        fresh = [frame for frame in frames if not recording.store.known_source(frame.source)]
        changes.update(recording.record_frames(fresh)[0])
        intake = TranscriptIntake(recording)
        intake.discover_paths([session])
        while intake.pending:
            changes.update(intake.read_slice())
    return changes


def read_hooks(path: Path, segment: str) -> list[FrameAt]:
    """Return recorded hook events as frames of a segment of their own."""
    frames = []
    offset = 0
    for line in path.read_bytes().splitlines():
        recorded: dict[str, Any] = json.loads(line)
        frame = Frame(
            kind=FrameKind.EVENT,
            flags=0,
            wall_ns=recorded["wall_ns"],
            monotonic_ns=0,
            boot_id=bytes(16),
            uid=os.getuid(),
            pid=0,
            parent_pid=0,
            environment=recorded["environment"],
            payload=json.dumps(recorded["payload"], ensure_ascii=False, separators=(",", ":")).encode(),
        )
        end = offset + len(line) + 1
        frames.append(FrameAt(f"demo:{segment}:{offset}", segment, offset, end, frame, None))
        offset = end
    return frames
