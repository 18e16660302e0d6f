"""Every rule hits its own example and nothing that merely looks like it."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import string
import uuid

import pytest

from watchkeeper.redaction.engine import Redactor
from watchkeeper.redaction.rule import FILLER, Rule
from watchkeeper.redaction.rules import RULES

REDACTOR = Redactor()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_hits_its_positive_example_and_only_its_own_name_is_counted(rule: Rule) -> None:
    result = REDACTOR.redact(rule.positive)
    assert result.hits == {rule.name: 1}
    assert rule.secret not in result.data
    assert f"[REDACTED:{rule.name}]".encode() in result.data
    json.loads(result.data)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_leaves_its_negative_example_alone(rule: Rule) -> None:
    json.loads(rule.negative)
    result = REDACTOR.redact(rule.negative)
    assert result.data is rule.negative
    assert result.hits == {}


def test_names_are_unique_and_fit_into_a_placeholder() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


@pytest.mark.parametrize("rule", [rule for rule in RULES if len(rule.anchors) > 1])
def test_every_prefix_of_a_token_rule_is_scanned_for(rule: Rule) -> None:
    first = next(anchor for anchor in rule.anchors if anchor in rule.positive)
    for anchor in rule.anchors:
        assert REDACTOR.redact(rule.positive.replace(first, anchor)).hits == {rule.name: 1}, anchor


ENVIRONMENT_FORMS = [
    ("API_TOKEN=%s", "environment-secret"),
    ("export MY_SECRET=%s;", "environment-secret"),
    ('export AWS_SECRET_ACCESS_KEY="%s"', "environment-secret"),
    ("STRIPE_API_KEY='%s'", "environment-secret"),
    ('DB_PASSWORD: "%s"', "environment-secret"),
    ("DJANGO_SECRET_KEY = '%s'", "environment-secret"),
    ('{"api_key": "%s"}', "quoted-secret"),
    ('  client_secret="%s"', "quoted-secret"),
    ("git clone https://user:%s@example.org/x.git", "url-password"),
    ("curl -H 'Authorization: token %s'", "authorization-header"),
    ("PRIVATE-TOKEN: %s", "header-key"),
]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("form", "name"), ENVIRONMENT_FORMS)
def test_a_named_secret_is_found_however_deep_its_json_is_nested(form: str, name: str, depth: int) -> None:
    secret = "pa55Wort/x.y+z~" if name != "header-key" else "pa55Wort.x-y_z~"
    if name == "url-password":
        secret = "pa55Wort.x"
    text = "before\n" + form % secret + "\nafter"
    for _ in range(depth):
        text = json.dumps({"text": text})
    result = REDACTOR.redact(text.encode())
    assert result.hits == {name: 1}
    assert secret.encode() not in result.data
    value = result.data.decode()
    for _ in range(depth):
        value = json.loads(value)["text"]
    assert value == "before\n" + form % f"[REDACTED:{name}]" + "\nafter"


def test_a_json_member_that_is_named_like_a_secret_loses_its_value_but_numbers_stay() -> None:
    line = b'{"input":{"API_KEY":"abcdef","password":"hunter22","x-api-key":1234567890123,"token":98765432}}'
    result = REDACTOR.redact(line)
    assert json.loads(result.data)["input"] == {
        "API_KEY": "[REDACTED:environment-secret]",
        "password": "[REDACTED:quoted-secret]",
        "x-api-key": 1234567890123,
        "token": 98765432,
    }


def test_a_name_at_the_end_of_a_string_takes_nothing_from_beyond_it() -> None:
    line = b'["PASSWORD=", 1234567, "API_KEY: ", {"a": 12345678}, "Authorization:", "Bearer ", 12345678901]'
    assert REDACTOR.redact(line).data is line


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n{}\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\r\n{}\r\n{}=\r\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{}\n{}\n-----END RSA PRIVATE KEY-----",
        "     1→-----BEGIN EC PRIVATE KEY-----\n     2→{}\n     3→{}\n     4→-----END EC PRIVATE KEY-----",
        "+-----BEGIN PRIVATE KEY-----\n+{}\n+{}\n+-----END PRIVATE KEY-----",
        'key = "-----BEGIN PRIVATE KEY-----\\n" \\\n "{}\\n"\n"{}\\n-----END PRIVATE KEY-----"',
        "-----BEGIN PRIVATE KEY-----\n{}\n{}",
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_private_keys_go_whole_in_the_ways_tools_print_them(text: str, ascii_only: bool) -> None:
    body = text.format(FILLER.decode(), FILLER[::-1].decode()) + " and (more)"
    data = json.dumps({"stdout": body}, ensure_ascii=ascii_only).encode()
    result = REDACTOR.redact(data)
    assert result.hits == {"private-key": 1}
    assert FILLER not in result.data
    assert FILLER[::-1] not in result.data
    assert json.loads(result.data)["stdout"].endswith(" and (more)")


def test_the_letter_of_an_escape_is_neither_taken_for_a_token_nor_in_its_way() -> None:
    begins_with_an_escape = b'{"a":"x\\npm_' + FILLER[:36] + b'"}'
    assert REDACTOR.redact(begins_with_an_escape).data is begins_with_an_escape
    follows_an_escape = b'{"a":"x\\nghp_' + FILLER[:36] + b'"}'
    assert REDACTOR.redact(follows_an_escape).data == b'{"a":"x\\n[REDACTED:github-token]"}'
    coloured = b'{"a":"\\u001b[31mghp_' + FILLER[:36] + b'\\u001b[0m"}'
    assert REDACTOR.redact(coloured).data == b'{"a":"\\u001b[31m[REDACTED:github-token]\\u001b[0m"}'


@pytest.mark.parametrize("name", ["TOKEN", "SECRET", "PASSWORD", "PASSPHRASE"])
@pytest.mark.parametrize("before", ["A=1\n", "\r\n", "\t", "export ", ""])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_name_of_one_word_at_the_start_of_a_line_is_seen(name: str, before: str, levels: int) -> None:
    """The letter before the name is then that of the line end's escape."""
    for text in (f"{before}{name}=hunter2hunter2\nB=2", f'{before}{name.lower()} = "hunter2hunter2"\n'):
        nested: object = text
        for _ in range(levels):
            nested = json.dumps({"o": nested})
        assert b"hunter2" not in REDACTOR.redact(str(nested).encode()).data


