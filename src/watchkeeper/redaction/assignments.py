"""Secrets that are known by the name they are given to: ``DB_PASSWORD=``, ``"apiKey": "…"``, ``password: …``.

A gate in C finds a telling word, the rest of its name, a sign and the start of a value. What that is worth is
then weighed by the name's kind, by how name and value stand together, and by the value: the less the form
says, the more the value must look like a secret. Each candidate takes bounded time, since at most `_REACH`
bytes of a value are weighed, and the engine bounds how many candidates of one line are weighed at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from watchkeeper.redaction.rule import BLANK, INNER_QUOTE, MEMBER, SIGN
from watchkeeper.redaction.values import code, generated, placeholder, random_looking, words

_REACH = 120

MEMBER_KIND, QUOTED_KIND, BARE_KIND, ELEMENT_KIND, PAIR_KIND, SQL_KIND, USER_KIND, OPTION_KIND = range(1, 9)
DENSE_KIND = 99

_reach = str(_REACH).encode()
_BARE = rb"[^\s\x00-\x20\"'\\`;&|<>]"
_OPEN = rb"(?!\[redacted:|[<>$ (*=,;):]|!\$|%[({])"
_PAIR = (
    rb"(?:"
    + INNER_QUOTE
    + rb"[, ]|\"[ ]?,[ ]?(?=\"value\":)|"
    + BLANK
    + rb")"
    + BLANK
    + rb"{0,16}+(?:\\*\")?value"
    rb"(?:(?<=\"value)" + MEMBER + rb"|" + INNER_QUOTE + rb"?[ ]?[:=][ ]?" + INNER_QUOTE + rb"?)"
)


def _value(bytes_of_value: bytes, least: int) -> bytes:
    return rb"(?=(" + bytes_of_value + rb"{" + str(least).encode() + rb"," + _reach + rb"}))"


_VALUES = (
    rb"(?:"
    + MEMBER
    + _OPEN
    + _value(rb"[^\"\\\x00-\x1f]", 3)
    + rb"|"
    + INNER_QUOTE
    + rb"?(?:[ ]?:[ ]?[a-z]{1,10}[ ]?=[ ]?|"
    + SIGN
    + rb")[bfru]{0,2}"
    + INNER_QUOTE
    + _OPEN
    + _value(rb"[^\"'\\\x00-\x1f]", 3)
    + rb"|"
    + SIGN
    + _OPEN
    + _value(_BARE, 4)
    + rb"|>"
    + _OPEN
    + rb"(?=([^\s\x00-\x20<>\"'\\]{4,"
    + _reach
    + rb"})</)"
    + rb"|"
    + _PAIR
    + _OPEN
    + _value(rb"[^\s\x00-\x20\"'\\]", 4)
    + rb"|[ ]{1,2}'"
    + _OPEN
    + rb"(?=([^\s\x00-\x20\"'\\]{5,"
    + _reach
    + rb"})'))"
)
_REST = rb"[a-z0-9_-]{0,40}+"
KEY_WORDS = [
    "access",
    "account",
    "admin",
    "aes",
    "api",
    "app",
    "application",
    "auth",
    "client",
    "cipher",
    "consumer",
    "crypt",
    "customer",
    "deploy",
    "encrypt",
    "encryption",
    "hmac",
    "ingest",
    "ingestion",
    "jwt",
    "license",
    "master",
    "personal",
    "private",
    "project",
    "root",
    "secret",
    "server",
    "service",
    "session",
    "shared",
    "sign",
    "signing",
    "ssh",
    "storage",
    "subscription",
    "team",
    "user",
    "webhook",
    "write",
]


def _after_words(before: Iterable[str], keyword: bytes) -> bytes:
    """Return look-behinds, one for each width: the keyword just read follows one of the words."""
    widths: dict[int, list[bytes]] = {}
    for word in before:
        for sign in (b"", b"[_-]"):
            widths.setdefault(len(word) + len(sign[:1]), []).append(word.encode() + sign + keyword)
    parts = [b"(?<=" + b"|".join(alternatives) + b")" for alternatives in widths.values()]
    return b"(?<=[a-z_-]" + keyword + b")(?:" + b"|".join(parts) + b")"


_GATES: tuple[re.Pattern[bytes], ...] = tuple(
    re.compile(expression)
    for expression in (
        rb"pass(?:w(?:or)?d|wd|phrase|code|(?:(?<![a-z]pass)|(?<=\\[nrtfb]pass))(?![a-z]|[_-][a-z]))"
        + _REST
        + _VALUES,
        rb"secret" + _REST + _VALUES,
        rb"token(?!s)" + _REST + _VALUES,
        rb"key" + _after_words(KEY_WORDS, b"key") + _REST + _VALUES,
        rb"pwd(?:(?<![a-z]pwd)|(?<=\\[nrtfb]pwd)|(?<=dbpwd)|(?<=userpwd))" + _VALUES,
    )
)
_FLAG = re.compile(
    rb"--(?:[a-z]{1,14}-){0,3}?(?:pass(?:word|wd|phrase)?|token|secret|(?:api|access|auth|secret|private|account|master|license)-?key)"
    rb"(?:-key)?[ ]{1,2}"
    + INNER_QUOTE
    + rb"?"
    + _OPEN
    + rb"(?=([^\s\x00-\x20\"'\\`;&|<>-][^\s\x00-\x20\"'\\`;&|<>]{2,"
    + _reach
    + rb"}))"
)


_OPTION = re.compile(
    rb" -(?:(?:u|-user)[ =]{0,2}"
    + INNER_QUOTE
    + rb"?[a-z0-9_.@+\\%-]{1,64}:"
    + _OPEN
    + _value(_BARE, 3)
    + rb"|[paw][ ]{0,2}"
    + INNER_QUOTE
    + rb"?(?!-)"
    + _OPEN
    + _value(_BARE, 3)
    + rb")"
)

Candidate = tuple[int, int, int, int]
"""A name with a value, as far as a gate can tell: where the value starts and ends, where the telling word of
the name starts, and how they stand together."""


def candidates(lowered: bytes) -> list[Candidate]:
    """Return all places of some text, in lower case, where a telling name is given a value; in order.

    Where they stand closer than anything that somebody wrote, the rest of the string is one candidate.
    """
    found: list[Candidate] = []
    for gate, first_kind in _ALL_GATES:
        position: int | None = 0
        while position is not None:
            position = _gather(gate, first_kind, lowered, position, found)
    found.sort()
    return found


def _gather(
    gate: re.Pattern[bytes], first_kind: int, lowered: bytes, position: int, found: list[Candidate]
) -> int | None:
    """Add the candidates of one gate; return where to go on when they got too close, else None."""
    first = len(found)
    for hit in gate.finditer(lowered, position):
        group = hit.lastindex or 1
        found.append((*hit.span(group), hit.start(), first_kind + group))
        count = len(found) - first
        if count >= _MANY:
            start, earlier = hit.start(group), found[-_MANY][0]
            if start - earlier < _MANY_WITHIN and lowered.find(b"\n", earlier, start) < 0:
                rest = REST_OF_STRING.match(lowered, start)
                end = rest.end() if rest is not None else start
                found.append((start, end, hit.start(), DENSE_KIND))
                return end
    return None


_MANY, _MANY_WITHIN = 512, 24 << 10
REST_OF_STRING = re.compile(rb"(?:[^\"\\\x00-\x1f]|\\[^\x00-\x1f])*+")
_ALL_GATES = (*((gate, 0) for gate in _GATES), (_FLAG, BARE_KIND - 1), (_OPTION, SQL_KIND))


def names_a_secret(name: bytes) -> bool:
    """Say whether the value of a name is a secret, rather than something about one."""
    lowered = name.lower()
    telling = re.search(rb"pass|pwd|secret|token|key|_auth|credential", lowered) is not None
    return telling and _standing(lowered) is not None


_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_NAME = re.compile(rb"[A-Za-z0-9_-]*")
_RUNS = {
    MEMBER_KIND: re.compile(rb"[^\"\\\x00-\x1f]*"),
    QUOTED_KIND: re.compile(rb"[^\"'\\\x00-\x1f]*"),
    BARE_KIND: re.compile(_BARE + rb"*"),
    ELEMENT_KIND: re.compile(rb"[^\s\x00-\x20<>\"'\\]*"),
    PAIR_KIND: re.compile(rb"[^\s\x00-\x20\"'\\]*"),
    SQL_KIND: re.compile(rb"[^\s\x00-\x20\"'\\]*"),
}


class Assignment(NamedTuple):
    """A secret with the name it was given to; ``kind`` says how: see `classify`."""

    start: int
    end: int
    name: bytes
    kind: str


def weigh(data: bytes, candidate: Candidate) -> Assignment | None:
    """Return the secret of a candidate, or None where it is none."""
    start, end, word, kind = candidate
    if kind >= USER_KIND:
        return _option(data, start, end, word, kind)
    name_start = _name_start(data, word)
    name_end = _name_end(data, word)
    name = data[name_start:name_end]
    standing = _standing(name.lower())
    if standing is None or data[max(0, name_start - 10) : name_start] == b"[REDACTED:":
        return None
    sign = data[name_end:start]
    value = data[start:end]
    if placeholder(value):
        return None
    if kind == BARE_KIND and name.lower() in _HEADERS:
        return (
            Assignment(start, end, name, "header-key") if len(value) >= 12 and _DIGIT.search(value) else None
        )
    flag = name.startswith(b"--")
    upper = name.isupper()
    if kind == BARE_KIND:
        value, end = _trimmed(value, start)
        spaced = not flag and (b" " in sign or b"\t" in sign or b":" in sign)
        if not _bare_secret(
            value, standing, upper=upper, spaced=spaced, flag=flag, query=data[name_start - 1 : name_start]
        ):
            return None
    elif not _quoted_secret(value, standing, upper=upper):
        return None
    if end - start >= _REACH - 1:
        run = _RUNS[kind].match(data, end)
        end = run.end() if run is not None else end
    return Assignment(start, end, name, _form(data, name_start, name, kind))


def _trimmed(value: bytes, start: int) -> tuple[bytes, int]:
    """Take off the punctuation that ends a sentence or an argument."""
    kept = value.rstrip(b",.)]}:") or value
    return kept, start + len(kept)


def _name_start(data: bytes, word: int) -> int:
    before = data[max(0, word - 48) : word]
    start = word - (len(before) - len(before.rstrip(_NAME_BYTES)))
    if start and data[start - 1] == 0x5C and start < word and data[start] in b"nrtbf":
        return start + 1
    return start


def _name_end(data: bytes, word: int) -> int:
    found = _NAME.match(data, word, word + 80)
    return found.end() if found is not None else word


PASSWORD, SECRET, TOKEN = "password", "secret", "token"

_DIGIT = re.compile(rb"[0-9]")
_NUMBER = re.compile(rb"0x[0-9A-Fa-f]{1,16}$|[0-9][0-9._,]*$")
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_PATH = re.compile(rb"(?:~|\.{0,2}/|[A-Za-z]:\\)?(?:/?[A-Za-z0-9_.-]{1,24}/)+[A-Za-z0-9_.-]{0,40}$|/[a-z]+$")
_NAME_LIKE = re.compile(rb"[-_. /:]|[a-z][A-Z]|(?i:pass|secret|token|key|auth)")
_SPECIAL = re.compile(rb"[!#%^*+=?~@$&]")
_BRACKETS = re.compile(rb"[(){}\[\],]")
_ABOUT = re.compile(
    rb"(?:next|page|continuation|sync|pad|eos|bos|unk|sep|cls|mask|stop|cancel|cancellation|last|first|start|end|prev"
    rb"|previous|max|min|num|total|input|output|prompt|completion|special|design|css|theme|per|line|color|colour"
    rb"|lookahead|current|comment|keyword|operator|parse|syntax|string|public(?:_?key)?|primary|foreign|sort|partition)[_-]?token"
    rb"|(?:no|has|is|use|show|hide|set|get|need|needs|require|requires|forgot|reset|toggle|validate|verify|check|invalid|missing)"
    rb"[_-](?:pass|secret|token)"
    rb"|(?:pass(?:w(?:or)?d|wd|phrase|code)?|secret|token|key|credential)s?[_-]?(?:file|path|dir|url|uri|name|header|limit"
    rb"|expir|ttl|age|len|type|endpoint|count|size|id$|ids$|arn|enable|regex|pattern|prefix|suffix|min|max|policy|provider|usage"
    rb"|field|budget|cost|window|hash|hint|label|placeholder|reset|confirm|source|format|algorithm|usage|ref|version"
    rb"|strength|rule|validator|callback|response|request|error|kind|class|store|manager|index|input|column|param|env"
    rb"|var|prompt|helper|mode|state|status|required|description|text|title|message|help|example|alg|owner|scope|issuer|lifetime"
    rb"|rotation|spec|schema|map|list|set$|get$|fn|func|handler|event|chars|char|bytes$|bits|timeout|cache|value-?from|digest)"
    rb"|(?:tokens|secrets|passwords|keys|credentials)$"
)
_TOKEN_NAME = re.compile(
    rb"(?:^|[_-])token|(?:access|auth|refresh|bearer|bot|api|session|id|client|deploy|secret|security|csrf|xsrf|push|device"
    rb"|user|admin|web|app|service|oauth|jwt|npm|git|hub|lab|slack|private|personal|registry|publish|release|upload|vault|login|identity)token"
)


@lru_cache(maxsize=4096)
def _standing(name: bytes) -> str | None:
    """Return what the value of a name (in lower case) would be; None for names about secrets, not of them."""
    if _ABOUT.search(name):
        return None
    if b"pass" in name or b"pwd" in name:
        return PASSWORD
    if b"secret" in name or b"key" in name or name.endswith(b"_auth") or b"credential" in name:
        return SECRET
    return TOKEN if _TOKEN_NAME.search(name) else None


def _quoted_secret(value: bytes, standing: str, *, upper: bool) -> bool:
    digits = _DIGIT.search(value) is not None
    if upper:
        return len(value) >= 6 and not _path(value) and not (words(value) and _NAME_LIKE.search(value))
    if b" " in value or code(value):
        return False
    if standing == PASSWORD:
        special = _SPECIAL.search(value, 1) is not None
        return (len(value) >= 5 and not words(value) and (digits or special)) or (
            len(value) >= 7 and _weak(value)
        )
    return len(value) >= 8 and digits and not words(value)


def _weak(value: bytes) -> bool:
    """Say whether a word with one digit at its end is rather a password than a name: hunter2."""
    return value[-1:].isdigit() and value[:-1].isalpha() and value.islower()


def _bare_secret(value: bytes, standing: str, *, upper: bool, spaced: bool, flag: bool, query: bytes) -> bool:
    if placeholder(value) or value.startswith(b"=") or re.fullmatch(rb"[A-Za-z_-]+=", value):
        return False
    digits = _DIGIT.search(value) is not None
    if value.isdigit() or _NUMBER.match(value):
        return standing == PASSWORD and len(value) >= 6 and not value.startswith(b"0x")
    if upper and not spaced:
        return len(value) >= 6 and not _called(value) and not _path(value)
    if not (flag or upper) and _BRACKETS.search(value):
        return False
    if code(value):
        return False
    if flag:
        return (
            len(value) >= 4
            and not (words(value) and not _weak(value))
            and (standing == PASSWORD or (len(value) >= 8 and digits))
        )
    if query in (b"?", b"&"):
        return len(value) >= 8 and _DIGIT.search(_PERCENT.sub(b"", value)) is not None
    if standing == PASSWORD:
        mixed = digits and not words(value)
        special = _SPECIAL.search(value, 1) is not None
        return len(value) >= 6 and (mixed or special or _weak(value)) and not _keyword_argument(value)
    if len(value) < 8 or not digits or words(value) or _keyword_argument(value):
        return False
    return random_looking(value) if spaced or len(value) < 16 else digits


def _path(value: bytes) -> bool:
    return _PATH.match(value) is not None and not generated(value)


def _called(value: bytes) -> bool:
    return re.match(rb"[A-Za-z_][\w.]*[(\[]", value) is not None


def _keyword_argument(value: bytes) -> bool:
    """Say whether a value names another variable: password_2, token1, self_token."""
    return (
        re.match(rb"[a-z_]*(?:pass(?:w(?:or)?d)?|secret|token|key)[a-z_]*[0-9]{0,2}$", value, re.I)
        is not None
    )


def _form(data: bytes, name_start: int, name: bytes, kind: int) -> str:
    """Return the general rule that a secret falls under."""
    if kind == BARE_KIND:
        if data[name_start - 1 : name_start] in (b"?", b"&"):
            return "url-parameter"
        if name.startswith(b"--"):
            return "command-flag"
    if name.isupper():
        return "environment-secret"
    return "quoted-secret" if kind in (MEMBER_KIND, QUOTED_KIND) else "assigned-secret"


_HEADERS = frozenset(
    b"x-api-key x-goog-api-key dd-api-key dd-application-key private-token x-auth-token x-vault-token x-access-token"
    b" api-key x-amz-security-token x-shopify-access-token x-figma-token x-auth-key circle-token job-token deploy-token"
    b" x-honeycomb-team x-csrf-token x-secret-key x-client-secret ocp-apim-subscription-key".split()
)


_COMMANDS = (b"mysql", b"mariadb", b"sshpass", b"login", b"mongo", b"redis", b"ldap")
_COMMAND = re.compile(
    rb"(?:(mysql|mariadb)|(sshpass)|(?<![a-z])(login|mongo)|(redis)|(ldap)|(docker|podman|nerdctl|chown|kubectl|sudo))"
    rb"(?:[a-z]{0,8}|-[a-z]{2,8})(?= )(?!.{0,240}(?:[;|&]|\\+n))",
    re.IGNORECASE,
)
_TAKEN_BY = (
    (1, b"p", "mysql-password"),
    (2, b"p", "sshpass-password"),
    (3, b"p", "login-password"),
    (4, b"a", "login-password"),
    (5, b"w", "login-password"),
)


def _option(data: bytes, start: int, end: int, option: int, kind: int) -> Assignment | None:
    """Weigh the value of ``-u``, ``-p``, ``-a`` or ``-w``: which command takes a password by it?"""
    value = data[start:end]
    if placeholder(value) or re.fullmatch(rb"[0-9:.,/x-]+", value):
        return None
    group = 0
    before = data[max(0, option - 240) : option].lower()
    if kind == OPTION_KIND and not any(command in before for command in _COMMANDS):
        return None
    for command in _COMMAND.finditer(data, max(0, option - 240), option + 1):
        group = command.lastindex or 0
    if kind == USER_KIND:
        plain = re.fullmatch(rb"[a-z_]{1,9}|[A-Z_]+", value) or value[:1] in (b"/", b".", b"~")
        if b"curl" not in before:
            # Behind other commands, and in prose, many things are said with -u and a colon.
            glued = data[option + 2 : option + 3] == b"u" and data[option + 3 : option + 4].isalnum()
            plain = plain or glued or words(value) or not (_DIGIT.search(value) or _SPECIAL.search(value))
        return None if group == 6 or plain else Assignment(start, end, b"", "user-password")
    for taking, letter, form in _TAKEN_BY:
        if group == taking and data[option + 2 : option + 3] == letter:
            blank = data[option + 3 : option + 4] == b" "
            return None if taking == 1 and blank else Assignment(start, end, b"", form)
    return None
