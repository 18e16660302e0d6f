"""Keeps archive and disk within their budgets: drops the transcripts of sessions beyond retention, the oldest first.

A session goes as a whole, counted from its last event. What its transcripts said about figures is kept:

1. Its archived ranges are read once more, and the states that follow from them become a snapshot in the archive.
2. An entry ``retirement`` goes into the ledger. It is interpreted like any other, now and in a replay: states are
   joined, texts of messages go, places in the archive are cleared.
3. Packs that hold its frames are rewritten without them.

A crash after 2 leaves frames that nobody refers to; their digests stand in a mark of the index until 3 is done.
Sessions that are held, and those of the last day, are never dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from watchkeeper.archive.compaction import begin_dropping
from watchkeeper.archive.holds import Holds
from watchkeeper.archive.packs import Address
from watchkeeper.archive.store import ArchiveReader
from watchkeeper.errors import FormatError, NotFoundError
from watchkeeper.events.entities import ENTITIES
from watchkeeper.events.merge import State, join, joined
from watchkeeper.pipeline.disk import BUDGETED, disk_parts
from watchkeeper.pipeline.recording import Recording, now_ms
from watchkeeper.store import envelopes
from watchkeeper.store.interpret import RETIRED, Interpretation, hints, interpret
from watchkeeper.store.rows import RangeRow
from watchkeeper.store.snapshots import KeptState, Retirement, write_snapshot
from watchkeeper.store.sqlite.writing import Store

log = logging.getLogger("watchkeeper.recorder")

SPARED_MS = 24 * 3_600_000
"""Sessions with an event this recent are in use, and never dropped for want of room."""
SNAPSHOT_STATES = 2_000
"""States after which a snapshot is closed and the next begun: to join them into the index takes half a second."""
DAY_MS = 86_400_000
_ARCHIVES = frozenset({"archive", "raw archive"})
_ROUNDS = 4
"""Snapshots take room too, so after the first round a little may still be too much."""


@dataclass
class Candidate:
    """The archived transcripts of one session.

    Attributes:
        session_id: The session, or ``file:<key>`` for a subagent's file whose session nobody knows.
        last_at: Its last event in epoch milliseconds.
        files: Keys of its transcript files, with their places below ``projects``.
        ranges: How many ranges of them the archive holds.
        bytes: What the frames take, those shared with others included.
        reason: ``age`` or ``size``, once it is to go.
    """

    session_id: str
    last_at: int
    files: dict[str, str] = field(default_factory=dict)
    ranges: int = 0
    bytes: int = 0
    reason: str = ""


@dataclass
class SweepReport:
    """What a sweep dropped, or would drop; the JSON of ``wk housekeeping``."""

    dropped: list[dict[str, Any]] = field(default_factory=list)
    frames: int = 0
    bytes_before: int = 0
    """What both archives take."""
    bytes_after: int = 0
    held: list[str] = field(default_factory=list)
    over_bytes: int = 0
    damaged: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "sessions": self.dropped,
            "frames": self.frames,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "held": self.held,
            "over_bytes": self.over_bytes,
            "damaged": self.damaged,
        }


def sweep(recording: Recording, *, at_ms: int | None = None, dry_run: bool = False) -> SweepReport:
    """Drop what retention and budgets say, all at once.

    Raises:
        FormatError: The list of holds cannot be read; nothing was dropped.
        WatchkeeperError: The disk refuses; what was begun is finished by the next sweep.
    """
    report = SweepReport()
    for _ in sweep_steps(recording, report, at_ms=at_ms, dry_run=dry_run):
        pass
    return report


def sweep_steps(
    recording: Recording, report: SweepReport, *, at_ms: int | None = None, dry_run: bool = False
) -> Iterator[None]:
    """Do a sweep in steps of a second or so, so that recording can go on in between; raises as `sweep`."""
    now = now_ms() if at_ms is None else at_ms
    report.bytes_before = report.bytes_after = _archived(recording)
    if not dry_run:
        yield from _collect(recording, report)
    for _ in range(_ROUNDS):
        chosen = choose(recording, report, now)
        report.dropped += [
            {
                "session_id": item.session_id,
                "last_at": item.last_at,
                "bytes": item.bytes,
                "reason": item.reason,
            }
            for item in chosen
        ]
        if dry_run:
            report.bytes_after -= sum(item.bytes for item in chosen)
            return
        yield from _retire(recording, chosen, report)
        yield from _collect(recording, report)
        report.over_bytes = _over(recording)
        if not chosen or not _droppable(recording):
            break
    report.bytes_after = _archived(recording)


def _retire(recording: Recording, chosen: list[Candidate], report: SweepReport) -> Iterator[None]:
    """Retire sessions in batches, each with one reason."""
    batch: _Batch | None = None
    for item, following in zip_longest(chosen, chosen[1:]):
        batch = batch or _Batch(recording)
        yield from batch.add(item, report)
        if batch.states >= SNAPSHOT_STATES or following is None or following.reason != item.reason:
            batch.retire(item.reason)
            batch = None
            yield


def choose(recording: Recording, report: SweepReport, now: int) -> list[Candidate]:
    """Return the sessions that are to go, the oldest first, with the reason."""
    settings = recording.settings
    held = Holds(settings.places.holds).all()
    days = int(settings["archive.retention_days"])
    over, chosen = _droppable(recording), list[Candidate]()
    for item in sorted(candidates(recording), key=lambda found: (found.last_at, found.session_id)):
        if days and item.last_at < now - days * DAY_MS:
            item.reason = "age"
        elif over > 0 and item.last_at < now - SPARED_MS:
            item.reason = "size"
        else:
            continue
        if item.session_id in held:
            if item.session_id not in report.held:
                report.held.append(item.session_id)
            continue
        over -= item.bytes
        chosen.append(item)
    report.over_bytes = max(0, over, _over(recording) - sum(item.bytes for item in chosen))
    return chosen


def candidates(recording: Recording) -> list[Candidate]:
    """Return every session of which the archive holds something."""
    connection = recording.store.connection
    agents = dict(connection.execute("SELECT agent_id, session_id FROM subagents"))
    last = dict(connection.execute("SELECT session_id, last_at FROM sessions WHERE last_at IS NOT NULL"))
    found: dict[str, Candidate] = {}
    owners: dict[str, Candidate] = {}
    for key, relative, mtime_ns in connection.execute("SELECT file_key, relative, mtime_ns FROM files"):
        session, agent = hints(relative)
        session = session or agents.get(agent or "") or f"file:{key}"
        item = found.setdefault(session, Candidate(session, last.get(session) or 0))
        if session not in last:
            item.last_at = max(item.last_at, mtime_ns // 1_000_000)
        item.files[key] = relative
        owners[key] = item
    for key, length in _lengths(recording):
        owner = owners.get(key)
        if owner is not None:
            owner.bytes += length
            owner.ranges += 1
    return [item for item in found.values() if item.ranges]


def _lengths(recording: Recording) -> Iterator[tuple[str, int]]:
    """Yield the file of each archived range, and what its frames take; a pack at a time, to bound memory."""
    connection, places = recording.store.connection, recording.settings.places
    sealed = {item.digest: item.length for item in _frames(places.raw_archive)}
    packs = [pack for (pack,) in connection.execute("SELECT DISTINCT pack FROM ranges WHERE pack != ''")]
    query = "SELECT file_key, position, raw_digest FROM ranges WHERE pack = ?"
    for pack in packs:
        lengths = {item.offset: item.length for item in _frames(places.archive, pack)}
        for key, position, raw_digest in connection.execute(query, (pack,)):
            yield key, lengths.get(position, 0) + sealed.get(raw_digest, 0)


class _Batch:
    """Sessions that leave together, under one ledger entry."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._reader = ArchiveReader(recording.settings.places.archive)
        self._states: dict[tuple[str, str], State] = {}
        self._retirement = Retirement(0)
        self._digests: dict[str, None] = {}
        self._bytes = 0

    @property
    def states(self) -> int:
        """How many states there are now."""
        return len(self._states)

    def add(self, item: Candidate, report: SweepReport) -> Iterator[None]:
        """Take in one session, a range at a time."""
        for row in self._ranges(item):
            try:
                result = self._interpreted(row, item.files[row.file_key])
            except (FormatError, NotFoundError) as error:
                # It cannot be read, so there is nothing to keep; it leaves like the rest.
                log.warning("a range that leaves the archive cannot be read: %s", error)
                report.damaged.append(str(error))
            else:
                self._join(result)
            self._digests.update(dict.fromkeys(name for name in (row.digest, row.raw_digest) if name))
            yield
        self._retirement.sessions.append(item.session_id)
        self._retirement.files.extend(item.files)
        self._bytes += item.bytes

    def retire(self, reason: str) -> None:
        """Put the snapshot into the archive and the retirement on record."""
        retirement, archive = self._retirement, self._recording.archive
        retirement.messages = [
            key for entity, key in self._states if entity == "message" and self._alone(key)
        ]
        for key in retirement.messages:
            self._states["message", key].pop("text", None)
        retirement.digests = list(self._digests)
        retirement.states = [KeptState(entity, key, state) for (entity, key), state in self._states.items()]
        place = archive.put(write_snapshot(retirement))
        archive.commit()
        head = envelopes.RetirementHead(
            reason=reason,
            sessions=retirement.sessions,
            frames=len(self._digests),
            bytes=self._bytes,
            snapshot=envelopes.SnapshotPlace(place.pack, place.offset, place.digest),
        )
        self._recording.record([envelopes.retirement_entry(now_ms(), head)])

    def _ranges(self, item: Candidate) -> list[RangeRow]:
        query = "SELECT * FROM ranges WHERE file_key = ? AND pack != ''"
        execute = self._recording.store.connection.execute
        return [RangeRow(*row) for key in item.files for row in execute(query, (key,))]

    def _interpreted(self, row: RangeRow, relative: str) -> Interpretation:
        head = envelopes.RangeHead(
            file_key=row.file_key,
            path="",
            relative=relative,
            generation=row.generation,
            inode=0,
            device=0,
            first_line=row.first_line,
            line_count=row.line_count,
            start=0,
            end=0,
            size=0,
            mtime_ns=0,
            head_digest="",
            digest=row.digest,
            pack=row.pack,
            position=row.position,
        )
        result = Interpretation()
        interpret(row.seq, envelopes.range_entry("housekeeping", 0, head), self._reader.get, result)
        return result

    def _join(self, result: Interpretation) -> None:
        states = [*((*place, state) for place, state in joined(result.facts).items()), *result.states]
        for entity, key, state in states:
            self._states[entity, key] = join(self._states.get((entity, key), {}), state, ENTITIES[entity])
        self._retirement.skipped.extend(result.skipped)

    def _alone(self, key: str) -> bool:
        """Tell whether no session that stays has this message too, so that its text may go."""
        state = self._recording.store.state("message", key)
        claimants = state.get("sessions") or [(state.get("session_id") or [None])[-1]]
        leaving = set(self._retirement.sessions)
        mark = self._recording.store.get_meta
        return all(name in leaving or mark(f"{RETIRED}{name}") is not None for name in claimants)


