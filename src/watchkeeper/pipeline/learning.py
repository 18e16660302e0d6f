"""The secrets that were learnt: values of env files that an agent read, and secrets that somebody had forgotten.

Values are needed as they are, to find them in what comes later. They are kept sealed (ChaCha20-Poly1305) under a key
of their own, both owner-only beside the signing keys: whoever has a copy of the home without ``keys/``, or searches its
files, finds none; whoever can read ``keys/`` could read the agent's files as well.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from watchkeeper.errors import FormatError
from watchkeeper.ledger.files import write_file
from watchkeeper.pipeline.tombstones import forgetting_key
from watchkeeper.redaction.learning import learnable
from watchkeeper.settings import Places
from watchkeeper.sources.claude_code.lines import decode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

FILE = "learnt.sealed"
MOST = 5_000
"""Values kept; beyond that the oldest go."""
SHORTEST = 6
"""Bytes below which a value is no secret that could be told from other text."""
_NONCE = 12


class Learnt(msgspec.Struct):
    """One value.

    Attributes:
        value: The value, in base64.
        pending: What was recorded before it was learnt is still to be searched for it.
        once: It goes from this list when that is done.
        job: The job that does it.
    """

    value: str
    pending: bool
    once: bool = False
    job: str = ""


_GATE = re.compile(
    rb"\.(?:env|netrc|npmrc|yarnrc|pypirc|pgpass|my\.cnf|docker|kube|tfvars|pem|key|p12|pfx|kdbx|ovpn)"
    rb"|_netrc|credentials|secrets?\.|service[-_]account"
)
"""Stands in whatever names a file that `redaction.learning.env_like` accepts; most lines need not be decoded."""


def secrets_shown(data: bytes) -> list[bytes]:
    """Return the secrets that hook payloads or transcript lines, as they came, show of env-like files."""
    found: dict[bytes, None] = {}
    if not _GATE.search(data):
        return []
    for line in data.split(b"\n"):
        if b"tool" not in line or not _GATE.search(line):
            continue
        body = decode(line)
        if isinstance(body, dict):
            found.update(dict.fromkeys(learnable(body)))
    return list(found)


class LearntSecrets:
    """What one home has learnt.

    Raises:
        FormatError: The file is damaged, or its key is another.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._path = places.keys / FILE
        self._items: dict[bytes, Learnt] = {}
        try:
            sealed = self._path.read_bytes()
        except FileNotFoundError:
            return
        from cryptography.exceptions import InvalidTag

        try:
            raw = self._cipher().decrypt(sealed[:_NONCE], sealed[_NONCE:], FILE.encode())
            items = msgspec.json.decode(raw, type=list[Learnt])
        except (InvalidTag, msgspec.DecodeError, ValueError) as error:
            raise FormatError(
                "the learnt secrets cannot be read",
                why=str(error) or "they are sealed under another key",
                hint="Move the file away; values are then learnt anew.",
                place=str(self._path),
            ) from error
        self._items = {base64.b64decode(item.value): item for item in items}

    def values(self) -> list[bytes]:
        """Return every value, the oldest first."""
        return list(self._items)

    def pending(self) -> list[bytes]:
        """Return the values for which older data is still to be searched."""
        return [value for value, item in self._items.items() if item.pending]

    def learn(self, values: Iterable[bytes], *, again: bool = False, once: bool = False) -> list[bytes]:
        """Take in values, durably, and return those that are new.

        Args:
            values: The values; ones that are too short to be told from other text are passed over.
            again: Search older data for them even when they are known.
            once: Forget them when that is done.
        """
        wanted = [value for value in dict.fromkeys(values) if len(value) >= SHORTEST]
        new = [value for value in wanted if value not in self._items]
        for value in wanted if again else new:
            known = self._items.get(value)
            text = base64.b64encode(value).decode()
            self._items[value] = Learnt(text, pending=True, once=once and (known is None or known.once))
        while len(self._items) > MOST:
            del self._items[next(iter(self._items))]
        if new or (again and wanted):
            self._store()
        return new

    def assign(self, job: str) -> list[bytes]:
        """Let a new job have every value that no search was made for, also those of a job that never began."""
        waiting = [item for item in self._items.values() if item.pending]
        for item in waiting:
            item.job = job
        if waiting:
            self._store()
        return self.assigned(job)

    def assigned(self, job: str) -> list[bytes]:
        """Return the values that a job has."""
        return [value for value, item in self._items.items() if item.job == job]

    def settle(self, job: str) -> None:
        """Note that a job has searched older data for its values."""
        for value, item in list(self._items.items()):
            if item.job == job:
                item.pending, item.job = False, ""
                if item.once:
                    del self._items[value]
        self._store()

    def _store(self) -> None:
        nonce = os.urandom(_NONCE)
        raw = msgspec.json.encode(list(self._items.values()))
        write_file(self._path, nonce + self._cipher().encrypt(nonce, raw, FILE.encode()))

    def _cipher(self) -> ChaCha20Poly1305:
        # Most homes have learnt nothing, and a command that catches up is waited for.
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        key = forgetting_key(self._places)
        return ChaCha20Poly1305(hmac.new(key, b"learnt", hashlib.sha256).digest())
