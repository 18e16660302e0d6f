"""The archive gives back what was put in, once, and says where it cannot."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.archive.store import ArchiveError, ArchiveReader, ArchiveWriter
from watchkeeper.errors import FormatError, NotFoundError, UsageError


def pack_file(directory: Path) -> Path:
    (path,) = directory.glob("*.wka")
    return path


def test_identical_content_is_stored_once_also_by_a_later_writer(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        first = writer.put(b"one line\n")
        assert writer.put(b"one line\n") == first
    size = pack_file(tmp_path).stat().st_size
    with ArchiveWriter(tmp_path) as writer:
        assert writer.put(b"one line\n") == first
    assert pack_file(tmp_path).stat().st_size == size
    assert first.digest == hashlib.sha256(b"one line\n").hexdigest()
    assert first.size == 9


def test_a_reader_sees_frames_before_they_are_committed(tmp_path: Path) -> None:
    writer = ArchiveWriter(tmp_path)
    addresses = [writer.put(bytes([65 + number]) * 100) for number in range(5)]
    reader = ArchiveReader(tmp_path)
    assert list(reader.frames()) == addresses
    assert [reader.get(item.pack, item.offset) for item in addresses] == [
        bytes([65 + number]) * 100 for number in range(5)
    ]
    writer.close()


def test_packs_are_rotated_and_their_ids_sort_by_age(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path, pack_bytes=2000) as writer:
        addresses = [writer.put(os.urandom(700)) for _ in range(12)]
    packs = list(dict.fromkeys(item.pack for item in addresses))
    assert len(packs) == 4
    assert ArchiveReader(tmp_path).packs() == packs
    assert list(ArchiveReader(tmp_path).frames()) == addresses


def test_the_archive_is_for_its_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    with ArchiveWriter(directory) as writer:
        writer.put(b"x")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(pack_file(directory).stat().st_mode) == 0o600


def test_commit_syncs_once_for_all_that_was_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    with ArchiveWriter(tmp_path) as writer:
        writer.put(b"a")
        writer.put(b"b")
        monkeypatch.setattr("watchkeeper.archive.store.sync_data", synced.append)
        writer.commit()
        writer.commit()
        assert len(synced) == 1


def test_an_unknown_or_forged_pack_id_is_refused(tmp_path: Path) -> None:
    reader = ArchiveReader(tmp_path)
    with pytest.raises(NotFoundError):
        reader.get("0" * 16 + "-" + "0" * 32, 32)
    with pytest.raises(NotFoundError):
        reader.get("../../etc/passwd", 32)


def test_an_offset_that_is_no_frame_is_refused_with_its_place(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        address = writer.put(b"abc")
    with pytest.raises(FormatError, match="no archive frame") as caught:
        ArchiveReader(tmp_path).get(address.pack, address.offset + 1)
    assert caught.value.place.endswith(f"{address.pack}.wka:{address.offset + 1}")


def test_content_above_the_limit_is_refused(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer, pytest.raises(UsageError):
        writer.put(bytes((64 << 20) + 1))


def test_a_renamed_pack_is_noticed(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        writer.put(b"abc")
    pack_file(tmp_path).rename(tmp_path / ("0" * 16 + "-" + "1" * 32 + ".wka"))
    with pytest.raises(FormatError, match="renamed"):
        list(ArchiveReader(tmp_path).frames())


def test_damage_in_the_middle_is_kept_and_the_next_content_goes_into_a_new_pack(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path) as writer:
        addresses = [writer.put(bytes([number]) * 300) for number in range(3)]
    path = pack_file(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[addresses[1].offset + 60] ^= 1
    path.write_bytes(damaged)
    with ArchiveWriter(tmp_path) as writer:
        again = [writer.put(bytes([number]) * 300) for number in range(3)]
    assert path.read_bytes() == damaged
    assert [item.pack == path.stem for item in again] == [True, False, True]
    for number, item in enumerate(again):
        assert ArchiveReader(tmp_path).get(item.pack, item.offset) == bytes([number]) * 300


def test_a_full_disk_leaves_no_piece_of_a_frame_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.pwrite
    with ArchiveWriter(tmp_path) as writer:
        first = writer.put(b"fits")

        def write_half(descriptor: int, data: Any, offset: int) -> int:
            if offset > first.offset + first.length:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real_write(descriptor, data[:20], offset)

        monkeypatch.setattr(os, "pwrite", write_half)
        with pytest.raises(ArchiveError, match="No space left"):
            writer.put(b"does not fit")
        monkeypatch.undo()
        assert pack_file(tmp_path).stat().st_size == first.offset + first.length
        second = writer.put(b"does not fit")
    assert list(ArchiveReader(tmp_path).frames()) == [first, second]
