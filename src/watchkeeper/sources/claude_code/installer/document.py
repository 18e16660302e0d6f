"""JSON that is edited in place: every byte that is not ours stays as its author wrote it.

A settings file is parsed into spans of its own text. Additions and removals are edits of that text, in the
style (indentation, newlines, spacing) around them, so key order, number spelling, escapes and layout survive.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from watchkeeper.errors import ConfigError

Kind = Literal["object", "array", "string", "number", "boolean", "null"]

BOM = b"\xef\xbb\xbf"
MAX_DEPTH = 100

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS: dict[str, tuple[Kind, Any]] = {
    "true": ("boolean", True),
    "false": ("boolean", False),
    "null": ("null", None),
}


@dataclass
class Child:
    """A member of an object or an item of an array, with the span of its text."""

    name: str | None
    start: int
    node: Node

    @property
    def end(self) -> int:
        """Where the child's value ends."""
        return self.node.end


@dataclass
class Node:
    """A JSON value with the span of its text.

    Attributes:
        value: The decoded scalar; None for containers.
        children: Members or items, in the order of the text.
    """

    kind: Kind
    start: int
    end: int
    value: Any = None
    children: list[Child] = field(default_factory=list)

    def get(self, name: str) -> Node | None:
        """Return a member's value (the last of that name, as JSON readers take it), or None."""
        return next((child.node for child in reversed(self.children) if child.name == name), None)

    def plain(self) -> Any:
        """Return the value as Python data."""
        if self.kind == "object":
            return {child.name: child.node.plain() for child in self.children}
        if self.kind == "array":
            return [child.node.plain() for child in self.children]
        return self.value


@dataclass(frozen=True)
class Edit:
    """Replace ``text[start:end]``; edits of one pass never overlap."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Duplicate:
    """A name that appears twice in one object."""

    field: str
    position: int


@dataclass
class Document:
    """A parsed settings file.

    Attributes:
        path: The file, for messages.
        bom: The file starts with a UTF-8 byte order mark.
        text: All text behind the mark, newlines untouched.
        duplicates: Names that appear twice; readers take the last, so editing around them is refused.
    """

    path: Path
    bom: bool
    text: str
    root: Node
    duplicates: list[Duplicate]

    def place(self, position: int) -> str:
        """Return ``file:line:column`` (from 1; columns count characters)."""
        return _place(self.path, self.text, position)

    def edited(self, edits: Iterable[Edit]) -> Document:
        """Return the document after the edits."""
        text = self.text
        for edit in sorted(edits, key=lambda edit: (edit.start, edit.end), reverse=True):
            text = text[: edit.start] + edit.text + text[edit.end :]
        return parse_text(text, self.path, bom=self.bom)

    def encode(self) -> bytes:
        """Return the file's bytes."""
        return (BOM if self.bom else b"") + self.text.encode()

    def append(self, container: Node, additions: Sequence[tuple[str | None, Any]]) -> Edit:
        """Return the edit that adds members or items at the end of a container, in the style around it."""
        style = _style(self)
        if container.children:
            first, last = container.children[0], container.children[-1]
            own_line = _own_line_indent(self.text, first.start)
            if own_line is None:
                flat = (style.comma + style.flat(*each) for each in additions)
                return Edit(last.end, last.end, "".join(flat))
            parts = (f",{style.newline}{own_line}{style.deep(*each, own_line)}" for each in additions)
            return Edit(last.end, last.end, "".join(parts))
        inside = (container.start + 1, container.end - 1)
        if style.unit is None:
            return Edit(*inside, style.comma.join(style.flat(*each) for each in additions))
        outer = _line_indent(self.text, container.start)
        inner = outer + style.unit
        lines = f",{style.newline}{inner}".join(style.deep(*each, inner) for each in additions)
        return Edit(*inside, f"{style.newline}{inner}{lines}{style.newline}{outer}")

    def remove(self, container: Node, doomed: Sequence[int]) -> list[Edit]:
        """Return the edits that take children (by index) out of a container, with their commas."""
        children, kept_before, edits = container.children, False, []
        if len(doomed) == len(children):
            return [Edit(container.start + 1, container.end - 1, "")]
        for index, child in enumerate(children):
            if index not in doomed:
                kept_before = True
            elif kept_before:
                edits.append(Edit(children[index - 1].end, child.end, ""))
            else:
                edits.append(Edit(child.start, children[index + 1].start, ""))
        return edits


@dataclass(frozen=True)
class _Style:
    newline: str
    unit: str | None
    comma: str
    colon: str

    def flat(self, name: str | None, value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False, separators=(self.comma, self.colon))
        return text if name is None else json.dumps(name, ensure_ascii=False) + self.colon + text

    def deep(self, name: str | None, value: Any, indent: str) -> str:
        unit = "  " if self.unit is None else self.unit
        text = json.dumps(value, ensure_ascii=False, indent=unit).replace("\n", self.newline + indent)
        return text if name is None else f"{json.dumps(name, ensure_ascii=False)}: {text}"


