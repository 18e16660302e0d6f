"""Whatever is recorded, in whatever order, and whichever sessions leave: no figure changes, and a rebuild agrees."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from observations import projections

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.housekeeping import sweep
from watchkeeper.pipeline.rebuild import rebuild
from watchkeeper.pipeline.recording import Recording
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import open_reader

DAY = 86_400_000
NOW = 1_900_000_000_000
FIGURES = (
    "SELECT * FROM requests ORDER BY 1",
    "SELECT * FROM calls ORDER BY 1",
    "SELECT * FROM prompts ORDER BY 1",
    "SELECT * FROM sessions ORDER BY 1",
    "SELECT * FROM errors ORDER BY 1",
    "SELECT message_key, session_id, at, kind FROM messages ORDER BY 1",
    "SELECT * FROM skipped ORDER BY 1, 2, 3",
)

# A line is named by few numbers, so that sessions share messages, as resumed and forked ones do.
line = st.tuples(st.sampled_from(["prompt", "answer", "call", "result", "junk"]), st.integers(0, 6))
session = st.tuples(st.integers(0, 900), st.lists(line, min_size=1, max_size=6))
history = st.lists(session, min_size=1, max_size=5)


def encoded(kind: str, number: int, name: str, at: int) -> str:
    if kind == "junk":
        return "{ broken"
    base = {
        "sessionId": name,
        "uuid": f"{kind}-{number}",
        "timestamp": _stamp(at + number),
        "cwd": "/srv/app",
    }
    if kind == "prompt":
        return json.dumps(base | {"type": "user", "message": {"role": "user", "content": f"ask {number}"}})
    if kind == "result":
        block = {
            "type": "tool_result",
            "tool_use_id": f"toolu_{number}",
            "content": "x",
            "is_error": number % 2 == 0,
        }
        return json.dumps(base | {"type": "user", "message": {"role": "user", "content": [block]}})
    tool = {
        "type": "tool_use",
        "id": f"toolu_{number}",
        "name": "Bash",
        "input": {"command": f"run {number}"},
    }
    content = {"type": "text", "text": f"say {number}"} if kind == "answer" else tool
    usage = {"input_tokens": number, "output_tokens": at % 97}
    message = {"id": f"msg_{number}", "role": "assistant", "model": "m", "content": [content], "usage": usage}
    return json.dumps(base | {"type": "assistant", "requestId": f"req_{number}", "message": message})


def _stamp(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def figures(home: Settings) -> list[Any]:
    with open_reader(home.places) as reader:
        return [list(reader.rows(query)) for query in FIGURES]


def index_of(home: Settings) -> tuple[bytes, list[Any]]:
    with Recording(home) as recording:
        rows = projections(recording.store)
    with open_reader(home.places) as reader:
        ranges = list(reader.rows("SELECT * FROM ranges ORDER BY file_key, generation, first_line"))
        documents = list(reader.rows("SELECT place, session_id FROM search_docs ORDER BY 1, 2"))
    return rows, [ranges, documents]


def write(folder: Path, number: int, age: int, lines: list[tuple[str, int]]) -> None:
    name = f"session-{number}"
    at = NOW - age * DAY
    with (folder / f"{name}.jsonl").open("a") as stream:
        stream.writelines(encoded(kind, which, name, at) + "\n" for kind, which in lines)


@given(history, history, st.lists(st.integers(0, 900), min_size=1, max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sweeps_between_recordings_change_no_figure_and_rebuild_the_same(
    first: list[tuple[int, list[tuple[str, int]]]],
    later: list[tuple[int, list[tuple[str, int]]]],
    moments: list[int],
) -> None:
    with tempfile.TemporaryDirectory() as root:
        environment = {"HOME": root, "CLAUDE_CONFIG_DIR": f"{root}/.claude"}
        home = Settings(Path(root) / "home", environment)
        folder = Path(root) / ".claude" / "projects" / "-srv-app"
        folder.mkdir(parents=True)
        for number, (age, lines) in enumerate(first):
            write(folder, number, age, lines)
        catch_up(home)
        for moment in sorted(moments, reverse=True):
            before = figures(home)
            with Recording(home) as recording:
                sweep(recording, at_ms=NOW - moment * DAY + 365 * DAY)
            assert figures(home) == before
        for number, (age, lines) in enumerate(later):
            write(folder, number, age, lines)
        catch_up(home)
        index, numbers = index_of(home), figures(home)
        rebuild(home)
        assert figures(home) == numbers
        assert index_of(home) == index
