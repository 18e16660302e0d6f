"""Plants secrets of many kinds, random by a seed, into source, configuration, logs, documents and transcripts."""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple

_LETTERS = string.ascii_letters + string.digits
_PLAIN = _LETTERS + "!#%*+^~"
_WORDS = ["river", "Sommer", "copper", "Fenster", "monkey", "Quarz", "delta", "Zebra"]


class Planted(NamedTuple):
    """One secret: its kind, the bytes that must not remain, and a text that holds it."""

    kind: str
    secret: str
    text: str


def _of(chance: random.Random, alphabet: str, size: int) -> str:
    return "".join(chance.choices(alphabet, k=size))


def _hex(chance: random.Random, size: int) -> str:
    return _of(chance, "0123456789abcdef", size)


def _password(chance: random.Random) -> str:
    """Return a password as people make them: a word with digits and marks, or some mixed characters."""
    if chance.random() < 0.5:
        return (
            chance.choice(_WORDS) + str(chance.randint(10, 9999)) + chance.choice(["!", "#", "", "x", "_K"])
        )
    return chance.choice(_LETTERS) + _of(chance, _PLAIN, chance.randint(6, 14)) + chance.choice("0123456789")


_TOKENS: dict[str, Callable[[random.Random], str]] = {
    "aws key id": lambda c: "AKIA" + _of(c, string.ascii_uppercase + "234567", 16),
    "github": lambda c: c.choice(["ghp_", "gho_", "ghs_"]) + _of(c, _LETTERS, 36),
    "github fine-grained": lambda c: "github_pat_" + _of(c, _LETTERS, 22) + "_" + _of(c, _LETTERS, 59),
    "gitlab": lambda c: "glpat-" + _of(c, _LETTERS + "_-", 20),
    "slack": lambda c: (
        f"xoxb-{c.randrange(10**11, 10**12)}-{c.randrange(10**11, 10**12)}-{_of(c, _LETTERS, 24)}"
    ),
    "stripe": lambda c: "sk_live_" + _of(c, _LETTERS, 24),
    "anthropic": lambda c: "sk-ant-api03-" + _of(c, _LETTERS + "_-", 93) + "AA",
    "openai": lambda c: "sk-proj-" + _of(c, _LETTERS, 74),
    "google": lambda c: "AIza" + _of(c, _LETTERS + "_-", 35),
    "google client": lambda c: "GOCSPX-" + _of(c, _LETTERS, 28),
    "npm": lambda c: "npm_" + _of(c, _LETTERS, 36),
    "pypi": lambda c: "pypi-AgEIcHlwaS5vcmc" + _of(c, _LETTERS + "_-", 150),
    "huggingface": lambda c: "hf_" + _of(c, string.ascii_letters, 34),
    "sendgrid": lambda c: f"SG.{_of(c, _LETTERS, 22)}.{_of(c, _LETTERS, 43)}",
    "twilio": lambda c: "SK" + _hex(c, 32),
    "digitalocean": lambda c: "dop_v1_" + _hex(c, 64),
    "shopify": lambda c: "shpat_" + _hex(c, 32),
    "vault": lambda c: "hvs." + _of(c, _LETTERS, 90),
    "docker": lambda c: "dckr_pat_" + _of(c, _LETTERS + "_-", 27),
    "new relic": lambda c: "NRAK-" + _of(c, string.ascii_uppercase + string.digits, 27),
    "telegram": lambda c: f"{c.randrange(10**8, 10**10)}:AA{_of(c, _LETTERS + '_-', 33)}",
    "azure client": lambda c: f"{_of(c, _LETTERS, 3)}8Q~{_of(c, _LETTERS, 34)}",
    "jwt": lambda c: (
        ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in (
                {"alg": "HS256", "typ": "JWT"},
                {"sub": str(c.randrange(10**9)), "iat": c.randrange(10**9)},
            )
        )
        + "."
        + _of(c, _LETTERS + "_-", 43)
    ),
}

_AROUND_TOKENS = (
    'client = Client("%s")',
    "Authorization header was %s, got 401",
    "export SERVICE=%s\nmake deploy",
    "2026-11-02T10:11:12Z WARN request failed key=%s status=403",
    "| token | `%s` |",
    "curl https://api.example.org/v1/items?t=%s",
    "  value: %s\n  name: x",
)

