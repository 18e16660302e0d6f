"""By what a transcript that was cut or replaced is told from one that has only grown. Standard library only."""

from __future__ import annotations

import hashlib
import os

_SAMPLE = 4096


def sample_digest(descriptor: int, offset: int) -> str:
    """Return the SHA-256, in hexadecimal, of a file's first 4,096 bytes up to an offset and the last 4,096 others."""
    sample = read_at(descriptor, 0, min(_SAMPLE, offset))
    if offset > _SAMPLE:
        length = min(_SAMPLE, offset - _SAMPLE)
        sample += read_at(descriptor, offset - length, length)
    return hashlib.sha256(sample).hexdigest()


def read_at(descriptor: int, offset: int, length: int) -> bytes:
    """Return up to ``length`` bytes: fewer when the file has become shorter meanwhile."""
    data = os.pread(descriptor, length, offset)
    if len(data) == length:
        return data
    pieces = [data]
    while pieces[-1]:
        offset += len(pieces[-1])
        length -= len(pieces[-1])
        pieces.append(os.pread(descriptor, length, offset))
    return b"".join(pieces)
