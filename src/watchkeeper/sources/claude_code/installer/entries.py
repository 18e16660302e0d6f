"""Our entries in a settings file: how they look, how they are recognised, added and removed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchkeeper.errors import ConfigError
from watchkeeper.settings import Places
from watchkeeper.sources.claude_code.hook_events import HookEvent
from watchkeeper.sources.claude_code.installer.document import Document, Edit, Kind, Node

HOOK_NAME = "watchkeeper-hook"


@dataclass(frozen=True)
class Entry:
    """One hook handler that a settings file registers.

    Attributes:
        matcher: The matcher of its group, or None where the group has none.
        handler: The handler as Python data.
        position: Where it stands in the file's text.
    """

    event: str
    matcher: str | None
    handler: dict[str, Any]
    position: int

    @property
    def command(self) -> Path | None:
        """The program of ours that it runs, or None when it is somebody else's."""
        words = _words(self.handler)
        if not words or not words[0].endswith(f"/bin/{HOOK_NAME}") or "--home" not in words[1:]:
            return None
        return Path(words[0])

    @property
    def home(self) -> Path | None:
        """The Watchkeeper home that our entry names, or None when it is somebody else's."""
        words = _words(self.handler)
        if self.command is None or words.index("--home") + 1 >= len(words):
            return None
        return Path(words[words.index("--home") + 1])

    @property
    def group(self) -> dict[str, Any]:
        """The matcher group that holds this handler alone."""
        head = {} if self.matcher is None else {"matcher": self.matcher}
        return {**head, "hooks": [self.handler]}


def _words(handler: dict[str, Any]) -> list[str]:
    command, arguments = handler.get("command"), handler.get("args")
    if handler.get("type") != "command" or not isinstance(command, str):
        return []
    if isinstance(arguments, list):
        return [command, *(word for word in arguments if isinstance(word, str))]
    try:
        return shlex.split(command)
    except ValueError:
        return []


def wanted_entry(event: HookEvent, home: Path) -> Entry:
    """Return the entry that an install registers for an event: exec form, absolute paths, no shell."""
    arguments = ["--home", str(home), *(["--decide"] if event.asks_decider else [])]
    handler = {
        "type": "command",
        "command": str(Places(home).hook),
        "args": arguments,
        "timeout": event.timeout_seconds,
    }
    return Entry(event.name, event.matcher, handler, -1)


def check(document: Document) -> None:
    """Refuse a document whose registration cannot be edited safely.

    Raises:
        ConfigError: A name appears twice, or a value on the way to the handlers has the wrong type; the field
            and its place are named.
    """
    for duplicate in document.duplicates:
        raise _refusal(document, duplicate.position, f"{duplicate.field} appears twice")
    _expect(document, document.root, "the document", "object")
    hooks = document.root.get("hooks")
    if hooks is None:
        return
    _expect(document, hooks, "hooks", "object")
    for event in hooks.children:
        _expect(document, event.node, f"hooks.{event.name}", "array")
        for index, group in enumerate(event.node.children):
            where = f"hooks.{event.name}[{index}]"
            _expect(document, group.node, where, "object")
            handlers = group.node.get("hooks")
            if handlers is None:
                raise _refusal(document, group.start, f"{where}.hooks is missing")
            _expect(document, handlers, f"{where}.hooks", "array")
            for number, handler in enumerate(handlers.children):
                _expect(document, handler.node, f"{where}.hooks[{number}]", "object")


def _expect(document: Document, node: Node, name: str, kind: Kind) -> None:
    if node.kind != kind:
        article = "an" if kind in {"object", "array"} else "a"
        raise _refusal(document, node.start, f"{name} must be {article} {kind}, found {node.kind}")


def _refusal(document: Document, position: int, what: str) -> ConfigError:
    return ConfigError(
        what,
        hint="Correct the settings file and run the command again; nothing was changed.",
        place=document.place(position),
    )


def entries(document: Document) -> list[Entry]:
    """Return every handler that the document registers; what has a wrong type is passed over."""
    return [
        entry
        for event, array in _members(document.root.get("hooks"), "array")
        for group in array.children
        for entry in _group_entries(event, group.node)
    ]


def _members(node: Node | None, kind: Kind) -> Iterator[tuple[str, Node]]:
    if node is not None and node.kind == "object":
        yield from ((str(child.name), child.node) for child in node.children if child.node.kind == kind)


def _group_entries(event: str, group: Node) -> Iterator[Entry]:
    handlers, matcher = group.get("hooks"), group.get("matcher")
    text = matcher.value if matcher is not None and matcher.kind == "string" else None
    if handlers is not None and handlers.kind == "array":
        for child in handlers.children:
            if child.node.kind == "object":
                yield Entry(event, text, child.node.plain(), child.start)


def remove_entries(
    document: Document, doomed: Callable[[Entry], bool], created: frozenset[str] | None
) -> list[Edit]:
    """Return the edits that take entries out, and the containers that become empty by it.

    Args:
        document: What to edit.
        doomed: Says which entries go.
        created: Containers (``hooks``, ``hooks.Stop``) that an install made; others stay, empty. None:
            unknown, all that become empty go.
    """
    hooks = document.root.get("hooks")
    if hooks is None:
        return []
    edits: list[Edit] = []
    empty_events: list[int] = []
    for index, event in enumerate(hooks.children):
        if event.node.kind == "array":
            name = str(event.name)
            groups = _empty_groups(document, name, event.node, doomed, edits)
            all_gone = bool(groups) and len(groups) == len(event.node.children)
            if all_gone and (created is None or f"hooks.{name}" in created):
                empty_events.append(index)
            elif groups:
                edits.extend(document.remove(event.node, groups))
    if not empty_events:
        return edits
    if len(empty_events) == len(hooks.children) and (created is None or "hooks" in created):
        place = next(i for i, child in enumerate(document.root.children) if child.node is hooks)
        return document.remove(document.root, [place])
    return edits + document.remove(hooks, empty_events)


def _empty_groups(
    document: Document, event: str, array: Node, doomed: Callable[[Entry], bool], edits: list[Edit]
) -> list[int]:
    """Return which groups lose all handlers; edits for those that lose some are added."""
    groups: list[int] = []
    for index, group in enumerate(array.children):
        handlers = group.node.get("hooks") if group.node.kind == "object" else None
        if handlers is None or handlers.kind != "array":
            continue
        marked = {entry.position for entry in _group_entries(event, group.node) if doomed(entry)}
        gone = [number for number, child in enumerate(handlers.children) if child.start in marked]
        if gone and len(gone) == len(handlers.children):
            groups.append(index)
        elif gone:
            edits.extend(document.remove(handlers, gone))
    return groups


def add_entries(
    document: Document, additions: Sequence[Entry]
) -> tuple[list[Edit], list[tuple[str | None, Any]], list[str]]:
    """Return how entries are added: edits, members to append to the document's root, and containers made."""
    hooks = document.root.get("hooks")
    if not additions:
        return [], [], []
    if hooks is None:
        made = ["hooks", *(f"hooks.{entry.event}" for entry in additions)]
        return [], [("hooks", {entry.event: [entry.group] for entry in additions})], made
    edits: list[Edit] = []
    new: list[tuple[str | None, Any]] = []
    for entry in additions:
        array = hooks.get(entry.event)
        if array is None:
            new.append((entry.event, [entry.group]))
        else:
            edits.append(document.append(array, [(None, entry.group)]))
    if new:
        edits.append(document.append(hooks, new))
    return edits, [], [f"hooks.{name}" for name, _ in new]
