"""Signed statements of how long the ledger is and what its tree's root is."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from watchkeeper.errors import FormatError
from watchkeeper.ledger.merkle import Tree

FILE = "checkpoints.jsonl"
HEAD = "head.json"
NO_PREDECESSOR = "0" * 64
CONTEXT = b"watchkeeper checkpoint v1\n"
_TAIL_BYTES = 1 << 16


def canonical(document: dict[str, Any]) -> bytes:
    """Return the one way a signed document is written: JSON with sorted names, no spaces, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed head of the tree.

    Attributes:
        host: Id of the ledger's host, 32 hex digits.
        tree_size: Number of entries it covers.
        root: Root over them, 64 hex digits.
        previous: ``digest()`` of the checkpoint before, or zeros.
        at: When it was signed, epoch milliseconds.
        key_id: The key that signed.
        signature: Ed25519 over ``message()``, 128 hex digits.
        frontier: The tree's frontier, from which the root follows; not signed, as it needs not be.
    """

    host: str
    tree_size: int
    root: str
    previous: str
    at: int
    key_id: str
    signature: str = ""
    frontier: tuple[bytes, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return what is signed."""
        return {
            "v": 1,
            "host": self.host,
            "tree_size": self.tree_size,
            "root": self.root,
            "previous": self.previous,
            "at": self.at,
            "key_id": self.key_id,
        }

    def message(self) -> bytes:
        """Return the bytes that are signed."""
        return CONTEXT + canonical(self.fields())

    def signed(self, signature: str) -> Checkpoint:
        """Return the checkpoint with its signature."""
        return replace(self, signature=signature)

    def digest(self) -> str:
        """Return the SHA-256 by which the next checkpoint names this one."""
        return sha256(self.message()).hexdigest()

    def tree(self) -> Tree:
        """Return the tree as it was here.

        Raises:
            FormatError: The frontier does not lead to the signed root.
        """
        tree = Tree(self.tree_size, self.frontier)
        if tree.root().hex() != self.root:
            raise FormatError("a checkpoint is damaged", why="its frontier does not lead to its root")
        return tree

    def line(self) -> bytes:
        """Return the checkpoint as one line of ``checkpoints.jsonl``."""
        document = {
            "checkpoint": self.fields(),
            "signature": self.signature,
            "frontier": [node.hex() for node in self.frontier],
        }
        return canonical(document) + b"\n"


def parse_checkpoint(line: bytes, place: str) -> Checkpoint:
    """Return the checkpoint that a line holds.

    Raises:
        FormatError: The line is not, byte for byte, what ``line()`` writes.
    """
    try:
        document = json.loads(line)
        fields = document["checkpoint"]
        frontier = tuple(bytes.fromhex(node) for node in document["frontier"])
        checkpoint = Checkpoint(
            host=fields["host"],
            tree_size=fields["tree_size"],
            root=fields["root"],
            previous=fields["previous"],
            at=fields["at"],
            key_id=fields["key_id"],
            signature=document["signature"],
            frontier=frontier,
        )
        if type(checkpoint.tree_size) is not int or checkpoint.line().rstrip() != line.rstrip(b"\n"):
            raise FormatError("a checkpoint is damaged", why="it is not written as it should be", place=place)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(
            "a checkpoint is damaged", why=str(error) or type(error).__name__, place=place
        ) from error
    return checkpoint


def read_checkpoints(path: Path) -> list[Checkpoint | FormatError]:
    """Return what each line of a checkpoint file holds, or why it cannot be used; without a file nothing.

    A last line without its line feed is a torn write and left out.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [_parse_or_error(line, f"{path}:{number}") for number, line in enumerate(lines[:-1], 1)]


def last_checkpoint(path: Path) -> tuple[Checkpoint | None, int]:
    """Return the last readable checkpoint of a file, and how many bytes of a torn line follow.

    Only the end of the file is read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            content = file.read()
    except FileNotFoundError:
        return None, 0
    lines = content.split(b"\n")
    for line in reversed(lines[:-1]):
        found = _parse_or_error(line, str(path))
        if isinstance(found, Checkpoint):
            return found, len(lines[-1])
    return None, len(lines[-1])


def read_head(keys_directory: Path) -> Checkpoint | None:
    """Return the newest checkpoint as kept beside the keys; nothing when there is none.

    Raises:
        FormatError: The file is damaged.
    """
    path = keys_directory / HEAD
    try:
        return parse_checkpoint(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def usable(candidates: Sequence[Checkpoint | None]) -> list[Checkpoint]:
    """Return the checkpoints whose frontier leads to their root, the largest last."""
    sound = []
    for checkpoint in candidates:
        if checkpoint is None:
            continue
        try:
            checkpoint.tree()
        except FormatError:
            continue
        sound.append(checkpoint)
    return sorted(sound, key=lambda checkpoint: checkpoint.tree_size)


def _parse_or_error(line: bytes, place: str) -> Checkpoint | FormatError:
    try:
        return parse_checkpoint(line, place)
    except FormatError as error:
        return error
