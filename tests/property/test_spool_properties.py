"""Laws of the wire format and of following, for any frames, any damage and any way to read them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.spool.follower import SpoolFollower
from watchkeeper.spool.frames import (
    ENVIRONMENT_NAMES,
    Frame,
    decode_frames,
    encode_frame,
    encode_segment_header,
)
from watchkeeper.spool.segments import segment_name

ALL = 1 << 30
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
frames = st.builds(
    Frame,
    kind=st.integers(0, 255),
    flags=st.integers(0, 65535),
    wall_ns=u64,
    monotonic_ns=u64,
    boot_id=st.binary(min_size=16, max_size=16),
    uid=u32,
    pid=u32,
    parent_pid=u32,
    environment=st.dictionaries(st.sampled_from(ENVIRONMENT_NAMES), values, max_size=4),
    payload=st.binary(max_size=200),
)
garbage = st.binary(min_size=1, max_size=120) | st.just(b"WKF1" * 20)


@given(frames)
def test_decoding_gives_back_what_was_encoded(frame: Frame) -> None:
    data = encode_frame(frame)
    (found,) = decode_frames(data)
    assert (found.frame, found.offset, found.end) == (frame, 0, len(data))


@given(st.lists(frames | garbage, max_size=8))
def test_garbage_between_frames_costs_none_of_them(parts: list[Frame | bytes]) -> None:
    data = b"".join(part if isinstance(part, bytes) else encode_frame(part) for part in parts)
    found = list(decode_frames(data))
    assert [item.frame for item in found if item.frame] == [part for part in parts if isinstance(part, Frame)]
    assert [item.offset for item in found[1:]] == [item.end for item in found[:-1]]
    assert sum(item.end - item.offset for item in found) == len(data)


@given(st.lists(frames, min_size=1, max_size=5), st.data())
def test_cutting_anywhere_keeps_the_frames_before_the_cut(written: list[Frame], data: st.DataObject) -> None:
    pieces = [encode_frame(frame) for frame in written]
    whole = b"".join(pieces)
    cut = data.draw(st.integers(0, len(whole)))
    kept, end = 0, 0
    while kept < len(pieces) and end + len(pieces[kept]) <= cut:
        end += len(pieces[kept])
        kept += 1
    assert [item.frame for item in decode_frames(whole[:cut]) if item.frame] == written[:kept]


@settings(max_examples=40)
@given(
    st.lists(frames | garbage, max_size=8),
    st.lists(st.integers(1, 400), min_size=1, max_size=4),
    st.booleans(),
)
def test_any_way_to_read_a_segment_gives_the_same(
    parts: list[Frame | bytes], limits: list[int], restarted: bool
) -> None:
    owned = [part if isinstance(part, bytes) else part._replace(uid=os.geteuid()) for part in parts]
    data = b"".join(part if isinstance(part, bytes) else encode_frame(part) for part in owned)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / segment_name(1, b"s" * 16)
        path.write_bytes(encode_segment_header(b"s" * 16, 1) + data)
        path.chmod(0o400)
        at_once = SpoolFollower(Path(scratch), ALL, {}).read(ALL)
        follower, positions, in_steps = SpoolFollower(Path(scratch), ALL, {}), dict[str, int](), []
        turn = 0
        while part := follower.read(limits[turn % len(limits)]):
            in_steps += part
            positions.update({item.segment: item.end for item in part})
            turn += 1
            if restarted:
                follower = SpoolFollower(Path(scratch), ALL, positions)
        assert in_steps == at_once
        assert [item.frame for item in at_once if item.frame] == [x for x in owned if isinstance(x, Frame)]
        follower.release(positions)
        assert not path.exists() or not data
