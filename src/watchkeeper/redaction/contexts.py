"""Secrets that are known by the command, header or file they stand in."""

from __future__ import annotations

import base64
import binascii
import re

from watchkeeper.redaction.rule import ASSIGNED, BLANK, FILLER, INNER_QUOTE, MEMBER, Rule
from watchkeeper.redaction.values import placeholder, random_looking, words

_VALUE = rb"[^\s\x00-\x20\"'\\`;&|<>]"
_START = rb"(?![$<{(*%-]|\[redacted:)"


def _given(value: bytes) -> bool:
    return not placeholder(value)


def _user_and_password(value: bytes) -> bool:
    """Say whether a value is the Base64 form of ``user:password``."""
    try:
        plain = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return b":" in plain and all(0x20 <= byte < 0x7F for byte in plain)


def _session(value: bytes) -> bool:
    return len(value) >= 12 and random_looking(value[:200]) and not placeholder(value)


def _option(name: str, positive: bytes, secret: bytes, negative: bytes) -> Rule:
    """Return a rule for an option of commands; `assignments` says which take a password by it."""
    return Rule(name=name, positive=positive, secret=secret, negative=negative)


# White space between words of one file, as an agent's reading numbers its lines and its patches part them.
_GAP = (
    rb"(?:"
    + BLANK
    + rb"|(?<=[ nr])[0-9]{1,6}(?:\xe2\x86\x92|\\++u2192|\\++t|[ ])|\"[ ]?,[ ]?\"[+ -](?=[^\"]))"
)


def _mixed(value: bytes) -> bool:
    """Say whether a word of a sentence is no word of a language."""
    kinds = re.search(rb"[a-z]", value), re.search(rb"[A-Z]", value), re.search(rb"[0-9]", value)
    marks = re.search(rb"[!#$%^*=?~@&][A-Za-z0-9]", value)
    return kinds[2] is not None and (all(kinds) or marks is not None) and not words(value)


COMMANDS: tuple[Rule, ...] = (
    _option(
        "mysql-password",
        b'{"command":"docker exec db mysql -u root -h 127.0.0.1 -pSommer31 shop -e \\"show tables\\""}',
        b"Sommer31",
        b'{"command":"mysql -u root -p shop; mysql -p$PW shop; docker run -p 3306:3306 mysql -p"}',
    ),
    _option(
        "sshpass-password",
        b'{"command":"sshpass -p \'Sommer31\' ssh root@host"}',
        b"Sommer31",
        b'{"command":"sshpass -p $PASS ssh root@host; sshpass -f file"}',
    ),
    _option(
        "login-password",
        b'{"command":"docker login -u ci -p Sommer31x registry.example.org"}',
        b"Sommer31x",
        b'{"command":"docker login -u ci -p $TOKEN x; docker login --password-stdin; login -p; mkdir -p a1"}',
    ),
    _option(
        "user-password",
        b'{"command":"curl -sS -u admin:Sommer31 https://example.org/api"}',
        b"Sommer31",
        b'{"command":"docker run -u 1000:1000 x; docker run --user node:node x; curl -u admin:$PW y; curl -u user: z"}',
    ),
    Rule(
        name="sql-password",
        lowered=True,
        scans=(
            (
                b"identified by",
                rb"[ ]{1,2}(?:password[ ])?" + INNER_QUOTE + rb"([^\"'\\\x00-\x1f]{3,200}+)",
            ),
        ),
        weigh=lambda value: not placeholder(value) and re.search(rb"[0-9!#%^*+?~@$&]", value) is not None,
        positive=b'{"command":"mysql -e \\"CREATE USER app IDENTIFIED BY \'Sommer31\'\\""}',
        secret=b"Sommer31",
        negative=b"{\"command\":\"CREATE USER app IDENTIFIED BY '<password>'; say identified by 'name'\"}",
    ),
    Rule(
        name="openssl-password",
        lowered=True,
        scans=((b" pass:", rb"(?:(?<=-passin pass:)|(?<=-passout pass:))(" + _VALUE + rb"{4,200}+)"),),
        weigh=_given,
        positive=b'{"command":"openssl rsa -in key.pem -passin pass:Sommer31"}',
        secret=b"Sommer31",
        negative=b'{"text":"tests pass: 31 of 40, openssl -passin pass:$PW"}',
    ),
)

