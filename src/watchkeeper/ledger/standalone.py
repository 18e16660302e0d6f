#!/usr/bin/env python3
"""Check a Watchkeeper bundle: ``python standalone.py BUNDLE [--json] [--key HEX]``.

The exit status is 0 when it holds, 1 when not, 2 on wrong use.

This one file needs Python 3.9 or later and nothing else: copy it to wherever a bundle is to be checked,
read it first. It recomputes the tree of RFC 6962 from the entries, and compares its roots with those signed
by Ed25519 (RFC 8032). What it cannot know: whether the signer was honest. Pass ``--key`` with the first
public key as you know it from elsewhere; without it the bundle only proves that it agrees with itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

FORMAT = "watchkeeper-bundle"
CHECKPOINT_CONTEXT = b"watchkeeper checkpoint v1\n"
KEY_CONTEXT = b"watchkeeper key v1\n"
SALT_BYTES = 16

# Ed25519, verification only (RFC 8032, 5.1.7)

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]
NEUTRAL: Point = (0, 1, 1, 0)


def add_points(a: Point, b: Point) -> Point:
    """Return the sum of two points of the curve in extended coordinates."""
    left = (a[1] - a[0]) * (b[1] - b[0]) % P
    right = (a[1] + a[0]) * (b[1] + b[0]) % P
    product = 2 * a[3] * b[3] * D % P
    doubled = 2 * a[2] * b[2] % P
    e, f, g, h = right - left, doubled - product, doubled + product, right + left
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply_point(scalar: int, point: Point) -> Point:
    """Return a multiple of a point; not in constant time, as nothing here is secret."""
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add_points(result, point)
        point = add_points(point, point)
        scalar >>= 1
    return result


def recover_x(y: int, sign: int) -> int | None:
    """Return the x that belongs to a y, or nothing when the point is not on the curve."""
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def decode_point(encoded: bytes) -> Point | None:
    """Return the point of 32 bytes, or nothing."""
    number = int.from_bytes(encoded, "little")
    y = number & ((1 << 255) - 1)
    x = recover_x(y, number >> 255)
    return None if x is None else (x, y, 1, x * y % P)


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = recover_x(BASE_Y, 0) or 0
BASE: Point = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def verify_in_python(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether an Ed25519 signature holds, computed here."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key, commitment = decode_point(public_key), decode_point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    left = multiply_point(scalar, BASE)
    right = add_points(commitment, multiply_point(challenge, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (
        left[1] * right[2] - right[1] * left[2]
    ) % P == 0


def quickest_verifier() -> Callable[[bytes, bytes, bytes], bool]:
    """Return a verifier by the package ``cryptography`` where it is installed, else the one above."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return verify_in_python

    def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify


# The tree (RFC 6962, section 2)


class Tree:
    """Grows by complete subtrees; keeps the roots of those that have no sibling yet."""

    def __init__(self) -> None:
        self.size = 0
        self.stack: list[tuple[int, bytes]] = []

    def append(self, size: int, node: bytes) -> None:
        """Add a complete subtree of ``size`` leaves."""
        if size < 1 or size & (size - 1) or self.size % size:
            raise BundleError(f"a subtree of {size} entries cannot begin at entry {self.size}")
        self.size += size
        while self.stack and self.stack[-1][0] == size:
            node = hashlib.sha256(b"\x01" + self.stack.pop()[1] + node).digest()
            size *= 2
        self.stack.append((size, node))

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        nodes = [node for _size, node in self.stack]
        root = nodes.pop() if nodes else hashlib.sha256(b"").digest()
        while nodes:
            root = hashlib.sha256(b"\x01" + nodes.pop() + root).digest()
        return root


# The bundle


class BundleError(Exception):
    """A line that does not hold, with what is wrong."""


