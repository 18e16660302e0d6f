"""Rules and exceptions of the user's own, from a TOML file in the home.

[[rule]]
name = "acme-token"            # lower case with hyphens
prefix = ["acme_"]             # with body: what follows the prefix; the whole goes
body = "[A-Za-z0-9]{32}"

[[rule]]
name = "badge"
keyword = "badge no "          # with pattern: what follows the keyword; its only group goes
pattern = "([0-9]{8})"

[allow]
patterns = ["^AKIAIOSFODNN7EXAMPLE$"]   # what matches one of these is never redacted
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from watchkeeper.errors import ConfigError
from watchkeeper.redaction.rule import Rule

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_FIELDS = frozenset({"name", "prefix", "body", "keyword", "pattern"})


class UserRules:
    """What a file of the user's says.

    Attributes:
        rules: Additional rules, of a higher priority than ours.
        allow: Patterns; a find that one of them matches stays.
    """

    def __init__(self, rules: tuple[Rule, ...] = (), allow: tuple[str, ...] = ()) -> None:
        self.rules = rules
        self.allow = allow


def read_user_rules(path: Path, taken: frozenset[str] = frozenset()) -> UserRules:
    """Read a file of rules.

    Args:
        path: The file; when there is none, there are no rules.
        taken: Names that are not free.

    Raises:
        ConfigError: The file is no TOML, or a rule cannot be used; file, line and field are named.
    """
    if not path.exists():
        return UserRules()
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("the redaction rules cannot be read", why=str(error), place=str(path)) from error
    for name in document:
        if name not in {"rule", "allow"}:
            raise ConfigError(
                f"unknown table {name}", hint="There are [[rule]] and [allow].", place=str(path)
            )
    rules: list[Rule] = []
    names = set(taken)
    tables = document.get("rule", [])
    lines = [
        number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith("[[rule]]")
    ]
    for index, table in enumerate(tables if isinstance(tables, list) else [tables]):
        place = f"{path}:{lines[index] if index < len(lines) else 1}"
        rule = _rule(table, place)
        if rule.name in names:
            raise ConfigError(f"name: {rule.name} is taken", place=place)
        names.add(rule.name)
        rules.append(rule)
    return UserRules(tuple(rules), _allowed(document.get("allow", {}), text, path))


def _allowed(table: Any, text: str, path: Path) -> tuple[str, ...]:
    line = next((n for n, row in enumerate(text.splitlines(), 1) if row.strip().startswith("[allow]")), 1)
    place = f"{path}:{line}"
    patterns = table.get("patterns", []) if isinstance(table, dict) else None
    if not isinstance(patterns, list) or not all(isinstance(item, str) for item in patterns):
        raise ConfigError("allow.patterns: expected a list of regular expressions", place=place)
    for pattern in patterns:
        _checked(pattern, "allow.patterns", place)
    return tuple(patterns)


def _rule(table: Any, place: str) -> Rule:
    if not isinstance(table, dict):
        raise ConfigError("rule: expected a table", place=place)
    for field in table:
        if field not in _FIELDS:
            raise ConfigError(
                f"{field}: unknown field", hint=f"Known: {', '.join(sorted(_FIELDS))}.", place=place
            )
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError("name: expected small letters and digits with hyphens", place=place)
    if "prefix" in table:
        prefixes = table["prefix"]
        if not isinstance(prefixes, list) or not prefixes or not all(_literal(item, 3) for item in prefixes):
            raise ConfigError(
                "prefix: expected a list of texts of three characters or more, without quotes", place=place
            )
        body = _checked(table.get("body"), "body", place)
        if re.compile(body).groups:
            raise ConfigError("body: no groups, please", hint="Use (?:...).", place=place)
        return _made(name, anchors=tuple(item.encode() for item in prefixes), body=body)
    if not _literal(table.get("keyword"), 3):
        raise ConfigError("keyword: expected a text of three characters or more, or a prefix", place=place)
    pattern = _checked(table.get("pattern"), "pattern", place)
    if re.compile(pattern).groups != 1:
        raise ConfigError("pattern: expected exactly one group, which is what goes", place=place)
    return _made(name, scans=((table["keyword"].encode(), pattern),))


def _made(name: str, **fields: Any) -> Rule:
    return Rule(name=name, positive=b"", secret=b"", negative=b"", least=0, weigh=_inside_a_string, **fields)


def _inside_a_string(value: bytes) -> bool:
    """Refuse what would reach beyond the JSON string that it began in."""
    return bool(value) and not any(byte in b'"\\' or byte < 0x20 for byte in value)


def _literal(value: Any, least: int) -> bool:
    return (
        isinstance(value, str) and len(value) >= least and value.isprintable() and not set(value) & set('"\\')
    )


def _checked(pattern: Any, field: str, place: str) -> bytes:
    if not isinstance(pattern, str) or not pattern:
        raise ConfigError(f"{field}: expected a regular expression", place=place)
    try:
        parsed = re._parser.parse(pattern.encode())  # type: ignore[attr-defined]
        re.compile(pattern.encode())
    except (re.error, OverflowError) as error:
        raise ConfigError(f"{field}: not a regular expression", why=str(error), place=place) from error
    if _explodes(parsed, inside=False):
        raise ConfigError(
            f"{field}: a repetition without an end inside another",
            why="such a pattern can take for ever on a long text",
            hint="Give one of them an upper bound, as in {1,64}.",
            place=place,
        )
    return pattern.encode()


def _explodes(parsed: Any, *, inside: bool) -> bool:
    for operation, argument in parsed:
        name = str(operation)
        parts: list[Any] = []
        open_ended = inside
        if name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            endless = argument[1] > 256
            if endless and inside:
                return True
            open_ended = inside or (argument[1] > 1 and endless)
            parts = [argument[2]]
        elif name == "BRANCH":
            parts = list(argument[1])
        elif name in {"SUBPATTERN", "ASSERT", "ASSERT_NOT", "ATOMIC_GROUP"}:
            parts = [argument if name == "ATOMIC_GROUP" else argument[-1]]
        if any(_explodes(part, inside=open_ended) for part in parts):
            return True
    return False
