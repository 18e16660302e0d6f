"""What is planted is found, and clean text sets nothing off."""

from __future__ import annotations

import base64
import json
import random
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
from planted_secrets import as_lines, planted

from watchkeeper.redaction.engine import Redactor

REDACTOR = Redactor()
STDLIB = Path(sysconfig.get_path("stdlib"))
MODULES = (
    "argparse",
    "ast",
    "getpass",
    "http/cookies",
    "json/decoder",
    "logging/config",
    "netrc",
    "secrets",
    "ssl",
    "tokenize",
    "typing",
    "uuid",
    "imaplib",
    "smtplib",
)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nine_of_ten_planted_secrets_go_and_of_each_kind_at_least_half(seed: int) -> None:
    items = planted(seed)
    lines = as_lines(items, [(STDLIB / "netrc.py").read_text(encoding="utf-8")[:500], "some words\n\n"], seed)
    missed: Counter[str] = Counter()
    for item, line in zip(items, lines, strict=True):
        left = REDACTOR.redact(line).data
        json.loads(left)
        missed[item.kind] += json.dumps(item.secret)[1:-1].encode() in left
    kinds = {item.kind for item in items}
    assert len(kinds) >= 30
    assert missed.total() <= len(items) // 10, missed
    assert not [kind for kind in kinds if missed[kind] > len(items) // len(kinds) // 2], missed


@pytest.mark.parametrize("module", MODULES)
def test_sources_of_the_standard_library_set_nothing_off(module: str) -> None:
    data = json.dumps({"content": (STDLIB / f"{module}.py").read_text(encoding="utf-8")}).encode()
    assert REDACTOR.redact(data).hits == {}


@pytest.mark.parametrize(
    "text",
    [
        "def login(user: str, password: str, token: str | None = None) -> None:",
        "token = get_token()\npassword = getpass.getpass()\nself.secret = secret",
        "connect(password=password, token=None, api_key=os.environ['API_KEY'])",
        "password: ${DB_PASSWORD}\ntoken: {{ .Values.token }}\nsecret: <your-secret>",
        "env:\n  - name: DB_PASSWORD\n    valueFrom:\n      secretKeyRef:\n        name: db\n        key: password",
        "API_KEY=your-api-key-here\nPASSWORD=changeme\nTOKEN=xxxxxxxxxxxx\nSECRET=${{ secrets.TOKEN }}",
        '"integrity":"sha512-IfJJy+VIVT4tpQZ4Nm4bIIjZUDOQ6xmsoJZkPvLkmrXDwVMyIoPo8pQxnjBXhFrTJBbCPDk8QmlLhGVwOkg=="',
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8\nindex 83db48f..bf269f4 100644",
        "function a(e,t){return t.token=e.key,e.password=t.secret||n.token}var key='id',secret=!0;",
        "const token: string = props.token; type T = { apiKey?: string; password: string }",
        "max_tokens: 4096, input_tokens=12345678 next_page_token: abc-1 csrf_token_name: x1",
        "PWD=/home/dev/project1 OLDPWD=/tmp/a1 PASSWORD_FILE=/run/secrets/db1",
        "docker run -u 1000:1000 -p 8080:80 x; mkdir -p a1/b2; sort -u file1:2; ps -p 12345",
        "mysql -u root -p shop1; psql -p 5432; ssh -p 2222 host1; redis-cli -a $PW",
        "curl http://localhost:8080/a@b; git clone git@github.com:a/b.git; http://[::1]:80/x@y",
        "Set-Cookie: theme=dark; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
        "The password is stored as a hash; reset password, forgot password?, --password is asked for",
        "<password></password><token>none</token> <input type=password name=password1>",
    ],
)
def test_code_placeholders_and_prose_set_nothing_off(text: str) -> None:
    for data in (json.dumps({"a": text}), json.dumps({"a": json.dumps({"b": text})})):
        assert REDACTOR.redact(data.encode()).hits == {}


def test_images_and_hashes_set_nothing_off() -> None:
    chance = random.Random(11)
    for _ in range(20):
        noise = chance.randbytes(30_000)
        line = json.dumps({"data": base64.b64encode(noise).decode(), "hex": noise[:4000].hex()}).encode()
        assert REDACTOR.redact(line).hits == {}


@pytest.mark.parametrize(
    "text",
    [
        'password = "hunter2"',
        "db_password: Winter_29x",
        "mysql -psommer1 x",
        "curl -u a:b!c1 x",
        "PASSWORD=abc123",
        "https://u:pw1234@h/",
        "Password=Xy12zz;",
        "--token abc12345xyz",
        "_authToken=3f9a1c07-e5b8-4d26-a0c9-f17b52e8d463",
    ],
)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_short_secrets_of_commands_and_settings_go_at_any_depth(text: str, depth: int) -> None:
    nested: object = f"first\n{text}\nlast"
    for _ in range(depth):
        nested = json.dumps({"o": nested})
    result = REDACTOR.redact(str(nested).encode())
    assert sum(result.hits.values()) == 1
    json.loads(result.data)


def test_of_a_text_that_is_nothing_but_secrets_the_rest_of_the_string_goes() -> None:
    line = b'{"a":"' + b"pass=abc1 " * 5000 + b'","b":"kept"}'
    result = REDACTOR.redact(line)
    assert "dense-text" in result.hits
    assert len(result.data) < len(line) // 2
    assert json.loads(result.data)["b"] == "kept"
    assert REDACTOR.redact(result.data).data == result.data
    together = REDACTOR.redact(b'{"x":"pass=abc1 "}\n' * 600 + line)
    assert together.data.endswith(b"\n" + result.data)