def test_the_more_specific_rule_names_the_placeholder() -> None:
    line = b'{"a":"GITHUB_TOKEN=ghp_' + FILLER[:36] + b'"}'
    assert REDACTOR.redact(line).data == b'{"a":"GITHUB_TOKEN=[REDACTED:github-token]"}'


def test_identifiers_hashes_and_signatures_are_no_secrets() -> None:
    chance = random.Random(7)
    for _ in range(200):
        noise = chance.randbytes(600)
        line = json.dumps(
            {
                "uuid": str(uuid.UUID(bytes=noise[:16])),
                "sha": hashlib.sha1(noise).hexdigest(),
                "sha256": hashlib.sha256(noise).hexdigest(),
                "integrity": "sha512-" + base64.b64encode(noise[:64]).decode(),
                "requestId": "req_011" + base64.b32encode(noise[:15]).decode(),
                "message": {
                    "id": "msg_01" + base64.urlsafe_b64encode(noise[:18]).decode(),
                    "content": [
                        {"type": "thinking", "signature": base64.b64encode(noise).decode()},
                        {"type": "tool_use", "id": "toolu_01" + base64.b64encode(noise[:16], b"Aa").decode()},
                        {"type": "image", "data": base64.b64encode(noise).decode()},
                    ],
                    "usage": {"input_tokens": 12345678, "cache_read_input_tokens": 123456789},
                },
            }
        ).encode()
        assert REDACTOR.redact(line).hits == {}


