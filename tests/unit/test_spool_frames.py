"""The wire format: golden bytes, damage, and going on after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.errors import FormatError
from watchkeeper.spool.frames import (
    ENVIRONMENT_LIMIT,
    Frame,
    FrameKind,
    decode_frames,
    decode_segment_header,
    encode_environment,
    encode_frame,
    encode_segment_header,
    frame_length,
)

GOLDEN = Path(__file__).parents[2] / "schemas" / "wire.v1"
DESCRIPTION: dict[str, Any] = json.loads((GOLDEN / "frames.json").read_text())


def described_frame(name: str) -> Frame:
    row = DESCRIPTION[name]
    return Frame(
        kind=row["kind"],
        flags=row["flags"],
        wall_ns=row["wall_ns"],
        monotonic_ns=row["monotonic_ns"],
        boot_id=bytes.fromhex(row["boot_id"]),
        uid=row["uid"],
        pid=row["pid"],
        parent_pid=row["parent_pid"],
        environment=row["environment"],
        payload=row["payload"].encode(),
    )


def small(payload: bytes = b"{}") -> Frame:
    return Frame(1, 0, 5, 6, bytes(16), 1000, 2, 1, {}, payload)


@pytest.mark.parametrize("name", ["event.bin", "decision.bin"])
def test_encoder_reproduces_the_golden_bytes(name: str) -> None:
    assert (GOLDEN / name).read_bytes() == encode_frame(described_frame(name))


@pytest.mark.parametrize("name", ["event.bin", "decision.bin"])
def test_decoder_reads_what_the_golden_description_says(name: str) -> None:
    (found,) = decode_frames((GOLDEN / name).read_bytes())
    assert described_frame(name) == found.frame
    assert (0, DESCRIPTION[name]["length"]) == (found.offset, found.end)


def test_golden_segment_holds_its_frames_where_it_says() -> None:
    data, row = (GOLDEN / "segment.bin").read_bytes(), DESCRIPTION["segment.bin"]
    assert (bytes.fromhex(row["segment"]), row["created_ns"]) == decode_segment_header(data)
    assert data.startswith(encode_segment_header(bytes.fromhex(row["segment"]), row["created_ns"]))
    found = list(decode_frames(data, 32))
    assert [frame["offset"] for frame in row["frames"]] == [item.offset for item in found]
    assert [described_frame(frame["file"]) for frame in row["frames"]] == [item.frame for item in found]


def test_flags_read_as_words() -> None:
    frame = described_frame("event.bin")
    assert frame.asked
    assert not frame.truncated


def test_every_flipped_byte_of_a_frame_is_noticed() -> None:
    data = encode_frame(small(b'{"a":1}'))
    for at in range(len(data)):
        if at in {4, 5, 6, 7}:
            continue  # outside the checksum: version, kind and flags
        broken = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        assert all(item.frame is None for item in decode_frames(broken)), at


def test_bytes_between_frames_are_damage_and_cost_no_frame() -> None:
    data = encode_frame(small(b"first")) + b"garbage WKF1 garbage" + encode_frame(small(b"second"))
    found = list(decode_frames(data))
    assert [item.frame and item.frame.payload for item in found] == [b"first", None, b"second"]
    assert found[1].damage is not None
    assert found[1].damage.length == 20


def test_frame_after_a_torn_one_is_found() -> None:
    torn = encode_frame(small(b"x" * 500))[:100]
    found = list(decode_frames(torn + encode_frame(small(b"next"))))
    assert [(item.offset, item.end) for item in found] == [(0, 100), (100, 100 + 72 + 4)]
    assert found[1].frame == small(b"next")


@pytest.mark.parametrize(("cut", "reason"), [(50, "incomplete header"), (80, "incomplete frame")])
def test_cut_off_end_says_what_is_missing(cut: int, reason: str) -> None:
    (found,) = decode_frames(encode_frame(small(b"x" * 100))[:cut])
    assert found.damage is not None
    assert (0, cut, reason) == found.damage


def test_whole_frame_of_a_later_version_is_passed_over_as_one_piece() -> None:
    later = bytearray(encode_frame(small(encode_frame(small(b"inner")))))
    later[4] = 2
    found = list(decode_frames(bytes(later) + encode_frame(small(b"after"))))
    assert [item.damage and item.damage.reason for item in found] == ["unknown version 2", None]


def test_lengths_that_disagree_are_no_frame() -> None:
    data = bytearray(encode_frame(small(b"x" * 10)))
    data[64] = 11
    assert frame_length(bytes(data), 0) is None


def test_only_allow_listed_environment_is_kept() -> None:
    given = {"ANTHROPIC_API_KEY": "secret", "USER": "zoe", "CLAUDE_RUN_ID": "r", "PATH": "/bin"}
    assert encode_environment(given) == b"USER=zoe\0CLAUDE_RUN_ID=r\0"


def test_environment_entry_that_does_not_fit_is_left_out_whole() -> None:
    block = encode_environment({"USER_NAME": "x" * ENVIRONMENT_LIMIT, "USER": "zoe"})
    assert block == b"USER=zoe\0"


def test_environment_that_is_no_text_still_decodes() -> None:
    raw = bytearray(encode_frame(small()._replace(environment={"USER": "\udcff"})))
    (found,) = decode_frames(bytes(raw))
    assert found.frame is not None
    assert found.frame.environment == {"USER": "\N{REPLACEMENT CHARACTER}"}


def test_boot_id_of_another_size_is_refused() -> None:
    with pytest.raises(FormatError, match="16 bytes"):
        encode_frame(small()._replace(boot_id=b"short"))


def test_unknown_kind_is_still_a_frame() -> None:
    (found,) = decode_frames(encode_frame(small()._replace(kind=9)))
    assert found.frame is not None
    assert found.frame.kind == 9
    assert 9 not in set(FrameKind)


def test_short_or_foreign_segment_header_is_none() -> None:
    assert decode_segment_header(b"WKSPOOL1") is None
    assert decode_segment_header(b"x" * 32) is None
