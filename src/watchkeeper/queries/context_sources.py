"""What the lines of a transcript that are no events say about its context: tools offered, skills, memory, attachments.

Clients from 2.1.2xx on write the shape of their requests (``api-request-shape``: system prompt and tool definitions)
and what they attach (``attachment``). These lines are read from the archive when asked for; a session whose archive was
dropped, or of an older client, has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from watchkeeper.errors import FormatError, NotFoundError
from watchkeeper.queries.context_model import Item
from watchkeeper.queries.token_estimates import estimated_tokens, kind_of_path
from watchkeeper.sources.claude_code.lines import Skip, decode_objects, split_lines
from watchkeeper.sources.claude_code.transcript_view import known_time, time_of
from watchkeeper.store.payloads import Payloads
from watchkeeper.store.sqlite.reading import Reader

_MARKS = (b"api-request-shape", b'"attachment"')
_NOT_SENT = frozenset({"prompt_snapshot", "command_permissions", "hook_non_blocking_error", "hook_cancelled"})
"""Attachments that tell about the request but are no part of the conversation it sends."""


@dataclass(slots=True)
class Extras:
    """What a main transcript says about its context.

    Attributes:
        definitions: Items of the request's shape: system prompt and one per tool; of the richest shape.
        attached: Attachments with their times.
        skills: Names of the skills that were listed.
    """

    definitions: list[Item] = field(default_factory=list)
    attached: list[tuple[int | None, Item]] = field(default_factory=list)
    skills: list[str] = field(default_factory=list)


def extras_of(reader: Reader, session_id: str, model: str | None, agent_id: str | None = None) -> Extras:
    """Return what the file of a session, or of one of its subagents, says.

    It is empty where the file holds no such lines, or is not archived.
    """
    found = Extras()
    used = _used(reader, session_id, agent_id)
    for body in _lines(reader, f"{session_id}.jsonl" if agent_id is None else f"agent-{agent_id}.jsonl"):
        if body.get("type") == "api-request-shape":
            items = _shape_items(body.get("shape"), model, used)
            if len(items) > len(found.definitions):
                found.definitions = items
        elif isinstance(body.get("attachment"), dict):
            at = known_time(time_of(body.get("timestamp")))
            for item in _attachment_items(body["attachment"], model, used):
                found.attached.append((at, item))
                if item.kind == "skill listing":
                    found.skills.append(item.label)
    return found


def offered_at_start(reader: Reader, session_id: str, model: str | None) -> list[Item]:
    """Return the tool definitions and listed skills that the first lines of a session tell; empty where they do not."""
    used = _used(reader, session_id, None)
    tools: list[Item] = []
    skills: list[Item] = []
    for body in _lines(reader, f"{session_id}.jsonl", _FIRST_RANGES):
        if body.get("type") == "api-request-shape":
            tools = tools or _shape_items(body.get("shape"), model, used)
        elif isinstance(body.get("attachment"), dict) and body["attachment"].get("type") == "skill_listing":
            skills = skills or _skill_items(body["attachment"], model, used)
        if tools and skills:
            break
    return [item for item in tools if item.kind == "tool definition"] + skills


_FIRST_RANGES = 2
"""The client writes the shape of its requests with the first of them."""


def _used(reader: Reader, session_id: str, agent_id: str | None) -> set[str]:
    """Return the tools and, as ``skill:name``, the skills that an agent of the session used."""
    names = set()
    whose = (session_id, agent_id)
    for tool, subject in reader.connection.execute(
        "SELECT DISTINCT tool, CASE WHEN tool = 'Skill' THEN subject END FROM calls"
        " WHERE session_id = ? AND agent_id IS ?",
        whose,
    ):
        names.add(tool)
        if subject:
            names.add(f"skill:{subject}")
    for (skill,) in reader.connection.execute(
        "SELECT DISTINCT skill FROM requests WHERE session_id = ? AND agent_id IS ? AND skill IS NOT NULL",
        whose,
    ):
        names.add(f"skill:{skill}")
    if agent_id is None:
        for (command,) in reader.connection.execute(
            "SELECT DISTINCT slash_command FROM prompts WHERE session_id = ? AND slash_command IS NOT NULL",
            (session_id,),
        ):
            names.add(f"skill:{command.lstrip('/')}")
    return names


def _lines(reader: Reader, name: str, ranges: int = -1) -> Iterator[dict[str, Any]]:
    """Yield the objects that may matter of the transcripts of this file name, or of their first archived ranges."""
    payloads = Payloads(reader)
    for row in reader.rows(
        "SELECT r.pack, r.position, r.digest, r.first_line FROM files f JOIN ranges r"
        " ON r.file_key = f.file_key AND r.generation = f.generation WHERE f.path LIKE :name ESCAPE '!'"
        " ORDER BY f.path, r.first_line LIMIT :ranges",
        {"name": "%/" + name.replace("!", "!!").replace("%", "!%").replace("_", "!_"), "ranges": ranges},
    ):
        try:
            data = payloads.range_content(row)
        except (NotFoundError, FormatError):
            # A dropped or damaged frame costs what it held; the rest is still told.
            continue
        if not any(mark in data for mark in _MARKS):
            continue
        for _number, line in split_lines(data, row["first_line"]):
            if any(mark in line for mark in _MARKS):
                yield from (body for body in decode_objects(line) if not isinstance(body, Skip))


def _shape_items(shape: Any, model: str | None, used: set[str]) -> list[Item]:
    if not isinstance(shape, dict):
        return []
    items = []
    system = shape.get("system")
    size = _text_size(system)
    if size:
        items.append(Item("system prompt", "system prompt", estimated_tokens(size, "prose", model)))
    tools = shape.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        name = tool.get("name") if isinstance(tool, dict) else None
        if isinstance(name, str):
            size = len(json.dumps(tool, ensure_ascii=False, separators=(",", ":")))
            tokens = estimated_tokens(size, "code", model)
            items.append(Item("tool definition", name, tokens, tool=name, used=name in used))
    return items


def _attachment_items(attachment: dict[str, Any], model: str | None, used: set[str]) -> list[Item]:
    kind = attachment.get("type")
    if not isinstance(kind, str) or kind in _NOT_SENT:
        return []
    if kind == "skill_listing":
        return _skill_items(attachment, model, used)
    if kind == "instructions":
        files = attachment.get("files")
        return [
            Item(
                "memory",
                str(file.get("path")),
                estimated_tokens(_text_size(file.get("content")), "prose", model),
            )
            for file in (files if isinstance(files, list) else ())
            if isinstance(file, dict)
        ]
    if kind in {"file", "directory"}:
        name = str(attachment.get("filename") or attachment.get("path") or kind)
        size = _text_size(attachment.get("content"))
        return (
            [Item("attached file", name, estimated_tokens(size, kind_of_path(name), model))] if size else []
        )
    if kind.startswith("hook_"):
        size = _text_size(attachment.get("content"))
        label = f"hook {attachment.get('hookName') or kind}"
        return [Item("attachment", label, estimated_tokens(size, "prose", model))] if size else []
    size = _text_size({name: value for name, value in attachment.items() if name != "type"})
    return [Item("attachment", kind, estimated_tokens(size, "prose", model))] if size else []


def _skill_items(attachment: dict[str, Any], model: str | None, used: set[str]) -> list[Item]:
    """Return one item per listed skill, by its own lines of the listing; in equal parts where they cannot be told."""
    content, names = attachment.get("content"), attachment.get("names")
    if not isinstance(content, str) or not content:
        return []
    listed = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if not listed:
        return [Item("skill listing", "skills", estimated_tokens(len(content), "prose", model))]
    places = [content.find(f"- {name}:") for name in listed]
    if -1 in places or sorted(set(places)) != places:
        sizes = [len(content) // len(listed)] * len(listed)
    else:
        sizes = [end - begin for begin, end in zip(places, [*places[1:], len(content)], strict=True)]
    return [
        Item("skill listing", name, estimated_tokens(size, "prose", model), used=f"skill:{name}" in used)
        for name, size in zip(listed, sizes, strict=True)
    ]


def _text_size(value: Any) -> int:
    """Return the characters of all texts in a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_text_size(part) for part in value.values())
    return sum(_text_size(part) for part in value) if isinstance(value, list) else 0
