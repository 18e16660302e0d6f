"""Rewriting a pack drops and changes contents, keeps the rest, and loses nothing on the way."""

from __future__ import annotations

import errno
import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.archive.compaction import begin_dropping, begin_rewrite, rewrite_pack
from watchkeeper.archive.departures import FILE, GoneError
from watchkeeper.archive.packs import ArchiveError
from watchkeeper.archive.store import Address, ArchiveReader, ArchiveWriter
from watchkeeper.errors import FormatError, NotFoundError

CONTENTS = [b"keep this\n" * 40, b"drop this\n" * 40, b"token=abc in here\n" * 40, b"the last\n"]


def filled(directory: Path) -> list[Address]:
    with ArchiveWriter(directory) as writer:
        return [writer.put(content) for content in CONTENTS]


def change(_address: Address, content: bytes) -> bytes | None:
    if content.startswith(b"drop"):
        return None
    return content.replace(b"token=abc", b"token=[masked]")


def test_a_rewrite_keeps_drops_and_changes_contents_and_says_where_they_are(tmp_path: Path) -> None:
    addresses = filled(tmp_path)
    moved = rewrite_pack(tmp_path, addresses[0].pack, change, reason="forgotten")
    reader = ArchiveReader(tmp_path)
    assert list(moved) == [item.offset for item in addresses]
    assert moved[addresses[1].offset] is None
    kept = [moved[addresses[index].offset] for index in (0, 2, 3)]
    assert kept == list(reader.frames())
    read = [reader.get(item.pack, item.offset) for item in kept if item is not None]
    assert read == [CONTENTS[0], CONTENTS[2].replace(b"token=abc", b"token=[masked]"), CONTENTS[3]]
    assert addresses[0].pack not in reader.packs()
    (path,) = tmp_path.glob("*.wka")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([path.name, FILE])


def test_old_places_resolve_by_digest_and_what_went_says_why(tmp_path: Path) -> None:
    addresses = filled(tmp_path)
    reader = ArchiveReader(tmp_path)
    rewrite_pack(tmp_path, addresses[0].pack, change, reason="forgotten")
    kept, dropped, changed, _ = addresses
    assert reader.get(kept.pack, kept.offset, kept.digest) == CONTENTS[0]
    assert b"[masked]" in reader.get(changed.pack, changed.offset, changed.digest)
    with pytest.raises(GoneError) as gone:
        reader.get(dropped.pack, dropped.offset, dropped.digest)
    assert gone.value.reason == "forgotten"
    with pytest.raises(NotFoundError):
        reader.get(kept.pack, kept.offset)
    with pytest.raises(NotFoundError):
        reader.find(hashlib.sha256(b"never there").hexdigest())


def test_a_content_that_is_rewritten_twice_is_found_by_its_first_digest(tmp_path: Path) -> None:
    addresses = filled(tmp_path)
    rewrite_pack(tmp_path, addresses[0].pack, change)
    (pack,) = ArchiveReader(tmp_path).packs()
    rewrite_pack(tmp_path, pack, lambda _, content: content.replace(b"[masked]", b"[gone]"))
    old = addresses[2]
    assert b"token=[gone]" in ArchiveReader(tmp_path).get(old.pack, old.offset, old.digest)


def test_a_frame_at_the_noted_place_that_is_another_one_is_not_taken_for_the_one_meant(
    tmp_path: Path,
) -> None:
    addresses = filled(tmp_path)
    reader = ArchiveReader(tmp_path)
    assert reader.get(addresses[0].pack, addresses[0].offset, addresses[3].digest) == CONTENTS[3]


