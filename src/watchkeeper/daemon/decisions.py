"""The decision wire format (version 1, little-endian), both ends.

Request: magic ``WKD1``, version u8, 3 bytes of padding, deadline u32 (ms), length u32, then the frame as
appended to the spool. Answer: magic ``WKA1``, version u8, verdict u8, exit status u8, padding, length u32,
then what the hook prints.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from watchkeeper.daemon.sockets import connect_unix
from watchkeeper.errors import FormatError

VERSION: Final = 1
REQUEST: Final = struct.Struct("<4sB3xII")
ANSWER: Final = struct.Struct("<4sBBBxI")
REQUEST_MAGIC: Final = b"WKD1"
ANSWER_MAGIC: Final = b"WKA1"
LONGEST_FRAME: Final = 2 << 20
"""Bytes of a frame that the decider reads. A longer one is refused: its hook goes on without a decision."""
LONGEST_OUTPUT: Final = 1 << 20


class Verdict(IntEnum):
    """What the decider says of an event."""

    NONE = 0
    ALLOW = 1
    ASK = 2
    DENY = 3
    REWRITE = 4


class Answer(NamedTuple):
    """A decision: the verdict, the hook's exit status, and what it prints for the agent."""

    verdict: Verdict
    exit_code: int = 0
    output: bytes = b""

    def encode(self) -> bytes:
        """Return the answer as it goes over the wire."""
        head = ANSWER.pack(ANSWER_MAGIC, VERSION, self.verdict, self.exit_code, len(self.output))
        return head + self.output


NO_OPINION: Final = Answer(Verdict.NONE)


def encode_request(frame: bytes, deadline_ms: int) -> bytes:
    """Return the request for a decision on a frame within ``deadline_ms`` milliseconds."""
    return REQUEST.pack(REQUEST_MAGIC, VERSION, deadline_ms, len(frame)) + frame


def parse_request_head(head: bytes) -> tuple[int, int]:
    """Return deadline (ms) and frame length of a request's first 16 bytes.

    Raises:
        FormatError: Magic, version or length is not what this format has.
    """
    magic, version, deadline_ms, length = REQUEST.unpack(head)
    if magic != REQUEST_MAGIC:
        raise FormatError("not a decision request", why=f"it starts with {magic!r}")
    if version != VERSION:
        raise FormatError(
            "unknown version of the decision format", why=f"version {version}, known is {VERSION}"
        )
    if not 0 < length <= LONGEST_FRAME:
        raise FormatError("the frame's length is out of bounds", why=f"{length} bytes")
    return deadline_ms, length


def ask(socket_path: Path, frame: bytes, *, deadline_ms: int) -> Answer:
    """Return the decider's answer on a frame, as the hook would get it.

    Raises:
        OSError: The decider cannot be reached, or does not answer within the deadline.
        FormatError: What came back is no answer.
    """
    with connect_unix(socket_path, timeout=deadline_ms / 1000) as connection:
        connection.sendall(encode_request(frame, deadline_ms))
        with connection.makefile("rb") as stream:
            head = stream.read(ANSWER.size)
            if len(head) < ANSWER.size:
                raise FormatError("the decider closed without an answer", place=str(socket_path))
            magic, version, verdict, exit_code, length = ANSWER.unpack(head)
            if (
                magic != ANSWER_MAGIC
                or version != VERSION
                or verdict > max(Verdict)
                or length > LONGEST_OUTPUT
            ):
                raise FormatError("the decider's answer cannot be read", place=str(socket_path))
            return Answer(Verdict(verdict), exit_code, stream.read(length))
