"""What the recorder writes into ledger entries, and how it is read back.

A frame of the spool becomes an entry of kind ``frame``: one JSON line with what the frame's header says, a newline,
and the payload as it came, after redaction. Lines of a transcript become an entry of kind ``range``: where the archive
holds them, and their digest. Whatever is in the index follows from these entries and the archive alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from watchkeeper.errors import FormatError
from watchkeeper.ledger.entries import Entry

FRAME = "frame"
DAMAGE = "damage"
RANGE = "range"
META = "meta"
START = "start"
HEARTBEAT = "heartbeat"
STOP = "stop"
REGISTRATION = "registration"
FINDING = "finding"
RETIREMENT = "retirement"
REDACT = "redact"
FORGET = "forget"


class FrameHead(
    msgspec.Struct, omit_defaults=True, rename={"wall_ns": "w", "monotonic_ns": "m", "boot": "b"}
):
    """What is kept of a frame's header. Short names: there is one of these for every hook event."""

    kind: int
    wall_ns: int
    monotonic_ns: int
    boot: str
    uid: int
    pid: int
    parent_pid: int
    host: str
    end: int
    """Offset behind the frame in its segment, where following continues."""
    flags: int = 0
    environment: dict[str, str] = {}
    masked: dict[str, int] = {}


class RangeHead(msgspec.Struct, omit_defaults=True):
    """Which lines of which transcript, and where the archive holds them."""

    file_key: str
    path: str
    relative: str
    generation: int
    inode: int
    device: int
    first_line: int
    line_count: int
    start: int
    end: int
    size: int
    mtime_ns: int
    head_digest: str
    digest: str
    pack: str
    position: int
    skipped: list[tuple[int, str]] = []
    masked: dict[str, int] = {}
    raw_digest: str = ""
    """Where the bytes as they came are kept too: their digest in the sealed archive."""


class SnapshotPlace(msgspec.Struct):
    """Where the archive holds a snapshot."""

    pack: str
    position: int
    digest: str


class RetirementHead(msgspec.Struct):
    """Which sessions' transcripts leave the archive, and where what they said about figures is kept."""

    reason: str
    """``age`` or ``size``."""
    sessions: list[str]
    frames: int
    bytes: int
    snapshot: SnapshotPlace


class MetaHead(msgspec.Struct):
    """The sidecar of a subagent's transcript."""

    relative: str
    session_id: str | None
    agent_id: str
    body: dict[str, Any]


class RedactHead(msgspec.Struct):
    """Which entry a redacted copy stands for: that entry's number, kind, and time."""

    of: int
    kind: str
    at: int


Head = TypeVar("Head")

_encode = msgspec.json.Encoder().encode
_decode_frame = msgspec.json.Decoder(FrameHead).decode
_decode_range = msgspec.json.Decoder(RangeHead).decode
_decode_meta = msgspec.json.Decoder(MetaHead).decode
_decode_retirement = msgspec.json.Decoder(RetirementHead).decode
_decode_redact = msgspec.json.Decoder(RedactHead).decode
_decode_note = msgspec.json.Decoder(dict[str, Any]).decode


def frame_entry(source: str, head: FrameHead, payload: bytes) -> Entry:
    """Return the entry for one frame."""
    return Entry(FRAME, source, head.wall_ns // 1_000_000, _encode(head) + b"\n" + payload)


def read_frame(payload: bytes, place: str) -> tuple[FrameHead, bytes]:
    """Return header and payload of a frame entry.

    Raises:
        FormatError: The entry is not what this module writes.
    """
    head, newline, body = payload.partition(b"\n")
    if not newline:
        raise FormatError("a frame entry has no header", place=place)
    return _decoded(_decode_frame, head, "frame", place), body


def range_entry(source: str, at: int, head: RangeHead) -> Entry:
    """Return the entry for one archived range of a transcript."""
    return Entry(RANGE, source, at, _encode(head))


def read_range(payload: bytes, place: str) -> RangeHead:
    """Return the content of a range entry.

    Raises:
        FormatError: The entry is not what this module writes.
    """
    return _decoded(_decode_range, payload, "range", place)


def retirement_entry(at: int, head: RetirementHead) -> Entry:
    """Return the entry that says which transcripts leave the archive."""
    return Entry(RETIREMENT, "housekeeping", at, _encode(head))


def read_retirement(payload: bytes, place: str) -> RetirementHead:
    """Return the content of an entry that `retirement_entry` made.

    Raises:
        FormatError: The entry is not what this module writes.
    """
    return _decoded(_decode_retirement, payload, "retirement", place)


def meta_entry(source: str, at: int, head: MetaHead) -> Entry:
    """Return the entry for a subagent's sidecar file."""
    return Entry(META, source, at, _encode(head))


def read_meta(payload: bytes, place: str) -> MetaHead:
    """Return the content of a sidecar entry.

    Raises:
        FormatError: The entry is not what this module writes.
    """
    return _decoded(_decode_meta, payload, "sidecar", place)


def read_note(payload: bytes, place: str) -> dict[str, Any]:
    """Return the content of an entry that `note_entry` made.

    Raises:
        FormatError: The entry is not what this module writes.
    """
    return _decoded(_decode_note, payload, "note", place)


def redact_entry(source: str, at: int, head: RedactHead, payload: bytes) -> Entry:
    """Return the entry that holds what an erased one says, without what had to go.

    Args:
        source: Source of the erased entry.
        at: Now.
        head: Which entry it stands for.
        payload: The new payload of that entry's kind.
    """
    return Entry(REDACT, source, at, _encode(head) + b"\n" + payload)


def read_redact(payload: bytes, place: str) -> tuple[RedactHead, bytes]:
    """Return for which entry a redacted copy stands, and the payload.

    Raises:
        FormatError: The entry is not what this module writes.
    """
    head, newline, body = payload.partition(b"\n")
    if not newline:
        raise FormatError("a redacted entry has no header", place=place)
    return _decoded(_decode_redact, head, "redacted", place), body


def _decoded(decode: Callable[[bytes], Head], payload: bytes, name: str, place: str) -> Head:
    try:
        return decode(payload)
    except msgspec.DecodeError as error:
        raise FormatError(f"a {name} entry cannot be decoded", why=str(error), place=place) from error


def note_entry(kind: str, source: str, at: int, body: dict[str, Any]) -> Entry:
    """Return an entry about the recorder itself: start, heartbeat, stop, registration, finding, damage."""
    return Entry(kind, source, at, _encode(body))


def digest_of(head: MetaHead) -> str:
    """Return a digest of a sidecar's content, to tell whether it has changed."""
    return hashlib.blake2b(_encode(head), digest_size=16).hexdigest()
