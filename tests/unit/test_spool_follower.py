"""Following, sealing and removing segments, with the Python writer."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from watchkeeper.errors import NotFoundError
from watchkeeper.spool import binary
from watchkeeper.spool.follower import FrameAt, SpoolFollower
from watchkeeper.spool.frames import Frame, FrameKind, encode_frame, encode_segment_header
from watchkeeper.spool.segments import SpoolError, segment_name
from watchkeeper.spool.writer import append_frame, boot_id

ALL = 1 << 30


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    return folder


def payloads(items: list[FrameAt]) -> list[bytes]:
    return [item.frame.payload for item in items if item.frame]


def damages(items: list[FrameAt]) -> list[str]:
    return [item.damage.reason for item in items if item.damage]


def positions(items: list[FrameAt]) -> dict[str, int]:
    return {item.segment: item.end for item in items}


def frame(payload: bytes, uid: int | None = None) -> bytes:
    owner = os.geteuid() if uid is None else uid
    return encode_frame(Frame(1, 0, 1, 1, bytes(16), owner, 1, 1, {}, payload))


def segment_file(spool: Path, name: str, content: bytes, mode: int = 0o600) -> Path:
    path = spool / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_appended_frame_comes_back_with_its_source_and_stamp(spool: Path) -> None:
    source = append_frame(spool, b"{}", kind=FrameKind.SYNTHETIC, environment={"USER": "zoe", "SECRET": "x"})
    (found,) = SpoolFollower(spool, ALL, {}).read(ALL)
    assert found.frame is not None
    assert (source, FrameKind.SYNTHETIC, {"USER": "zoe"}) == (
        found.source,
        found.frame.kind,
        found.frame.environment,
    )
    assert (os.getpid(), os.geteuid(), boot_id()) == (found.frame.pid, found.frame.uid, found.frame.boot_id)
    assert f"spool:{found.segment}:{found.offset}" == source


def test_frames_come_in_order_and_once(spool: Path) -> None:
    follower = SpoolFollower(spool, ALL, {})
    for number in range(3):
        append_frame(spool, b"%d" % number)
    assert payloads(follower.read(ALL)) == [b"0", b"1", b"2"]
    append_frame(spool, b"3")
    assert payloads(follower.read(ALL)) == [b"3"]
    assert follower.read(ALL) == []


def test_following_goes_on_at_the_recorded_position(spool: Path) -> None:
    append_frame(spool, b"old")
    done = positions(SpoolFollower(spool, ALL, {}).read(ALL))
    append_frame(spool, b"new")
    assert payloads(SpoolFollower(spool, ALL, done).read(ALL)) == [b"new"]


def test_limit_splits_the_reading_without_losing_a_frame(spool: Path) -> None:
    for number in range(200):
        append_frame(spool, b"%03d" % number * 300)
    follower = SpoolFollower(spool, ALL, {})
    reads = []
    while part := follower.read(1):
        reads.append(part)
    assert len(reads) > 1
    assert [b"%03d" % number * 300 for number in range(200)] == [
        data for part in reads for data in payloads(part)
    ]


def test_frame_longer_than_the_limit_is_returned_whole(spool: Path) -> None:
    append_frame(spool, b"y" * 3_000_000)
    assert [len(data) for data in payloads(SpoolFollower(spool, ALL, {}).read(100))] == [3_000_000]


def test_sealing_renames_and_takes_the_write_bit_and_writers_go_on(spool: Path) -> None:
    append_frame(spool, b"one")
    follower = SpoolFollower(spool, 10, {})
    assert follower.rotate() == 1
    (sealed,) = spool.iterdir()
    assert sealed.stat().st_mode & 0o777 == 0o400
    append_frame(spool, b"two")
    assert payloads(follower.read(ALL)) == [b"one", b"two"]


def test_small_segment_is_sealed_only_when_forced(spool: Path) -> None:
    append_frame(spool, b"one")
    follower = SpoolFollower(spool, 1 << 20, {})
    assert follower.rotate() == 0
    assert follower.rotate(force=True) == 1
    assert follower.rotate(force=True) == 0


def test_segment_is_removed_only_when_all_of_it_is_on_record(spool: Path) -> None:
    append_frame(spool, b"one")
    append_frame(spool, b"two")
    follower = SpoolFollower(spool, 10, {})
    first, second = follower.read(ALL)
    follower.rotate()
    assert follower.release({}) == []
    assert follower.release({first.segment: first.end}) == []
    assert [first.segment] == follower.release({first.segment: second.end})
    assert list(spool.iterdir()) == []


def test_current_segment_is_never_removed(spool: Path) -> None:
    append_frame(spool, b"one")
    follower = SpoolFollower(spool, ALL, {})
    assert follower.release(positions(follower.read(ALL))) == []
    assert (spool / "current.wks").exists()


def test_segment_ids_are_not_used_twice(spool: Path) -> None:
    follower = SpoolFollower(spool, 10, {})
    seen: set[str] = set()
    for number in range(5):
        append_frame(spool, b"%d" % number)
        (found,) = follower.read(ALL)
        assert found.segment not in seen
        seen.add(found.segment)
        follower.rotate()
        follower.release({found.segment: found.end})


def test_frame_still_being_written_is_not_yet_there(spool: Path) -> None:
    append_frame(spool, b"one")
    follower = SpoolFollower(spool, ALL, {})
    follower.read(ALL)
    whole = frame(b"slow" * 9)
    with (spool / "current.wks").open("ab", buffering=0) as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        writer.write(whole[:80])
        assert follower.read(ALL) == []
        writer.write(whole[80:])
        assert payloads(follower.read(ALL)) == [b"slow" * 9]


def test_torn_end_without_a_writer_is_damage_and_later_frames_follow(spool: Path) -> None:
    append_frame(spool, b"one")
    with (spool / "current.wks").open("ab") as writer:
        writer.write(frame(b"torn" * 50)[:100])
    follower = SpoolFollower(spool, ALL, {})
    found = follower.read(ALL)
    assert payloads(found) == [b"one"]
    assert damages(found) == ["incomplete frame"]
    append_frame(spool, b"two")
    assert payloads(follower.read(ALL)) == [b"two"]


def test_torn_bytes_between_frames_are_damage_once(spool: Path) -> None:
    append_frame(spool, b"one")
    with (spool / "current.wks").open("ab") as writer:
        writer.write(frame(b"torn" * 50)[:100])
    append_frame(spool, b"two")
    follower = SpoolFollower(spool, ALL, {})
    found = follower.read(ALL)
    assert (payloads(found), damages(found)) == ([b"one", b"two"], ["incomplete frame"])
    assert follower.read(ALL) == []


def test_damage_counts_as_on_record_for_removal(spool: Path) -> None:
    segment_file(
        spool, segment_name(5, b"i" * 16), encode_segment_header(b"i" * 16, 5) + b"garbage" * 9, 0o400
    )
    follower = SpoolFollower(spool, ALL, {})
    found = follower.read(ALL)
    assert damages(found) == ["incomplete header"]
    assert [(b"i" * 16).hex()] == follower.release(positions(found))


def test_garbage_larger_than_a_chunk_costs_no_frame(spool: Path) -> None:
    content = encode_segment_header(b"i" * 16, 5) + frame(b"one") + b"WKF1" * 100_000 + frame(b"two")
    segment_file(spool, segment_name(5, b"i" * 16), content, 0o400)
    follower = SpoolFollower(spool, ALL, {})
    found = [item for _ in range(9) for item in follower.read(1000)]
    assert payloads(found) == [b"one", b"two"]
    assert [item.damage.length for item in found if item.damage] == [400_000]


def test_current_file_without_a_header_is_set_aside_and_its_frames_are_read(spool: Path) -> None:
    segment_file(spool, "current.wks", b"\0" * 40 + frame(b"saved"))
    follower = SpoolFollower(spool, ALL, {})
    found = follower.read(ALL)
    assert (payloads(found), damages(found)) == ([b"saved"], ["no frame"])
    assert not (spool / "current.wks").exists()
    assert follower.read(ALL) == []
    assert len(follower.release(positions(found))) == 1


def test_header_torn_by_a_killed_writer_is_written_anew(spool: Path) -> None:
    segment_file(spool, "current.wks", b"WKSPOOL1abc")
    follower = SpoolFollower(spool, ALL, {})
    assert follower.read(ALL) == []
    append_frame(spool, b"one")
    assert payloads(follower.read(ALL)) == [b"one"]


def test_empty_and_header_only_sealed_segments_are_removed(spool: Path) -> None:
    segment_file(spool, segment_name(1, b"a" * 16), b"", 0o400)
    segment_file(spool, segment_name(2, b"b" * 16), encode_segment_header(b"b" * 16, 2), 0o400)
    follower = SpoolFollower(spool, ALL, {})
    assert follower.read(ALL) == []
    assert len(follower.release({})) == 2


def test_symbolic_link_is_refused_once_and_not_followed(spool: Path, tmp_path: Path) -> None:
    outside = segment_file(tmp_path, "outside", encode_segment_header(b"o" * 16, 1) + frame(b"planted"))
    (spool / "current.wks").symlink_to(outside)
    follower = SpoolFollower(spool, 1, {})
    assert follower.rotate(force=True) == 0
    (found,) = follower.read(ALL)
    assert (found.segment, found.source) == ("", "spool:file:current.wks")
    assert follower.read(ALL) == []


@pytest.mark.parametrize("make", ["fifo", "folder", "shared", "strange name"])
def test_what_cannot_be_a_segment_is_reported_and_skipped(spool: Path, make: str) -> None:
    path = spool / segment_name(1, b"a" * 16)
    content = encode_segment_header(b"a" * 16, 1) + frame(b"x")
    if make == "fifo":
        os.mkfifo(path, 0o600)
    elif make == "folder":
        path.mkdir()
    elif make == "shared":
        segment_file(spool, path.name, content, 0o622)
    else:
        segment_file(spool, "copy.wks", content)
    append_frame(spool, b"good")
    found = SpoolFollower(spool, ALL, {}).read(ALL)
    assert payloads(found) == [b"good"]
    assert len(damages(found)) == 1


def test_second_file_with_the_same_id_is_refused(spool: Path) -> None:
    content = encode_segment_header(b"a" * 16, 1) + frame(b"x")
    segment_file(spool, segment_name(1, b"a" * 16), content, 0o400)
    segment_file(spool, segment_name(2, b"a" * 16), content, 0o400)
    found = SpoolFollower(spool, ALL, {}).read(ALL)
    assert (payloads(found), damages(found)) == ([b"x"], ["another file has this segment's id"])


def test_frame_of_another_user_is_damage(spool: Path) -> None:
    append_frame(spool, b"mine")
    with (spool / "current.wks").open("ab") as writer:
        writer.write(frame(b"forged", uid=os.geteuid() + 1))
    found = SpoolFollower(spool, ALL, {}).read(ALL)
    assert payloads(found) == [b"mine"]
    assert "a frame of user" in damages(found)[0]


def test_private_segment_in_progress_is_left_alone(spool: Path) -> None:
    path = segment_file(
        spool,
        segment_name(9, b"p" * 16, private=True),
        encode_segment_header(b"p" * 16, 9) + frame(b"big")[:75],
    )
    follower = SpoolFollower(spool, ALL, {})
    with path.open("ab", buffering=0) as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert follower.read(ALL) == []
        writer.write(frame(b"big")[75:])
    assert payloads(follower.read(ALL)) == [b"big"]
    assert path.stat().st_mode & 0o777 == 0o400


def test_private_segment_of_a_dead_writer_is_damage(spool: Path) -> None:
    name = segment_name(9, b"p" * 16, private=True)
    segment_file(spool, name, encode_segment_header(b"p" * 16, 9) + frame(b"big" * 99)[:200])
    found = SpoolFollower(spool, ALL, {}).read(ALL)
    assert damages(found) == ["incomplete frame"]


def test_writer_without_the_lock_uses_a_private_segment(spool: Path) -> None:
    append_frame(spool, b"one")
    with (spool / "current.wks").open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        append_frame(spool, b"two")
    assert len(list(spool.iterdir())) == 2
    assert payloads(SpoolFollower(spool, ALL, {}).read(ALL)) == [b"one", b"two"]


def test_missing_spool_has_no_frames_and_takes_none(tmp_path: Path) -> None:
    assert SpoolFollower(tmp_path / "none", ALL, {}).read(ALL) == []
    with pytest.raises(SpoolError, match="no spool folder"):
        append_frame(tmp_path / "none", b"{}")


def test_spool_that_others_can_write_to_is_refused_by_the_writer(spool: Path) -> None:
    spool.chmod(0o777)
    with pytest.raises(SpoolError, match="writable by others"):
        append_frame(spool, b"{}")


def test_packaged_hook_is_an_absolute_path_or_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "NAME", "no-such-hook")
    with pytest.raises(NotFoundError, match="pip install"):
        binary.packaged_hook()