def _style(document: Document) -> _Style:
    text, children = document.text, document.root.children
    first_newline = text.find("\n")
    newline = "\r\n" if first_newline > 0 and text[first_newline - 1] == "\r" else "\n"
    if not children:
        return _Style(newline, "  ", ", ", ": ")
    unit = _own_line_indent(text, children[0].start)
    compact = re.search(r":\s", text[children[0].start : children[0].node.start]) is None
    return _Style(newline, unit, "," if compact else ", ", ":" if compact else ": ")


def _own_line_indent(text: str, position: int) -> str | None:
    """Return the indentation before a child that starts its own line, else None."""
    line = text.rfind("\n", 0, position) + 1
    before = text[line:position]
    return before if line > 0 and not before.strip(" \t") else None


def _line_indent(text: str, position: int) -> str:
    line = text[text.rfind("\n", 0, position) + 1 : position]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _place(path: Path, text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f"{path}:{line}:{column}"


def parse_bytes(data: bytes, path: Path) -> Document:
    """Parse a settings file.

    Raises:
        ConfigError: The bytes are not UTF-8 or not JSON; the place says file, line and column.
    """
    bom = data.startswith(BOM)
    body = data[len(BOM) :] if bom else data
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        before = body[: error.start].decode()
        raise _refusal(path, before, len(before), "these bytes are not UTF-8") from error
    if not text.strip(" \t\r\n"):
        text = "{}\n"
    return parse_text(text, path, bom=bom)


def parse_text(text: str, path: Path, *, bom: bool = False) -> Document:
    """Parse a settings file's text; see `parse_bytes`."""
    parser = _Parser(text, path)
    root, end = parser.value(_skip(text, 0), 0, "")
    end = _skip(text, end)
    if end != len(text):
        raise parser.refusal(end, "text follows the end of the document")
    return Document(path, bom, text, root, parser.duplicates)


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _refusal(path: Path, text: str, position: int, why: str) -> ConfigError:
    if text.startswith(("//", "/*"), position):
        why = "comments are not JSON"
    return ConfigError(
        "the settings file is not valid JSON",
        why=why,
        hint="Correct it and run the command again; nothing was changed.",
        place=_place(path, text, position),
    )


@dataclass
class _Parser:
    text: str
    path: Path
    duplicates: list[Duplicate] = field(default_factory=list)

    def refusal(self, position: int, why: str) -> ConfigError:
        return _refusal(self.path, self.text, position, why)

    def value(self, start: int, depth: int, field_path: str) -> tuple[Node, int]:
        if depth > MAX_DEPTH:
            raise self.refusal(start, f"it nests deeper than {MAX_DEPTH} levels")
        opening = self.text[start : start + 1]
        if opening == "{":
            return self.container("object", "}", start, depth, field_path)
        if opening == "[":
            return self.container("array", "]", start, depth, field_path)
        if opening == '"':
            value, end = self.string(start)
            return Node("string", start, end, value), end
        return self.scalar(start)

    def scalar(self, start: int) -> tuple[Node, int]:
        for word, (kind, value) in _WORDS.items():
            if self.text.startswith(word, start):
                return Node(kind, start, start + len(word), value), start + len(word)
        match = _NUMBER.match(self.text, start)
        if match is None:
            raise self.refusal(start, "a value is expected here")
        whole = len(match[0]) <= 20 and not re.search("[.eE]", match[0])
        number = int(match[0]) if whole else float(match[0])
        return Node("number", start, match.end(), number), match.end()

    def string(self, start: int) -> tuple[str, int]:
        match = _STRING.match(self.text, start)
        if match is None:
            raise self.refusal(start, "a string is not closed, or holds a character that must be escaped")
        return json.loads(match[0]), match.end()

    def container(
        self, kind: Literal["object", "array"], closing: str, start: int, depth: int, field_path: str
    ) -> tuple[Node, int]:
        node = Node(kind, start, start)
        names: set[str] = set()
        position = _skip(self.text, start + 1)
        if self.text.startswith(closing, position):
            node.end = position + 1
            return node, node.end
        while True:
            child = self.child(kind, position, depth, field_path, len(node.children), names)
            node.children.append(child)
            position = _skip(self.text, child.end)
            if self.text.startswith(closing, position):
                node.end = position + 1
                return node, node.end
            if not self.text.startswith(",", position):
                raise self.refusal(position, f"`,` or `{closing}` is expected here")
            position = _skip(self.text, position + 1)

    def child(self, kind: str, start: int, depth: int, field_path: str, index: int, names: set[str]) -> Child:
        if kind == "array":
            node, _ = self.value(start, depth + 1, f"{field_path}[{index}]")
            return Child(None, start, node)
        if not self.text.startswith('"', start):
            raise self.refusal(start, "a name in double quotes is expected here")
        name, end = self.string(start)
        where = f"{field_path}.{name}" if field_path else name
        if name in names:
            self.duplicates.append(Duplicate(where, start))
        names.add(name)
        colon = _skip(self.text, end)
        if not self.text.startswith(":", colon):
            raise self.refusal(colon, "`:` is expected here")
        node, _ = self.value(_skip(self.text, colon + 1), depth + 1, where)
        return Child(name, start, node)
