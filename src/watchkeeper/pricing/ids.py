"""Ids of models as clients write them, brought to one form.

The same model is called ``claude-haiku-4-5-20251001`` by the first party, ``claude-haiku-4-5@20251001`` by Vertex,
``us.anthropic.claude-haiku-4-5-20251001-v1:0`` or an ARN by Bedrock, ``anthropic/claude-haiku-4.5`` by routers, with
``[1m]`` behind it where the client asked for the long context. Prices are looked up by ``claude-<name>-<version>``;
where the id says which cloud serves it and whether from one region, the price follows.
"""

from __future__ import annotations

from typing import NamedTuple

FIRST_PARTY, BEDROCK, VERTEX = "anthropic", "bedrock", "vertex"

_NAMES = frozenset({"opus", "sonnet", "haiku", "fable", "mythos", "instant"})
_CLOUDS = {
    "bedrock": BEDROCK,
    "converse": BEDROCK,
    "amazon-bedrock": BEDROCK,
    "aws": BEDROCK,
    "vertex": VERTEX,
    "vertex_ai": VERTEX,
    "vertex-ai": VERTEX,
    "google-vertex": VERTEX,
}


class Model(NamedTuple):
    """What an id says.

    Attributes:
        name: ``claude-<name>-<version>``, as ``claude-opus-4-6`` or ``claude-haiku-3-5``.
        version: Major and minor version.
        provider: ``anthropic``, ``bedrock`` or ``vertex``.
        regional: Whether the id pins the request to a region; None where the id does not say.
        fast: The id itself asks for fast mode, as routers spell it.
        batch: The id itself asks for batch processing.
    """

    name: str
    version: tuple[int, int]
    provider: str
    regional: bool | None
    fast: bool
    batch: bool


def parse_model(text: str) -> Model | None:
    """Return what a model id says, or None where it is no versioned Claude id (an alias, another maker's model)."""
    if not text.isascii():
        return None
    provider, regional, name = _split_provider(text.strip().lower())
    fast = batch = False
    if name.endswith("[1m]"):
        name = name[:-4]
    name, at, version_tag = name.partition("@")
    if at:
        provider = VERTEX
        if not (version_tag in ("default", "latest") or _is_date(version_tag)):
            return None
    name, colon, tail = name.partition(":")
    if colon:
        fast, batch = tail == "fast", tail == "batch"
    parts = name.replace(".", "-").split("-")
    if parts[0] != "claude":
        return None
    family = ""
    numbers: list[int] = []
    for position, part in enumerate(parts[1:], 1):
        if part in _NAMES and not family:
            family = part
        elif part.isdecimal() and len(part) <= 2 and len(numbers) < 2:
            numbers.append(int(part))
        elif part == "fast":
            fast = True
        elif part in ("v1", "v2") and not numbers and not family:
            numbers.append(int(part[1:]))
        elif not (position > 1 and _is_suffix(part)):
            return _iso_dated(parts, position, family, numbers, provider, regional)
    return _model(family, numbers, provider, regional, fast=fast, batch=batch)


def _model(
    family: str,
    numbers: list[int],
    provider: str,
    regional: bool | None,
    *,
    fast: bool = False,
    batch: bool = False,
) -> Model | None:
    if not numbers:
        return None
    # The first models cost the same in all their minor versions.
    major, minor = numbers[0], numbers[1] if len(numbers) > 1 and family else 0
    name = "-".join(["claude", *([family] if family else []), str(major), *([str(minor)] if minor else [])])
    return Model(name, (major, minor), provider, regional, fast, batch)


def _iso_dated(
    parts: list[str], position: int, family: str, numbers: list[int], provider: str, regional: bool | None
) -> Model | None:
    """Return the model of an id that ends in ``-2026-07-24``; None for any other unknown part."""
    rest = parts[position:]
    if len(rest) == 3 and len(rest[0]) == 4 and _is_date("".join(rest)):
        return _model(family, numbers, provider, regional)
    return None


def _split_provider(text: str) -> tuple[str, bool | None, str]:
    provider, regional = FIRST_PARTY, None
    if text.startswith("arn:"):
        provider, regional = BEDROCK, True
        text = text.partition("/")[2]
    head, slash, name = text.rpartition("/")
    if slash:
        words = head.lstrip("~").split("/")
        provider = next((_CLOUDS[word] for word in words if word in _CLOUDS), provider)
        if "publishers" in words:
            provider = VERTEX
        if "locations" in words[:-1]:
            regional = words[words.index("locations") + 1] != "global"
        text = name
    scope, dot, name = text.rpartition("anthropic.")
    if dot and (not scope or scope.endswith(".")):
        # An id without a profile in front runs in the region that was called.
        return BEDROCK, scope != "global.", name
    return provider, regional, text


def _is_date(text: str) -> bool:
    return len(text) == 8 and text.isdecimal() and text.startswith("20")


def _is_suffix(part: str) -> bool:
    return part in ("latest", "v1", "v2", "beta") or _is_date(part)