FILES: tuple[Rule, ...] = (
    Rule(
        name="netrc-password",
        lowered=True,
        scans=(
            (
                b"login",
                _GAP
                + rb"{1,16}+[^\s\x00-\x20\"'\\]{1,64}"
                + _GAP
                + rb"{1,16}+password"
                + _GAP
                + rb"{1,16}+"
                + _START
                + rb"([^\s\x00-\x20\"\\]{3,200}+)",
            ),
        ),
        weigh=lambda value: not placeholder(value) and not words(value),
        positive=b'{"content":"machine example.org\\n  login me\\n  password Sommer31\\n"}',
        secret=b"Sommer31",
        negative=b'{"content":"login with password and login name password <yours>"}',
    ),
    Rule(
        name="defined-secret",
        lowered=True,
        scans=(
            (
                b"define(",
                rb"[ ]?"
                + INNER_QUOTE
                + rb"[a-z0-9_]{0,40}?(?:pass(?:word|wd)?|secret|token|(?:auth|in|api|secret|private|access)_key|salt)"
                + INNER_QUOTE
                + rb"[ ]{0,2},[ ]{0,2}"
                + INNER_QUOTE
                + rb"([^\"'\\\x00-\x1f]{6,200}+)",
            ),
            (b"setpassword(", rb"[ ]?" + INNER_QUOTE + rb"([^\s\"'\\\x00-\x1f]{6,200}+)"),
        ),
        weigh=lambda value: (
            not placeholder(value) and re.search(rb"[0-9]", value) is not None and not words(value)
        ),
        positive=b"{\"content\":\"define( 'DB_PASSWORD', 'Sommer_31x' );\"}",
        secret=b"Sommer_31x",
        negative=b'{"content":"define(\'DB_PASSWORD\', \'password_here\'); x.setPassword(\\"secret\\")"}',
    ),
    Rule(
        name="told-password",
        lowered=True,
        scans=(
            (
                b"password is",
                rb"(?:[ ]{1,2}|:[ ]{0,2})(?:`|" + INNER_QUOTE + rb")?([^\s\x00-\x20\"'\\`;&|<>()]{6,200}+)",
            ),
            (
                b"passwort ",
                rb"(?:ist|lautet):?[ ]{1,2}(?:`|" + INNER_QUOTE + rb")?([^\s\x00-\x20\"'\\`;&|<>()]{6,200}+)",
            ),
        ),
        weigh=lambda value: not placeholder(value) and _mixed(value),
        positive=b'{"content":"The password is Sommer_31x, please log in"}',
        secret=b"Sommer_31x",
        negative=b'{"content":"the password is SHA-hashed, the password is required, password is sha256-hashed"}',
    ),
    Rule(
        name="docker-auth",
        lowered=True,
        scans=(
            (
                b"auth",
                rb"(?<![A-Za-z_-]auth)(?:"
                + MEMBER
                + rb"|"
                + INNER_QUOTE
                + rb":[ ]{0,2}"
                + INNER_QUOTE
                + rb")"
                rb"([a-z0-9+/]{10,400}+={0,2})",
            ),
        ),
        weigh=_user_and_password,
        positive=b'{"content":"{\\"auths\\": {\\"ghcr.io\\": {\\"auth\\": \\"'
        + base64.b64encode(b"me:Sommer31")
        + b'\\"}}}"}',
        secret=base64.b64encode(b"me:Sommer31"),
        negative=b'{"content":"{\\"auth\\": \\"anonymousaccess\\"}"}',
    ),
    Rule(
        name="npm-basic-auth",
        lowered=True,
        scans=((b"auth", rb"(?<=_auth)[ ]{0,2}=[ ]{0,2}" + INNER_QUOTE + rb"?([a-z0-9+/]{10,400}+={0,2})"),),
        weigh=_user_and_password,
        positive=b'{"content":"//registry.example.org/:_auth='
        + base64.b64encode(b"me:Sommer31x")
        + b'\\nalways-auth=true"}',
        secret=base64.b64encode(b"me:Sommer31x"),
        negative=b'{"content":"_auth=${NPM_AUTH}, basic_auth=get_basic_auth"}',
    ),
    Rule(
        name="putty-private-key",
        scans=(
            (
                b"Private-Lines:",
                rb" [0-9]{1,3}((?:\\++[nr]){1,2}(?:[A-Za-z0-9+/=]{1,64}(?:\\++[nr]){1,2})++)Private-MAC",
            ),
        ),
        positive=b'{"content":"PuTTY-User-Key-File-3: ssh-ed25519\\nPrivate-Lines: 1\\n'
        + FILLER[:44]
        + b'\\nPrivate-MAC: 0"}',
        secret=FILLER[:44],
        negative=b'{"content":"Private-Lines: 1 and Private-MAC: none"}',
    ),
)

