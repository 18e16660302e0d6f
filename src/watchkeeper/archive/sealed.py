"""The sealed archive: transcript bytes as they came, secrets and all, never in the clear on the disk.

Frames are those of `archive.frames` with codec 2: the body is a nonce of 12 bytes and the zstd of the content under
ChaCha20-Poly1305, with size and digest as associated data. The digest is HMAC-SHA-256 with a key of its own, so that
nobody without the key can test a guess of the content. Both keys follow from one master key by HKDF.

The master key is 32 random bytes in ``keys/raw.key`` (owner-only), or follows by scrypt from a passphrase whose file
the settings name; then only a salt and a check value are in ``keys/raw.salt``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Collection
from pathlib import Path

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from watchkeeper.archive.codecs import LEVEL, decompress
from watchkeeper.archive.compaction import Transform, begin_dropping, begin_rewrite
from watchkeeper.archive.frames import SEALED, FrameHeader, pack_frame
from watchkeeper.archive.packs import list_packs, write_file
from watchkeeper.archive.store import ArchiveReader, ArchiveWriter
from watchkeeper.errors import ConfigError, FormatError, NotFoundError
from watchkeeper.settings import Settings

KEY_FILE = "raw.key"
SALT_FILE = "raw.salt"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 64 << 20}


class SealedCodec:
    """Frames in zstd under ChaCha20-Poly1305.

    Args:
        master: The master key, 32 bytes.
        level: Level of zstd.
    """

    def __init__(self, master: bytes, level: int = LEVEL) -> None:
        self._cipher = ChaCha20Poly1305(_derived(master, b"watchkeeper raw archive: seal"))
        self._digest_key = _derived(master, b"watchkeeper raw archive: digest")
        self._compressor = zstandard.ZstdCompressor(level=level)

    def digest(self, content: bytes) -> bytes:
        """Return the keyed digest of the content."""
        return hmac.digest(self._digest_key, content, "sha256")

    def pack(self, content: bytes, digest: bytes) -> bytes:
        """Return the whole frame for a content."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, self._compressor.compress(content), _bound(len(content), digest))
        return pack_frame(digest, len(content), nonce + sealed, SEALED)

    def unpack(self, header: FrameHeader, body: bytes, place: str) -> bytes:
        """Return the content of a frame, after checking its seal and its digest.

        Raises:
            FormatError: It was sealed with another key or changed, or is not sealed at all.
        """
        if header.codec != SEALED:
            raise FormatError("the archive frame is of another kind", why="it is not sealed", place=place)
        nonce, sealed = body[:_NONCE_BYTES], body[_NONCE_BYTES:]
        try:
            packed = self._cipher.decrypt(nonce, sealed, _bound(header.size, header.digest))
        except (InvalidTag, ValueError) as error:
            raise FormatError(
                "the archive frame cannot be unsealed", why="another key, or it was changed", place=place
            ) from error
        content = decompress(packed, header.size, place)
        if not hmac.compare_digest(self.digest(content), header.digest):
            raise FormatError(
                "the archived content is not the one it was", why="its digest differs", place=place
            )
        return content


def open_sealed_writer(settings: Settings) -> ArchiveWriter | None:
    """Open the sealed archive for writing; ``None`` where the settings do not ask for one.

    Raises:
        ConfigError: The passphrase cannot be read, or is another one than before.
    """
    if not settings["archive.raw"]:
        return None
    places = settings.places
    codec = SealedCodec(master_key(places.keys, _passphrase(settings), create=True))
    return ArchiveWriter(places.raw_archive, codec=codec)


def open_sealed_reader(settings: Settings) -> ArchiveReader:
    """Open the sealed archive for reading.

    Raises:
        NotFoundError: There is no key here, so nothing was ever sealed.
        ConfigError: The passphrase cannot be read, or is another one than before.
    """
    places = settings.places
    codec = SealedCodec(master_key(places.keys, _passphrase(settings), create=False))
    return ArchiveReader(places.raw_archive, codec)


