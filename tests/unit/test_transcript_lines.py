"""Lines that strict parsers refuse are mended; what is no object is skipped with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.sources.claude_code.discovery import find_transcripts
from watchkeeper.sources.claude_code.lines import MAXIMUM_DEPTH, Skip, decode, decode_objects, split_lines
from watchkeeper.sources.claude_code.tail import TranscriptTail, read_meta

SHARED = Path(__file__).parents[2].parent / "shared" / "transcripts" / "real"

MENDED = [
    (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
    (b'\x00\x00\x00{"a":1}', {"a": 1}),
    (b'{"a":1}\x00\x00', {"a": 1}),
    (b'\x00\xef\xbb\xbf\x00{"a":1}', {"a": 1}),
    (b' {"a" : 1} \r', {"a": 1}),
    (b'{"a":"x\xffy","b":2}', {"a": "x\ufffdy", "b": 2}),
    (b'{"a":"\xed\xa0\x80","b":2}', {"a": "\ufffd\ufffd\ufffd", "b": 2}),
    (rb'{"a":"\ud800 \udc00 \ud83d\ude00 \\ud800","b":2}', {"a": "\ufffd \ufffd \U0001f600 \\ud800", "b": 2}),
    (b'{"a":"x\ty\x01","b":2}', {"a": "x\ty\x01", "b": 2}),
    (b'{"a":NaN,"b":Infinity,"c":-Infinity,"d":1}', {"a": None, "b": None, "c": None, "d": 1}),
    (b'{"a":1e999,"b":10.0}', {"a": None, "b": 10.0}),
    (b'{"a":NaN,"b":' + b"9" * 5000 + b"}", {"a": None, "b": None}),
    (b'{"a":NaN,"b":123456789012345678901234567890}', {"a": None, "b": 123456789012345678901234567890.0}),
]


@pytest.mark.parametrize(("line", "value"), MENDED)
def test_a_mended_line_keeps_all_that_can_be_kept(line: bytes, value: dict[str, Any]) -> None:
    result = decode(line)
    assert result == value
    json.dumps(result, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "blank"),
        (b" \t\r", "blank"),
        (b"\x00" * 4096, "blank"),
        (b"[1]", "not an object but a JSON array"),
        (b'"text"', "not an object but a JSON string"),
        (b"null", "not an object but a JSON null"),
        (b"12", "not an object but a JSON number"),
        (b'{"a":1}{"b":2}', "several JSON values on one line"),
        (b'{"a":"cut', "not JSON: Unterminated string starting at at character 6 of 9"),
        (b"\x89PNG\r\n", "not JSON: Expecting value at character 1 of 4"),
    ],
)
def test_what_is_no_object_is_skipped_with_its_reason(line: bytes, reason: str) -> None:
    assert decode(line) == Skip(reason)


TORN = Skip("a record that breaks off, with others behind it on the line")
RECORD = {"type": "user", "sessionId": "s", "message": {"content": "a { b"}}
RECORD_TEXT = json.dumps(RECORD).encode()


@pytest.mark.parametrize(
    ("line", "objects"),
    [
        (b'{"a":1}', [{"a": 1}]),
        (b'{"a":1}{"b":2} {"c":"\xff"}\x00', [{"a": 1}, {"b": 2}, {"c": "\ufffd"}]),
        (b'{"a":1}[2]', [{"a": 1}, Skip("not an object but a JSON array")]),
        (b'{"message":{"content":"cut' + RECORD_TEXT, [TORN, RECORD]),
        (b'{"message":{"content":{"type":"text"' + RECORD_TEXT + RECORD_TEXT, [TORN, RECORD, RECORD]),
        (RECORD_TEXT + RECORD_TEXT[:-9], [RECORD, TORN]),
        (b'{"message":{"content":[{"type":"text","text":"x"}', [Skip("not JSON: ")]),
        (b"", [Skip("blank")]),
    ],
)
def test_every_object_of_a_line_is_found_and_none_within_a_broken_one(
    line: bytes, objects: list[dict[str, Any] | Skip]
) -> None:
    found = decode_objects(line)
    assert len(found) == len(objects)
    for item, expected in zip(found, objects, strict=True):
        if isinstance(expected, Skip) and isinstance(item, Skip):
            assert item.reason.startswith(expected.reason)
        else:
            assert item == expected


@pytest.mark.parametrize("hostile", [b'{"type":' * 100_000, b'{"type":"a"' * 50_000, b"}{" * 100_000])
def test_looking_for_objects_in_garbage_ends_soon(hostile: bytes) -> None:
    assert all(isinstance(item, Skip) for item in decode_objects(hostile))


@pytest.mark.parametrize("depth", [1001, 3000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"x":', b"}")])
def test_senseless_nesting_costs_only_what_is_nested(depth: int, opening: bytes, closing: bytes) -> None:
    line = b'{"before":1,"deep":' + opening * depth + b'"]}"' + closing * depth + b',"after":"[{"}'
    result = decode(line)
    assert isinstance(result, dict)
    assert (result["before"], result["after"]) == (1, "[{")
    level, value = 0, result["deep"]
    while value is not None:
        value = value[0] if isinstance(value, list) else value["x"]
        level += 1
    assert level == MAXIMUM_DEPTH - 1


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"[" * 5000 + b"]" * 4000])
def test_nesting_that_does_not_end_is_no_json(line: bytes) -> None:
    result = decode(line)
    assert isinstance(result, Skip)
    assert result.reason.startswith("not JSON")


def test_a_line_of_twenty_megabytes_is_decoded() -> None:
    line = b'{"a":"' + b"x" * (20 << 20) + b'\\n","b":NaN}'
    result = decode(line)
    assert isinstance(result, dict)
    assert len(result["a"]) == (20 << 20) + 1


def test_lines_are_split_at_line_feeds_only_and_numbered() -> None:
    data = "{}\r\n\n\u2028\x0b\x85\n[]".encode()
    assert list(split_lines(data, 7)) == [(7, b"{}"), (8, b""), (9, "\u2028\x0b\x85".encode()), (10, b"[]")]
    assert list(split_lines(b"", 3)) == []
    assert list(split_lines(b"\n", 3)) == [(3, b"")]


def test_a_sidecar_is_read_and_anything_else_is_none(tmp_path: Path) -> None:
    path = tmp_path / "agent-a.meta.json"
    assert read_meta(path) is None
    for content in (b"", b"[1]", b'{"a":', b"\xff\xfe"):
        path.write_bytes(content)
        assert read_meta(path) is None
    path.write_bytes(b'{\n  "toolUseId": "t1"\n}\n')
    assert read_meta(path) == {"toolUseId": "t1"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real transcripts beside the repository")
def test_real_transcripts_are_read_and_nearly_every_line_is_an_object() -> None:
    tail = TranscriptTail()
    objects, skips = 0, []
    for file in find_transcripts(SHARED).files:
        cursor = None
        expected = 1
        while (found := tail.read_new(file, cursor, settled=True)) is not None:
            assert found.first_line == expected
            lines = list(split_lines(found.data, found.first_line))
            assert len(lines) == found.line_count
            for number, line in lines:
                result = decode(line)
                objects += isinstance(result, dict)
                if isinstance(result, Skip):
                    skips.append((file.relative, number, result.reason))
            cursor, expected = found.cursor, found.first_line + found.line_count
            if found.final:
                assert found.end <= file.size
                break
    assert objects > 10_000
    assert len(skips) < 100
