"""Puts transcripts back from the archive, where the agent or somebody else has deleted them.

What is put back is what was archived: redacted, so placeholders stand where secrets stood; with ``raw`` the bytes as
they came, from the sealed archive. Every frame's digest is checked on the way. A file that exists and differs is never
overwritten unless that is asked for, and then it is kept beside.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any

from watchkeeper.archive.departures import GoneError
from watchkeeper.archive.sealed import open_sealed_reader
from watchkeeper.archive.store import ArchiveReader
from watchkeeper.errors import FormatError, NotFoundError, UsageError
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.replaying import replayed
from watchkeeper.settings import Settings
from watchkeeper.store import envelopes
from watchkeeper.store.interpret import hints
from watchkeeper.store.sqlite.reading import Reader

PLACEHOLDER = re.compile(rb"\[REDACTED:([A-Za-z0-9_.-]+)(?::[^\]\s\"\\]*)?\]")
_KEPT = ".before-restore"


@dataclass
class RestoredFile:
    """One file of a session.

    Attributes:
        path: Where it is to be.
        content: Its bytes.
        lines: Number of lines; 0 for a sidecar.
        at_ms: Time that the file is given, in epoch milliseconds.
        state: ``written``, ``there`` (the same bytes stand there), ``replaced``; before writing ``missing`` or
            ``differs``.
        kept: Where what stood there before was put, when it was replaced.
    """

    path: Path
    content: bytes
    lines: int
    at_ms: int
    state: str = "missing"
    kept: Path | None = None


@dataclass
class Restoration:
    """A session as the archive holds it, ready to be written.

    Attributes:
        session_id: The session.
        files: Main transcript first, then subagents, then sidecars.
        masked: Per file, line and rule how many placeholders stand there.
        missing: Lines that were never taken in, as file, line and reason.
        raw: Whether these are the bytes as they came.
    """

    session_id: str
    files: list[RestoredFile] = field(default_factory=list)
    masked: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)
    raw: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "session_id": self.session_id,
            "raw": self.raw,
            "files": [
                {
                    "path": str(item.path),
                    "bytes": len(item.content),
                    "lines": item.lines,
                    "state": item.state,
                    "kept": str(item.kept) if item.kept else None,
                }
                for item in self.files
            ],
            "masked": self.masked,
            "missing": self.missing,
        }


def deleted_sessions(reader: Reader) -> list[dict[str, Any]]:
    """Return the sessions whose transcript is gone from the agent's folder but held by the archive, newest first.

    Each with ``session_id``, ``last_at`` in epoch milliseconds, ``path`` and number of ``files``.
    """
    found: dict[str, dict[str, Any]] = {}
    query = (
        "SELECT path, relative, mtime_ns FROM files f WHERE EXISTS"
        " (SELECT 1 FROM ranges r WHERE r.file_key = f.file_key AND r.pack != '')"
    )
    agents = dict(reader.connection.execute("SELECT agent_id, session_id FROM subagents"))
    last = dict(reader.connection.execute("SELECT session_id, last_at FROM sessions"))
    there: set[str] = set()
    for path, relative, mtime_ns in reader.connection.execute(query):
        session, agent = hints(relative)
        session = session or agents.get(agent or "")
        if session is None:
            continue
        if agent is None and Path(path).exists():
            there.add(session)
            continue
        row = found.setdefault(
            session, {"session_id": session, "last_at": last.get(session), "path": None, "files": 0}
        )
        row["files"] += 1
        row["last_at"] = row["last_at"] or mtime_ns // 1_000_000
        if agent is None:
            row["path"] = path
    gone = [row for session, row in found.items() if session not in there and row["path"] is not None]
    return sorted(gone, key=lambda row: (-(row["last_at"] or 0), row["session_id"]))


def prepare(
    settings: Settings, reader: Reader, session_id: str, *, to: Path | None = None, raw: bool = False
) -> Restoration:
    """Read a session from the archive and look what stands at its places; nothing is written yet.

    Args:
        settings: The home.
        reader: Its index.
        session_id: The whole id.
        to: The agent's folder to put it under (``projects`` is made there); its old one when absent.
        raw: Take the bytes as they came.

    Raises:
        NotFoundError: The archive holds nothing of it, or nothing as it came.
        GoneError: Its content was dropped or forgotten.
        FormatError: The archive is damaged there.
    """
    job = _Job(settings, reader, Restoration(session_id, raw=raw), to)
    job.run()
    return job.result


def write(result: Restoration, *, force: bool = False) -> None:
    """Write the files that are missing; with ``force`` also over those that differ, which are kept beside.

    Raises:
        UsageError: A file exists and differs; nothing was written.
        OSError: The disk refuses.
    """
    differing = [item.path for item in result.files if item.state == "differs"]
    if differing and not force:
        raise UsageError(
            "a file is there already and differs from the archived one",
            why="the archive holds it redacted" if not result.raw else "",
            hint="Give --to DIR for another place, or --force; what is there is kept beside then.",
            place=str(differing[0]),
        )
    for item in result.files:
        if item.state == "there":
            continue
        if item.state == "differs":
            item.kept = _free_name(item.path)
            item.path.rename(item.kept)
        _write_file(item)
        item.state = "replaced" if item.kept else "written"


class _Job:
    """Collects one session's files."""

    def __init__(self, settings: Settings, reader: Reader, result: Restoration, to: Path | None) -> None:
        self.settings, self.reader, self.result, self.to = settings, reader, result, to
        places = settings.places
        self._archive = ArchiveReader(places.archive)
        self._sealed = open_sealed_reader(settings) if result.raw else None
        self._ledger = LedgerReader(places.ledger)

    def run(self) -> None:
        result = self.result
        rows = self._rows()
        first: int | None = None
        for row in rows:
            item = self._file(row)
            if item is None:
                continue
            result.files.append(item)
            low = self.reader.value("SELECT min(seq) FROM ranges WHERE file_key = ?", (row["file_key"],))
            first = low if first is None else min(first, low)
        if not result.files:
            raise NotFoundError(
                f"the archive holds no transcript of session {result.session_id}",
                hint="Run `wk restore --list` for those that it holds.",
            )
        agents = {
            PurePosixPath(row["relative"]).with_suffix("").as_posix(): row for row in rows if row["agent"]
        }
        if agents and first is not None:
            result.files.extend(self._sidecars(agents, first))
        for item in result.files:
            item.state = _state(item)

    def _rows(self) -> list[dict[str, Any]]:
        """Return the session's files, the main one first; of the same place in several folders the latest."""
        wanted = self.result.session_id
        agents = dict(self.reader.connection.execute("SELECT agent_id, session_id FROM subagents"))
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self.reader.rows("SELECT * FROM files ORDER BY mtime_ns"):
            session, agent = hints(row["relative"])
            if (session or agents.get(agent or "")) != wanted:
                continue
            root = "" if self.to is not None else _root(row["path"], row["relative"])
            found[root, row["relative"]] = {**row, "agent": agent, "root": root}
        return sorted(found.values(), key=lambda row: (row["agent"] is not None, row["relative"]))

    def _file(self, row: dict[str, Any]) -> RestoredFile | None:
        ranges = list(
            self.reader.rows(
                "SELECT * FROM ranges WHERE file_key = ? ORDER BY generation, first_line", (row["file_key"],)
            )
        )
        if not any(item["digest"] for item in ranges):
            return None
        path = self._path(row["root"], row["relative"])
        generation = self._generation(ranges, path)
        pieces: list[bytes] = []
        chosen = [item for item in ranges if item["generation"] == generation]
        for item, following in zip_longest(chosen, chosen[1:]):
            pieces.append(self._piece(item, following, path))
        content = b"".join(pieces)
        lines = content.count(b"\n") + bool(content and not content.endswith(b"\n"))
        if not self.result.raw:
            self.result.masked.extend(_masked(path, content))
        return RestoredFile(path, content, lines, self._time(row))

    def _generation(self, ranges: list[dict[str, Any]], path: Path) -> int:
        """Return the latest generation; of the sealed ones the longest, since a restored copy is no original."""
        if not self.result.raw:
            return int(max(item["generation"] for item in ranges))
        ends: dict[int, int] = {}
        for generation in {item["generation"] for item in ranges}:
            mine = [item for item in ranges if item["generation"] == generation and item["digest"]]
            if all(item["raw_digest"] for item in mine):
                ends[generation] = max((item["first_line"] + item["line_count"] for item in mine), default=0)
        if not ends:
            raise NotFoundError(
                "this transcript was not archived byte for byte",
                hint="Leave --raw out for the redacted one. archive.raw holds for what is recorded after it was set.",
                place=str(path),
            )
        longest = max(ends.values())
        return min(generation for generation, end in ends.items() if end == longest)

    def _piece(self, item: dict[str, Any], following: dict[str, Any] | None, path: Path) -> bytes:
        """Return the lines of one range up to where the next one takes over, with the line end between them."""
        if not item["digest"]:
            self.result.missing.append(
                {"file": str(path), "line": item["first_line"], "reason": "too long to be taken in"}
            )
            return b""
        data = self._content(item, path)
        if following is None:
            return data
        # A last line without a line end may have been read again, whole, as the first of the next range.
        lines = _lines(data)
        data = b"".join(lines[: max(0, following["first_line"] - item["first_line"])])
        if data and not data.endswith(b"\n"):
            data += self._line_end(item, following)
        return data

    def _content(self, item: dict[str, Any], path: Path) -> bytes:
        try:
            if self._sealed is not None:
                place = self._sealed.find(item["raw_digest"])
                return self._sealed.get(place.pack, place.offset, item["raw_digest"])
            if item["pack"]:
                return self._archive.get(item["pack"], item["position"], item["digest"])
            place = self._archive.find(item["digest"])
            return self._archive.get(place.pack, place.offset)
        except GoneError as error:
            raise GoneError(error.reason, place=f"{path}:{item['first_line']}") from error

    def _line_end(self, item: dict[str, Any], following: dict[str, Any]) -> bytes:
        before, after = self._head(item["seq"]), self._head(following["seq"])
        if before is not None and after is not None and after.start - before.end == len(b"\r\n"):
            return b"\r\n"
        return b"\n"

    def _head(self, seq: int) -> envelopes.RangeHead | None:
        for entry in replayed(self._ledger, seq, seq + 1):
            if entry.payload and entry.kind == envelopes.RANGE:
                return envelopes.read_range(entry.payload, entry.source)
        return None

    def _sidecars(self, agents: dict[str, dict[str, Any]], first: int) -> Iterator[RestoredFile]:
        """Yield the sidecars of subagents, each as it was recorded last."""
        bodies: dict[str, dict[str, Any]] = {}
        wanted = {row["relative"]: stem for stem, row in agents.items()}
        for entry in replayed(self._ledger, first, on_damage=lambda _error: None):
            if entry.kind == envelopes.META and entry.payload:
                head = envelopes.read_meta(entry.payload, entry.source)
                if head.relative in wanted:
                    bodies[wanted[head.relative]] = head.body
        for stem, body in sorted(bodies.items()):
            path = self._path(agents[stem]["root"], f"{stem}.meta.json")
            content = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(
                "utf-8", "surrogatepass"
            )
            yield RestoredFile(path, content, 0, self._time(agents[stem]))

    def _path(self, root: str, relative: str) -> Path:
        place = PurePosixPath(relative)
        if place.is_absolute() or ".." in place.parts:
            raise FormatError("a recorded place leads out of the agent's folder", place=relative)
        return (self.to / "projects" if self.to is not None else Path(root)) / place

    def _time(self, row: dict[str, Any]) -> int:
        if row["agent"] is None:
            query, key = "SELECT last_at FROM sessions WHERE session_id = ?", self.result.session_id
        else:
            query, key = "SELECT last_at FROM subagents WHERE agent_id = ?", row["agent"]
        return int(self.reader.value(query, (key,)) or row["mtime_ns"] // 1_000_000)


def _root(path: str, relative: str) -> str:
    """Return the ``projects`` folder that a file was in."""
    return path.removesuffix(relative) if path.endswith(relative) else str(Path(path).parent.parent)


def _lines(data: bytes) -> list[bytes]:
    """Split at line feeds, keeping them; ``splitlines`` would also split at lone carriage returns."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _masked(path: Path, content: bytes) -> Iterator[dict[str, Any]]:
    if b"[REDACTED:" not in content:
        return
    for number, line in enumerate(content.split(b"\n"), 1):
        counts: dict[str, int] = {}
        for rule in PLACEHOLDER.findall(line):
            counts[rule.decode()] = counts.get(rule.decode(), 0) + 1
        for name, count in sorted(counts.items()):
            yield {"file": str(path), "line": number, "rule": name, "count": count}


def _state(item: RestoredFile) -> str:
    try:
        if item.path.stat().st_size != len(item.content):
            return "differs"
        return "there" if item.path.read_bytes() == item.content else "differs"
    except FileNotFoundError:
        return "missing"


def _free_name(path: Path) -> Path:
    number = 0
    while True:
        name = path.with_name(f"{path.name}{_KEPT}" + (f"-{number}" if number else ""))
        if not os.path.lexists(name):
            return name
        number += 1


def _write_file(item: RestoredFile) -> None:
    """Write a file that must not be there, whole or not at all, with its time."""
    item.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = item.path.with_name(f".{item.path.name}.restoring-{os.getpid()}")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(item.content)
            stream.flush()
            os.fsync(descriptor)
        seconds = item.at_ms * 1_000_000
        os.utime(temporary, ns=(seconds, seconds))
        # A link refuses where a rename would overwrite what somebody has put there meanwhile.
        os.link(temporary, item.path)
    finally:
        temporary.unlink(missing_ok=True)