_NAMED: dict[str, tuple[str, ...]] = {
    "env password": (
        "DB_PASSWORD=%s\nPORT=80",
        "export POSTGRES_PASSWORD='%s'",
        "MYSQL_PWD=%s mysql -u root",
    ),
    "yaml password": ("database:\n  user: app\n  password: %s\n  port: 5432", "  db_password: %s\n"),
    "code password": (
        'password = "%s"',
        "conn = connect(user='app', password='%s')",
        'const dbPassword = "%s";',
    ),
    "json password": ('{"user": "app", "password": "%s"}', '{"smtp": {"pass": "%s", "port": 25}}'),
    "connection string": ("Server=db;Database=x;User Id=sa;Password=%s;Encrypt=true",),
    "xml password": ("<user>ci</user>\n<password>%s</password>",),
    "netrc": ("machine git.example.org login ci password %s\n", "machine a\n  login ci\n  password %s"),
    "flag password": ("tool login --username ci --password %s --quiet", "tool --db-password=%s run"),
}
_COMMANDS: dict[str, tuple[str, ...]] = {
    "url password": (
        "postgres://app:%s@db:5432/x",
        "git clone https://ci:%s@git.example.org/a.git",
        "redis://:%s@cache:6379/0",
    ),
    "mysql -p": ("mysql -h db -u root -p%s shop < dump.sql", "mysqldump -uroot -p'%s' shop"),
    "curl -u": ("curl -s -u admin:%s https://example.org", "curl --user ci:%s -O https://example.org/a"),
    "sshpass -p": ("sshpass -p %s ssh root@10.0.0.1", "sshpass -p '%s' scp a b:"),
    "docker login -p": ("docker login -u ci -p %s registry.example.org",),
}


def _loose(chance: random.Random) -> Iterator[Planted]:
    key = _of(chance, _LETTERS, 40)
    for kind, secret, form in (
        (
            "env key",
            key,
            chance.choice(["API_KEY=%s", "export SERVICE_TOKEN=%s", 'CLIENT_SECRET="%s"', "SECRET_KEY = %s"]),
        ),
        (
            "aws secret",
            _of(chance, _LETTERS + "+/", 40),
            "aws_access_key_id = x\naws_secret_access_key = %s\n",
        ),
        ("json secret", _hex(chance, 32), '{"clientSecret": "%s", "port": 8080}'),
        ("code key", _of(chance, _LETTERS, 24), "const apiKey = '%s';"),
        ("npmrc", str(uuid.UUID(int=chance.getrandbits(128))), "//registry.example.org/:_authToken=%s"),
        ("datadog", _hex(chance, 32), "DD_API_KEY=%s"),
        (
            "azure storage",
            base64.b64encode(chance.randbytes(64)).decode(),
            "AccountName=a;AccountKey=%s;EndpointSuffix=x",
        ),
        (
            "sas",
            base64.b64encode(chance.randbytes(33)).decode().replace("+", "%2B"),
            "https://a.blob.core.windows.net/b?sv=1&sig=%s",
        ),
        (
            "docker auth",
            base64.b64encode(f"ci:{_password(chance)}".encode()).decode(),
            '{"auths": {"ghcr.io": {"auth": "%s"}}}',
        ),
        (
            "kube key",
            base64.b64encode(chance.randbytes(120)).decode(),
            "users:\n- user:\n    client-key-data: %s\n",
        ),
        ("bearer", _of(chance, _LETTERS, 40), "curl -H 'Authorization: Bearer %s' https://example.org"),
        ("basic", base64.b64encode(f"ci:{_password(chance)}".encode()).decode(), "Authorization: Basic %s"),
        ("header key", _of(chance, _LETTERS, 32), "curl -H 'X-Api-Key: %s' https://example.org"),
        (
            "cookie",
            _of(chance, _LETTERS, 32),
            "curl -H 'Cookie: theme=dark; sessionid=%s' https://example.org",
        ),
        ("query", _of(chance, _LETTERS, 30), "GET /v1/items?page=2&access_token=%s&x=1"),
    ):
        yield Planted(kind, secret, form.replace("%s", secret))
    body = "\n".join(_of(chance, _LETTERS + "+/", 64) for _ in range(6))
    yield Planted(
        "private key", body[:64], f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n"
    )


def planted(seed: int, each: int = 8) -> list[Planted]:
    """Return ``each`` secrets of every kind."""
    chance = random.Random(seed)
    found: list[Planted] = []
    for _ in range(each):
        for kind, make in _TOKENS.items():
            secret = make(chance)
            found.append(Planted(kind, secret, chance.choice(_AROUND_TOKENS).replace("%s", secret)))
        for forms in (_NAMED, _COMMANDS):
            for kind, shapes in forms.items():
                secret = _password(chance)
                secret = secret.replace("#", "7").replace("%", "8") if kind == "url password" else secret
                found.append(Planted(kind, secret, chance.choice(shapes).replace("%s", secret)))
        found.extend(_loose(chance))
    return found


def as_lines(items: list[Planted], clean: list[str], seed: int) -> list[bytes]:
    """Return one line of a transcript for each secret, planted between pieces of clean text, nested at random."""
    chance = random.Random(seed)
    lines = []
    for item in items:
        before, after = chance.choice(clean), chance.choice(clean)
        text = f"{before}\n{item.text}\n{after}"
        if chance.random() < 0.3:
            text = json.dumps({"output": text})
        line = {
            "type": "user",
            "uuid": str(uuid.UUID(int=chance.getrandbits(128))),
            "message": {"role": "user", "content": [{"type": "tool_result", "content": text}]},
        }
        lines.append(json.dumps(line, ensure_ascii=chance.random() < 0.5).encode())
    return lines
