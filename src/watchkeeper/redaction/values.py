"""Tells a secret from what is only written where a secret could be: code, names, placeholders."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from math import log2

_STANDS_FOR_ONE = re.compile(
    rb"(?:[x*.#_-]{3,}|(?:your|my|our|the|some|an?|new|old|this|that)[-_ ]|your[a-z]*$|<|\[|\{|\(|\$|%[({sdv]|@|&|\\"
    rb"|example|chang[ei]|replace|insert|enter|put[-_]|todo|dummy|placeholder|redacted|fake|sample|foo|bar\b|baz"
    rb"|(?:none|null|nil|true|false|undefined|string|str|bytes|int|bool|boolean|number|any|object|void|required|optional"
    rb"|secret|password|passwd|pass|token|key|test|default|empty|hidden|masked|unset|n/a|yes|no|on|off)[,;.)]?$"
    rb"|(?:env|process|os|self|this|config|settings|options|props|args|vault|secrets|file|ref|arn|op|awssm|ssm)[.:]"
    rb"|[a-z]+[-_](?:here|goes[-_]here)$|(?:test|super)?[-_]?(?:secret|password|token|api[-_]?key)s?$)",
    re.IGNORECASE,
)
_TELLS = re.compile(
    rb"(?:xxxx|\*\*\*|\.\.\.$|placeholder|your[-_]|[-_]here\b|change[-_]?me|<[a-z_ -]+>)", re.IGNORECASE
)
_PATH_OR_CODE = re.compile(
    rb"(?:[~.]{0,2}/|[A-Za-z]:\\|https?:|[A-Za-z_]\w*(?:(?:\??\.|::|->)[A-Za-z_]\w{0,40})+(?:[(\[{,;)]|$)|[A-Za-z_][\w.]*[(\[{])"
)
_WORDS = re.compile(rb"[A-Za-z]{1,20}(?:[-_. /:][A-Za-z]{1,14})*(?:[-_. ]?[0-9])?$")


def placeholder(value: bytes) -> bool:
    """Say whether a value only stands for a secret: ``<your-token>``, ``${VAR}``, ``changeme``, ``None``, ``xxxx``."""
    return _STANDS_FOR_ONE.match(value) is not None or _TELLS.search(value) is not None or len(set(value)) < 3


def entropy(value: bytes) -> float:
    """Return the Shannon entropy of some bytes in bits a byte; 0 for none."""
    size = len(value)
    return -sum(share * log2(share) for share in (value.count(byte) / size for byte in set(value)))


def code(value: bytes) -> bool:
    """Say whether a value reads as a path, a call, an index, or a dotted name."""
    return _PATH_OR_CODE.match(value) is not None and not generated(value)


def generated(value: bytes) -> bool:
    """Say whether a value is Base64 of random bytes, whose slashes make no path."""
    if _BASE64.match(value) is None:
        return False
    kinds = value.translate(_KINDS)
    return {0x30, 0x41, 0x61} <= set(kinds) and _changes(kinds) >= 0.4 * len(value)


def _changes(kinds: bytes) -> int:
    return sum(1 for left, right in pairwise(kinds) if left != right)


def words(value: bytes) -> bool:
    """Say whether a value is made of words alone, with a digit at its end at most."""
    return _WORDS.match(value) is not None


@lru_cache(maxsize=4096)
def random_looking(value: bytes) -> bool:
    """Say whether a value is as mixed as a generated one: letters and digits that change often."""
    if len(value) < 8 or words(value):
        return False
    kinds = bytes(value.translate(_KINDS))
    if b"0" not in kinds:
        return False
    # Sixteen digits have less to say than sixty-four letters.
    most = 3.1 if _HEXADECIMAL.match(value) else 3.5
    return _changes(kinds) >= max(3, len(value) // 6) and entropy(value) >= min(
        most, 0.72 * log2(len(value)) + 0.2
    )


_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}$")
_HEXADECIMAL = re.compile(rb"(?:[0-9a-f]+|[0-9A-F]+)$")
_KINDS = bytes(
    0x30 if 0x30 <= byte <= 0x39 else 0x41 if 65 <= byte <= 90 else 0x61 if 97 <= byte <= 122 else 0x2E
    for byte in range(256)
)