def rewrite_sealed(settings: Settings, transform: Transform, *, reason: str) -> int:
    """Let a transform change or drop the contents of the sealed archive, as `compaction.rewrite_pack` does.

    For those who forget: a home without a sealed archive, or without its key, has nothing that could be read.
    The caller holds the writer lock and has released the sealed archive's writer.

    Returns:
        The number of frames that were dropped or changed.

    Raises:
        ConfigError: The passphrase cannot be read or is another one; nothing was changed.
        FormatError: A frame is damaged or sealed with another key.
        ArchiveError: The disk refuses.
    """
    directory, changed = settings.places.raw_archive, 0
    packs = list_packs(directory)
    if not packs:
        return 0
    codec = SealedCodec(master_key(settings.places.keys, _passphrase(settings), create=False))
    for pack in packs:
        rewrite = begin_rewrite(directory, pack, transform, reason=reason, codec=codec)
        rewrite.commit()
        changed += len(rewrite.departures)
    return changed


def drop_sealed(directory: Path, digests: Collection[str], *, reason: str) -> int:
    """Drop frames of the sealed archive by digest, which needs no key; return how many.

    Raises:
        FormatError: A frame is damaged.
        ArchiveError: The disk refuses.
    """
    dropped, gone = 0, set(digests)
    for pack in list_packs(directory):
        rewrite = begin_dropping(directory, pack, lambda item: item.digest not in gone, reason=reason)
        rewrite.commit()
        dropped += len(rewrite.departures)
    return dropped


def master_key(keys: Path, passphrase: bytes | None, *, create: bool) -> bytes:
    """Return the master key.

    Args:
        keys: The folder of keys.
        passphrase: What it follows from; without one it is read from its file.
        create: Make what is missing.

    Raises:
        NotFoundError: There is no key, and none is to be made.
        ConfigError: The passphrase is another one than before.
        FormatError: The files are not what this module writes.
    """
    if passphrase is not None:
        return _from_passphrase(keys / SALT_FILE, passphrase, create=create)
    path = keys / KEY_FILE
    if not path.exists():
        _missing(path, create=create)
        write_file(path, secrets.token_bytes(_KEY_BYTES))
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise FormatError("the key of the raw archive is damaged", place=str(path))
    return key


def _from_passphrase(path: Path, passphrase: bytes, *, create: bool) -> bytes:
    if not path.exists():
        _missing(path, create=create)
        salt = secrets.token_bytes(16)
        check = _check(_stretched(passphrase, salt))
        write_file(path, json.dumps({"salt": salt.hex(), "check": check}).encode())
    try:
        document = json.loads(path.read_bytes())
        salt, check = bytes.fromhex(document["salt"]), str(document["check"])
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            "the salt of the raw archive's key is damaged", why=str(error), place=str(path)
        ) from error
    master = _stretched(passphrase, salt)
    if not hmac.compare_digest(_check(master), check):
        raise ConfigError(
            "the passphrase of the raw archive is not the one it was sealed with",
            hint="Put the old one back: WATCHKEEPER_RAW_PASSPHRASE_FILE names its file.",
            place=str(path),
        )
    return master


def _missing(path: Path, *, create: bool) -> None:
    if not create:
        raise NotFoundError(
            "nothing was archived byte for byte",
            why="there is no key for it",
            hint="Set archive.raw in config.toml; it holds for what is recorded from then on.",
            place=str(path),
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _passphrase(settings: Settings) -> bytes | None:
    name = str(settings["archive.raw_passphrase_file"])
    if not name:
        return None
    path = Path(name).expanduser()
    try:
        first = path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise ConfigError(
            "the passphrase of the raw archive cannot be read",
            why=error.strerror or str(error),
            place=str(path),
        ) from error
    if not first:
        raise ConfigError("the passphrase of the raw archive is empty", place=str(path))
    return first


def _stretched(passphrase: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(passphrase, salt=salt, dklen=_KEY_BYTES, **_SCRYPT)


def _derived(master: bytes, purpose: bytes) -> bytes:
    return HKDFExpand(SHA256(), _KEY_BYTES, purpose).derive(master)


def _check(master: bytes) -> str:
    return _derived(master, b"watchkeeper raw archive: check").hex()


def _bound(size: int, digest: bytes) -> bytes:
    return size.to_bytes(8, "little") + digest
