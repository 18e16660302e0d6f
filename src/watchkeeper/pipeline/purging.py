"""What goes when something is forgotten or redacted anew, entry by entry.

A purge decides for one ledger entry, and for the archived lines it names, whether it stays, goes, or is replaced by a
copy without what had to go. Lines keep their numbers: one that goes leaves an empty line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import msgspec

from watchkeeper.archive.store import Address
from watchkeeper.errors import FormatError
from watchkeeper.pipeline.exact_values import RULE, ExactValues
from watchkeeper.pipeline.tombstones import belongs, session_of
from watchkeeper.redaction.engine import Redacted, Redactor
from watchkeeper.sources.claude_code.lines import decode
from watchkeeper.store import envelopes
from watchkeeper.store.interpret import KIND_DECISION

_IDS = re.compile(rb'"(?:uuid|id|tool_use_id)"\s*:\s*"([^"\\]{1,200})"')


@dataclass
class Outcome:
    """What becomes of one entry that does not stay as it is.

    Attributes:
        payload: The payload of its copy; ``None`` when it goes without one, or when ``place`` gives it.
        data: The archived content that the copy names.
        place: Returns the copy's payload once it is known where the archive holds ``data``.
        hits: How much was replaced, by rule.
        lines: Lines that changed or went.
    """

    payload: bytes | None = None
    data: bytes | None = None
    place: Callable[[Address], bytes] | None = None
    hits: dict[str, int] = field(default_factory=dict)
    lines: int = 0

    @property
    def goes(self) -> bool:
        """Whether nothing stays of the entry."""
        return self.payload is None and self.place is None


class Purge(Protocol):
    """What has to go.

    Attributes:
        names: It goes also from names and places and from what the recorder says itself, which no rule is run over.
    """

    names: bool

    @property
    def forms(self) -> list[bytes]:
        """The texts that go wherever they stand; nothing where only rules tell."""

    def text(self, data: bytes) -> Redacted:
        """Return lines of JSON without it."""

    def lines(self, data: bytes) -> Redacted:
        """Return lines of a transcript without it."""

    def snapshot(self, data: bytes) -> Redacted:
        """Return what is kept of transcripts that left the archive, without it."""

    def drops_frame(self, source: str, head: envelopes.FrameHead, body: bytes) -> bool:
        """Tell whether a frame of the spool goes altogether."""

    def drops_file(self, relative: str) -> bool:
        """Tell whether all lines and the sidecar of the transcript at this place go altogether."""

    def drops_note(self, body: bytes) -> bool:
        """Tell whether something about the recorder goes altogether."""


class ValuesPurge:
    """Given values go; everything else stays."""

    names = True

    def __init__(self, values: Iterable[bytes]) -> None:
        self.values = ExactValues(values)

    @property
    def forms(self) -> list[bytes]:
        """The values in every form."""
        return self.values.forms

    def text(self, data: bytes) -> Redacted:
        """Return lines of JSON without the values."""
        return self.values.redact(data)

    def lines(self, data: bytes) -> Redacted:
        """Return lines of a transcript without the values."""
        return self.text(data)

    def snapshot(self, data: bytes) -> Redacted:
        """Return what is kept of retired transcripts without the values."""
        return self.text(data)

    def drops_frame(self, source: str, head: envelopes.FrameHead, body: bytes) -> bool:  # noqa: ARG002
        """Keep every frame."""
        return False

    def drops_file(self, relative: str) -> bool:  # noqa: ARG002
        """Keep every transcript."""
        return False

    def drops_note(self, body: bytes) -> bool:  # noqa: ARG002
        """Keep every note."""
        return False


class RulesPurge(ValuesPurge):
    """What the rules in force take for a secret goes."""

    names = False

    def __init__(self, redactor: Redactor) -> None:
        super().__init__(())
        self._redactor = redactor

    def text(self, data: bytes) -> Redacted:
        """Return lines of JSON without what the rules hit."""
        return self._redactor.redact(data)


class SessionsPurge(ValuesPurge):
    """Sessions go: their frames, their transcripts, their lines in others' files, and their ids wherever they stand.

    Args:
        sessions: Ids of the sessions.
        copied: Ids of theirs (of lines, messages and calls) that an old client wrote again into others' files, when
            it resumed them, without any mark.
    """

    def __init__(self, sessions: Iterable[str], copied: Iterable[str] = ()) -> None:
        self._sessions = frozenset(sessions)
        self._copied = frozenset(key.encode("utf-8", "replace") for key in copied)
        super().__init__(session.encode("utf-8", "replace") for session in self._sessions)
        self._dropped: set[str] = set()

    def text(self, data: bytes) -> Redacted:
        """Return lines of JSON without the sessions' lines, and without their ids in others'."""
        return self._without(data, frozenset())

    def lines(self, data: bytes) -> Redacted:
        """Return lines of a transcript without the sessions' lines, marked or not, and without their ids in others'."""
        return self._without(data, self._copied)

    def _without(self, data: bytes, copied: frozenset[bytes]) -> Redacted:
        if not self.values.found_in(data) and copied.isdisjoint(_IDS.findall(data) if copied else ()):
            return Redacted(data, {})
        lines = data.split(b"\n")
        kept = [b"" if belongs(line, self._sessions) or _names(line, copied) else line for line in lines]
        gone = sum(1 for before, after in zip(lines, kept, strict=True) if before != after)
        rest = self.values.redact(b"\n".join(kept))
        count = gone + rest.hits.get(RULE, 0)
        return Redacted(rest.data, {RULE: count} if count else {})

    def snapshot(self, data: bytes) -> Redacted:
        """Return what is kept of retired transcripts without what is the sessions'."""
        if not self.values.found_in(data):
            return Redacted(data, {})
        kept = [line for line in data.split(b"\n") if not self._is_state(line)]
        kept[0] = self._without_sessions(kept[0])
        rest = self.values.redact(b"\n".join(kept))
        return Redacted(rest.data, {RULE: 1})

    def _is_state(self, line: bytes) -> bool:
        if not self.values.found_in(line):
            return False
        body = decode(line)
        if not isinstance(body, dict) or body.get("kind") != "state":
            return False
        owner = (body.get("state") or {}).get("session_id") or [None]
        return owner[-1] in self._sessions or (
            body.get("entity") == "session" and body.get("key") in self._sessions
        )

    def _without_sessions(self, line: bytes) -> bytes:
        body = decode(line)
        if not isinstance(body, dict):
            return line
        kept = [session for session in body.get("sessions") or () if session not in self._sessions]
        return msgspec.json.encode({**body, "sessions": kept})

    def drops_frame(self, source: str, head: envelopes.FrameHead, body: bytes) -> bool:
        """Tell whether a frame is one of the sessions', or a decision about one."""
        if head.kind == KIND_DECISION:
            return _member(body, "of") in self._dropped
        if not self.values.found_in(body) or _member(body, "session_id") not in self._sessions:
            return False
        self._dropped.add(source)
        return True

    def drops_file(self, relative: str) -> bool:
        """Tell whether a transcript is one of the sessions', or of their subagents."""
        return session_of(relative) in self._sessions

    def drops_note(self, body: bytes) -> bool:
        """Tell whether a finding is about one of the sessions."""
        return self.values.found_in(body) and _member(body, "session_id") in self._sessions


