"""Appending, reading, checkpoints, keys and erasure."""

from __future__ import annotations

import json
import random
import stat
from pathlib import Path

import pytest

from watchkeeper.errors import FormatError, NotFoundError, UsageError
from watchkeeper.ledger.checkpoints import Checkpoint, read_checkpoints
from watchkeeper.ledger.codec import Codec
from watchkeeper.ledger.entries import Entry
from watchkeeper.ledger.keys import KeyRing, KeyUnusableError
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.ledger.verify import verify
from watchkeeper.ledger.writer import LedgerWriter


def entries(count: int, start: int = 0, size: int = 200) -> list[Entry]:
    """Entries that share words, as real ones do."""
    chance = random.Random(start)
    words = ["Read", "Write", "Bash", "grep", "src/app.py", "pytest", "session", "tool_input"]
    found = []
    for number in range(start, start + count):
        text = " ".join(chance.choice(words) for _ in range(size // 6))
        payload = json.dumps({"n": number, "tool_name": chance.choice(words), "text": text}).encode()
        found.append(Entry("hook", f"spool:0011:{number}", 1_700_000_000_000 + number, payload))
    return found


def kinds(home: Path) -> list[str]:
    return [entry.kind for entry in LedgerReader(home / "ledger").entries()]


def test_nothing_is_on_record_before_the_commit(tmp_path: Path) -> None:
    """A reader sees what is committed, and nothing of what is only appended."""
    reader = LedgerReader(tmp_path / "ledger")
    assert reader.last_seq == -1
    assert list(reader.entries()) == []
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    assert writer.append(entries(3)) == range(3)
    assert reader.last_seq == -1
    with pytest.raises(NotFoundError):
        reader.get(0)
    writer.commit()
    assert reader.last_seq == 2
    assert reader.get(2).payload == entries(3)[2].payload
    assert [entry.seq for entry in reader.entries(1, 2)] == [1]
    for absent in (-1, 3):
        with pytest.raises(NotFoundError):
            reader.get(absent)
    writer.close()


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        (Entry("", "s", 0, b""), "kind"),
        (Entry("k" * 256, "s", 0, b""), "kind"),
        (Entry("k", "s" * 65_536, 0, b""), "source"),
        (Entry("k", "\ud800", 0, b""), "kind or source"),
        (Entry("k", "s", 1 << 63, b""), "at"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused_with_its_batch(
    tmp_path: Path, entry: Entry, place: str
) -> None:
    """A bad entry is refused with its place; the batch is not half taken, and the ledger goes on."""
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    with pytest.raises(UsageError) as caught:
        writer.append([*entries(2), entry])
    assert caught.value.place == place
    assert writer.next_seq == 0
    writer.append(entries(2))
    writer.close()
    assert verify(tmp_path / "ledger", tmp_path / "keys").entries == 2


def test_checkpoints_by_count_by_time_and_when_the_clock_goes_back(tmp_path: Path) -> None:
    """A checkpoint is due after N entries, after T seconds, and after a clock that jumped back; never without news."""
    now = [1_000_000]
    writer = LedgerWriter(
        tmp_path / "ledger",
        KeyRing(tmp_path / "keys"),
        checkpoint_entries=5,
        checkpoint_seconds=10,
        clock=lambda: now[0],
    )
    path = tmp_path / "ledger" / "checkpoints.jsonl"

    def sizes() -> list[int]:
        return [found.tree_size for found in read_checkpoints(path) if isinstance(found, Checkpoint)]

    writer.append(entries(4))
    writer.commit()
    assert sizes() == []
    writer.append(entries(1))
    writer.commit()
    assert sizes() == [5]
    writer.append(entries(1))
    writer.commit()
    now[0] += 9_999
    writer.commit()
    assert sizes() == [5]
    now[0] += 1
    writer.commit()
    assert sizes() == [5, 6]
    now[0] += 60_000
    writer.commit()
    assert writer.checkpoint() is None
    assert sizes() == [5, 6]
    writer.append(entries(1))
    now[0] -= 500_000
    writer.commit()
    assert sizes() == [5, 6, 7]
    writer.close()
    verdict = verify(tmp_path / "ledger", tmp_path / "keys")
    assert verdict.ok
    assert verdict.checkpoints == 3
    assert any(finding.what == "the clock went back" for finding in verdict.findings)


def test_opening_reads_only_what_the_newest_checkpoint_does_not_cover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks before the newest checkpoint are hopped over, not decoded."""
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"), checkpoint_entries=50)
    for start in range(0, 120, 10):
        writer.append(entries(10, start))
        writer.commit()
    decoded = []
    original = Codec.decompress
    monkeypatch.setattr(
        Codec, "decompress", lambda self, *rest: decoded.append(rest) or original(self, *rest)
    )
    again = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    assert again.next_seq == 120
    assert len(decoded) == 2
    assert again._tree.root() == writer._tree.root()
    again.close()


def test_segments_are_rotated_and_indexed(tmp_path: Path) -> None:
    """Segments begin where the one before ends, sealed ones have an index, and it need not be there."""
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"), segment_bytes=100_000)
    for start in range(0, 3000, 50):
        writer.append(
            [Entry("k", "s", n, random.Random(n).randbytes(2_000)) for n in range(start, start + 50)]
        )
        writer.commit()
    writer.close()
    segments = sorted((tmp_path / "ledger").glob("*.wkl"))
    indexes = sorted((tmp_path / "ledger").glob("*.wki"))
    assert len(segments) > 20
    assert [path.stem for path in indexes] == [path.stem for path in segments[:-1]]
    reader = LedgerReader(tmp_path / "ledger")
    everything = list(reader.entries())
    assert len([entry for entry in everything if entry.kind == "k"]) == 3000
    for seq in (0, 1, 49, 50, 1234, 2999):
        assert reader.get(seq) == everything[seq]
    for path in indexes:
        path.write_bytes(b"WKINDEX1" + bytes(40))
    assert [LedgerReader(tmp_path / "ledger").get(seq).seq for seq in (7, 1500)] == [7, 1500]
    assert [entry.seq for entry in LedgerReader(tmp_path / "ledger").entries(1499, 1502)] == [
        1499,
        1500,
        1501,
    ]


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    """No file or folder of ledger and keys is open to others."""
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"), segment_bytes=50_000)
    for start in range(0, 900, 300):
        writer.append(entries(300, start, size=1500))
        writer.commit()
    writer.close()
    for folder in (tmp_path / "ledger", tmp_path / "keys"):
        for path in (folder, *folder.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_dictionary_is_trained_recorded_and_used(tmp_path: Path) -> None:
    """After some hundred entries a dictionary makes small blocks smaller, and its digest is on record."""
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    segment = tmp_path / "ledger" / f"{0:016x}.wkl"

    def cost(start: int) -> int:
        before = segment.stat().st_size if segment.exists() else 0
        writer.append(entries(1, start, size=1500))
        writer.commit()
        return segment.stat().st_size - before

    plain = cost(0)
    writer.append(entries(400, 1, size=1500))
    writer.commit()
    assert cost(401) < plain * 0.75
    writer.close()
    (name,) = [path.stem for path in (tmp_path / "ledger" / "dictionaries").iterdir()]
    (recorded,) = [e for e in LedgerReader(tmp_path / "ledger").entries() if e.kind == "dictionary"]
    assert json.loads(recorded.payload)["id"] == name
    assert verify(tmp_path / "ledger", tmp_path / "keys").ok
    dictionary = tmp_path / "ledger" / "dictionaries" / f"{name}.zdict"
    dictionary.write_bytes(dictionary.read_bytes()[:-1] + b"?")
    verdict = verify(tmp_path / "ledger", tmp_path / "keys")
    assert verdict.integrity == "broken"
    assert verdict.first_bad == recorded.seq + 1
    with pytest.raises(FormatError, match="dictionary"):
        LedgerReader(tmp_path / "ledger").get(402)


def test_a_lost_dictionary_costs_no_bytes_of_unsigned_entries(tmp_path: Path) -> None:
    """Opening cannot decode what needs the dictionary; it sets those bytes aside and goes on."""
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"), checkpoint_entries=10**6)
    for start in (0, 300):
        writer.append(entries(300, start, size=1500))
        writer.commit()
    writer.close()
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"), checkpoint_entries=10**6)
    signed = writer.next_seq
    writer.append(entries(1, 600, size=1500))
    writer.commit()
    segment = tmp_path / "ledger" / f"{0:016x}.wkl"
    whole = segment.read_bytes()
    (dictionary,) = (tmp_path / "ledger" / "dictionaries").iterdir()
    dictionary.unlink()
    again = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    assert again.next_seq == signed + 1
    (kept,) = (tmp_path / "ledger").glob("*.cut")
    assert whole.endswith(kept.read_bytes())
    again.append(entries(1, 601))
    again.close()
    assert LedgerReader(tmp_path / "ledger").get(signed).kind == "repair"
    assert LedgerReader(tmp_path / "ledger").get(signed + 1).payload == entries(1, 601)[0].payload


def test_keys_rotate_with_an_entry_and_the_old_one_is_gone(tmp_path: Path) -> None:
    """The new key is signed by the old one, announced in the ledger, and signs from there on."""
    keys = KeyRing(tmp_path / "keys")
    writer = LedgerWriter(tmp_path / "ledger", keys)
    old = keys.current_id
    writer.append(entries(3))
    new = writer.rotate_key()
    assert new.signed_by == old
    assert kinds(tmp_path) == ["hook"] * 3 + ["key-rotation"]
    writer.append(entries(1))
    writer.close()
    assert [path.name for path in (tmp_path / "keys").glob("*.private")] == [f"{new.key_id}.private"]
    again = KeyRing(tmp_path / "keys", create_if_missing=False)
    assert again.verify(new.key_id, b"words", again.sign(b"words"))
    assert not again.verify(old, b"words", again.sign(b"words"))
    assert not again.verify("unknown", b"words", again.sign(b"words"))
    verdict = verify(tmp_path / "ledger", tmp_path / "keys")
    assert (verdict.ok, verdict.checkpoints) == (True, 3)


def test_a_key_rotated_elsewhere_is_announced_at_the_next_opening(tmp_path: Path) -> None:
    """``KeyRing.rotate`` alone is enough: the writer notices that another key signs."""
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    writer.append(entries(2))
    writer.close()
    KeyRing(tmp_path / "keys").rotate()
    LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys")).close()
    assert kinds(tmp_path) == ["hook", "hook", "key-rotation"]
    assert verify(tmp_path / "ledger", tmp_path / "keys").ok


def test_keys_that_do_not_sign_each_other_are_refused(tmp_path: Path) -> None:
    """A changed public key is refused with its line; a missing private key says which file."""
    keys = KeyRing(tmp_path / "keys")
    keys.rotate()
    path = tmp_path / "keys" / "public.jsonl"
    sound = path.read_bytes()
    lines = sound.splitlines()
    for forged in (
        lines[1:],
        [lines[1], lines[0]],
        [lines[0].replace(b'"created_at":1', b'"created_at":2')],
        [],
    ):
        path.write_bytes(b"".join(line + b"\n" for line in forged))
        with pytest.raises(FormatError, match="public key"):
            KeyRing(tmp_path / "keys")
    path.write_bytes(sound)
    (tmp_path / "keys" / f"{keys.current_id}.private").unlink()
    with pytest.raises(KeyUnusableError):
        KeyRing(tmp_path / "keys").sign(b"")
    with pytest.raises(NotFoundError):
        KeyRing(tmp_path / "nowhere", create_if_missing=False)


@pytest.mark.parametrize("segment_bytes", [32 << 20, 8_000])
def test_erased_payloads_are_gone_from_every_file_and_the_tree_still_verifies(
    tmp_path: Path, segment_bytes: int
) -> None:
    """Payload and salt disappear, also from the dictionary; digests, neighbours and verdict stay."""
    writer = LedgerWriter(
        tmp_path / "ledger", KeyRing(tmp_path / "keys"), checkpoint_entries=40, segment_bytes=segment_bytes
    )
    for start in range(0, 400, 25):
        writer.append(entries(25, start, size=1200))
        writer.commit()
    reader = LedgerReader(tmp_path / "ledger")
    before = {entry.seq: entry for entry in reader.entries()}
    (recorded,) = [entry for entry in before.values() if entry.kind == "dictionary"]
    late = recorded.seq + 5
    dictionaries = tmp_path / "ledger" / "dictionaries"
    writer.erase([late], "asked")
    assert len(list(dictionaries.iterdir())) == 1
    assert reader.get(late).erased
    writer.erase({7, 30}, "a secret")
    assert list(dictionaries.iterdir()) == []
    for seq in (7, 30, late):
        gone = reader.get(seq)
        assert (gone.payload, gone.salt, gone.digest) == (b"", b"", before[seq].digest)
        assert (gone.kind, gone.source, gone.at) == (before[seq].kind, before[seq].source, before[seq].at)
    for path in (path for path in (tmp_path / "ledger").rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert all(before[seq].salt not in content for seq in (7, 30, late))
    assert [e for e in reader.entries(0, 400) if e.seq not in (7, 30, late)] == [
        before[seq] for seq in range(400) if seq not in (7, 30, late)
    ]
    with pytest.raises(UsageError, match="own"):
        writer.erase([recorded.seq], "no")
    with pytest.raises(NotFoundError):
        writer.erase([10_000], "no")
    writer.append(entries(300, 500, size=1200))
    writer.commit()
    assert len(list(dictionaries.iterdir())) == 1
    writer.close()
    verdict = verify(tmp_path / "ledger", tmp_path / "keys")
    assert (verdict.ok, verdict.integrity, verdict.completeness) == (True, "intact", "complete")
    tombs = [
        json.loads(e.payload) for e in LedgerReader(tmp_path / "ledger").entries() if e.kind == "tombstone"
    ]
    assert [(tomb["seqs"], tomb["reason"]) for tomb in tombs] == [([late], "asked"), ([7, 30], "a secret")]


def test_an_interrupted_erasure_is_finished_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the first rewritten segment and the tombstone leaves a plan that the next writer carries out."""
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"), segment_bytes=2_000)
    for start in range(0, 60, 10):
        writer.append(entries(10, start))
        writer.commit()
    writer.checkpoint()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("watchkeeper.ledger.erasure.store_index", crash)
        with pytest.raises(KeyboardInterrupt):
            writer.erase([3, 55], "crash")
    interrupted = verify(tmp_path / "ledger", tmp_path / "keys")
    assert interrupted.ok
    again = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    assert again.warnings == []
    again.close()
    reader = LedgerReader(tmp_path / "ledger")
    assert [reader.get(seq).erased for seq in (3, 4, 55)] == [True, False, True]
    assert kinds(tmp_path)[-1] == "tombstone"
    assert verify(tmp_path / "ledger", tmp_path / "keys").ok
    assert not (tmp_path / "ledger" / "erasure.json").exists()