def test_a_rewrite_that_changes_nothing_leaves_the_pack_alone(tmp_path: Path) -> None:
    addresses = filled(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert list(rewrite_pack(tmp_path, addresses[0].pack, lambda _, content: content).values()) == addresses
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_pack_of_which_nothing_is_left_is_removed(tmp_path: Path) -> None:
    addresses = filled(tmp_path)
    rewrite = begin_dropping(tmp_path, addresses[0].pack, lambda _: False, reason="retention")
    assert rewrite.new is None
    assert set(rewrite.commit().values()) == {None}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    with ArchiveWriter(tmp_path) as writer:
        again = writer.put(CONTENTS[1])
    assert ArchiveReader(tmp_path).get(addresses[1].pack, addresses[1].offset, again.digest) == CONTENTS[1]


def test_nothing_changes_before_the_commit_and_an_abandoned_rewrite_leaves_no_trace(tmp_path: Path) -> None:
    addresses = filled(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    rewrite = begin_rewrite(tmp_path, addresses[0].pack, change)
    reader = ArchiveReader(tmp_path)
    assert [reader.get(item.pack, item.offset) for item in addresses] == CONTENTS
    assert reader.packs() == [addresses[0].pack]
    rewrite.abandon()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_next_writer_removes_what_an_uncommitted_rewrite_left(tmp_path: Path) -> None:
    addresses = filled(tmp_path)
    begin_rewrite(tmp_path, addresses[0].pack, change)
    assert list(tmp_path.glob("*.tmp"))
    ArchiveWriter(tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == [addresses[0].pack + ".wka"]


def test_a_rewritten_pack_sorts_where_the_old_one_stood_and_a_released_writer_begins_a_new_one(
    tmp_path: Path,
) -> None:
    with ArchiveWriter(tmp_path) as writer:
        first = writer.put(CONTENTS[0])
        writer.put(CONTENTS[1])
        writer.release()
        second = writer.put(CONTENTS[2])
        assert second.pack != first.pack
        rewrite_pack(tmp_path, first.pack, change)
        packs = ArchiveReader(tmp_path).packs()
        assert packs[1] == second.pack
        assert packs[0].split("-")[0] == first.pack.split("-")[0]
        assert writer.put(CONTENTS[3]).pack == second.pack
        writer.release()
        again = writer.put(CONTENTS[0])
        assert again.pack == packs[0]
        assert again.digest == first.digest


def test_a_writer_that_resumes_goes_on_with_the_newest_pack(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        first = writer.put(CONTENTS[0])
        writer.put(CONTENTS[1])
        writer.release()
        rewrite_pack(tmp_path, first.pack, change)
        writer.resume()
        writer.resume()
        added = writer.put(CONTENTS[3])
        assert [added.pack] == ArchiveReader(tmp_path).packs()
        assert writer.put(CONTENTS[0]).digest == first.digest
    reader = ArchiveReader(tmp_path)
    assert [reader.get(item.pack, item.offset) for item in reader.frames()] == [CONTENTS[0], CONTENTS[3]]


def test_a_damaged_pack_is_left_as_it_is_unless_the_damage_is_to_go_too(tmp_path: Path) -> None:
    addresses = filled(tmp_path)
    path = tmp_path / f"{addresses[0].pack}.wka"
    data = bytearray(path.read_bytes())
    data[addresses[1].offset + 8] ^= 0x7F  # the length, so that the next frame cannot be found by counting
    path.write_bytes(data)
    with pytest.raises(FormatError):
        rewrite_pack(tmp_path, addresses[0].pack, change)
    assert path.read_bytes() == bytes(data)
    assert list(tmp_path.iterdir()) == [path]
    rewrite = begin_rewrite(tmp_path, addresses[0].pack, lambda _, content: content, drop_damaged=True)
    rewrite.commit()
    assert [offset for offset, _ in rewrite.damaged] == [addresses[1].offset]
    kept = {address.digest for address in ArchiveReader(tmp_path).frames()}
    assert kept == {addresses[index].digest for index in (0, 2, 3)}


def test_a_full_disk_leaves_the_old_pack_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = filled(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("watchkeeper.archive.compaction.sync_data", full)
    with pytest.raises(ArchiveError, match="No space left"):
        rewrite_pack(tmp_path, addresses[0].pack, change)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_plan_that_cannot_be_read_is_set_aside_and_stops_nothing(tmp_path: Path) -> None:
    addresses = filled(tmp_path)
    plan = tmp_path / f"{addresses[0].pack}.rewrite"
    plan.write_text('{"old": 1')
    with ArchiveWriter(tmp_path) as writer:
        writer.put(b"new")
    assert not plan.exists()
    assert plan.with_name(plan.name + ".damaged").exists()
    reader = ArchiveReader(tmp_path)
    assert [reader.get(item.pack, item.offset) for item in addresses] == CONTENTS
