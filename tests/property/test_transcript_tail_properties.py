"""However a file grows and however it is read, its lines have the same numbers and the same bytes."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.sources.claude_code.discovery import TranscriptFile, stat_transcript
from watchkeeper.sources.claude_code.lines import split_lines
from watchkeeper.sources.claude_code.tail import Cursor, Range, TranscriptTail

Key = tuple[int, int]
LINES = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from("abc"), st.text(max_size=30), max_size=3).map(
            lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        ),
        st.binary(max_size=40).map(lambda data: data.replace(b"\n", b" ")),
        st.sampled_from([b"", b"\x00" * 9, b'{"a":"' + b"long " * 2000 + b'"}']),
    ),
    max_size=12,
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


class Reader:
    """Reads a file as the recorder does: by its cursor alone, sometimes with a new process."""

    def __init__(self, path: Path, max_bytes: int, settled: bool) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.settled = settled
        self.cursor: Cursor | None = None
        self.tail = TranscriptTail(clock=lambda: 0)
        self.latest: dict[Key, bytes] = {}
        self.order: list[Key] = []

    def file(self) -> TranscriptFile:
        item = stat_transcript(self.path, [])
        assert item is not None
        return item

    def read(self) -> None:
        while (
            found := self.tail.read_new(self.file(), self.cursor, self.max_bytes, settled=self.settled)
        ) is not None:
            self.take(found)

    def take(self, found: Range) -> None:
        lines = list(split_lines(found.data, found.first_line))
        assert len(lines) == found.line_count
        assert found.end - found.start == len(found.data)
        for number, line in lines:
            key = (found.generation, number)
            assert self.settled or key not in self.latest
            self.latest[key] = line
            self.order.append(key)
        self.cursor = found.cursor


def at_once(path: Path, settled: bool) -> dict[Key, bytes]:
    reader = Reader(path, 1 << 20, settled)
    reader.read()
    return reader.latest


def pieces(content: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(content) + 1) for cut in cuts} | {0, len(content)})
    return [content[first:last] for first, last in itertools.pairwise(places)]


@settings(max_examples=150, deadline=None)
@given(
    LINES,
    ENDS,
    st.booleans(),
    st.lists(st.integers(0, 1 << 20), max_size=8),
    st.integers(1, 9000),
    st.booleans(),
)
def test_growth_in_any_pieces_gives_the_lines_of_one_reading(
    lines: list[bytes], end: bytes, ended: bool, cuts: list[int], max_bytes: int, restart: bool
) -> None:
    content = end.join(lines) + (end if ended else b"")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "s.jsonl"
        path.touch()
        reader = Reader(path, max_bytes, settled=False)
        for piece in pieces(content, cuts):
            with path.open("ab") as stream:
                stream.write(piece)
            if restart:
                reader.tail = TranscriptTail(clock=lambda: 0)
            reader.read()
        assert reader.latest == at_once(path, settled=False)
        assert reader.order == sorted(reader.order)
        assert list(reader.latest) == [(0, number) for number in range(1, content.count(b"\n") + 1)]


@settings(max_examples=150, deadline=None)
@given(LINES, ENDS, st.lists(st.integers(0, 1 << 20), max_size=8), st.integers(1, 9000), st.booleans())
def test_lines_taken_before_their_end_keep_their_number_when_more_arrives(
    lines: list[bytes], end: bytes, cuts: list[int], max_bytes: int, restart: bool
) -> None:
    content = end.join(lines)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "s.jsonl"
        path.touch()
        reader = Reader(path, max_bytes, settled=True)
        # Also cut right behind and within every line end, where the interesting things happen.
        marks = [place + step for place in range(len(content)) if content[place] == 10 for step in (-1, 0, 1)]
        for piece in pieces(content, cuts + marks[:20]):
            with path.open("ab") as stream:
                stream.write(piece)
            if restart:
                reader.tail = TranscriptTail(clock=lambda: 0)
            reader.read()
        assert reader.latest == at_once(path, settled=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(LINES, min_size=2, max_size=4), st.booleans())
def test_every_replaced_content_is_read_whole_in_a_later_generation(
    contents: list[list[bytes]], atomic: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "s.jsonl"
        path.touch()
        reader = Reader(path, 4000, settled=False)
        for number, lines in enumerate(contents):
            content = b"".join(line + b"\n" for line in [b"content %d" % number, *lines])
            if atomic:
                (path.parent / "new").write_bytes(content)
                os.replace(path.parent / "new", path)
            else:
                path.write_bytes(content)
            reader.read()
            generation = reader.cursor.generation if reader.cursor else 0
            assert generation == number
            read = [line for (of, _), line in reader.latest.items() if of == generation]
            assert read == [line for _, line in split_lines(content, 1)]
