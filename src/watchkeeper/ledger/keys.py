"""Ed25519 keys of one host: one that signs, and the public halves of all that ever signed.

After a rotation the old private key is gone, so that whoever takes the machine over later cannot sign in its
name again.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from watchkeeper.errors import FormatError, NotFoundError, WatchkeeperError
from watchkeeper.ledger.checkpoints import canonical
from watchkeeper.ledger.files import write_file

PUBLIC = "public.jsonl"
HOST = "host"
CONTEXT = b"watchkeeper key v1\n"
_HOST = re.compile(r"^[0-9a-f]{32}$")


class KeyUnusableError(WatchkeeperError):
    """A signing key is missing or does not fit its public half."""

    code = "key"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key on record.

    Attributes:
        key_id: First 16 hex digits of the SHA-256 of the key.
        public_key: The raw key, 64 hex digits.
        created_at: Epoch milliseconds.
        signed_by: Id of the key before it, which signed it; its own id for the first.
        signature: Over ``message()``, 128 hex digits.
    """

    key_id: str
    public_key: str
    created_at: int
    signed_by: str
    signature: str = ""

    def fields(self) -> dict[str, Any]:
        """Return what is signed."""
        return {
            "key_id": self.key_id,
            "public_key": self.public_key,
            "created_at": self.created_at,
            "signed_by": self.signed_by,
        }

    def message(self) -> bytes:
        """Return the bytes that are signed."""
        return CONTEXT + canonical(self.fields())

    def to_json(self) -> dict[str, Any]:
        """Return the key as it stands in ``public.jsonl`` and in bundles."""
        return {**self.fields(), "signature": self.signature}


def key_id_of(public_key: bytes) -> str:
    """Return the id of a raw public key."""
    return sha256(public_key).hexdigest()[:16]


class KeyRing:
    """The keys below one folder.

    Args:
        directory: The ``keys`` folder of a home.
        create_if_missing: Make folder, host id and first key when there are none.

    Raises:
        FormatError: The public keys cannot be read or do not sign each other in turn.
        NotFoundError: There are no keys and none may be made.
    """

    def __init__(self, directory: Path, *, create_if_missing: bool = True) -> None:
        self.directory = directory
        self._private: Ed25519PrivateKey | None = None
        if create_if_missing and not (directory / PUBLIC).exists():
            self._create()
        self._keys = _read_public(directory / PUBLIC)
        self._verifiers = {key.key_id: _public(key) for key in self._keys}
        self.host = _read_host(directory / HOST)

    @property
    def current_id(self) -> str:
        """Id of the key that signs now."""
        return self._keys[-1].key_id

    def public_keys(self) -> list[PublicKey]:
        """Return all keys, the oldest first."""
        return list(self._keys)

    def sign(self, message: bytes) -> str:
        """Return the signature of the current key as hex.

        Raises:
            KeyUnusableError: The private key cannot be read here.
        """
        if self._private is None:
            self._private = self._load_private(self._keys[-1])
        return self._private.sign(message).hex()

    def verify(self, key_id: str, message: bytes, signature: str) -> bool:
        """Return whether a key of this ring made the signature (hex)."""
        verifier = self._verifiers.get(key_id)
        if verifier is None:
            return False
        try:
            verifier.verify(bytes.fromhex(signature), message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def rotate(self) -> PublicKey:
        """Replace the signing key by a new one, which the old one signs; the old private key is removed.

        The ledger's writer notices at its next checkpoint and puts the new key on record.
        """
        old = self.current_id
        private, key = self._generate(signed_by=old)
        signed = PublicKey(**key.fields(), signature=self.sign(key.message()))
        self._keys = [*self._keys, signed]
        self._write_public()
        self._private, self._verifiers[signed.key_id] = private, _public(signed)
        self._private_path(old).unlink(missing_ok=True)
        return signed

    def _create(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.directory / HOST).exists():
            write_file(self.directory / HOST, secrets.token_hex(16).encode() + b"\n")
        private, key = self._generate(signed_by="")
        key = PublicKey(**{**key.fields(), "signed_by": key.key_id})
        self._keys = [PublicKey(**key.fields(), signature=private.sign(key.message()).hex())]
        self._write_public()

    def _generate(self, signed_by: str) -> tuple[Ed25519PrivateKey, PublicKey]:
        private = Ed25519PrivateKey.generate()
        raw = private.public_key().public_bytes_raw()
        key = PublicKey(key_id_of(raw), raw.hex(), time.time_ns() // 1_000_000, signed_by)
        write_file(self._private_path(key.key_id), private.private_bytes_raw())
        return private, key

    def _load_private(self, key: PublicKey) -> Ed25519PrivateKey:
        path = self._private_path(key.key_id)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                private = Ed25519PrivateKey.from_private_bytes(file.read(64))
        except (OSError, ValueError) as error:
            raise KeyUnusableError(
                "the signing key cannot be read", why=str(error), place=str(path)
            ) from error
        if private.public_key().public_bytes_raw().hex() != key.public_key:
            raise KeyUnusableError("the signing key does not fit its public key", place=str(path))
        return private

    def _private_path(self, key_id: str) -> Path:
        return self.directory / f"{key_id}.private"

    def _write_public(self) -> None:
        lines = b"".join(canonical(key.to_json()) + b"\n" for key in self._keys)
        write_file(self.directory / PUBLIC, lines)


def check_succession(keys: list[PublicKey], place: str) -> None:
    """Check that each key is signed by the one before it, and the first by itself.

    Raises:
        FormatError: One is not.
    """
    for number, key in enumerate(keys, 1):
        signer = keys[max(0, number - 2)]
        why = ""
        try:
            if key_id_of(bytes.fromhex(key.public_key)) != key.key_id or key.signed_by != signer.key_id:
                why = "its id or its signer is wrong"
            else:
                _public(signer).verify(bytes.fromhex(key.signature), key.message())
        except (InvalidSignature, ValueError) as error:
            why = str(error) or "its signature is wrong"
        if why:
            raise FormatError("a public key cannot be trusted", why=why, place=f"{place}:{number}")


def _read_public(path: Path) -> list[PublicKey]:
    try:
        lines = path.read_bytes().splitlines()
        keys = [PublicKey(**json.loads(line)) for line in lines]
    except FileNotFoundError as error:
        raise NotFoundError("there are no keys", hint="The daemon makes them.", place=str(path)) from error
    except (ValueError, TypeError) as error:
        raise FormatError("the public keys cannot be read", why=str(error), place=str(path)) from error
    if not keys:
        raise FormatError("the public keys cannot be read", why="the file is empty", place=str(path))
    check_succession(keys, str(path))
    return keys


def _read_host(path: Path) -> str:
    try:
        host = path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise FormatError("the host id cannot be read", why=str(error), place=str(path)) from error
    if not _HOST.match(host):
        raise FormatError("the host id cannot be read", why="it is not 32 hex digits", place=str(path))
    return host


def _public(key: PublicKey) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public_key))
