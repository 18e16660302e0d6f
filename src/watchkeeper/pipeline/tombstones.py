"""Which sessions were forgotten, so that they do not come back with the next import.

Only keyed digests of their ids are kept: in the ledger's entries ``forget``, and from there as marks in the index. The
key lies with the other keys. Quick commands import this, so it takes nothing but the standard library.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from watchkeeper.settings import Places

KEY = "forgetting.key"
JOURNAL = "forgetting.json"
"""Says where an unfinished job is."""
MARK = "forgotten:"
"""Begins the names of the marks in the index."""
_KEY_BYTES = 32
_NAMED = re.compile(rb'"session_?[iI]d"\s*:\s*"([^"\\]{1,200})"')


def forgetting_key(places: Places) -> bytes:
    """Return the key of the digests and of what was learnt; it is made at the first call.

    Raises:
        OSError: It can be neither read nor made.
    """
    path = places.keys / KEY
    places.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) >= _KEY_BYTES:
        return key
    fresh = path.with_name(f"{KEY}.tmp")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        key = os.urandom(_KEY_BYTES)
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    return key


class Tombstones:
    """The forgotten sessions of one home.

    Args:
        places: The home.
        digests: What the index has marked.
    """

    def __init__(self, places: Places, digests: Iterable[str] = ()) -> None:
        self._places = places
        self._digests = set(digests)
        self._key: bytes | None = None

    @classmethod
    def of(cls, places: Places, connection: Any) -> Tombstones:
        """Return those that an open index has marked."""
        query = "SELECT name FROM meta WHERE name >= ? AND name < ?"
        rows = connection.execute(query, (MARK, MARK[:-1] + ";"))
        found = cls(places, (name.removeprefix(MARK) for (name,) in rows))
        found.add(_hidden_by_job(places))
        return found

    def __bool__(self) -> bool:
        return bool(self._digests)

    def digest(self, session_id: str) -> str:
        """Return what is kept of a session's id."""
        # Quick commands need these only where something was forgotten.
        import hashlib
        import hmac

        if self._key is None:
            self._key = forgetting_key(self._places)
        text = session_id.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, b"session\0" + text, hashlib.sha256).hexdigest()[:32]

    def add(self, digests: Iterable[str]) -> None:
        """Take in sessions that were forgotten just now."""
        self._digests.update(digests)

    def holds(self, session_id: str | None) -> bool:
        """Tell whether a session was forgotten."""
        return bool(self._digests) and session_id is not None and self.digest(session_id) in self._digests

    def hides(self, relative: str) -> bool:
        """Tell whether the transcript at this place below ``projects`` is one of a forgotten session."""
        return bool(self._digests) and self.holds(session_of(relative))

    def cleared(self, data: bytes) -> bytes:
        """Return transcript lines with those of forgotten sessions left empty, as copies in others' files are."""
        if not self._digests:
            return data
        named = {match.decode("utf-8", "replace") for match in set(_NAMED.findall(data))}
        gone = {name for name in named if self.holds(name)}
        if not gone:
            return data
        return b"\n".join(b"" if belongs(line, gone) else line for line in data.split(b"\n"))


def _hidden_by_job(places: Places) -> list[str]:
    """Return the digests of what is just being forgotten."""
    try:
        journal = (places.keys / JOURNAL).read_bytes()
    except OSError:
        return []
    import json

    try:
        return [str(digest) for digest in json.loads(journal)["hidden"]]
    except (ValueError, KeyError, TypeError):
        return []


def session_of(relative: str) -> str | None:
    """Return the session that a transcript's place below ``projects`` names, or ``None``."""
    path = PurePosixPath(relative)
    stem = path.name.removesuffix(".jsonl").removesuffix(".meta.json")
    if not stem.startswith("agent-"):
        return stem
    return path.parts[1] if len(path.parts) > 2 else None


def belongs(line: bytes, sessions: Iterable[str]) -> bool:
    """Tell whether a transcript line is one of these sessions', or a marked copy of such a line."""
    if not any(session.encode("utf-8", "surrogatepass") in line for session in sessions):
        return False
    import json

    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(body, dict):
        return False
    origin = body.get("forkedFrom")
    origin = origin.get("sessionId") if isinstance(origin, dict) else None
    return body.get("sessionId") in set(sessions) or origin in set(sessions)