_COOKIE = (
    rb"(?:[^=;:\"'\\\s\x00-\x20]{1,64}=[^;:\"'\\\x00-\x1f]{0,256};[ ]?){0,8}?"
    rb"[a-z0-9_.-]{0,40}(?:sess|sid|auth|token|jwt|remember|login|csrf|xsrf)[a-z0-9_.-]{0,24}="
    rb"([^\s\x00-\x20\"'\\;,]{8,}+)"
)

WEB: tuple[Rule, ...] = (
    Rule(
        name="session-cookie",
        lowered=True,
        scans=((b"cookie", ASSIGNED + _COOKIE),),
        weigh=_session,
        positive=b'{"command":"curl -H \\"Cookie: theme=dark; sessionid='
        + FILLER[:32]
        + b'\\" https://example.org"}',
        secret=FILLER[:32],
        negative=b'{"command":"Set-Cookie: theme=dark; Path=/; sessionid=; cookie: token=deleted, Cookie: sid=$SID"}',
    ),
    Rule(
        name="shared-access-signature",
        scans=((b"sig=", rb"(?<=[?&]sig=)([A-Za-z0-9%+/_-]{32,}+=*+)"),),
        positive=b'{"url":"https://x.blob.core.windows.net/c/f?sv=2024&sr=b&sig='
        + FILLER[:40]
        + b'%2Bab%3D"}',
        secret=FILLER[:40],
        negative=b'{"url":"https://x.example.org/?a=1&sig=short&Signature=none"}',
    ),
    Rule(
        name="webhook-address",
        scans=(
            (
                b"://",
                rb"discord(?:app)?\.com/api/(?:v[0-9]{1,2}/)?webhooks/[0-9]{16,22}/([A-Za-z0-9_-]{60,}+)",
            ),
            (
                b"://",
                rb"(?:[a-z0-9-]{1,40}\.)?webhook\.office\.com/webhookb2/([0-9a-f-]{36}@[A-Za-z0-9/@-]{40,}+)",
            ),
            (b"://", rb"hooks\.zapier\.com/hooks/catch/[0-9]{4,12}/([A-Za-z0-9]{6,}+)"),
            (b"://", rb"hook\.(?:eu|us)[0-9]\.make\.com/([a-z0-9]{24,}+)"),
        ),
        positive=b'{"url":"https://discord.com/api/webhooks/123456789012345678/'
        + FILLER
        + FILLER[:6]
        + b'"}',
        secret=FILLER,
        negative=b'{"url":"https://discord.com/api/webhooks/123456789012345678 and https://hooks.zapier.com/hooks/catch"}',
    ),
)
