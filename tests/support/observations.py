"""Reads recorded sessions as ledger entries, without a ledger: what the recorder would have appended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchkeeper.ledger.entries import Entry
from watchkeeper.store import envelopes
from watchkeeper.store.interpret import Interpretation, interpret
from watchkeeper.store.sqlite.writing import Store
from watchkeeper.store.tables import TABLES


@dataclass(frozen=True)
class Observation:
    """One ledger entry with the archived bytes that it refers to."""

    entry: Entry
    data: bytes = b""

    def facts(self) -> Interpretation:
        """Return what it says."""
        result = Interpretation()
        interpret(0, self.entry, lambda _pack, _position, _digest: self.data, result)
        return result


def hook_observations(path: Path) -> Iterator[Observation]:
    """Yield the hook events of a recording, in either of the two recorded forms."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        recorded: dict[str, Any] = json.loads(line)
        payload = recorded.get("payload") or recorded.get("input")
        if payload is None or recorded.get("channel") == "http":
            continue
        wall = recorded.get("wall_ns") or int(recorded["t"] * 1e9)
        head = envelopes.FrameHead(
            kind=1,
            wall_ns=wall,
            monotonic_ns=0,
            boot="00" * 16,
            uid=0,
            pid=0,
            parent_pid=0,
            host="host",
            end=number + 1,
            environment=recorded.get("environment") or {},
        )
        source = f"spool:{path.parent.name}:{number}"
        yield Observation(envelopes.frame_entry(source, head, json.dumps(payload).encode()))


def transcript_observations(projects: Path, *, lines_each: int = 1_000_000) -> Iterator[Observation]:
    """Yield every transcript below `projects` as ranges of at most so many lines, and the sidecars."""
    for path in sorted(projects.rglob("*.jsonl")):
        relative = path.relative_to(projects).as_posix()
        lines = path.read_bytes().splitlines(keepends=True)
        for first in range(0, len(lines), lines_each):
            yield range_observation(relative, lines[first : first + lines_each], first)
    for path in sorted(projects.rglob("*.meta.json")):
        agent = path.name.removeprefix("agent-").removesuffix(".meta.json")
        session = path.relative_to(projects).parts[1]
        body = json.loads(path.read_bytes())
        head = envelopes.MetaHead(relative=path.name, session_id=session, agent_id=agent, body=body)
        yield Observation(envelopes.meta_entry(f"meta:{path.name}", 0, head))


def range_observation(relative: str, lines: list[bytes], first: int) -> Observation:
    """Return some lines of a transcript as the entry that names them."""
    head = envelopes.RangeHead(
        file_key=relative,
        path=relative,
        relative=relative,
        generation=0,
        inode=0,
        device=0,
        first_line=first,
        line_count=len(lines),
        start=0,
        end=0,
        size=0,
        mtime_ns=0,
        head_digest="",
        digest="",
        pack="pack",
        position=0,
    )
    return Observation(envelopes.range_entry(f"transcript:{relative}:0:{first}", 0, head), b"".join(lines))


def recorded_session(folder: Path, *, lines_each: int = 1_000_000) -> list[Observation]:
    """Return the observations of one packaged session."""
    return [
        *hook_observations(folder / "hooks.jsonl"),
        *transcript_observations(folder / "projects", lines_each=lines_each),
    ]


def projections(store: Store) -> bytes:
    """Return every row of every projection, and every merged state, as bytes."""
    found: dict[str, Any] = {}
    for name, table in TABLES.items():
        rows = store.connection.execute(f"SELECT * FROM {name} ORDER BY {table.key}")
        found[name] = [list(row) for row in rows]
    states = store.connection.execute("SELECT entity, key, hex(state) FROM facts ORDER BY entity, key")
    found["facts"] = [list(row) for row in states]
    return json.dumps(found, sort_keys=True).encode()


def merge_all(store: Store, observations: list[Observation], batch: int) -> None:
    """Merge observations in the given order, so many to a transaction."""
    for start in range(0, len(observations), batch):
        said = [item.facts() for item in observations[start : start + batch]]
        with store.transaction():
            store.merge(
                [fact for item in said for fact in item.facts],
                [state for item in said for state in item.states],
            )
