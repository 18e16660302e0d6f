"""Modes, learnt secrets, rules of the user's own and the settings of redaction."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.errors import ConfigError
from watchkeeper.redaction.engine import Redactor
from watchkeeper.redaction.learning import env_like, learnable, worth_learning
from watchkeeper.settings import Settings

LINE = b'{"type":"user","cwd":"/p","tool_input":{"file_path":"/p/a/b.py","content":"API_TOKEN=abc123def456 x"},"n":1.5}'


def settings(home: Path, **environment: str) -> Settings:
    return Settings(home, environment)


def test_equal_secrets_have_equal_digits_in_one_home_and_others_elsewhere(tmp_path: Path) -> None:
    first = Redactor.from_settings(settings(tmp_path / "a", WATCHKEEPER_REDACTION="hash"))
    again = Redactor.from_settings(settings(tmp_path / "a", WATCHKEEPER_REDACTION="hash"))
    other = Redactor.from_settings(settings(tmp_path / "b", WATCHKEEPER_REDACTION="hash"))
    masked = first.redact(LINE).data
    assert re.search(rb"\[REDACTED:environment-secret:[0-9a-f]{8}\]", masked)
    assert again.redact(LINE).data == masked != other.redact(LINE).data
    assert first.redact(masked).data == masked
    assert first.version == again.version != other.version
    assert (tmp_path / "a" / "keys" / "redaction.key").stat().st_mode & 0o77 == 0


def test_metadata_keeps_structure_names_and_numbers_and_no_content(tmp_path: Path) -> None:
    redactor = Redactor.from_settings(settings(tmp_path, WATCHKEEPER_REDACTION="metadata"))
    done = redactor.redact(LINE + b"\nno json, secret words\n\n")
    first, second, *rest = done.data.split(b"\n")
    assert json.loads(first) == {
        "type": "user",
        "cwd": "/p",
        "tool_input": {"file_path": "[REDACTED:path:3:.py]", "content": "[REDACTED:text:41]"},
        "n": 1.5,
    }
    assert json.loads(second) == "[REDACTED:text:21]"
    assert rest == [b"", b""]
    assert redactor.redact(done.data).data == done.data
    assert (
        redactor.redact_text("plain API_TOKEN=abc123def456")
        == "plain API_TOKEN=[REDACTED:environment-secret]"
    )


@pytest.mark.parametrize("value", ["hunter2!Zx", 'pa"ss\\w0rd!', "s3cret/ümlaut+9", "k9-Xy_77-quux~1"])
def test_a_learnt_secret_is_found_in_every_form(value: str) -> None:
    redactor = Redactor()
    assert redactor.learn([value.encode(), value.encode()]) == 1
    assert redactor.learnt() == [value.encode()]
    forms = [value, urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value)]
    forms += [
        base64.b64encode(f"{'u' * n}{value}{'v' * m}".encode()).decode() for n in range(3) for m in range(3)
    ]
    for form in forms:
        nested: Any = f"it is {form}"
        for depth in range(3):
            nested = json.dumps({"a": nested}, ensure_ascii=depth % 2 == 0)
            result = redactor.redact(nested.encode())
            assert result.hits == {"learnt-secret": 1}, form
            json.loads(result.data)


def test_what_is_certain_is_learnt_however_short_or_common() -> None:
    redactor = Redactor()
    assert redactor.learn([b"abc123", b"monkey"]) == 0
    assert redactor.learn([b"abc123", b"monkey"], certain=True) == 2
    assert redactor.redact(b'{"a":"a monkey, abc123"}').hits == {"learnt-secret": 2}


def test_many_learnt_secrets_are_found_and_nothing_else() -> None:
    redactor = Redactor()
    values = [f"V{number:04d}x!q{number * 7919:06d}" for number in range(1, 301)]
    assert redactor.learn(value.encode() for value in values) == 300
    line = json.dumps({"a": " ".join(values), "b": "V9999x!q000000"}).encode()
    result = redactor.redact(line)
    assert result.hits == {"learnt-secret": 300}
    assert b"V9999x!q000000" in result.data


@pytest.mark.parametrize(
    "value",
    [
        b"short1!",
        b"password",
        b"localhost:8080",
        b"production",
        b"12345678901",
        b"aaaaaaaa1",
        b"${VAR_NAME}",
        b"db.example.org",
        b"/usr/local/bin/x1",
        b"me@example.org",
        b"true",
        b"eu-central-1",
        b"changeme123",
    ],
)
def test_common_words_and_addresses_are_not_learnt(value: bytes) -> None:
    assert not worth_learning(value)
    assert Redactor().learn([value]) == 0


ENV = (
    "     1→DB_PASSWORD=Xy12_hello!\n     2→DEBUG=true\n     3→PORT=8080\n"
    "export API_KEY='abcdef123456'\nREGION=eu-west-1\n"
)


@pytest.mark.parametrize(
    "body",
    [
        {
            "tool_name": "Read",
            "tool_input": {"file_path": "/p/.env"},
            "tool_response": {"file": {"content": ENV}},
        },
        {
            "tool_name": "Bash",
            "tool_input": {"command": "cd p && cat .env.local | head"},
            "tool_response": {"stdout": ENV},
        },
        {"type": "user", "toolUseResult": {"type": "text", "file": {"filePath": "/p/.env", "content": ENV}}},
    ],
)
def test_values_of_an_env_file_that_was_read_are_worth_learning(body: dict[str, Any]) -> None:
    assert learnable(body) == [b"Xy12_hello!", b"abcdef123456"]


def test_other_files_teach_nothing() -> None:
    body = {"tool_input": {"file_path": "/p/main.py"}, "tool_response": ENV}
    assert learnable(body) == []
    assert learnable({"tool_input": {"command": "ls .env"}, "tool_response": ENV}) == []
    assert not env_like("/p/.env.example")
    assert env_like("/home/x/.npmrc")
    assert env_like("deploy.pem")


def test_rules_of_the_user_and_exceptions_hold(tmp_path: Path) -> None:
    (tmp_path / "redaction.toml").write_text(
        '[[rule]]\nname = "acme-token"\nprefix = ["acme_"]\nbody = "[a-z0-9]{8}"\n'
        '[[rule]]\nname = "badge"\nkeyword = "badge no "\npattern = "([0-9]{4,8})"\n'
        '[allow]\npatterns = ["^AKIAIOSFODNN7EXAMPLE$"]\n'
    )
    redactor = Redactor.from_settings(settings(tmp_path))
    line = b'{"a":"acme_12345678 and badge no 77881 and AKIAIOSFODNN7EXAMPLE and AKIAIOSFODNN7EXAMPLX"}'
    assert redactor.redact(line).data == (
        b'{"a":"[REDACTED:acme-token] and badge no [REDACTED:badge] and AKIAIOSFODNN7EXAMPLE '
        b'and [REDACTED:aws-access-key-id]"}'
    )
    assert redactor.version != Redactor().version


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ('[[rule]]\nname = "Bad Name"\n', "name", 1),
        ('# x\n\n[[rule]]\nname = "a"\nprefix = ["x"]\nbody = "y"\n', "prefix", 3),
        ('[[rule]]\nname = "a"\nprefix = ["abc"]\nbody = "[a-z"\n', "body", 1),
        ('[[rule]]\nname = "a"\nprefix = ["abc"]\nbody = "([a-z]+)+x"\n', "body", 1),
        ('[[rule]]\nname = "a"\nprefix = ["abc"]\nbody = "(?:[a-z]+)+x"\n', "body", 1),
        ('[[rule]]\nname = "a"\nkeyword = "abc"\npattern = "x"\n', "pattern", 1),
        ('[[rule]]\nname = "a"\nwhat = 1\n', "what", 1),
        (
            '[[rule]]\nname = "ok-1"\nprefix = ["abc"]\nbody = "y"\n' * 2,
            "name",
            5,
        ),
        ('[[rule]]\nname = "github-token"\nprefix = ["abc"]\nbody = "y"\n', "name", 1),
        ('\n[allow]\npatterns = "x"\n', "allow.patterns", 2),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_with_file_line_and_field(
    tmp_path: Path, text: str, said: str, line: int
) -> None:
    path = tmp_path / "redaction.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        Redactor.from_settings(settings(tmp_path))
    assert refused.value.place == f"{path}:{line}"
    assert refused.value.what.startswith(said)


def test_a_file_that_is_no_toml_and_unknown_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mode"):
        Redactor.from_settings(settings(tmp_path, WATCHKEEPER_REDACTION="nothing"))
    with pytest.raises(ConfigError, match="no-such-rule"):
        Redactor.from_settings(settings(tmp_path, WATCHKEEPER_REDACTION_OFF="github-token,no-such-rule"))
    (tmp_path / "redaction.toml").write_text("[[rule\n")
    with pytest.raises(ConfigError):
        Redactor.from_settings(settings(tmp_path))


def test_a_rule_that_is_off_masks_nothing_and_changes_the_version(tmp_path: Path) -> None:
    line = b'{"a":"x AKIAIOSFODNN7EXAMPLE"}'
    redactor = Redactor.from_settings(settings(tmp_path, WATCHKEEPER_REDACTION_OFF="aws-access-key-id"))
    assert redactor.redact(line).data is line
    assert redactor.version != Redactor().version == Redactor().version


def test_a_user_rule_cannot_break_the_json_it_stands_in(tmp_path: Path) -> None:
    (tmp_path / "redaction.toml").write_text(
        '[[rule]]\nname = "wild"\nkeyword = "abc"\npattern = "(.{1,40})"\n'
    )
    line = b'{"a":"abcdef","b":"abc\\n1","c":1}'
    result = Redactor.from_settings(settings(tmp_path)).redact(line)
    assert json.loads(result.data)["c"] == 1