def _names(line: bytes, ids: frozenset[bytes]) -> bool:
    return bool(ids) and not ids.isdisjoint(_IDS.findall(line))


def _member(body: bytes, name: str) -> str | None:
    decoded = decode(body)
    value = decoded.get(name) if isinstance(decoded, dict) else None
    return value if isinstance(value, str) else None


ReadArchived = Callable[[str, int, str], "bytes | None"]
"""Returns what the archive holds at (pack, position) with this digest; ``None`` when it is there no more."""


def purge_entry(
    purge: Purge, kind: str, source: str, payload: bytes, read_archived: ReadArchived
) -> Outcome | None:
    """Return what becomes of an entry, or ``None`` when it stays as it is.

    Args:
        purge: What goes.
        kind: The entry's kind; for a redacted copy, that of the entry it stands for.
        source: Its source.
        payload: Its payload.
        read_archived: Fetches what an entry names.

    Raises:
        FormatError: The entry is not what this program writes.
    """
    if kind == envelopes.FRAME:
        return _frame(purge, source, payload)
    if kind == envelopes.RANGE:
        return _range(purge, source, payload, read_archived)
    if kind == envelopes.RETIREMENT:
        return _retirement(purge, source, payload, read_archived)
    if kind == envelopes.META:
        head = envelopes.read_meta(payload, source)
        if purge.drops_file(head.relative):
            return Outcome()
        if not purge.names:
            return _meta_body(purge, head)
    elif not purge.names:
        return None
    elif purge.drops_note(payload):
        return Outcome()
    redacted = purge.text(payload)
    return None if redacted.data == payload else Outcome(redacted.data, hits=redacted.hits)


