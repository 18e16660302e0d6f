"""Secrets that are learnt on the way: which are worth it, where they are found, and every form they can take.

An env file that was read once gives away values that no rule can know, and they come back bare, in a URL or
in Base64. What is learnt is kept in memory as it is; whoever stores it must encrypt it. Digests of it would
be no help: to find a digest again, every place of every text would have to be hashed for every length.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from watchkeeper.redaction.assignments import names_a_secret
from watchkeeper.redaction.values import code, entropy, placeholder, random_looking, words

LEAST = 8
"""A shorter value is never learnt: it would be found by chance."""
_MOST = 4096
_ENV_LIKE = re.compile(
    r"(?:^|/)(?:\.env(?:\.[\w.-]+)?|[\w.-]+\.env|\.envrc|credentials(?:\.json|\.toml|\.ya?ml)?|\.npmrc|\.yarnrc(?:\.yml)?"
    r"|\.pypirc|\.netrc|_netrc|\.pgpass|\.my\.cnf|\.git-credentials|\.dockercfg|\.docker/config\.json|\.kube/config"
    r"|secrets?\.(?:json|toml|ya?ml|env|properties)|service[-_]account[\w.-]*\.json|terraform\.tfvars|[\w.-]+\.tfvars"
    r"|[\w.-]+\.(?:pem|key|p12|pfx|kdbx|ovpn))$",
    re.IGNORECASE,
)
_SAMPLE = re.compile(r"\.(?:example|sample|template|dist|defaults?)$", re.IGNORECASE)
_READS = re.compile(
    r"(?:^|[\s;&|(])(?:cat|head|tail|less|more|bat|nl|tac|sed|grep|rg|awk|strings|xxd|type)\s[^;&|\n]*?(?P<path>[^\s'\";&|]+)"
)
_NUMBERED = re.compile(r"^\s*\d+(?:→|\t|:)\s?")
_ASSIGNED = re.compile(
    r"^\s*(?:export\s+|set\s+|-\s+)?[\"']?(?P<name>[\w./:-]{1,120}?)[\"']?\s*[:=]\s*(?P<value>\S.*?)\s*,?\s*$"
)
_NETRC = re.compile(r"\bpassword\s+(?P<value>\S+)")


def env_like(path: str) -> bool:
    """Say whether a file is of a kind that holds secrets: ``.env``, ``credentials``, ``.npmrc``, ``*.pem`` and such."""
    return _ENV_LIKE.search(path) is not None and _SAMPLE.search(path) is None


def worth_learning(value: bytes) -> bool:
    """Say whether a value is long and rare enough to be looked for everywhere."""
    if not LEAST <= len(value) <= _MOST or placeholder(value) or words(value) or code(value):
        return False
    if value.isdigit() or re.fullmatch(
        rb"[\w.+-]+@[\w.-]+|[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d+)?|[a-z-]+:\d+|\d{4}-\d\d-\d\d.*", value
    ):
        return False
    return len(set(value)) >= 6 and entropy(value) >= 2.5


def learnable(body: Mapping[str, Any]) -> list[bytes]:
    """Return the values worth learning in a decoded hook payload or transcript line, each once.

    Only what was read from an env-like file counts (the Read tool, or a command such as ``cat``), and of that
    only values of names that stand for a secret, or values that are mixed like a generated one.
    """
    found: dict[bytes, None] = {}
    for path, text in _read_files(body):
        if env_like(path):
            found.update(dict.fromkeys(values_of(text)))
    return list(found)


def values_of(text: str) -> Iterator[bytes]:
    """Yield the values worth learning of the text of an env-like file, with or without line numbers."""
    for line in text.splitlines()[:5000]:
        plain = _NUMBERED.sub("", line)
        match = _ASSIGNED.match(plain)
        name = b""
        if match is not None:
            name = match["name"].rpartition(":")[2].encode(errors="replace")
            value = match["value"]
            if value[:1] in "\"'":
                value = value[1:].partition(value[0])[0]
        elif (match := _NETRC.search(plain)) is not None:
            name, value = b"password", match["value"]
        else:
            continue
        raw = value.encode("utf-8", "surrogatepass")
        if worth_learning(raw) and (names_a_secret(name) or (len(raw) >= 16 and random_looking(raw))):
            yield raw


def _read_files(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    given = body.get("tool_input")
    if isinstance(given, Mapping):
        text = "\n".join(_texts(body.get("tool_response")))
        path = given.get("file_path")
        if isinstance(path, str):
            yield path, text
        command = given.get("command")
        if isinstance(command, str):
            for match in _READS.finditer(command[:4000]):
                yield match["path"], text
    result = body.get("toolUseResult")
    if isinstance(result, Mapping):
        file = result.get("file")
        if isinstance(file, Mapping) and isinstance(file.get("filePath"), str):
            yield file["filePath"], "\n".join(_texts(file.get("content")))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def variants(value: bytes) -> list[bytes]:
    """Return every form a secret is looked for in: as JSON text has it, URL-encoded, in Base64; the longest first."""
    forms: set[bytes] = set()
    text = value.decode("utf-8", "replace")
    for plain in {text, quote(text, safe=""), quote(text), quote_plus(text)}:
        for ascii_only in (True, False):
            written = plain
            for _ in range(3):
                written = json.dumps(written, ensure_ascii=ascii_only)[1:-1]
                forms.add(written.encode("utf-8", "surrogatepass"))
    for shift in range(3):
        # What stands before and after shares its first and last character with the value.
        coded = base64.b64encode(b"\0" * shift + value)
        coded = coded[(0, 2, 3)[shift] : len(coded.rstrip(b"=")) - bool((shift + len(value)) % 3)]
        if len(coded) >= 10:
            forms.update((coded, coded.translate(bytes.maketrans(b"+/", b"-_"))))
    return sorted(forms, key=lambda form: (-len(form), form))


_RARE = b"~^|$@!%&*+#QZJXKVWYqzGHUBjNFMOPLDRECSITAxvkw7986543201ybpgfmuhdclsnoriate-_./:=,"


def needles(values: Iterable[bytes]) -> list[tuple[re.Pattern[bytes], dict[int, int]]]:
    """Return scans that find any of the values: one for each rare byte, with how far before it group N starts."""
    grouped: dict[int, list[tuple[int, bytes]]] = {}
    for value in dict.fromkeys(form for given in values for form in variants(given)):
        place = min(range(len(value)), key=lambda at: _RARE.find(value[at]) if value[at] in _RARE else 99)
        grouped.setdefault(value[place], []).append((place, value))
    scans = []
    for byte, members in grouped.items():
        members.sort(key=lambda member: -len(member[1]))
        parts, back = [], {}
        for number, (place, value) in enumerate(members, 1):
            behind = b"(?<=" + re.escape(value[: place + 1]) + b")" if place else b""
            parts.append(behind + re.escape(value[place + 1 :]) + b"()")
            back[number] = place
        scans.append((re.compile(re.escape(bytes([byte])) + b"(?:" + b"|".join(parts) + b")"), back))
    return scans