def _collect(recording: Recording, report: SweepReport) -> Iterator[None]:
    """Remove the frames that retirements left to be removed, and move the references to what stays."""
    store, places = recording.store, recording.settings.places
    marks = store.uncollected()
    if not marks:
        return
    held = store.connection.execute("SELECT DISTINCT digest, raw_digest FROM ranges WHERE pack != ''")
    still = {digest for row in held for digest in row}
    gone = {digest for digests in marks.values() for digest in digests} - still
    writers = [writer for writer in (recording.archive, recording.raw) if writer is not None]
    for writer in writers:
        writer.release()
    for directory in (places.archive, places.raw_archive):
        for pack in sorted({address.pack for address in _frames(directory) if address.digest in gone}):
            yield from _drop_frames(store, directory, pack, gone, report)
    for writer in writers:
        writer.resume()
    store.forget_uncollected(marks)


def _drop_frames(
    store: Store, directory: Path, pack: str, gone: set[str], report: SweepReport
) -> Iterator[None]:
    try:
        rewrite = begin_dropping(directory, pack, lambda item: item.digest not in gone, reason="retention")
    except FormatError as error:
        # A damaged pack is evidence of damage; `wk verify` names it, and nobody but a person removes it.
        log.warning("not removed from the archive: %s", error)
        report.damaged.append(str(error))
        return
    moved = rewrite.commit()
    store.move_ranges(pack, {at: (to.pack, to.offset) for at, to in moved.items() if to is not None})
    report.frames += sum(target is None for target in moved.values())
    yield


