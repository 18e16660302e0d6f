"""Reads ledger entries as facts. A pure function of the entry and the archived bytes, so a replay gives the same.

The recorder calls it for what it has just appended, and the rebuild for everything from the first entry on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from watchkeeper.archive.departures import GoneError
from watchkeeper.events.merge import Facts, State, check_storable, joined
from watchkeeper.ledger.entries import Entry
from watchkeeper.sources.claude_code.hooks import HookEvent, map_hook
from watchkeeper.sources.claude_code.lines import Skip, decode, decode_objects, split_lines
from watchkeeper.sources.claude_code.session_runs import SessionRuns
from watchkeeper.sources.claude_code.transcript_view import TranscriptLine, known_time, text_of, time_of
from watchkeeper.sources.claude_code.transcripts import map_line, map_meta
from watchkeeper.store import envelopes
from watchkeeper.store.rows import FileRow, RangeRow, TextRow
from watchkeeper.store.search_text import Document, agent_of
from watchkeeper.store.snapshots import Retirement, read_snapshot

RETIRED = "retired:"
"""Begins the names of the marks of sessions whose transcripts have left the archive; the value is ``reason:at``."""
FORGOTTEN = "forgotten:"
"""Begins the names of the marks of forgotten sessions."""

KIND_EVENT, KIND_DECISION, KIND_SYNTHETIC, KIND_HTTP = 1, 2, 3, 4


@dataclass
class Interpretation:
    """What some entries say: facts, and the positions and places that the index keeps."""

    facts: list[Facts] = field(default_factory=list)
    states: list[tuple[str, str, State]] = field(default_factory=list)
    """Facts that are joined by entity already: name, key, state."""
    sources: list[tuple[str, int]] = field(default_factory=list)
    masked: list[tuple[str, str, int]] = field(default_factory=list)
    ranges: list[RangeRow] = field(default_factory=list)
    files: list[FileRow] = field(default_factory=list)
    texts: list[TextRow] = field(default_factory=list)
    """What the full-text index is to hold."""
    retired: list[Retirement] = field(default_factory=list)
    """What has left the archive. Nothing from later entries may be merged together with it."""
    skipped: list[tuple[str, int, str]] = field(default_factory=list)
    spool: dict[str, int] = field(default_factory=dict)
    """Per segment the offset up to which it is on record."""
    marks: dict[str, str] = field(default_factory=dict)
    """Small marks by name: digests of sidecars and registrations, to notice a change."""
    lines: int = 0
    observations: int = 0


ReadArchive = Callable[[str, int, str], bytes]


def interpret(
    seq: int, entry: Entry, read_archive: ReadArchive, into: Interpretation, said: Said | None = None
) -> None:
    """Add to `into` what one ledger entry says.

    An entry ``redact`` says only where an erased payload is found now: what it holds is read in the place of the entry
    it stands for, so that a replay sees everything in the order in which it came (`pipeline.replaying`).

    Args:
        seq: The entry's sequence number.
        entry: The entry; one whose payload was erased says nothing.
        read_archive: Returns the archived bytes at (pack, position), or wherever those of the digest are now.
        into: Collects the result.
        said: What the lines of a range say, where they have been read already.

    Raises:
        FormatError: The entry or the archived range is damaged.
    """
    if not entry.payload:
        return
    if entry.kind == envelopes.FRAME:
        _frame(seq, entry, into)
    elif entry.kind == envelopes.RANGE:
        head = envelopes.read_range(entry.payload, entry.source)
        _range(seq, head, read_archive, said, into)
    elif entry.kind == envelopes.RETIREMENT:
        _retirement(seq, entry, read_archive, into)
    elif entry.kind == envelopes.META:
        head_of_meta = envelopes.read_meta(entry.payload, entry.source)
        into.facts.extend(
            map_meta(entry.source, head_of_meta.agent_id, head_of_meta.session_id, head_of_meta.body)
        )
        into.marks[f"meta:{head_of_meta.relative}"] = envelopes.digest_of(head_of_meta)
        into.observations += 1
    elif entry.kind == envelopes.REGISTRATION:
        body = envelopes.read_note(entry.payload, entry.source)
        into.marks[f"registration:{body.get('file')}"] = str(body.get("after"))
    elif entry.kind == envelopes.DAMAGE:
        _damage(entry, into)
    elif entry.kind == envelopes.FINDING:
        _finding(entry, into)
    elif entry.kind == envelopes.REDACT:
        redacted, _ = envelopes.read_redact(entry.payload, entry.source)
        if redacted.kind == envelopes.FRAME:
            into.sources.append((entry.source, seq))
    elif entry.kind == envelopes.FORGET:
        _forget(entry, into)


def _frame(seq: int, entry: Entry, into: Interpretation) -> None:
    head, payload = envelopes.read_frame(entry.payload, entry.source)
    into.sources.append((entry.source, seq))
    into.masked.extend((entry.source, rule, hits) for rule, hits in head.masked.items())
    _advance(into, entry.source, head.end)
    into.observations += 1
    body = _object(payload)
    if head.kind == KIND_DECISION:
        into.facts.extend(_decision(entry, body))
        return
    if body is None:
        into.skipped.append((entry.source, 0, "the hook's payload is not a JSON object"))
        return
    event = HookEvent(
        source=entry.source,
        at=head.wall_ns // 1_000_000,
        body=body,
        environment=head.environment,
        host=head.host or None,
        synthetic=head.kind == KIND_SYNTHETIC,
        clock=(head.boot, head.monotonic_ns // 1_000_000) if head.boot.strip("0") else None,
    )
    _collect(into, entry.source, 0, lambda: map_hook(event))
    if not event.synthetic:
        _text_of_hook(event, into)


def _text_of_hook(event: HookEvent, into: Interpretation) -> None:
    session, document = text_of(event.body.get("session_id")), Document()
    document.add(event.body)
    if session and document.texts:
        agent = agent_of(event.body)
        into.texts.append(
            TextRow(event.source, 0, 0, session, agent, True, event.at, event.at, document.text)
        )


def _advance(into: Interpretation, source: str, end: int) -> None:
    kind, segment, _ = source.split(":")
    if kind != "spool":
        return
    into.spool[segment] = max(end, into.spool.get(segment, 0))


def _object(payload: bytes) -> dict[str, Any] | None:
    body = decode(payload)
    return body if isinstance(body, dict) else None


def _decision(entry: Entry, body: dict[str, Any] | None) -> list[Facts]:
    if not body or not isinstance(body.get("of"), str):
        return []
    values = {"at": entry.at, "verdict": body.get("verdict"), "latency_us": body.get("latency_us")}
    return [Facts("decision", body["of"], "hook", 0, entry.at, values)]


def _range(
    seq: int, head: envelopes.RangeHead, read_archive: ReadArchive, said: Said | None, into: Interpretation
) -> None:
    pack, position, data = head.pack, head.position, b""
    if pack and said is None:
        try:
            data = read_archive(pack, position, head.digest)
        except GoneError:
            # Taken out on purpose; what it said about figures comes with the entry that retired it.
            pack, position = "", 0
    into.ranges.append(
        RangeRow(
            head.file_key,
            head.generation,
            head.first_line,
            head.line_count,
            pack,
            position,
            seq,
            head.digest,
            head.raw_digest,
        )
    )
    into.files.append(_file(head))
    place = line_source(head.file_key, head.generation, 0)[:-1]
    into.masked.extend((f"{place}{head.first_line}+", rule, hits) for rule, hits in head.masked.items())
    into.skipped.extend((head.relative, number, reason) for number, reason in head.skipped)
    if said is None:
        place_of = LinesPlace(head.file_key, head.generation, head.first_line, head.relative)
        said = read_lines(place_of, data)
    into.states.extend(said.states)
    into.texts.extend(said.texts)
    into.skipped.extend((head.relative, number, reason) for number, reason in said.skipped)
    into.lines += said.lines
    into.observations += said.observations


class LinesPlace(NamedTuple):
    """Where some lines of a transcript stand."""

    file_key: str
    generation: int
    first_line: int
    relative: str


@dataclass
class Said:
    """What some lines of a transcript say, wherever their bytes are kept.

    Attributes:
        states: For each entity its facts, joined: name, key, state.
        texts: What the full-text index is to hold.
        skipped: Lines left out, by number and reason.
        lines: How many there are.
        observations: How many objects they hold.
    """

    states: list[tuple[str, str, State]] = field(default_factory=list)
    texts: list[TextRow] = field(default_factory=list)
    skipped: list[tuple[int, str]] = field(default_factory=list)
    lines: int = 0
    observations: int = 0


def read_lines(at: LinesPlace, data: bytes) -> Said:
    """Return what lines say; a pure function of the bytes, so that another process can do it."""
    session, agent = hints(at.relative)
    place = line_source(at.file_key, at.generation, 0)[:-1]
    said, collected = Said(), Interpretation()
    texts, runs = _Texts(session, agent), SessionRuns()
    for number, line in split_lines(data, at.first_line):
        said.lines += 1
        body = decode(line)
        bodies = [body] if isinstance(body, dict) else decode_objects(line)
        for part, body in enumerate(bodies):
            if isinstance(body, Skip):
                if body.reason != "blank":
                    said.skipped.append((number, body.reason))
                continue
            said.observations += 1
            mapped = TranscriptLine(
                source=f"{place}{number}.{part}" if part else f"{place}{number}",
                number=number,
                body=body,
                session_hint=session,
                agent_hint=agent,
            )
            _collect(collected, at.relative, number, partial(map_line, mapped, runs))
            texts.add(body)
    _collect(collected, at.relative, at.first_line, runs.take)
    said.skipped.extend((number, reason) for _, number, reason in collected.skipped)
    said.states = [(*named, state) for named, state in joined(collected.facts).items()]
    said.texts = texts.rows(at)
    return said


def _file(head: envelopes.RangeHead) -> FileRow:
    return FileRow(
        file_key=head.file_key,
        path=head.path,
        relative=head.relative,
        generation=head.generation,
        inode=head.inode,
        device=head.device,
        position=head.end,
        lines=head.first_line + head.line_count,
        head_digest=head.head_digest,
        size=head.size,
        mtime_ns=head.mtime_ns,
    )


class _Texts:
    """The searchable texts of one range, by the session that each line names."""

    def __init__(self, session: str | None, agent: str | None) -> None:
        self._session, self._agent = session, agent
        self._documents: dict[str, tuple[Document, list[int]]] = {}

    def add(self, body: dict[str, Any]) -> None:
        session = text_of(body.get("sessionId")) or self._session
        if session is None:
            return
        document, times = self._documents.setdefault(session, (Document(), []))
        document.add(body)
        at = known_time(time_of(body.get("timestamp")))
        if at is not None:
            times.append(at)

    def rows(self, head: LinesPlace) -> list[TextRow]:
        return [
            TextRow(
                head.file_key,
                head.generation,
                head.first_line,
                session,
                self._agent,
                False,
                min(times, default=None),
                max(times, default=None),
                document.text,
            )
            for session, (document, times) in self._documents.items()
        ]


def _collect(into: Interpretation, place: str, number: int, mapping: Callable[[], list[Facts]]) -> None:
    """Add what a mapping gives.

    Observations are other people's data: one that breaks a mapping is skipped with its place and the reason, since
    it stands in the ledger and would stop every replay otherwise. The bytes stay on record.
    """
    try:
        facts = mapping()
        check_storable(facts)
    except Exception as error:  # noqa: BLE001
        into.skipped.append((place, number, f"not understood: {type(error).__name__}: {error}"))
        return
    into.facts.extend(facts)


def line_source(file_key: str, generation: int, number: int) -> str:
    """Return the identity of one transcript line; further objects on it add ``.1``, ``.2``, ..."""
    return f"transcript:{file_key}:{generation}:{number}"


def hints(relative: str) -> tuple[str | None, str | None]:
    """Return the session and the subagent that a transcript's place below ``projects`` names."""
    path = PurePosixPath(relative)
    stem = path.name.removesuffix(".jsonl").removesuffix(".meta.json")
    if not stem.startswith("agent-"):
        return stem, None
    session = path.parts[1] if len(path.parts) > 2 else None
    return session, stem.removeprefix("agent-")


