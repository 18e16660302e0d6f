"""What holds for redaction of any JSON with any secrets in it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.redaction.engine import Redactor
from watchkeeper.redaction.rules import RULES

REDACTOR = Redactor()
SECRETS = st.sampled_from([json.loads(rule.positive) for rule in RULES]).map(lambda value: _first_text(value))
MARKS = [
    *(
        "PASSWORD=",
        'API_KEY="',
        "SECRET='",
        "://user:",
        "@host",
        "Authorization: Bearer ",
        "&token=",
        "sk-",
        "AKIA",
    ),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "[REDACTED:jwt]",
        "abc123def456",
        "http",
        "é",
    ),
    *"=:-_\"'\\\n []$(",
]
PIECES = st.one_of(
    SECRETS,
    st.text(max_size=12),
    st.sampled_from(MARKS),
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)
NAMES = st.one_of(
    st.text(max_size=6), st.sampled_from(["password", "API_KEY", "token", "Authorization", "x-api-key"])
)
VALUES = st.recursive(
    st.one_of(
        TEXTS, st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4), inner.map(json.dumps)
    ),
    max_leaves=8,
)
LINES = st.builds(
    lambda value, ascii_only, compact: json.dumps(
        value, ensure_ascii=ascii_only, separators=(",", ":") if compact else None
    ).encode("utf-8", "surrogatepass"),
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.booleans(),
    st.booleans(),
)


def _first_text(value: Any) -> str:
    while not isinstance(value, str):
        value = next(iter(value.values()))
    return value


def _members(pairs: list[tuple[str, Any]]) -> list[Any]:
    return [list(pair) for pair in pairs]


def _shape(value: Any) -> Any:
    """Return the value without its texts: what redaction must not touch."""
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return "" if isinstance(value, str) else value


@settings(max_examples=400, deadline=None)
@given(LINES)
def test_json_stays_json_and_only_texts_change(line: bytes) -> None:
    redacted = REDACTOR.redact(line).data
    before = json.loads(line.decode("utf-8", "surrogatepass"), object_pairs_hook=_members)
    after = json.loads(redacted.decode("utf-8", "surrogatepass"), object_pairs_hook=_members)
    assert _shape([before]) == _shape([after])


@settings(max_examples=400, deadline=None)
@given(LINES)
def test_redacting_twice_is_redacting_once(line: bytes) -> None:
    once = REDACTOR.redact(line)
    twice = REDACTOR.redact(once.data)
    assert twice.data == once.data
    assert twice.hits == {}


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=5))
def test_a_line_alone_is_a_line_in_a_batch(lines: list[bytes]) -> None:
    together = REDACTOR.redact(b"\n".join(lines) + b"\n")
    alone = [REDACTOR.redact(line) for line in lines]
    assert together.data == b"\n".join(result.data for result in alone) + b"\n"
    total: dict[str, int] = {}
    for result in alone:
        for name, count in result.hits.items():
            total[name] = total.get(name, 0) + count
    assert together.hits == total


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_survived_and_keeps_its_lines(data: bytes) -> None:
    assert REDACTOR.redact(data).data.count(b"\n") == data.count(b"\n")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(RULES),
    st.sampled_from(["{}", "see {}.", "({})", "a={}&b", "\t{}\n", "é{}é", "%20{}", "'{}'"]),
)
def test_a_secret_is_found_in_any_surrounding(rule: Any, around: str) -> None:
    text = around.replace("{}", _first_text(json.loads(rule.positive)))
    redacted = REDACTOR.redact(json.dumps({"text": text}, ensure_ascii=False).encode())
    assert rule.secret not in redacted.data


WORDS = st.lists(
    st.one_of(
        st.from_regex(r"[a-z]{1,12}(_[a-z]{1,8}){0,3}", fullmatch=True),
        st.uuids().map(str),
        st.from_regex(r"[0-9a-f]{40}|[0-9a-f]{64}", fullmatch=True),
        st.from_regex(r"(msg|req|toolu)_01[A-Za-z0-9]{22}", fullmatch=True),
        st.from_regex(r"/[a-z]{2,8}/[a-z.]{2,12}", fullmatch=True),
        st.integers().map(str),
    ),
    max_size=30,
).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["text", "input_tokens", "signature", "uuid", "command"]), WORDS))
def test_clean_text_has_no_hits(content: dict[str, str]) -> None:
    line = json.dumps(content).encode()
    assert REDACTOR.redact(line).data is line


OTHERS = [Redactor(mode="hash", key=b"k" * 32), Redactor(mode="metadata")]
for _redactor in OTHERS:
    _redactor.learn([b"hunter2!Zx", b"abc123def456"])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(OTHERS), LINES)
def test_the_other_modes_keep_json_and_are_stable_too(redactor: Redactor, line: bytes) -> None:
    once = redactor.redact(line).data
    json.loads(once.decode("utf-8", "surrogatepass"))
    assert once.count(b"\n") == line.count(b"\n")
    assert redactor.redact(once).data == once
