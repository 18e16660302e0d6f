"""What the tests of the whole system share: commands, hooks, recordings under other names, and all answers at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.demo import demo_folder
from watchkeeper.queries.calls import get_call
from watchkeeper.queries.coverage import coverage
from watchkeeper.queries.sessions import get_session, list_sessions
from watchkeeper.queries.timeline import timeline
from watchkeeper.settings import Places, Settings
from watchkeeper.store.sqlite.reading import open_reader

SOURCES = Path(__file__).resolve().parents[2] / "src"
SECONDS = 120
NOW_MS = 4_000_000_000_000
"""A fixed moment for queries, so that two answers differ only if the record does."""

Json = dict[str, Any]


def wk(settings: Settings, *arguments: str, status: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a command of the product for a home, as its user does."""
    environment = {
        **os.environ,
        **{name: value for name, value in settings.environment.items() if name.startswith("WATCHKEEPER_")},
        "WATCHKEEPER_HOME": str(settings.places.home),
        "CLAUDE_CONFIG_DIR": str(settings["sources.claude_config_dir"]),
        "PYTHONPATH": str(SOURCES),
    }
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if status is not None:
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
    return done


def wk_json(settings: Settings, *arguments: str, status: int | None = 0) -> Json:
    """Run a command with ``--json`` and return its answer."""
    answer = json.loads(wk(settings, *arguments, "--json", status=status).stdout)
    assert isinstance(answer, dict)
    return answer


def fire(
    hook: Path,
    home: Path,
    payload: Json | bytes,
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> None:
    """Run the native hook to its end, as the agent does; it says nothing and never fails."""
    content = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    done = subprocess.run(
        [hook, "--home", home, *arguments],
        input=content,
        env=dict(environment or {}),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def numbered_event(number: int, session: str) -> Json:
    """Return an event that is told from all others by its number."""
    return {
        "hook_event_name": "PreToolUse",
        "session_id": session,
        "cwd": "/project",
        "tool_name": "Bash",
        "tool_input": {"command": f"echo {number}"},
        "tool_use_id": f"toolu_{session}_{number:05d}",
    }


@dataclass(frozen=True)
class Recorded:
    """A packaged recording under a session id of one's own."""

    session_id: str
    events: list[tuple[Json, dict[str, str]]]
    transcripts: dict[str, bytes]
    """By their path below ``projects/``."""

    @property
    def call_ids(self) -> set[str]:
        """The calls that any hook event of it names."""
        found = {payload.get("tool_use_id") for payload, _ in self.events}
        for payload, _ in self.events:
            found |= {call["tool_use_id"] for call in payload.get("tool_calls", [])}
        return {each for each in found if each}

    def write_transcripts(self, config_dir: Path) -> None:
        """Put the transcripts where the agent would have."""
        for relative, content in self.transcripts.items():
            path = config_dir / "projects" / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def recordings() -> list[str]:
    """Return the names of the packaged recordings."""
    return sorted(path.name for path in demo_folder().iterdir() if path.is_dir())


def recorded_session(name: str, number: int) -> Recorded:
    """Return a packaged recording; its session's, calls', messages' and agents' ids carry the number."""
    folder = demo_folder() / name
    projects = folder / "projects"
    hooks = (folder / "hooks.jsonl").read_bytes()
    known = json.loads(hooks.splitlines()[0])["payload"]["session_id"]
    session = f"{number:08x}{known[8:]}"

    def rename(data: bytes) -> bytes:
        data = data.replace(known.encode(), session.encode())
        for prefix in (b"toolu_", b"msg_"):
            data = data.replace(prefix, prefix + b"%04x" % number)
        for agent in agents:
            data = data.replace(agent.encode(), f"{number:04x}{agent}".encode())
        return data

    agents = [path.stem.removeprefix("agent-") for path in projects.rglob("agent-*.jsonl")]
    rows = [json.loads(row) for row in rename(hooks).splitlines()]
    transcripts = {
        rename(path.relative_to(projects).as_posix().encode()).decode(): rename(path.read_bytes())
        for path in sorted(projects.rglob("*"))
        if path.is_file()
    }
    return Recorded(session, [(row["payload"], row["environment"]) for row in rows], transcripts)


def all_answers(places: Places) -> Json:
    """Return what every query says about everything on record, in a form that can be compared."""
    with open_reader(places) as reader:
        answers: Json = {"sessions": list_sessions(reader, limit=10_000, now_ms=NOW_MS)}
        for row in answers["sessions"]["sessions"]:
            session = row["session_id"]
            answers[f"session {session}"] = get_session(reader, session, now_ms=NOW_MS)
            items = timeline(reader, session, limit=10_000)
            answers[f"timeline {session}"] = items
            answers[f"coverage {session}"] = coverage(reader, session)
            for item in items["items"]:
                if item["call"] is not None:
                    key = item["call"]["tool_use_id"]
                    answers[f"call {key}"] = get_call(reader, key)
        answers["coverage"] = coverage(reader)
    decoded = json.loads(json.dumps(answers))
    assert isinstance(decoded, dict)
    return decoded


def ledger_sources(places: Places) -> Counter[str]:
    """Return how often each observation of the spool is in the ledger."""
    with LedgerReader(places.ledger) as reader:
        return Counter(entry.source for entry in reader.entries() if entry.source.startswith("spool:"))


def ledger_payloads(places: Places) -> Iterator[tuple[str, bytes]]:
    """Yield source and payload of each observation of the spool."""
    with LedgerReader(places.ledger) as reader:
        for entry in reader.entries():
            if entry.source.startswith("spool:"):
                yield entry.source, entry.payload
