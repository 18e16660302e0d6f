"""The tree of RFC 6962, section 2: roots, the frontier that lets it grow, and inclusion proofs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from watchkeeper.errors import FormatError, UsageError

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256 behind the byte 0x00."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256 behind the byte 0x01."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A growing tree of which only the frontier is kept: the roots of its complete subtrees, largest first.

    Args:
        size: Number of leaves so far.
        frontier: One hash for each set bit of ``size``, from the highest bit down.

    Raises:
        FormatError: The frontier does not fit the size.
    """

    __slots__ = ("_stack", "size")

    def __init__(self, size: int = 0, frontier: Iterable[bytes] = ()) -> None:
        self.size = size
        self._stack = list(frontier)
        if len(self._stack) != size.bit_count() or any(len(node) != len(EMPTY_ROOT) for node in self._stack):
            raise FormatError("a tree frontier cannot be used", why=f"it does not fit {size} entries")

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        stack, size = self._stack, self.size
        while size & 1:
            leaf = sha256(b"\x01" + stack.pop() + leaf).digest()
            size >>= 1
        stack.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self._stack:
            return EMPTY_ROOT
        root = self._stack[-1]
        for node in self._stack[-2::-1]:
            root = node_hash(node, root)
        return root

    def frontier(self) -> tuple[bytes, ...]:
        """Return what ``Tree(size, frontier)`` needs to continue from here."""
        return tuple(self._stack)


def largest_aligned(start: int, stop: int) -> int:
    """Return the size of the largest complete subtree that begins at ``start`` and ends by ``stop``."""
    limit = 1 << ((stop - start).bit_length() - 1)
    return min(limit, start & -start) if start else limit


def subtree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path (RFC 6962, 2.1.1) of the leaf ``index`` among all leaf hashes of a tree.

    Raises:
        UsageError: There is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise UsageError(f"the tree has no leaf {index}")
    path: list[bytes] = []
    start, stop = 0, len(leaves)
    while stop - start > 1:
        middle = start + (1 << ((stop - start - 1).bit_length() - 1))
        if index < middle:
            path.append(subtree_root(leaves[middle:stop]))
            stop = middle
        else:
            path.append(subtree_root(leaves[start:middle]))
            start = middle
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Return whether the audit path leads from a leaf hash to the root of a tree of ``size`` leaves."""
    if not 0 <= index < size:
        return False
    node, last = leaf, size - 1
    for sibling in path:
        if last == 0:
            return False
        if index & 1 or index == last:
            node = node_hash(sibling, node)
            while not index & 1 and index:
                index >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        index >>= 1
        last >>= 1
    return last == 0 and node == root
