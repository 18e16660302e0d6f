"""Which engine passes over the clean lines never changes what is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_secrets import as_lines, planted

from watchkeeper.redaction.engine import Redactor
from watchkeeper.redaction.rules import RULES

PLAIN = Redactor(engine="re")
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "transcripts" / "real"


@pytest.fixture(scope="module", params=["hyperscan", "re2"])
def screened(request: pytest.FixtureRequest) -> Redactor:
    """A redactor with the engine, where it is installed."""
    pytest.importorskip(request.param)
    return Redactor(engine=request.param)


def test_every_example_of_every_rule_is_found(screened: Redactor) -> None:
    """Each in a text that is long enough to be screened."""
    for rule in RULES:
        for example in (rule.positive, rule.negative):
            data = b'{"filler":"' + b"lorem ipsum " * 40 + b'"}\n' + example
            assert screened.redact(data) == PLAIN.redact(data), rule.name


@pytest.mark.parametrize("seed", [1, 2])
def test_every_planted_secret_is_found(screened: Redactor, seed: int) -> None:
    """All forms, in one batch and line by line."""
    lines = as_lines(planted(seed, 4), ["x = 1\n" * 60], seed)
    assert screened.redact(b"\n".join(lines)) == PLAIN.redact(b"\n".join(lines))
    for line in lines:
        assert screened.redact(line) == PLAIN.redact(line)


PIECES = st.one_of(
    st.sampled_from([json.loads(rule.positive) for rule in RULES]).map(json.dumps),
    st.sampled_from(
        [
            "password",
            "token",
            "secret",
            "api_key",
            "_key",
            "pwd",
            "-p",
            "--token",
            "-u",
            ":",
            "=",
            "=>",
            ":=",
            "'",
            '"',
            "\\",
            "\\n",
            ">",
            "</",
            "value",
            ",",
            "{}",
            "[]",
            "$",
            "<",
            "1",
            "abc123",
            "Xy12_hello!",
            "sk-",
            "ghp_",
            "AKIA",
            "eyJ",
            "://",
            "@",
            "auth",
            "Cookie:",
            "mysql",
            "login",
            "PASSWORD",
            "API_KEY",
            "\n",
            "\t",
        ]
    ),
    st.text(max_size=6),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join), st.booleans())
def test_any_text_comes_out_the_same(text: str, as_json: bool) -> None:
    """Byte for byte, valid JSON or not."""
    data = (json.dumps({"a": text}) if as_json else text).encode("utf-8", "surrogatepass") + b" " * 300
    wanted = PLAIN.redact(data)
    for engine in _installed():
        assert engine.redact(data) == wanted


def test_real_transcripts_come_out_the_same(screened: Redactor) -> None:
    """The recorded sessions, where they are at hand."""
    files = sorted(SHARED.rglob("*.jsonl"))[:60] if SHARED.is_dir() else []
    if not files:
        pytest.skip("no recorded transcripts beside the repository")
    for file in files:
        data = file.read_bytes()[:2_000_000]
        assert screened.redact(data) == PLAIN.redact(data), file.name


_ENGINES: list[Redactor] = []


def _installed() -> list[Redactor]:
    if not _ENGINES:
        for name in ("hyperscan", "re2"):
            try:
                redactor = Redactor(engine=name)
                redactor.redact(b"x" * 300)
            except ImportError:
                continue
            _ENGINES.append(redactor)
    return _ENGINES
