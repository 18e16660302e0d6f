"""What crashes, hands and decay do to a ledger: nothing committed is lost, and nothing changed goes unnoticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from watchkeeper.errors import FormatError
from watchkeeper.ledger.blocks import (
    ENTRIES,
    Block,
    header_bytes,
    list_segments,
    pack_entries,
    unpack_entries,
    walk_blocks,
)
from watchkeeper.ledger.codec import Codec
from watchkeeper.ledger.entries import Entry, encode_record
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.ledger.verify import Verdict, verify
from watchkeeper.ledger.writer import LedgerWriter

pytestmark = pytest.mark.fault


def make(
    home: Path, count: int = 12, *, every: int = 4, batch: int = 3, segment_bytes: int = 32 << 20
) -> None:
    """Write a small ledger whose last entry is signed."""
    writer = LedgerWriter(
        home / "ledger", KeyRing(home / "keys"), checkpoint_entries=every, segment_bytes=segment_bytes
    )
    for start in range(0, count, batch):
        writer.append(
            [Entry("hook", f"s:{n}", n, f"payload {n}".encode()) for n in range(start, start + batch)]
        )
        writer.commit()
    writer.close()


def check(home: Path) -> Verdict:
    return verify(home / "ledger", home / "keys")


def blocks(path: Path) -> list[Block]:
    with path.open("rb") as file:
        found = list(walk_blocks(file.fileno(), header_bytes(int(path.stem, 16)), path, 0))
    return [item for item in found if isinstance(item, Block)]


def test_a_torn_tail_is_cut_at_every_byte_of_the_last_block(tmp_path: Path) -> None:
    """Wherever a write stopped: all before it is read, opening cuts it, says so, and goes on."""
    make(tmp_path, 6)
    path = tmp_path / "ledger" / f"{0:016x}.wkl"
    signed = path.read_bytes()
    writer = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"))
    writer.append([Entry("hook", "late", 1, b"unsigned"), Entry("hook", "late", 2, b"WKB1" * 9)])
    writer.commit()
    whole = path.read_bytes()
    for size in range(len(signed), len(whole)):
        path.write_bytes(whole[:size])
        before = LedgerReader(tmp_path / "ledger")
        assert [entry.seq for entry in before.entries()] == list(range(6))
        assert before.last_seq == 5
        verdict = check(tmp_path)
        assert (verdict.ok, verdict.entries) == (True, 6), size
        again = LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys"), checkpoint_seconds=10**6)
        repaired = size > len(signed)
        assert again.next_seq == 6 + repaired
        again.append([Entry("hook", "next", 3, b"goes on")])
        again.commit()
        stored = list(LedgerReader(tmp_path / "ledger").entries(6))
        assert [entry.kind for entry in stored] == ["repair", "hook"][not repaired :]
        if repaired:
            note = json.loads(stored[0].payload)
            assert (note["offset"], note["bytes"]) == (len(signed), size - len(signed))
        assert check(tmp_path).ok


def test_any_flipped_byte_of_a_segment_breaks_integrity_where_it_lies(tmp_path: Path) -> None:
    """One bit anywhere in a segment is noticed, and the first entry that it puts in doubt is named."""
    make(tmp_path)
    path = tmp_path / "ledger" / f"{0:016x}.wkl"
    sound = path.read_bytes()
    regions = dict.fromkeys(range(header_bytes(0)), 0)
    following = 0
    for block in blocks(path):
        first = block.first if block.kind == ENTRIES else following
        regions |= dict.fromkeys(range(block.offset, block.end), first)
        following = block.next_seq if block.kind == ENTRIES else following
    assert len(regions) == len(sound)
    for offset in range(len(sound)):
        changed = bytearray(sound)
        changed[offset] ^= 0x10
        path.write_bytes(changed)
        verdict = check(tmp_path)
        assert verdict.integrity == "broken", offset
        assert not verdict.ok
        assert verdict.first_bad == regions[offset], offset


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_any_flipped_byte_of_the_checkpoints_breaks_integrity(tmp_path: Path, bit: int) -> None:
    """A checkpoint that was changed vouches for nothing from the one before it on."""
    make(tmp_path)
    path = tmp_path / "ledger" / "checkpoints.jsonl"
    sound = path.read_bytes()
    vouched = [0, 6, 12]
    for offset in range(0, len(sound), 3):
        changed = bytearray(sound)
        changed[offset] ^= bit
        path.write_bytes(changed)
        verdict = check(tmp_path)
        assert verdict.integrity == "broken", offset
        assert verdict.first_bad == vouched[sound[:offset].count(b"\n")], offset


def test_a_flipped_byte_of_the_head_leaves_completeness_unknown(tmp_path: Path) -> None:
    """Without the head nothing says how much there was, so the verdict is not good."""
    make(tmp_path)
    head = tmp_path / "keys" / "head.json"
    sound = head.read_bytes()
    head.write_bytes(sound[:50] + b"#" + sound[51:])
    verdict = check(tmp_path)
    assert (verdict.ok, verdict.integrity, verdict.completeness) == (False, "intact", "unknown")
    head.unlink()
    verdict = check(tmp_path)
    assert (verdict.ok, verdict.integrity, verdict.completeness) == (False, "intact", "unknown")
    make(tmp_path, 3)
    verdict = check(tmp_path)
    assert verdict.ok
    assert ("the ledger was repaired", "head missing") in [(item.what, item.why) for item in verdict.findings]


def test_a_payload_changed_with_a_right_checksum_contradicts_the_signed_root(tmp_path: Path) -> None:
    """Who rewrites a block properly but cannot sign is found between the two checkpoints around it."""
    make(tmp_path)
    path = tmp_path / "ledger" / f"{0:016x}.wkl"
    codec = Codec(tmp_path / "ledger")
    target = next(block for block in blocks(path) if block.first == 6 and block.kind == ENTRIES)
    found = list(unpack_entries(codec, target, path))
    records = [encode_record(b"hook", e.source.encode(), e.at, e.payload.replace(b"7", b"8")) for e in found]
    forged = pack_entries(codec, 6, [entry.salt for entry in found], records, 0)
    sound = path.read_bytes()
    path.write_bytes(sound[: target.offset] + forged + sound[target.end :])
    assert LedgerReader(tmp_path / "ledger").get(7).payload == b"payload 8"
    verdict = check(tmp_path)
    assert (verdict.ok, verdict.integrity, verdict.first_bad) == (False, "broken", 6)


def test_a_payload_removed_without_a_tombstone_is_noticed(tmp_path: Path) -> None:
    """The tree cannot tell who removed a payload; the missing tombstone can."""
    make(tmp_path)
    from watchkeeper.ledger.erasure import rewrite

    rewrite(tmp_path / "ledger", Codec(tmp_path / "ledger"), [5])
    verdict = check(tmp_path)
    assert (verdict.ok, verdict.integrity, verdict.completeness) == (False, "intact", "truncated")
    assert verdict.first_bad == 5


def cut(home: Path, entries: int) -> None:
    """Cut segments and checkpoints back to what they were after ``entries`` entries."""
    for first, path in list_segments(home / "ledger"):
        if first >= entries:
            path.unlink()
            continue
        ends = [header_bytes(first)]
        ends += [block.end for block in blocks(path) if block.next_seq <= entries]
        path.write_bytes(path.read_bytes()[: max(ends)])
    jsonl = home / "ledger" / "checkpoints.jsonl"
    lines = jsonl.read_bytes().splitlines(keepends=True)
    jsonl.write_bytes(
        b"".join(line for line in lines if json.loads(line)["checkpoint"]["tree_size"] <= entries)
    )


@pytest.mark.parametrize("segment_bytes", [300, 32 << 20])
@pytest.mark.parametrize("kept", [0, 3, 6, 9])
def test_a_cut_tail_is_noticed_also_after_the_ledger_went_on(
    tmp_path: Path, kept: int, segment_bytes: int
) -> None:
    """Segments and checkpoints cut together still contradict the head; going on does not heal or hide it."""
    make(tmp_path, segment_bytes=segment_bytes)
    cut(tmp_path, kept)
    verdict = check(tmp_path)
    assert (verdict.ok, verdict.integrity, verdict.completeness) == (False, "intact", "truncated")
    assert (verdict.entries, verdict.first_bad) == (kept, kept)
    make(tmp_path, 6)
    verdict = check(tmp_path)
    assert (verdict.ok, verdict.completeness, verdict.first_bad) == (False, "truncated", kept)
    seen: list[FormatError] = []
    told = [entry.seq for entry in LedgerReader(tmp_path / "ledger").entries(on_damage=seen.append)]
    assert told == [*range(kept), *range(12, 19)]
    assert [error.what for error in seen] == [f"the ledger lacks the entries {kept} to 11"]
    with pytest.raises(FormatError, match="lacks the entries"):
        list(LedgerReader(tmp_path / "ledger").entries())


def test_cut_checkpoints_alone_are_noticed(tmp_path: Path) -> None:
    """The segments and the head still know the checkpoint that was removed."""
    make(tmp_path)
    jsonl = tmp_path / "ledger" / "checkpoints.jsonl"
    lines = jsonl.read_bytes().splitlines(keepends=True)
    jsonl.write_bytes(lines[0])
    assert check(tmp_path).completeness == "truncated"
    jsonl.write_bytes(b"".join(lines[1:]))
    assert check(tmp_path).completeness == "truncated"


def test_a_missing_middle_segment_is_named_and_the_rest_still_verifies(tmp_path: Path) -> None:
    """The segments around a missing one are checked by the frontier in the next header."""
    make(tmp_path, 30, segment_bytes=400)
    segments = list_segments(tmp_path / "ledger")
    assert len(segments) > 4
    (gone, path), (following, _) = segments[2:4]
    path.unlink()
    verdict = check(tmp_path)
    assert (verdict.ok, verdict.integrity, verdict.completeness) == (False, "intact", "truncated")
    assert (verdict.first_bad, verdict.entries) == (gone, 30 - (following - gone))
    with pytest.raises(FormatError, match=f"lacks the entries {gone} to {following - 1}"):
        list(LedgerReader(tmp_path / "ledger").entries())
    assert [e.seq for e in LedgerReader(tmp_path / "ledger").entries(following)] == list(range(following, 30))


def test_a_damaged_block_is_named_and_can_be_passed(tmp_path: Path) -> None:
    """Reading stops at damage with file and offset, or goes on after it when asked to."""
    make(tmp_path)
    path = tmp_path / "ledger" / f"{0:016x}.wkl"
    target = next(block for block in blocks(path) if block.first == 3 and block.kind == ENTRIES)
    content = bytearray(path.read_bytes())
    content[target.end - 1] ^= 1
    path.write_bytes(content)
    reader = LedgerReader(tmp_path / "ledger")
    with pytest.raises(FormatError) as caught:
        list(reader.entries())
    assert caught.value.place == f"{path}:{target.offset}"
    with pytest.raises(FormatError):
        reader.get(4)
    assert reader.get(6).payload == b"payload 6"
    seen: list[FormatError] = []
    assert [entry.seq for entry in reader.entries(on_damage=seen.append)] == [0, 1, 2, *range(6, 12)]
    assert seen[0].place == f"{path}:{target.offset}"


def test_entries_behind_a_damaged_block_header_are_still_found(tmp_path: Path) -> None:
    """A header that no longer says how long its block is hides only its own entries."""
    make(tmp_path)
    path = tmp_path / "ledger" / f"{0:016x}.wkl"
    target = next(block for block in blocks(path) if block.first == 3 and block.kind == ENTRIES)
    content = bytearray(path.read_bytes())
    content[target.offset] ^= 1
    path.write_bytes(content)
    reader = LedgerReader(tmp_path / "ledger")
    assert reader.last_seq == 11
    assert reader.get(2).payload == b"payload 2"
    assert reader.get(10).payload == b"payload 10"
    with pytest.raises(FormatError):
        reader.get(4)


def test_a_ledger_with_damage_among_signed_entries_goes_on_and_keeps_telling(tmp_path: Path) -> None:
    """A writer neither cuts nor hides damage in signed entries; new ones follow after them."""
    make(tmp_path)
    path = tmp_path / "ledger" / f"{0:016x}.wkl"
    damaged = bytearray(path.read_bytes())
    last = [block for block in blocks(path) if block.kind == ENTRIES][-1]
    damaged[last.offset + 50] ^= 1
    path.write_bytes(damaged)
    make(tmp_path, 3)
    assert path.read_bytes()[: len(damaged)] == damaged
    verdict = check(tmp_path)
    assert (verdict.integrity, verdict.completeness, verdict.first_bad) == ("broken", "complete", last.first)
    assert verdict.checkpoints == 3
    assert LedgerReader(tmp_path / "ledger").get(12 + 2).payload == b"payload 2"


def test_a_rebuilt_ledger_under_the_same_seqs_is_noticed(tmp_path: Path) -> None:
    """Another ledger put in place of the signed one does not pass, even with a key of its own."""
    make(tmp_path / "a")
    make(tmp_path / "b")
    shutil.rmtree(tmp_path / "a" / "ledger")
    shutil.copytree(tmp_path / "b" / "ledger", tmp_path / "a" / "ledger")
    verdict = check(tmp_path / "a")
    assert (verdict.ok, verdict.integrity, verdict.first_bad) == (False, "broken", 0)
