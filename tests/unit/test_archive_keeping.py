"""Holds, departures, sizes and sealed frames in small."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from watchkeeper.archive.compaction import rewrite_pack
from watchkeeper.archive.departures import FILE, Departure, append_departures, read_departures
from watchkeeper.archive.holds import Hold, Holds
from watchkeeper.archive.sealed import SealedCodec, master_key
from watchkeeper.archive.store import ArchiveReader, ArchiveWriter
from watchkeeper.cli.sizes import size_words
from watchkeeper.errors import ConfigError, FormatError, NotFoundError
from watchkeeper.store.snapshots import (
    KeptState,
    Retirement,
    is_snapshot,
    read_snapshot,
    without_sessions,
    write_snapshot,
)


def test_holds_are_kept_in_one_owner_only_file(tmp_path: Path) -> None:
    holds = Holds(tmp_path / "home" / "holds.json")
    assert holds.all() == {}
    assert holds.add("one", Hold(5, "case"))
    assert not holds.add("one", Hold(6))
    assert holds.add("two", Hold(7))
    assert holds.all() == {"one": Hold(5, "case"), "two": Hold(7)}
    assert holds.remove("one")
    assert not holds.remove("one")
    assert list(Holds(tmp_path / "home" / "holds.json").all()) == ["two"]
    assert stat.S_IMODE((tmp_path / "home" / "holds.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "[]", '{"holds": 3}', '{"holds": {"a": {"since": 1}}}', "\xff"])
def test_a_list_of_holds_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "holds.json"
    path.write_text(content)
    with pytest.raises(FormatError, match="holds"):
        Holds(path).all()


def test_a_torn_departure_is_passed_over_and_the_next_begins_a_line_of_its_own(tmp_path: Path) -> None:
    one, two = Departure("aa", None, "retention", 1), Departure("bb", "cc", "forgotten", 2)
    append_departures(tmp_path, [one])
    with (tmp_path / FILE).open("ab") as stream:
        stream.write(b'{"digest": "dd", "t')
    append_departures(tmp_path, [two])
    assert read_departures(tmp_path) == {"aa": one, "bb": two}


def test_sizes_are_told_with_their_unit() -> None:
    assert [size_words(count) for count in (None, 0, 1023, 1536, 10 << 20, 20 << 30, 3 << 40)] == [
        "—",
        "0 B",
        "1,023 B",
        "1.5 KiB",
        "10.0 MiB",
        "20.0 GiB",
        "3.0 TiB",
    ]


def test_sealed_frames_hide_content_and_digest_and_open_with_their_key_alone(tmp_path: Path) -> None:
    key, other = os.urandom(32), os.urandom(32)
    with ArchiveWriter(tmp_path, codec=SealedCodec(key)) as writer:
        address = writer.put(b"password=hunter2\n" * 50)
        assert writer.put(b"password=hunter2\n" * 50) == address
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"hunter2" not in stored
    assert SealedCodec(other).digest(b"password=hunter2\n" * 50).hex() != address.digest
    assert (
        ArchiveReader(tmp_path, SealedCodec(key)).get(address.pack, address.offset)
        == b"password=hunter2\n" * 50
    )
    with pytest.raises(FormatError, match="unsealed"):
        ArchiveReader(tmp_path, SealedCodec(other)).get(address.pack, address.offset)
    with pytest.raises(FormatError, match="another kind"):
        ArchiveReader(tmp_path).get(address.pack, address.offset)


def test_a_sealed_frame_with_another_header_does_not_open(tmp_path: Path) -> None:
    codec = SealedCodec(os.urandom(32))
    with ArchiveWriter(tmp_path, codec=codec) as writer:
        address = writer.put(b"content")
    moved = rewrite_pack(tmp_path, address.pack, lambda _, data: data + b"!", codec=codec)
    place = moved[address.offset]
    assert place is not None
    reader = ArchiveReader(tmp_path, codec)
    assert reader.get(place.pack, place.offset) == b"content!"
    assert reader.get(address.pack, address.offset, address.digest) == b"content!"
    with ArchiveWriter(tmp_path / "plain") as writer:
        plain = writer.put(b"content")
    with pytest.raises(FormatError, match="not sealed"):
        ArchiveReader(tmp_path / "plain", codec).get(plain.pack, plain.offset)


def test_keys_are_made_once_and_a_wrong_passphrase_is_noticed_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        master_key(tmp_path, None, create=False)
    key = master_key(tmp_path, None, create=True)
    assert master_key(tmp_path, None, create=False) == key
    stretched = master_key(tmp_path, b"open sesame", create=True)
    assert master_key(tmp_path, b"open sesame", create=True) == stretched != key
    with pytest.raises(ConfigError):
        master_key(tmp_path, b"open says me", create=True)
    (tmp_path / "raw.key").write_bytes(b"short")
    with pytest.raises(FormatError):
        master_key(tmp_path, None, create=True)


def test_a_snapshot_comes_back_as_it_was_and_can_forget_a_session() -> None:
    kept = Retirement(
        7,
        sessions=["a", "b"],
        files=["f"],
        messages=["m1", "m2"],
        digests=["dd"],
        states=[
            KeptState("session", "a", {"last_at": 5}),
            KeptState("message", "m1", {"sessions": ["a"], "session_id": [1, 2, "a"]}),
            KeptState("message", "m2", {"sessions": ["a", "b"], "session_id": [1, 2, "a"]}),
            KeptState("request", "r", {"session_id": [1, 2, "b"], "input_tokens": 9}),
        ],
        skipped=[("x.jsonl", 3, "not JSON")],
    )
    content = write_snapshot(kept)
    assert read_snapshot(7, content, "here") == kept
    assert is_snapshot(content)
    assert not is_snapshot(b'{"type":"user"}\n')
    left = read_snapshot(7, without_sessions(content, {"a"}), "here")
    assert left.sessions == ["b"]
    assert [item.key for item in left.states] == ["m2", "r"]
    assert left.messages == ["m2"]


def test_what_is_no_snapshot_is_refused_with_its_place() -> None:
    with pytest.raises(FormatError, match="here"):
        read_snapshot(1, b'{"kind": "state"}\n', "here")
