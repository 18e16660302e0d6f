"""The real Claude Code runs what we register: exec form, every event of a session, no word on its output."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchkeeper.settings import Places
from watchkeeper.sources.claude_code.hook_events import registered_events
from watchkeeper.spool.frames import SEGMENT_HEADER, Frame, FrameKind, decode_frames

SOURCES = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(scope="module")
def session(
    real_client: Path, shared_data: Path, packaged_hook: Path
) -> Iterator[tuple[Path, list[Frame], list[str]]]:
    """One session of the ``tools`` scenario after ``wk install``: the client's output, our frames, its own hooks."""
    with tempfile.TemporaryDirectory(prefix="wk-") as name:
        root = Path(name)
        environment = {**os.environ, "RC_CLAUDE": str(real_client), "RC_RUNS": str(root / "runs")}
        wk = f"PYTHONPATH={shlex.quote(str(SOURCES))} {shlex.quote(sys.executable)} -m watchkeeper.cli"
        # The recorder of the laboratory is the other witness: what it saw, we must have seen.
        subprocess.run(
            [
                sys.executable, "run_session.py", "tools", "--out", str(root / "out"),
                "--settings", str(shared_data / "real-client" / "settings" / "all-command.json"),
                "--before", f"WATCHKEEPER_HOME={root / 'wk'} {wk} install --message-display",
            ],
            cwd=shared_data / "real-client",
            env=environment,
            check=True,
            capture_output=True,
            timeout=240,
        )  # fmt: skip
        segments = [path.read_bytes() for path in sorted(Places(root / "wk").spool.glob("*.wks"))]
        found = [each.frame for data in segments for each in decode_frames(data, SEGMENT_HEADER.size)]
        frames = [frame for frame in found if frame is not None and frame.kind == FrameKind.EVENT]
        rows = (root / "out" / "command-hooks.jsonl").read_text().splitlines()
        yield root / "out", frames, [json.loads(row)["stdin"]["hook_event_name"] for row in rows]


@pytest.mark.real_client
def test_our_hook_sees_every_event_that_another_hook_sees(
    session: tuple[Path, list[Frame], list[str]],
) -> None:
    """For each event of a real session, both hooks were called equally often."""
    _, frames, other = session
    ours = Counter(json.loads(frame.payload)["hook_event_name"] for frame in frames)
    assert {"SessionStart", "PreToolUse", "PostToolUse", "PostToolBatch", "Stop", "SessionEnd"} <= set(ours)
    expected = Counter(name for name in other if name not in {"WorktreeCreate", "WorktreeRemove"})
    assert {name: n for name, n in expected.items() if ours[name] < n} == {}
    assert set(ours) <= {event.name for event in registered_events(message_display=True)}


@pytest.mark.real_client
def test_the_client_reports_no_error_of_our_hook(session: tuple[Path, list[Frame], list[str]]) -> None:
    """The session ends well, and no answer to the client names our program."""
    out, _, _ = session
    summary = json.loads((out / "summary.json").read_text())
    assert [each["is_error"] for each in summary["results"]] == [False]
    assert "watchkeeper" not in (out / "stdout.0.jsonl").read_text()
    assert "watchkeeper" not in (out / "stderr.0.txt").read_text()
