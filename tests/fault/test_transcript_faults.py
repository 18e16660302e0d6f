"""Transcript files that are cut, replaced, removed or full of garbage while they are followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchkeeper.sources.claude_code.discovery import TranscriptFile, stat_transcript
from watchkeeper.sources.claude_code.lines import split_lines
from watchkeeper.sources.claude_code.tail import REST_NS, Cursor, Range, TranscriptTail, file_key

NOW = 10**18


def listed(path: Path) -> TranscriptFile:
    item = stat_transcript(path, [])
    assert item is not None
    return item


def written(path: Path, content: bytes, age_ns: int = 0) -> TranscriptFile:
    path.write_bytes(content)
    os.utime(path, ns=(NOW - age_ns, NOW - age_ns))
    return listed(path)


def must_read(file: TranscriptFile, cursor: Cursor | None = None, max_bytes: int = 1 << 20) -> Range:
    found = TranscriptTail(clock=lambda: NOW).read_new(file, cursor, max_bytes)
    assert found is not None
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.jsonl"


def test_a_cut_file_begins_a_new_generation(path: Path) -> None:
    first = must_read(written(path, b'{"a":1}\n{"b":2}\n'))
    again = must_read(written(path, b'{"a":1}\n'), first.cursor)
    assert (first.generation, again.generation, again.first_line, again.start) == (0, 1, 1, 0)


def test_a_file_that_is_emptied_and_written_anew_is_read_from_its_start(path: Path) -> None:
    first = must_read(written(path, b'{"a":1}\n'))
    assert TranscriptTail().read_new(written(path, b""), first.cursor) is None
    again = must_read(written(path, b'{"new":1}\n{"new":2}\n'), first.cursor)
    assert (again.generation, again.line_count) == (1, 2)


def test_a_file_replaced_by_a_longer_one_begins_a_new_generation(path: Path, tmp_path: Path) -> None:
    first = must_read(written(path, b'{"a":1}\n'))
    (tmp_path / "new").write_bytes(b'{"x":1}\n{"y":1}\n')
    os.replace(tmp_path / "new", path)
    again = must_read(listed(path), first.cursor)
    assert (again.generation, again.data) == (1, b'{"x":1}\n{"y":1}\n')


def test_a_copy_of_the_same_bytes_under_another_inode_is_the_same_generation(
    path: Path, tmp_path: Path
) -> None:
    first = must_read(written(path, b'{"a":1}\n'))
    (tmp_path / "new").write_bytes(b'{"a":1}\n{"b":2}\n')
    os.replace(tmp_path / "new", path)
    more = must_read(listed(path), first.cursor)
    assert (more.generation, more.first_line, more.data) == (0, 2, b'{"b":2}\n')
    assert more.inode == path.stat().st_ino


def test_a_change_far_behind_the_start_is_noticed(path: Path) -> None:
    line = b'{"a":"' + b"x" * 1000 + b'"}\n'
    first = must_read(written(path, line * 20))
    again = must_read(written(path, line * 19 + line.replace(b"x", b"y") + line), first.cursor)
    assert (again.generation, again.line_count) == (1, 21)


def test_a_file_that_vanishes_after_it_was_listed_is_an_error_of_that_file_only(path: Path) -> None:
    file = written(path, b"{}\n")
    path.unlink()
    with pytest.raises(FileNotFoundError):
        TranscriptTail().read_new(file, None)


def test_a_file_that_became_a_folder_or_a_pipe_does_not_block(path: Path) -> None:
    file = written(path, b"{}\n")
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="not a regular file"):
        TranscriptTail().read_new(file, None)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        TranscriptTail().read_new(file, None)


def test_a_file_cut_while_it_is_read_gives_what_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(path, b'{"a":1}\n' * 1000)
    real = os.pread

    def cut_first(descriptor: int, length: int, offset: int) -> bytes:
        os.truncate(path, 8 * 10 + 3)
        return real(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", cut_first)
    found = must_read(file)
    assert (found.line_count, found.end) == (10, 80)


def test_a_complete_last_line_without_an_end_waits_until_the_file_has_rested(path: Path) -> None:
    tail = TranscriptTail(clock=lambda: NOW)
    content = b'{"a":1}\n{"b":2}'
    fresh = tail.read_new(written(path, content), None)
    assert fresh is not None
    assert (fresh.data, fresh.final) == (b'{"a":1}\n', True)
    assert tail.read_new(listed(path), fresh.cursor) is None
    rested = tail.read_new(written(path, content, REST_NS + 1), fresh.cursor)
    assert rested is not None
    assert (rested.first_line, rested.data, rested.end) == (2, b'{"b":2}', 15)


def test_a_file_in_motion_is_not_forgotten_once_it_rests_unchanged(path: Path) -> None:
    now = [NOW]
    tail = TranscriptTail(clock=lambda: now[0])
    file = written(path, b'{"b":2}')
    assert tail.read_new(file, None) is None
    now[0] += REST_NS + 1
    assert tail.read_new(file, None) is not None


def test_a_cut_last_line_waits_however_long_the_file_rests(path: Path) -> None:
    assert (
        TranscriptTail(clock=lambda: NOW).read_new(written(path, b'{"a":{"b":2}', 10 * REST_NS), None) is None
    )


def test_a_line_end_that_comes_later_belongs_to_the_line_already_taken(path: Path) -> None:
    taken = must_read(written(path, b'{"a":1}', 2 * REST_NS))
    for end in (b"\n", b"\r\n"):
        assert (
            TranscriptTail(clock=lambda: NOW).read_new(written(path, b'{"a":1}' + end), taken.cursor) is None
        )
        more = must_read(written(path, b'{"a":1}' + end + b'{"b":2}\n'), taken.cursor)
        assert (more.first_line, more.data) == (2, b'{"b":2}\n')


def test_a_line_that_went_on_is_given_again_under_its_own_number(path: Path) -> None:
    taken = must_read(written(path, b'{"z":0}\n{"a":1}', 2 * REST_NS))
    more = must_read(written(path, b'{"z":0}\n{"a":1} \n{"b":2}\n'), taken.cursor)
    assert list(split_lines(more.data, more.first_line)) == [(2, b'{"a":1} '), (3, b'{"b":2}')]


def test_a_long_line_is_a_range_of_its_own_and_a_far_too_long_one_is_skipped_by_name(path: Path) -> None:
    long, huge = b'{"a":"' + b"x" * 9000 + b'"}\n', b'{"b":"' + b"x" * (3 << 20) + b'"}\n'
    file = written(path, b"{}\n" + long + huge + b"{}\n")
    tail = TranscriptTail(maximum_line=1 << 20)
    cursor, ranges = None, []
    while (found := tail.read_new(file, cursor, 4000)) is not None:
        ranges.append((found.first_line, found.line_count, len(found.data), found.skipped, found.final))
        cursor = found.cursor
    assert ranges == [
        (1, 1, 3, (), False),
        (2, 1, len(long), (), False),
        (3, 1, 0, ((3, "the line is longer than 1 MiB"),), False),
        (4, 1, 3, (), True),
    ]


def test_an_unchanged_file_is_not_opened_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = TranscriptTail(clock=lambda: NOW)
    file = written(path, b"{}\n")
    found = tail.read_new(file, None)
    assert found is not None
    assert tail.read_new(file, found.cursor) is None
    monkeypatch.setattr(os, "open", None)
    assert tail.read_new(listed(path), found.cursor) is None


def test_a_range_that_was_not_taken_in_is_given_again(path: Path) -> None:
    tail = TranscriptTail(clock=lambda: NOW)
    file = written(path, b"{}\n")
    first = tail.read_new(file, None)
    assert first is not None
    assert tail.read_new(file, first.cursor) is None
    assert tail.read_new(file, None) == first


def test_garbage_has_line_numbers_as_any_other_content(path: Path) -> None:
    content = bytes(range(256)) * 50
    found = must_read(written(path, content))
    assert found.data == content[: content.rfind(b"\n") + 1]
    assert found.line_count == 50


def test_a_key_depends_on_the_place_alone() -> None:
    folder, other = Path("/a/.claude"), Path("/b/.claude")
    assert file_key(folder, "-p/s.jsonl") == file_key(folder, "-p/s.jsonl") != file_key(folder, "-p/t.jsonl")
    assert file_key(folder, "-p/s.jsonl") != file_key(other, "-p/s.jsonl")
    assert len(file_key(folder, "-p/\udcff.jsonl")) == 16