def canonical(document: dict[str, Any]) -> bytes:
    """Return the one way a signed document is written."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def need(condition: object, what: str) -> None:
    """Raise ``BundleError`` unless the condition holds."""
    if not condition:
        raise BundleError(what)


class Check:
    """Reads a bundle line by line and keeps what it has seen."""

    def __init__(self, pinned: str | None = None) -> None:
        self.verify = quickest_verifier()
        self.pinned = pinned.lower() if pinned else None
        self.header: dict[str, Any] = {}
        self.keys: dict[str, bytes] = {}
        self.key_order: list[str] = []
        self.tree = Tree()
        self.entries = self.erased = self.checkpoints = self.vouched = self.lines = 0
        self.signer = 0
        self.previous: bytes | None = None
        self.ended = False

    def line(self, raw: bytes) -> None:
        """Take one line."""
        need(not self.ended, "something follows the end")
        document = json.loads(raw)
        need(isinstance(document, dict), "this is no JSON object")
        handlers = {
            "header": self.take_header,
            "key": self.take_key,
            "entry": self.take_entry,
            "subtree": self.take_subtree,
            "checkpoint": self.take_checkpoint,
            "end": self.take_end,
        }
        kind = document.pop("type", None)
        need(kind in handlers, f"a line of the unknown type {kind!r}")
        need(bool(self.header) == (kind != "header"), "the header must be the first line, and only that")
        handlers[kind](document)
        self.lines += 1

    def take_header(self, document: dict[str, Any]) -> None:
        """The first line."""
        need(document["format"] == FORMAT and document["version"] == 1, "this is no bundle of version 1")
        need(0 <= document["first"] <= document["last"] < document["tree_size"], "the range is impossible")
        self.header = document

    def take_key(self, document: dict[str, Any]) -> None:
        """A public key, signed by the one before it or, if it is the first, by itself."""
        public, signature = bytes.fromhex(document["public_key"]), bytes.fromhex(document.pop("signature"))
        identifier = hashlib.sha256(public).hexdigest()[:16]
        need(identifier == document["key_id"], "a key's id is wrong")
        if not self.key_order:
            need(self.pinned in (None, public.hex()), "the first key is not the one you named")
            self.keys[identifier] = public
        signer = self.key_order[-1] if self.key_order else identifier
        need(document["signed_by"] == signer, "a key is signed by the wrong key")
        need(
            self.verify(self.keys[signer], KEY_CONTEXT + canonical(document), signature),
            "a key's signature is wrong",
        )
        self.keys[identifier] = public
        self.key_order.append(identifier)

    def take_entry(self, document: dict[str, Any]) -> None:
        """An entry, with its payload or, where that was erased, its digest."""
        need(document["seq"] == self.tree.size, f"entry {self.tree.size} is expected here")
        need(
            self.header["first"] <= document["seq"] <= self.header["last"], "an entry lies outside the range"
        )
        if "digest" in document:
            digest = bytes.fromhex(document["digest"])
            self.erased += 1
        else:
            salt = bytes.fromhex(document["salt"])
            need(len(salt) == SALT_BYTES, "a salt has the wrong length")
            text = document.get("text")
            payload = base64.b64decode(document["base64"], validate=True) if text is None else text.encode()
            digest = hashlib.sha256(salt + payload).digest()
        need(len(digest) == 32, "a digest has the wrong length")
        kind, source = document["kind"].encode(), document["source"].encode()
        fixed = struct.pack("<QqHI", document["seq"], document["at"], len(kind), len(source))
        self.tree.append(1, hashlib.sha256(b"\x00" + fixed + kind + source + digest).digest())
        self.entries += 1

    def take_subtree(self, document: dict[str, Any]) -> None:
        """The root of a complete subtree of entries that are not told."""
        need(document["start"] == self.tree.size, f"entry {self.tree.size} is expected here")
        root = bytes.fromhex(document["hash"])
        need(len(root) == 32, "a hash has the wrong length")
        self.tree.append(document["size"], root)

    def take_checkpoint(self, document: dict[str, Any]) -> None:
        """A signed root over all entries so far."""
        fields = document["checkpoint"]
        need(fields["key_id"] in self.key_order, "a checkpoint is signed by an unknown key")
        message = CHECKPOINT_CONTEXT + canonical(fields)
        signature = bytes.fromhex(document["signature"])
        need(
            self.verify(self.keys[fields["key_id"]], message, signature), "a checkpoint's signature is wrong"
        )
        need(fields["host"] == self.header["host"], "a checkpoint is of another host")
        need(fields["tree_size"] == self.tree.size, "a checkpoint stands in the wrong place")
        need(fields["root"] == self.tree.root().hex(), "the entries do not lead to the signed root")
        need(
            self.previous in (None, bytes.fromhex(fields["previous"])),
            "a checkpoint names another predecessor",
        )
        signer = self.key_order.index(fields["key_id"])
        need(signer >= self.signer, "a checkpoint is signed by a key that was already replaced")
        self.signer, self.previous = signer, hashlib.sha256(message).digest()
        self.vouched = self.tree.size
        self.checkpoints += 1

    def take_end(self, document: dict[str, Any]) -> None:
        """The last line."""
        need(document["lines"] == self.lines, "lines are missing")
        need(
            self.tree.size == self.vouched == self.header["tree_size"],
            "no checkpoint covers the last entries",
        )
        self.ended = True


def finding(what: str, why: str, place: str) -> dict[str, str]:
    """Return something a reader of the verdict should know."""
    return {"what": what, "why": why, "place": place}


def verify_bundle(path: str, pinned: str | None = None) -> dict[str, Any]:
    """Check the bundle at ``path``.

    Args:
        path: The file.
        pinned: The first public key in hex, as known from elsewhere.

    Returns:
        The verdict, in the shape of ``wk verify --json``.
    """
    with open(path, "rb") as file:  # noqa: PTH123 (takes what open takes)
        return verify_lines(file, path, pinned)


def verify_lines(file: BinaryIO, name: str, pinned: str | None = None) -> dict[str, Any]:
    """Check the lines of an open bundle; see ``verify_bundle``."""
    check = Check(pinned)
    findings = []
    broken = False
    for number, raw in enumerate(file, 1):
        try:
            need(raw.endswith(b"\n"), "the line has no end")
            check.line(raw)
        except (
            BundleError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            struct.error,
            RecursionError,
        ) as error:
            why = str(error) if isinstance(error, BundleError) else f"{type(error).__name__}: {error}"
            findings.append(finding("a line does not hold", why, f"{name}:{number}"))
            broken = True
            break
    truncated = not broken and not check.ended
    if truncated:
        findings.append(finding("the bundle ends early", "its last line is missing", name))
    if check.header:
        told = check.header["last"] - check.header["first"] + 1
        if not broken and told > check.entries:
            findings.append(
                finding("entries are withheld", f"{told - check.entries} are there as hashes only", name)
            )
    if check.erased:
        findings.append(
            finding("payloads were removed", f"of {check.erased} entries only the digest is left", name)
        )
    if check.pinned is None:
        findings.append(finding("the first key is taken from the bundle itself", "name it with --key", name))
    ok = not broken and not truncated
    return {
        "ok": ok,
        "entries": check.entries,
        "integrity": "broken" if broken else "intact",
        # A bundle is an excerpt: that nothing follows its last checkpoint is not for it to say.
        "completeness": "truncated" if truncated else "unknown",
        "first_bad": None if ok else check.vouched,
        "anchor": "none",
        "checkpoints": check.checkpoints,
        "host": check.header.get("host"),
        "keys": check.key_order,
        "findings": findings,
    }


def main(arguments: list[str]) -> int:
    """Run as a program."""
    words = list(arguments)
    as_json = "--json" in words
    pinned = None
    if "--key" in words and words.index("--key") + 1 < len(words):
        pinned = words.pop(words.index("--key") + 1)
        words.remove("--key")
    paths = [word for word in words if word != "--json"]
    if len(paths) != 1 or paths[0].startswith("-"):
        sys.stderr.write("usage: standalone.py BUNDLE [--json] [--key HEX]\n")
        return 2
    try:
        verdict = verify_bundle(paths[0], pinned)
    except OSError as error:
        sys.stderr.write(f"{paths[0]}: the bundle cannot be read: {error.strerror}\n")
        return 2
    if as_json:
        sys.stdout.write(json.dumps(verdict) + "\n")
    else:
        state = (
            "consistent with its signatures"
            if verdict["ok"]
            else f"NOT good from entry {verdict['first_bad']}"
        )
        sys.stdout.write(
            f"{verdict['entries']} entries, {verdict['checkpoints']} signatures: {state}; "
            f"integrity {verdict['integrity']}, completeness {verdict['completeness']}, "
            f"anchor {verdict['anchor']}\n"
        )
        for item in verdict["findings"]:
            sys.stdout.write(f"  {item['what']}: {item['why']} ({item['place']})\n")
    return 0 if verdict["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
