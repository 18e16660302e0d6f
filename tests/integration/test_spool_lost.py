"""A spool segment that somebody removes or cuts behind our back is noticed, and what follows is still read."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.spool.follower import SpoolFollower
from watchkeeper.spool.writer import append_frame


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o700)
    return folder


def read_payloads(follower: SpoolFollower) -> list[bytes]:
    return [item.frame.payload for item in follower.read(1 << 20) if item.frame]


def test_a_removed_segment_is_reported_once(spool: Path) -> None:
    append_frame(spool, b'{"n":1}')
    follower = SpoolFollower(spool, 1 << 20, {})
    assert read_payloads(follower) == [b'{"n":1}']
    (spool / "current.wks").unlink()
    [(_, position, size)] = follower.lost()
    assert position > 0
    assert size is None
    assert follower.lost() == []


def test_a_cut_segment_is_reported_and_later_events_are_read(spool: Path) -> None:
    append_frame(spool, b'{"n":1}')
    whole = (spool / "current.wks").stat().st_size
    append_frame(spool, b'{"n":2}')
    follower = SpoolFollower(spool, 1 << 20, {})
    assert len(read_payloads(follower)) == 2
    with (spool / "current.wks").open("r+b") as segment:
        segment.truncate(whole)
    [(_, _, size)] = follower.lost()
    assert size == whole
    append_frame(spool, b'{"n":3}')
    assert read_payloads(follower) == [b'{"n":3}']
    assert follower.lost() == []


def test_a_spool_that_nobody_touched_has_lost_nothing(spool: Path) -> None:
    append_frame(spool, b'{"n":1}')
    follower = SpoolFollower(spool, 1 << 20, {})
    read_payloads(follower)
    follower.rotate(force=True)
    assert follower.lost() == []