def _damage(entry: Entry, into: Interpretation) -> None:
    body = envelopes.read_note(entry.payload, entry.source)
    segment, end = body.get("segment"), body.get("end")
    if isinstance(segment, str) and isinstance(end, int):
        into.spool[segment] = max(end, into.spool.get(segment, 0))
    into.skipped.append((entry.source, 0, str(body.get("reason"))))
    values = {
        "at": entry.at,
        "rule": "spool_damage",
        "severity": "high",
        "what": (
            f"{body.get('length')} bytes of the spool were no frame ({body.get('reason')});"
            " what they held is lost."
        ),
    }
    into.facts.append(Facts("finding", entry.source, "hook", 0, entry.at, values))


def _retirement(seq: int, entry: Entry, read_archive: ReadArchive, into: Interpretation) -> None:
    head = envelopes.read_retirement(entry.payload, entry.source)
    into.marks.update((f"{RETIRED}{session}", f"{head.reason}:{entry.at}") for session in head.sessions)
    place = head.snapshot
    try:
        content = read_archive(place.pack, place.position, place.digest)
    except GoneError:
        return
    into.retired.append(read_snapshot(seq, content, entry.source))


def _forget(entry: Entry, into: Interpretation) -> None:
    """Remember by their digests which sessions must not come back, and how far the spool was read."""
    body = envelopes.read_note(entry.payload, entry.source)
    for digest in body.get("sessions") or ():
        into.marks[f"{FORGOTTEN}{digest}"] = str(entry.at)
    for segment, end in (body.get("spool") or {}).items():
        into.spool[segment] = max(end, into.spool.get(segment, 0))


def _finding(entry: Entry, into: Interpretation) -> None:
    body = envelopes.read_note(entry.payload, entry.source)
    values = {name: body.get(name) for name in ("session_id", "tool_use_id", "rule", "severity", "what")}
    into.facts.append(Facts("finding", entry.source, "hook", 0, entry.at, values | {"at": entry.at}))
