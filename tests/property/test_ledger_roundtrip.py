"""Whatever is appended, in whatever batches, comes back, under the root that RFC 6962 defines."""

from __future__ import annotations

import tempfile
from hashlib import sha256
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchkeeper.ledger.bundle import export_bundle
from watchkeeper.ledger.entries import Entry
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.merkle import Tree, inclusion_proof, leaf_hash, verify_inclusion
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.ledger.standalone import verify_bundle
from watchkeeper.ledger.verify import verify
from watchkeeper.ledger.writer import LedgerWriter

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ENTRY = st.builds(
    Entry,
    kind=TEXT.filter(bool),
    source=TEXT,
    at=st.integers(-(2**63), 2**63 - 1),
    payload=st.binary(max_size=200) | st.sampled_from([b"", b"WKB1" * 30, b'{"a":"b"}']),
)


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, written as the text defines it."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


@QUICK
@given(
    batches=st.lists(st.lists(ENTRY, max_size=9), max_size=8), reopen=st.booleans(), every=st.integers(1, 12)
)
def test_any_batching_gives_the_same_entries_and_the_defined_root(
    batches: list[list[Entry]], reopen: bool, every: int
) -> None:
    """Payloads, order and root do not depend on batches, checkpoints, segments or reopening."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        keys = KeyRing(home / "keys")
        writer = LedgerWriter(home / "ledger", keys, checkpoint_entries=every, segment_bytes=700)
        for batch in batches:
            first = writer.next_seq
            assert writer.append(batch) == range(first, first + len(batch))
            writer.commit()
            if reopen:
                writer.close()
                writer = LedgerWriter(home / "ledger", keys, checkpoint_entries=every, segment_bytes=700)
        writer.close()
        wanted = [entry for batch in batches for entry in batch]
        reader = LedgerReader(home / "ledger")
        stored = list(reader.entries())
        assert [(e.kind, e.source, e.at, e.payload) for e in stored] == [
            (e.kind, e.source, e.at, e.payload) for e in wanted
        ]
        assert [entry.seq for entry in stored] == list(range(len(wanted)))
        assert reader.last_seq == len(wanted) - 1
        for entry in stored:
            assert entry.digest == sha256(entry.salt + entry.payload).digest()
            assert reader.get(entry.seq) == entry
        verdict = verify(home / "ledger", home / "keys")
        assert verdict.ok
        assert verdict.entries == len(wanted)
        assert verdict.integrity == "intact"
        if wanted:
            assert verdict.completeness == "complete"
            assert writer._signed is not None
            assert writer._signed.root == naive_root([entry.leaf() for entry in stored]).hex()


@QUICK
@given(leaves=st.lists(st.binary(max_size=4), max_size=40), data=st.data())
def test_tree_and_proofs_agree_with_the_definition(leaves: list[bytes], data: st.DataObject) -> None:
    """The growing tree has the defined root at every size; proofs hold for their leaf and for no other."""
    tree = Tree()
    for size, leaf in enumerate(leaves, 1):
        tree.append(leaf_hash(leaf))
        assert tree.root() == naive_root(leaves[:size])
        assert Tree(size, tree.frontier()).root() == tree.root()
    if leaves:
        hashes = [leaf_hash(leaf) for leaf in leaves]
        index = data.draw(st.integers(0, len(leaves) - 1))
        path = inclusion_proof(hashes, index)
        assert verify_inclusion(hashes[index], index, len(leaves), path, tree.root())
        assert not verify_inclusion(leaf_hash(b"other"), index, len(leaves), path, tree.root())
        assert not verify_inclusion(hashes[index], index, len(leaves), [*path, tree.root()], tree.root())


@QUICK
@given(total=st.integers(1, 60), every=st.integers(1, 20), data=st.data())
def test_any_excerpt_verifies_stand_alone(total: int, every: int, data: st.DataObject) -> None:
    """Any range with anything left out is proven against the signed roots by the stand-alone verifier."""
    first = data.draw(st.integers(0, total - 1))
    last = data.draw(st.integers(first, total - 1))
    told = data.draw(st.sets(st.integers(first, last)))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        writer = LedgerWriter(
            home / "ledger", KeyRing(home / "keys"), checkpoint_entries=every, segment_bytes=900
        )
        for number in range(total):
            writer.append([Entry("hook", f"s:{number}", number, bytes([number]) * 9)])
            writer.commit()
        writer.close()
        bundle = home / "bundle.jsonl"
        exported = export_bundle(
            home / "ledger", home / "keys", bundle, first, last, lambda entry: entry.seq in told
        )
        verdict = verify_bundle(str(bundle))
        assert verdict["ok"], verdict
        assert verdict["entries"] == exported.entries == len(told)
        assert verdict["checkpoints"] == exported.checkpoints >= 1