@pytest.mark.parametrize(
    "piece",
    [rule.anchors[0] for rule in RULES if rule.anchors]
    + [b"PASSWORD=", b'PASSWORD=\\"', b"://a:", b"eyJabcdefghijk."],
)
def test_repeating_the_start_of_a_secret_costs_linear_time(piece: bytes) -> None:
    """Quadratic time would be some 10^11 steps here and run into the suite's time limit."""
    line = b'{"a":"' + piece * (1_000_000 // len(piece)) + b'"}'
    json.loads(REDACTOR.redact(line).data)


def test_a_private_key_goes_from_the_lines_of_a_patch_and_the_line_stays_json() -> None:
    body = [FILLER.decode() + "Ab", FILLER[::-1].decode() + "Cd"]
    for mark in "+- ":
        lines = [
            f"{mark}{part}" for part in ("-----BEGIN PRIVATE KEY-----", *body, "-----END PRIVATE KEY-----")
        ]
        for separators in ((",", ":"), None):
            line = {"structuredPatch": [{"lines": [*lines, "+after"]}], "n": 1}
            result = REDACTOR.redact(json.dumps(line, separators=separators).encode())
            assert FILLER not in result.data
            assert FILLER[::-1] not in result.data
            assert json.loads(result.data)["structuredPatch"][0]["lines"][-1] == "+after"


def test_a_member_that_follows_the_begin_of_a_key_is_none_of_its_lines() -> None:
    line = b'{"a":"-----BEGIN PRIVATE KEY-----","' + FILLER[:40] + b'":"value"}'
    assert json.loads(REDACTOR.redact(line).data).keys() == {"a", FILLER[:40].decode()}


@pytest.mark.parametrize(
    "text",
    [
        "git push -u origin:some_feature_branch",
        "rsync -u host:project-files x",
        "help: -usage:prints_the_help1",
        "scp -u host:/srv/data x",
    ],
)
def test_a_colon_behind_an_option_of_other_commands_is_no_password(text: str) -> None:
    assert REDACTOR.redact(json.dumps({"command": text}).encode()).hits == {}


@pytest.mark.parametrize("command", ["curl -u", "curl -su x -u", "wget --user", "http -u", "curl --user="])
def test_a_password_behind_a_user_goes(command: str) -> None:
    data = json.dumps({"command": f"{command} admin:Sommer31x https://example.org"}).encode()
    assert REDACTOR.redact(data).hits == {"user-password": 1}


def test_netrc_is_known_where_its_lines_are_numbered() -> None:
    text = "     1\u2192machine example.org\n     2\u2192\tlogin me\n     3\u2192\tpassword Sommer31\n"
    for ascii_only in (True, False):
        result = REDACTOR.redact(json.dumps({"content": text}, ensure_ascii=ascii_only).encode())
        assert result.hits == {"netrc-password": 1}


@pytest.mark.parametrize(
    "text",
    [
        "AWS_SECRET_ACCESS_KEY=%s",
        'export AWS_SECRET_ACCESS_KEY="%s"',
        "aws_secret_access_key = %s",
        '"SecretAccessKey": "%s"',
    ],
)
def test_the_slashes_of_a_secret_make_no_path_of_it(text: str) -> None:
    chance = random.Random(5)
    alphabet = string.ascii_letters + string.digits + "+/"
    secrets = ["".join(chance.choices(alphabet, k=40)) for _ in range(300)]
    left = [
        secret
        for secret in secrets
        if secret.encode() in REDACTOR.redact(json.dumps({"c": text.replace("%s", secret)}).encode()).data
    ]
    assert len(left) <= 1


@pytest.mark.parametrize("text", ["api_key: %s", "token: %s", "secret: %s"])
def test_short_digests_are_random_enough(text: str) -> None:
    for number in range(300):
        secret = hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()
        assert REDACTOR.redact(json.dumps({"c": text.replace("%s", secret)}).encode()).hits, secret


def test_a_path_in_capitals_named_like_a_secret_stays() -> None:
    for path in ("/etc/ssl/private/Server1/keys/app-2029.pem", "build/Release3/out/bin/tool/Config/keys42"):
        assert REDACTOR.redact(json.dumps({"c": f"APP_SECRET={path}"}).encode()).hits == {}


def test_a_list_of_options_without_values_has_no_secret() -> None:
    text = "complete username= message= passphrase= password= version="
    assert REDACTOR.redact(json.dumps({"c": text}).encode()).hits == {}
