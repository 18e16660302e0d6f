"""Whatever a transcript holds, the native scanner says what Python's reading says, or nothing."""

from __future__ import annotations

import json
import runpy
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_scans import HOSTILE, assert_equal

ROOT = Path(__file__).parents[2]
additivity = runpy.run_path(str(Path(__file__).with_name("test_usage_additivity.py")))

texts = st.one_of(
    st.text(max_size=8), st.sampled_from(["", "a", "assistant", "progress", "m1", "<synthetic>"])
)
numbers = st.one_of(st.integers(-5, 5), st.integers(-(2**70), 2**70), st.floats(allow_nan=False))
times = st.datetimes().map(lambda at: at.isoformat(timespec="milliseconds") + "Z")
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, times),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def one_of_type(kinds: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, each mostly of its type."""
    return st.fixed_dictionaries(
        {}, optional={name: st.one_of(kind, kind, st.none(), values) for name, kind in kinds.items()}
    )


counts = st.integers(0, 2**54)
usage = one_of_type(
    dict.fromkeys(("input_tokens", "output_tokens", "cache_creation_input_tokens"), counts)
    | {"cache_creation": one_of_type({"ephemeral_5m_input_tokens": counts}), "speed": texts}
    | {"server_tool_use": one_of_type({"web_search_requests": counts}), "service_tier": texts}
)
message = one_of_type(
    {"id": texts, "model": texts, "role": st.just("assistant"), "usage": usage, "stop_reason": texts}
)
said = {
    "type": st.sampled_from(["assistant", "progress", "user"]),
    "message": message,
    "timestamp": times,
    "requestId": texts,
    "uuid": texts,
    "costUSD": st.floats(0, 1e9),
    "gitBranch": texts,
}
data = one_of_type({"type": st.just("agent_progress"), "agentId": texts, "message": one_of_type(said)})
lines = one_of_type(
    said
    | {"sessionId": texts, "agentId": texts, "isSidechain": st.booleans(), "cwd": texts, "data": data}
    | {"forkedFrom": one_of_type({"sessionId": texts}), "requestSessionId": texts}
)


@pytest.fixture(scope="module")
def scanner() -> Path:
    """The scanner, built from these sources."""
    program = ROOT / "src" / "watchkeeper" / "_bin" / "watchkeeper-scan"
    runpy.run_path(str(ROOT / "hatch_build.py"))["build_scanner"](ROOT, program)
    return program


def compare(files: list[bytes], scanner: Path) -> int:
    """Check files that hold these bytes; return of how many the scanner spoke."""
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name) / f"session{number}.jsonl" for number in range(len(files))]
        for path, content in zip(paths, files, strict=True):
            path.write_bytes(content)
        return assert_equal(paths, scanner)[0]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=st.lists(st.tuples(lines, st.booleans()), min_size=1, max_size=12))
def test_lines_with_any_fields_of_any_type(scanner: Path, drawn: list[tuple[dict[str, Any], bool]]) -> None:
    """Each line for itself, and all in one file, where what came before matters."""
    made = [json.dumps(body, ensure_ascii=ascii_only).encode() + b"\n" for body, ascii_only in drawn]
    compare([*made, b"".join(made)], scanner)


@settings(max_examples=60, deadline=None)
@given(drawn=st.lists(additivity["answers"], min_size=1, max_size=20), block=st.integers(1, 3))
def test_answers_of_todays_form_are_never_left_to_python(
    scanner: Path, drawn: list[dict[str, Any]], block: int
) -> None:
    """One session a file, as the client writes them; each answer in a few blocks."""
    files: dict[str, bytes] = {}
    for place, body in map(additivity["line"], drawn):
        body["message"]["id"] += body["sessionId"]
        files[place] = files.get(place, b"") + (json.dumps(body) + "\n").encode() * block
    assert compare(list(files.values()), scanner) == len(files)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    body=lines,
    changes=st.lists(st.tuples(st.floats(0, 1), st.sampled_from(HOSTILE), st.integers(0, 4)), max_size=4),
)
def test_lines_with_bytes_put_in_and_taken_out(
    scanner: Path, body: dict[str, Any], changes: list[tuple[float, bytes, int]]
) -> None:
    made = bytearray(json.dumps(body).encode() + b"\n")
    files = [bytes(made)]
    for where, what, length in changes:
        at = int(where * len(made))
        made[at : at + length] = what
        files.append(bytes(made))
    compare(files, scanner)