def _frame(purge: Purge, source: str, payload: bytes) -> Outcome | None:
    head, body = envelopes.read_frame(payload, source)
    if purge.drops_frame(source, head, body):
        return Outcome(lines=1)
    redacted = purge.text(body)
    environment, hits = _environment(purge, head.environment, redacted.hits)
    if redacted.data == body and environment == head.environment:
        return None
    head = msgspec.structs.replace(head, environment=environment, masked=_sum(head.masked, hits))
    return Outcome(envelopes.frame_entry(source, head, redacted.data).payload, hits=hits, lines=1)


def _meta_body(purge: Purge, head: envelopes.MetaHead) -> Outcome | None:
    before = msgspec.json.encode(head.body)
    redacted = purge.text(before)
    if redacted.data == before:
        return None
    head = msgspec.structs.replace(head, body=msgspec.json.decode(redacted.data))
    return Outcome(msgspec.json.encode(head), hits=redacted.hits)


def _environment(
    purge: Purge, environment: dict[str, str], hits: dict[str, int]
) -> tuple[dict[str, str], dict[str, int]]:
    found = {name: purge.text(value.encode("utf-8", "surrogatepass")) for name, value in environment.items()}
    for redacted in found.values():
        hits = _sum(hits, redacted.hits)
    return {name: redacted.data.decode("utf-8", "replace") for name, redacted in found.items()}, hits


def _range(purge: Purge, source: str, payload: bytes, read_archived: ReadArchived) -> Outcome | None:
    head = envelopes.read_range(payload, source)
    if purge.drops_file(head.relative):
        return Outcome(lines=head.line_count)
    data = (read_archived(head.pack, head.position, head.digest) if head.pack else None) or b""
    redacted = purge.lines(data)
    path, relative = _place(purge, head)
    if redacted.data == data and (path, relative) == (head.path, head.relative):
        return None
    head = msgspec.structs.replace(
        head, path=path, relative=relative, masked=_sum(head.masked, redacted.hits)
    )
    if redacted.data == data:
        return Outcome(msgspec.json.encode(head))
    pairs = zip(data.split(b"\n"), redacted.data.split(b"\n"), strict=False)
    changed = sum(1 for before, after in pairs if before != after)
    return Outcome(None, redacted.data, partial(_range_at, head), redacted.hits, changed)


def _range_at(head: envelopes.RangeHead, address: Address) -> bytes:
    place = {"pack": address.pack, "position": address.offset, "digest": address.digest}
    return msgspec.json.encode(msgspec.structs.replace(head, **place))


def _retirement(purge: Purge, source: str, payload: bytes, read_archived: ReadArchived) -> Outcome | None:
    head = envelopes.read_retirement(payload, source)
    place = head.snapshot
    data = read_archived(place.pack, place.position, place.digest) or b""
    redacted = purge.snapshot(data)
    sessions = [session for session in head.sessions if not purge.drops_file(f"{session}.jsonl")]
    if head.sessions and not sessions:
        return Outcome()
    head = msgspec.structs.replace(head, sessions=sessions)
    if redacted.data == data:
        after = msgspec.json.encode(head)
        return None if after == payload else Outcome(after)
    return Outcome(None, redacted.data, partial(_retirement_at, head), redacted.hits)


def _retirement_at(head: envelopes.RetirementHead, address: Address) -> bytes:
    place = envelopes.SnapshotPlace(pack=address.pack, position=address.offset, digest=address.digest)
    return msgspec.json.encode(msgspec.structs.replace(head, snapshot=place))


def _place(purge: Purge, head: envelopes.RangeHead) -> tuple[str, str]:
    if not purge.names:
        return head.path, head.relative
    data = purge.text(msgspec.json.encode([head.path, head.relative])).data
    try:
        return msgspec.json.decode(data, type=tuple[str, str])
    except msgspec.DecodeError as error:
        raise FormatError(
            "a transcript's place cannot be redacted", why=str(error), place=head.file_key
        ) from error


def _sum(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {name: left.get(name, 0) + right.get(name, 0) for name in {**left, **right}}
