"""What transcripts said about figures, kept when their contents leave the archive.

A snapshot is a frame of the archive in JSON lines, so that redaction works on it as on a transcript. The first line
says what leaves; each further line is one merged state, or one line that could not be read:

    {"kind": "retired", "sessions": [...], "files": [...], "messages": [...], "digests": [...]}
    {"kind": "state", "entity": "request", "key": "...", "state": {...}}
    {"kind": "skipped", "file": "...", "line": 7, "reason": "..."}

States are joined into the index like any other fact, so a replay comes to the same figures without the contents.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec

from watchkeeper.errors import FormatError
from watchkeeper.events.entities import ENTITIES
from watchkeeper.events.merge import State

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_BEGINNING = b'{"digests":'


@dataclass(frozen=True, slots=True)
class KeptState:
    """A merged state: the entity's name, its key, and what is known."""

    entity: str
    key: str
    state: State


@dataclass
class Retirement:
    """What leaves the archive.

    Attributes:
        seq: The ledger entry that says so; ranges recorded later stay.
        sessions: Ids of the sessions.
        files: Keys of their transcript files.
        messages: Keys of the messages whose text goes.
        digests: Digests of the frames that are to go.
        states: What stays of what they said.
        skipped: Lines that could not be read, as file, line and reason.
    """

    seq: int
    sessions: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    states: list[KeptState] = field(default_factory=list)
    skipped: list[tuple[str, int, str]] = field(default_factory=list)


def write_snapshot(retirement: Retirement) -> bytes:
    """Return the content of the frame."""
    head = {
        "kind": "retired",
        "sessions": retirement.sessions,
        "files": retirement.files,
        "messages": retirement.messages,
        "digests": retirement.digests,
    }
    lines: list[dict[str, Any]] = [head]
    lines.extend(
        {"kind": "state", "entity": item.entity, "key": item.key, "state": item.state}
        for item in retirement.states
    )
    lines.extend(
        {"kind": "skipped", "file": file, "line": line, "reason": reason}
        for file, line, reason in retirement.skipped
    )
    return b"".join(_encode(line) + b"\n" for line in lines)


def read_snapshot(seq: int, content: bytes, place: str) -> Retirement:
    """Return what a snapshot holds.

    Args:
        seq: The ledger entry that names it.
        content: The frame's content.
        place: Named in errors.

    Raises:
        FormatError: It is no snapshot.
    """
    retirement = Retirement(seq)
    try:
        for line in content.splitlines():
            _take(_decode(line), retirement)
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise FormatError("a snapshot cannot be read", why=str(error), place=place) from error
    return retirement


def is_snapshot(content: bytes) -> bool:
    """Tell whether a frame holds a snapshot and not lines of a transcript."""
    return content.startswith(_BEGINNING) and b'"kind":"retired"' in content.partition(b"\n")[0]


def without_sessions(content: bytes, sessions: Collection[str]) -> bytes:
    """Return a snapshot without what it says about some sessions, for those who forget them."""
    retirement = read_snapshot(0, content, "snapshot")
    gone = set(sessions)

    def stays(item: KeptState) -> bool:
        if item.entity == "session":
            return item.key not in gone
        claimants = item.state.get("sessions") or [(item.state.get("session_id") or [None])[-1]]
        return not gone.issuperset(claimants)

    kept = [item for item in retirement.states if stays(item)]
    keys = {item.key for item in kept if item.entity == "message"}
    retirement.sessions = [session for session in retirement.sessions if session not in gone]
    retirement.messages = [key for key in retirement.messages if key in keys]
    retirement.states = kept
    return write_snapshot(retirement)


def _take(line: dict[str, Any], retirement: Retirement) -> None:
    kind = line["kind"]
    if kind == "retired":
        retirement.sessions, retirement.files = line["sessions"], line["files"]
        retirement.messages, retirement.digests = line["messages"], line["digests"]
    elif kind == "state":
        fields = ENTITIES.get(line["entity"])
        if fields is not None:
            # A later version may know fewer fields; what nobody can merge is left out.
            state = {name: value for name, value in line["state"].items() if name in fields}
            retirement.states.append(KeptState(line["entity"], line["key"], state))
    elif kind == "skipped":
        retirement.skipped.append((line["file"], line["line"], line["reason"]))
