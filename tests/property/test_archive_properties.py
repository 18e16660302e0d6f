"""What holds for the archive with any content and any damage."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.archive.store import Address, ArchiveReader, ArchiveWriter
from watchkeeper.errors import FormatError

CONTENTS = st.lists(st.one_of(st.binary(max_size=2000), st.sampled_from([b"", b"a" * 5000])), max_size=12)


def filled(directory: Path) -> tuple[Path, list[Address]]:
    with ArchiveWriter(directory) as writer:
        addresses = [writer.put(content) for content in (b"first " * 20, b"second " * 20, b"third " * 9)]
    (path,) = directory.glob("*.wka")
    return path, addresses


@settings(max_examples=60, deadline=None)
@given(CONTENTS, CONTENTS, st.integers(min_value=100, max_value=3000))
def test_every_content_comes_back_and_none_is_stored_twice(
    before: list[bytes], after: list[bytes], pack_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        addresses: list[tuple[bytes, Address]] = []
        for contents in (before, after):
            with ArchiveWriter(directory, pack_bytes=pack_bytes) as writer:
                addresses += [(content, writer.put(content)) for content in contents]
                writer.commit()
        reader = ArchiveReader(directory)
        for content, address in addresses:
            assert reader.get(address.pack, address.offset) == content
        assert len(list(reader.frames())) == len({content for content, _ in addresses})


def test_a_tail_torn_at_any_byte_of_the_last_frame_is_cut_off_and_written_anew(tmp_path: Path) -> None:
    path, addresses = filled(tmp_path)
    whole = path.read_bytes()
    for length in range(addresses[-1].offset, len(whole)):
        path.write_bytes(whole[:length])
        assert list(ArchiveReader(tmp_path).frames()) == addresses[:-1]
        with ArchiveWriter(tmp_path) as writer:
            assert path.stat().st_size == addresses[-1].offset
            assert writer.put(b"third " * 9) == addresses[-1]
        assert path.read_bytes() == whole


def test_a_tail_of_zeros_as_after_a_loss_of_power_is_cut_off(tmp_path: Path) -> None:
    path, addresses = filled(tmp_path)
    whole = path.read_bytes()
    for kept in (addresses[-1].offset, addresses[-1].offset + 30, addresses[-1].offset + 60):
        path.write_bytes(whole[:kept] + bytes(5000))
        ArchiveWriter(tmp_path).close()
        assert path.read_bytes() == whole[: addresses[-1].offset]


def test_a_flip_of_any_bit_of_a_frame_is_detected(tmp_path: Path) -> None:
    path, addresses = filled(tmp_path)
    whole = path.read_bytes()
    target = addresses[1]
    reader = ArchiveReader(tmp_path)
    for position in range(target.offset, target.offset + target.length):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(FormatError):
            reader.get(target.pack, target.offset)
        assert reader.get(addresses[2].pack, addresses[2].offset) == b"third " * 9
