"""The tree against the published vectors of certificate transparency."""

from __future__ import annotations

import pytest

from watchkeeper.errors import FormatError, UsageError
from watchkeeper.ledger.merkle import EMPTY_ROOT, Tree, inclusion_proof, leaf_hash, verify_inclusion

# The leaves and roots that the reference implementations of RFC 6962 share.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_roots_are_the_published_ones() -> None:
    """Each prefix of the eight published leaves has its published root."""
    tree = Tree()
    assert tree.root() == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        tree.append(leaf_hash(leaf))
        assert tree.root().hex() == root


def test_audit_path_of_a_published_leaf() -> None:
    """The audit path of leaf 5 in the tree of eight is the published one."""
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    path = inclusion_proof(hashes, 5)
    assert [node.hex() for node in path] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert verify_inclusion(hashes[5], 5, 8, path, bytes.fromhex(ROOTS[7]))
    assert not verify_inclusion(hashes[5], 4, 8, path, bytes.fromhex(ROOTS[7]))
    assert not verify_inclusion(hashes[5], 9, 8, path, bytes.fromhex(ROOTS[7]))


def test_wrong_frontiers_and_missing_leaves_are_refused() -> None:
    """A frontier must have one hash for each set bit of the size; a proof needs its leaf."""
    with pytest.raises(FormatError, match="frontier"):
        Tree(3, [b"x" * 32])
    with pytest.raises(FormatError, match="frontier"):
        Tree(1, [b"short"])
    with pytest.raises(UsageError, match="no leaf 2"):
        inclusion_proof([leaf_hash(b""), leaf_hash(b"")], 2)