def _frames(directory: Path, pack: str | None = None) -> Iterator[Address]:
    """Yield every frame, of one pack or of all; of a damaged pack those before the damage."""
    reader = ArchiveReader(directory)
    for name in reader.packs() if pack is None else [pack]:
        try:
            yield from reader.frames(name)
        except (FormatError, FileNotFoundError) as error:
            log.warning("left out of housekeeping: %s", error)


def _archived(recording: Recording) -> int:
    """Return what both archives take, in bytes."""
    return sum(part.bytes for part in disk_parts(recording.settings) if part.name in _ARCHIVES)


def _over(recording: Recording) -> int:
    """Return by how many bytes archive or disk are beyond their budgets, whichever is more."""
    return max(_archive_over(recording), _disk_over(recording), 0)


def _droppable(recording: Recording) -> int:
    """Return how many bytes of transcripts are to go for want of room.

    Where all but the archive is beyond the disk's budget already, no dropping would help, so nothing is dropped for it.
    """
    disk = _disk_over(recording)
    return max(_archive_over(recording), disk if disk <= _archived(recording) else 0, 0)


def _archive_over(recording: Recording) -> int:
    most = int(recording.settings["archive.max_bytes"])
    return _archived(recording) - most if most else 0


def _disk_over(recording: Recording) -> int:
    most = int(recording.settings["disk.max_bytes"])
    taken = sum(part.bytes for part in disk_parts(recording.settings) if part.name in BUDGETED)
    return taken - most if most else 0
