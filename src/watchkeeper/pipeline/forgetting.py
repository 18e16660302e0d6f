"""Erases for good: a secret, sessions, or what new rules hit, from archive, ledger, index, and what else lies about.

One job at a time. It goes through its phases in order; each may be repeated, and a small file beside the keys says
where it is, so that a job that a crash interrupted is finished by the next one that records:

1. ``scan``: every ledger entry is looked at. What goes is listed; of what changes a copy is appended (``redact``).
2. ``erase``: the payloads of what was listed are erased from the ledger; digests stay, and the tree verifies.
3. ``archive``: packs that hold what no entry names any more are written anew without it.
4. ``index``: the index is made anew, and takes the place of the old one's content.
5. ``rest``: notes of people, logs, and leftovers of repairs and crashes.
6. ``tell``: an entry ``forget`` says what kind of thing went, when, why and how much of it; never what.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from watchkeeper.archive.compaction import begin_rewrite
from watchkeeper.archive.departures import read_departures
from watchkeeper.archive.sealed import drop_sealed, rewrite_sealed
from watchkeeper.archive.store import Address, ArchiveReader
from watchkeeper.errors import ConfigError, FormatError, NotFoundError
from watchkeeper.ledger.entries import OWN_SOURCE, Entry, StoredEntry
from watchkeeper.ledger.files import sync_folder, write_file
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.purging import Outcome, Purge, purge_entry
from watchkeeper.pipeline.recording import Recording, now_ms
from watchkeeper.pipeline.refilling import refill
from watchkeeper.pipeline.replaying import copies_of
from watchkeeper.pipeline.sweeping import left_in, sweep
from watchkeeper.pipeline.tombstones import JOURNAL
from watchkeeper.settings import Places
from watchkeeper.store import envelopes
from watchkeeper.store.sqlite.replacing import count_states

SLICE_BYTES = 1 << 20
SLICE_ENTRIES = 500
SAVE_SECONDS = 5.0

PHASES = ("scan", "erase", "archive", "index", "rest", "tell")


class Job(msgspec.Struct):
    """What is to be forgotten, and how far that is. Values of secrets are not in here: they are among the learnt.

    Attributes:
        id: Tells this job from any other.
        what: ``secret``, ``session``, ``person`` or ``rules``.
        why: Given by whoever asked.
        sessions: Ids of the sessions that go.
        copied: Ids of theirs that others' transcripts hold as unmarked copies.
        hidden: Their keyed digests, by which they are kept from coming back.
        began: The ledger's length at the start.
        phase: One of `PHASES`.
        next: The first entry that was not looked at.
        erase: Entries whose payloads go.
        digests: Archived contents that go, unless another entry names them.
        raw: Contents of the sealed archive that go with them.
        raw_changed: Contents of the sealed archive of which something goes.
        left: Other files of the home in which it still stands.
        told: The ledger's length when the last phase began.
        counts: How much went.
    """

    id: str
    what: str
    why: str
    sessions: list[str] = []
    copied: list[str] = []
    hidden: list[str] = []
    began: int = 0
    phase: str = "scan"
    next: int = 0
    erase: list[int] = []
    digests: list[str] = []
    raw: list[str] = []
    raw_changed: list[str] = []
    left: list[str] = []
    told: int = 0
    counts: dict[str, int] = {}


def read_job(places: Places) -> Job | None:
    """Return the job that was not finished, if there is one.

    Raises:
        FormatError: The file that says so is damaged.
    """
    path = places.keys / JOURNAL
    try:
        return msgspec.json.decode(path.read_bytes(), type=Job)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise FormatError("an unfinished job cannot be read", why=str(error), place=str(path)) from error


class Forgetting:
    """One job at work.

    Args:
        recording: The open record.
        job: What is to be done.
        purge: What goes.
    """

    def __init__(self, recording: Recording, job: Job, purge: Purge) -> None:
        self.recording = recording
        self.job = job
        self.purge = purge
        self._places = recording.settings.places
        self._copies: list[Entry] = []
        self._known_copies: dict[int, int] = {}
        self._listed: list[int] = []
        self._work = 0
        self._saved = time.monotonic()
        self._archive = ArchiveReader(self._places.archive)
        self._phases: dict[str, Callable[[], Iterator[tuple[int, int]]]] = {
            "scan": self._scan,
            "erase": self._erase,
            "archive": self._rewrite_packs,
            "index": self._index,
            "rest": self._rest,
            "tell": self._tell,
        }

    def steps(self) -> Iterator[tuple[str, int, int]]:
        """Do the job, a small step at a time; yield the phase and how far it is.

        Raises:
            WatchkeeperError: The disk is full or broken. The job may be taken up again where it is.
        """
        job = self.job
        if job.phase == "scan" and not job.next:
            job.began = self.recording.ledger.next_seq
            self._save()
        self.recording.tombstones.add(job.hidden)
        while True:
            phase = job.phase
            for done, total in self._phases[phase]():
                yield phase, done, total
            if phase == PHASES[-1]:
                break
            job.phase = PHASES[PHASES.index(phase) + 1]
            self._save()

    def close(self) -> None:
        """Let go of a job that was done to its end."""
        (self._places.keys / JOURNAL).unlink(missing_ok=True)
        sync_folder(self._places.keys)

    @property
    def changed(self) -> bool:
        """Whether anything had to go."""
        return bool(self.job.erase or self.job.digests)

    def _scan(self) -> Iterator[tuple[int, int]]:
        recording, job = self.recording, self.job
        with LedgerReader(self._places.ledger) as reader:
            self._known_copies = copies_of(reader, 0, _pass)
            while job.next < (stop := recording.ledger.next_seq):
                count = 0
                for entry in reader.entries(job.next, stop, _pass):
                    self._look(entry)
                    count += 1
                    if self._work > SLICE_BYTES or count >= SLICE_ENTRIES:
                        self._put_down(entry.seq + 1)
                        count = 0
                        yield job.next, stop
                self._put_down(stop)

    def _look(self, entry: StoredEntry) -> None:
        if entry.erased or entry.source == OWN_SOURCE or entry.kind == envelopes.FORGET:
            return
        kind, payload, of, at = entry.kind, entry.payload, entry.seq, entry.at
        self._work += len(payload)
        try:
            if kind == envelopes.REDACT:
                if entry.seq >= self.job.began:
                    return
                head, payload = envelopes.read_redact(payload, entry.source)
                kind, of, at = head.kind, head.of, head.at
            elif entry.seq in self._known_copies:
                # A crash, or another job that was given up: the copy is there, the original still to be erased.
                self._list(entry.seq, kind, payload, entry.source)
                return
            outcome = purge_entry(self.purge, kind, entry.source, payload, self._read)
        except FormatError:
            self._count("unreadable")
            return
        if outcome is not None:
            self._settle(entry, envelopes.RedactHead(of, kind, at), payload, outcome)

    def _settle(
        self, entry: StoredEntry, head: envelopes.RedactHead, payload: bytes, outcome: Outcome
    ) -> None:
        self._count("entries_erased" if outcome.goes else "entries_rewritten")
        self._count("lines", outcome.lines)
        self._count("replaced", sum(outcome.hits.values()))
        if outcome.goes or outcome.place is not None:
            self._list(entry.seq, head.kind, payload, entry.source, goes=outcome.goes)
        else:
            self._listed.append(entry.seq)
        if not outcome.goes:
            copy = outcome.payload
            if outcome.place is not None:
                assert outcome.data is not None
                copy = outcome.place(self.recording.archive.put(outcome.data))
            assert copy is not None
            self._copies.append(envelopes.redact_entry(entry.source, now_ms(), head, copy))

    def _list(self, seq: int, kind: str, payload: bytes, source: str, *, goes: bool = False) -> None:
        """Note that an entry goes, and the archived contents that it names."""
        self._listed.append(seq)
        self.job.digests.extend(_named(kind, payload, source))
        if kind == envelopes.RANGE and (raw := envelopes.read_range(payload, source).raw_digest):
            (self.job.raw if goes else self.job.raw_changed).append(raw)

    def _read(self, pack: str, position: int, digest: str) -> bytes | None:
        try:
            data = self._archive.get(pack, position, digest)
        except NotFoundError:
            return None
        self._work += len(data)
        return data

    def _put_down(self, position: int) -> None:
        """Make the copies durable, and only then count their originals among what goes."""
        if self._copies:
            self.recording.archive.commit()
            self.recording.record(self._copies)
            self._copies = []
        self.job.erase.extend(self._listed)
        self.job.next = position
        self._listed, self._work = [], 0
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._save()

    def _erase(self) -> Iterator[tuple[int, int]]:
        self.recording.recover()
        with LedgerReader(self._places.ledger) as reader:
            left = [seq for seq in sorted(set(self.job.erase)) if not reader.get(seq).erased]
        if left:
            self.recording.ledger.erase(left, f"forgotten: {self.job.what}")
        yield len(left), len(left)

    def _rewrite_packs(self) -> Iterator[tuple[int, int]]:
        live = self._live_digests()
        gone = set(self.job.digests) - live
        seen: set[str] = set()
        # Between two steps housekeeping may write a pack anew, under another name.
        while unseen := [pack for pack in self._archive.packs() if pack not in seen]:
            seen.add(unseen[0])
            self._rewrite_pack(unseen[0], gone, live)
            yield len(seen), len(seen) + len(unseen) - 1
        if self.job.what != "rules":
            self._clear_sealed()

    def _rewrite_pack(self, pack: str, gone: set[str], live: set[str]) -> None:
        dropped: set[str] = set()
        damaged = False
        try:
            for address in self._archive.frames(pack):
                orphan = address.digest not in live
                if address.digest in gone or (orphan and self._holds_some(address)):
                    dropped.add(address.digest)
        except FormatError:
            damaged = bool(gone)
        if not dropped and not damaged:
            return
        # The writer must not have it open, nor remember where in it anything is.
        self.recording.archive.release()
        rewrite = begin_rewrite(
            self._places.archive, pack, partial(_kept, dropped | gone), reason="forgotten", drop_damaged=True
        )
        # A digest of what went would let somebody try out what it was.
        rewrite.departures.clear()
        rewrite.commit()
        self._count("frames", len(dropped))

    def _clear_sealed(self) -> None:
        """Clear the bytes as they came, too; without their key whole pieces go.

        Not for rules: those bytes are kept because somebody wants them unchanged.
        """
        settings, job = self.recording.settings, self.job
        if self.recording.raw is not None:
            self.recording.raw.release()
        count = drop_sealed(self._places.raw_archive, job.raw, reason="forgotten") if job.raw else 0
        try:
            count += rewrite_sealed(
                settings, lambda _, content: self.purge.lines(content).data, reason="forgotten"
            )
        except (ConfigError, NotFoundError, FormatError):
            count += drop_sealed(self._places.raw_archive, job.raw_changed, reason="forgotten")
        if count:
            self._count("frames", count)

    def _holds_some(self, address: Address) -> bool:
        """Tell whether a frame that no entry names, as a crash leaves it, holds what has to go."""
        try:
            data = self._archive.get(address.pack, address.offset)
        except (FormatError, NotFoundError):
            return False
        return self.purge.lines(data).data != data

    def _live_digests(self) -> set[str]:
        found: set[str] = set()
        with LedgerReader(self._places.ledger) as reader:
            for entry in reader.entries(0, None, _pass):
                if entry.erased:
                    continue
                kind, payload = entry.kind, entry.payload
                with contextlib.suppress(FormatError):
                    if kind == envelopes.REDACT:
                        head, payload = envelopes.read_redact(payload, entry.source)
                        kind = head.kind
                    found.update(_named(kind, payload, entry.source))
        departures = read_departures(self._places.archive)
        moved = {item.to for digest in found if (item := departures.get(digest)) is not None and item.to}
        return found | moved

    def _index(self) -> Iterator[tuple[int, int]]:
        if self.changed:
            self.job.counts["rows"] = count_states(self.recording.store, self.purge.forms)
            yield from refill(self.recording)

    def _rest(self) -> Iterator[tuple[int, int]]:
        for name, number in sweep(self._places, self.purge.forms).items():
            self._count(name, number)
        self.job.left = left_in(self._places, self.purge.forms)
        self.job.told = self.recording.ledger.next_seq
        yield 1, 1

    def _tell(self) -> Iterator[tuple[int, int]]:
        job, recording = self.job, self.recording
        recording.recover()
        if not self._was_told():
            body: dict[str, object] = {"id": job.id, "what": job.what, "why": job.why, **self.totals()}
            body["sessions"] = job.hidden
            body["spool"] = recording.store.spool_positions() if self.changed else {}
            recording.note(envelopes.FORGET, body, source="forget")
            recording.ledger.checkpoint()
        yield 1, 1

    def _was_told(self) -> bool:
        with LedgerReader(self._places.ledger) as reader:
            return any(
                entry.kind == envelopes.FORGET
                and envelopes.read_note(entry.payload, entry.source).get("id") == self.job.id
                for entry in reader.entries(self.job.told)
            )

    def totals(self) -> dict[str, int]:
        """Return how much went, by name."""
        names = (
            "entries_erased",
            "entries_rewritten",
            "frames",
            "lines",
            "replaced",
            "rows",
            "files",
            "unreadable",
        )
        return {name: self.job.counts.get(name, 0) for name in names}

    def report(self) -> dict[str, Any]:
        """Return the JSON of ``wk forget``."""
        return {
            "what": self.job.what,
            "sessions": len(self.job.hidden),
            **self.totals(),
            "left": self.job.left,
        }

    def _count(self, name: str, number: int = 1) -> None:
        self.job.counts[name] = self.job.counts.get(name, 0) + number

    def _save(self) -> None:
        self._saved = time.monotonic()
        self._places.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(self._places.keys / JOURNAL, msgspec.json.encode(self.job))


def survey(places: Places, what: str, sessions: int, purge: Purge) -> dict[str, Any]:
    """Return what a job would do, without doing it: the report of ``--dry-run``. Needs no lock."""
    counts: dict[str, int] = {}
    archive = ArchiveReader(places.archive)

    def read(pack: str, position: int, digest: str) -> bytes | None:
        try:
            return archive.get(pack, position, digest)
        except NotFoundError:
            return None

    def count(name: str, number: int = 1) -> None:
        counts[name] = counts.get(name, 0) + number

    with LedgerReader(places.ledger) as reader:
        for entry in reader.entries(0, None, _pass):
            if entry.erased or entry.source == OWN_SOURCE or entry.kind == envelopes.FORGET:
                continue
            kind, payload = entry.kind, entry.payload
            try:
                if kind == envelopes.REDACT:
                    head, payload = envelopes.read_redact(payload, entry.source)
                    kind = head.kind
                outcome = purge_entry(purge, kind, entry.source, payload, read)
                if outcome is None:
                    continue
                count("entries_erased" if outcome.goes else "entries_rewritten")
                count("lines", outcome.lines)
                count("replaced", sum(outcome.hits.values()))
                if outcome.goes or outcome.place is not None:
                    count("frames", len(_named(kind, payload, entry.source)))
            except FormatError:
                count("unreadable")
    names = ("entries_erased", "entries_rewritten", "frames", "lines", "replaced", "unreadable")
    return {
        "what": what,
        "sessions": sessions,
        **{name: counts.get(name, 0) for name in names},
        "dry_run": True,
    }


def _named(kind: str, payload: bytes, source: str) -> list[str]:
    """Return the digests of the archived contents that an entry names."""
    if kind == envelopes.RANGE:
        head = envelopes.read_range(payload, source)
        return [head.digest] if head.digest else []
    if kind == envelopes.RETIREMENT:
        return [envelopes.read_retirement(payload, source).snapshot.digest]
    return []


def _kept(dropped: set[str], address: Address, content: bytes) -> bytes | None:
    return None if address.digest in dropped else content


def _pass(_error: FormatError) -> None:
    """Go on behind what is damaged: nothing can be read there, and `wk verify` names it."""
