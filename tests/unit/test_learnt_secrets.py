"""Secrets that were learnt: seen in what tools answered, kept sealed, and found again in any form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from watchkeeper.errors import FormatError
from watchkeeper.pipeline.exact_values import ExactValues
from watchkeeper.pipeline.learning import FILE, LearntSecrets, secrets_shown
from watchkeeper.settings import Places

ENV = """# the app
DB_PASSWORD=hunter2-x9
export API_KEY="sk_live-9s8d7f"
NODE_ENV=production
PORT=8080
HOMEPAGE=https://example.org/a/b
LICENCE_BLOB=aB3dE5fG7-hI9jK1lM3
SECRET_NAME=production
EMPTY_TOKEN=
REF_TOKEN=${OTHER}
"""
WANTED = {b"hunter2-x9", b"sk_live-9s8d7f", b"aB3dE5fG7-hI9jK1lM3"}


def lines(*bodies: object) -> bytes:
    return b"".join(json.dumps(body).encode() + b"\n" for body in bodies)


@pytest.mark.parametrize(
    "body",
    [
        {"tool_input": {"file_path": "/srv/app/.env"}, "tool_response": {"file": {"content": ENV}}},
        {"tool_input": {"command": "cat deploy/.env.production | sort"}, "tool_response": {"stdout": ENV}},
        {"toolUseResult": {"type": "text", "file": {"filePath": "C:/app/local.env", "content": ENV}}},
    ],
)
def test_secrets_of_env_files_are_seen_in_hooks_and_transcripts(body: object) -> None:
    assert set(secrets_shown(lines({"type": "x"}, body))) == WANTED


@pytest.mark.parametrize(
    "body",
    [
        {"tool_input": {"file_path": "/srv/app/.env.example"}, "tool_response": ENV},
        {"tool_input": {"file_path": "/srv/app/environment.py"}, "tool_response": ENV},
        {"tool_input": {"command": "grep -r x ."}, "tool_response": f".env:{ENV}"},
        {"prompt": f"look at .env: {ENV}"},
    ],
)
def test_nothing_is_learnt_from_other_files(body: object) -> None:
    assert secrets_shown(lines(body)) == []


def test_learnt_values_are_sealed_and_come_back(places: Places) -> None:
    learnt = LearntSecrets(places)
    assert learnt.learn([b"hunter2x", b"short", b"hunter2x"]) == [b"hunter2x"]
    path = places.keys / FILE
    assert b"hunter2x" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    again = LearntSecrets(places)
    assert (again.values(), again.pending()) == ([b"hunter2x"], [b"hunter2x"])
    assert again.learn([b"hunter2x"]) == []
    assert again.assign("job") == [b"hunter2x"]
    again.settle("job")
    assert LearntSecrets(places).pending() == []


def test_a_value_for_once_is_kept_no_longer_than_the_search(places: Places) -> None:
    learnt = LearntSecrets(places)
    learnt.learn([b"hunter2x"], again=True, once=True)
    learnt.assign("job")
    learnt.settle("job")
    assert LearntSecrets(places).values() == []


def test_a_damaged_file_is_refused_with_its_place(places: Places) -> None:
    LearntSecrets(places).learn([b"hunter2x"])
    path = places.keys / FILE
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError) as refused:
        LearntSecrets(places)
    assert refused.value.place == str(path)


def test_a_value_is_found_in_any_form() -> None:
    values = ExactValues(['päss"wort\n1'.encode()])
    for ascii_only in (True, False):
        text = 'x päss"wort\n1 y'
        line = json.dumps({"a": text, "b": json.dumps({"c": text})}, ensure_ascii=ascii_only)
        redacted = values.redact(line.encode())
        masked = "x [REDACTED:forgotten] y"
        assert json.loads(redacted.data) == {"a": masked, "b": json.dumps({"c": masked})}
        assert redacted.hits == {"forgotten": 2}


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (b"1234567", b'{"n":1234567,"m":912345678,"s":"a 1234567","k":true}'),
        (b'","b":"', b'{"a":"x","b":"y"}'),
        (b"sessionId", b'{"sessionId":"x","y":[null,{"sessionId":1}]}'),
    ],
)
def test_lines_stay_json_whatever_the_value_is(value: bytes, line: bytes) -> None:
    redacted = ExactValues([value]).redact(line + b"\n" + line)
    assert redacted.data.count(b"\n") == 1
    for part in redacted.data.split(b"\n"):
        assert isinstance(json.loads(part), dict)
        assert value not in part


def test_a_value_of_several_lines_leaves_as_many_lines() -> None:
    redacted = ExactValues([b"-----BEGIN\nabcdef\n-----END"]).redact(b"x\n-----BEGIN\nabcdef\n-----END\ny")
    assert redacted.data == b"x\n[REDACTED:forgotten]\n\n\ny"


def test_bytes_that_are_no_text_are_found_as_they_are() -> None:
    assert ExactValues([b"\xff\xfe\xfd\xfc"]).redact(b"a\xff\xfe\xfd\xfcb").data == b"a[REDACTED:forgotten]b"


def test_no_home_is_needed_to_know_nothing(tmp_path: Path) -> None:
    assert LearntSecrets(Places(tmp_path / "none")).values() == []
