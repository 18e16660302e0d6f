"""Changes lines of transcripts where the agent needs it, byte by byte, so that the change can be undone to the byte.

A move touches the folder that a line was written in (``cwd``, ``relocatedCwd``; of the line itself, never of what it
quotes) and the places of spilled tool output, whose files move too. What was said and done stays as it was: the agent
tells the model itself that the folder is another one. A fork also gives the lines their new session, and says where
they come from (``forkedFrom``), as the agent's own fork does, so that nothing is counted twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from watchkeeper.sources.claude_code.lines import Skip, decode
from watchkeeper.sources.claude_code.migration.folders import FolderChange

_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_COLON = re.compile(rb'\s*:\s*("(?:[^"\\]++|\\.)*+")', re.DOTALL)
_FOLDER_KEYS = (b'"cwd"', b'"relocatedCwd"')
_CHAIN = frozenset({"user", "assistant", "system", "attachment", "progress"})
_OF_THE_ORIGINAL = frozenset({"cost-state"})
"""Lines that a fork does not take along: the client's running total belongs to the session that spent it."""


class Edit(NamedTuple):
    """One change: at this offset of the original, these bytes become those."""

    start: int
    old: bytes
    new: bytes


@dataclass(frozen=True, slots=True)
class LineRewriter:
    """What a move does to one line.

    Args:
        change: The folders.
        spill: Where the session's own files were and are: paths that end in a slash.
    """

    change: FolderChange
    spill: tuple[str, str] | None = None

    def edits(self, line: bytes) -> list[Edit]:
        """Return the changes of one line, in order; offsets count from its start."""
        found = []
        if any(key in line for key in _FOLDER_KEYS):
            for key, start, value in _top_level(line):
                if key in _FOLDER_KEYS:
                    moved = self._moved(value)
                    if moved is not None:
                        found.append(Edit(start, value, moved))
        if self.spill is not None:
            found.extend(_occurrences(line, *self.spill, taken=found))
        return sorted(found)

    def inverted(self) -> LineRewriter:
        """Return what undoes it, for lines that were written since."""
        return LineRewriter(self.change.inverted(), self.spill and (self.spill[1], self.spill[0]))

    def _moved(self, literal: bytes) -> bytes | None:
        try:
            path = json.loads(literal.decode())
        except ValueError:
            return None
        moved = self.change.moved(path)
        return None if moved is None else json.dumps(moved, ensure_ascii=False).encode()


def _occurrences(line: bytes, old: str, new: str, taken: list[Edit]) -> Iterator[Edit]:
    before, after = (json.dumps(path, ensure_ascii=False).encode()[1:-1] for path in (old, new))
    at = line.find(before)
    while at >= 0:
        if not any(edit.start < at + len(before) and at < edit.start + len(edit.old) for edit in taken):
            yield Edit(at, before, after)
        at = line.find(before, at + len(before))


def _top_level(line: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield (key, offset of the value, value) for each of the line's own fields that is a text."""
    depth = skip_to = 0
    for match in _STRUCTURE.finditer(line):
        mark = match.group()
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and match.start() >= skip_to:
            value = _COLON.match(line, match.end())
            if value is not None:
                skip_to = value.end()
                yield mark, value.start(1), value.group(1)


def apply(line: bytes, edits: Sequence[Edit]) -> bytes:
    """Return the changed bytes.

    Raises:
        ValueError: The bytes are not the ones that the edits were made for.
    """
    pieces, done = list[bytes](), 0
    for edit in edits:
        end = edit.start + len(edit.old)
        if edit.start < done or line[edit.start : end] != edit.old:
            raise ValueError(f"other bytes than expected at {edit.start}")
        pieces += (line[done : edit.start], edit.new)
        done = end
    pieces.append(line[done:])
    return b"".join(pieces)


def inverse(edits: Sequence[Edit]) -> list[Edit]:
    """Return the edits that undo these."""
    back, shift = [], 0
    for edit in edits:
        back.append(Edit(edit.start + shift, edit.new, edit.old))
        shift += len(edit.new) - len(edit.old)
    return back


def fork_line(line: bytes, old_id: str, new_id: str, rewriter: LineRewriter) -> bytes | None:
    """Return a line as a fork has it, without its line end; ``None`` for one that it does not take along."""
    body = decode(line)
    if isinstance(body, Skip):
        return line
    if body.get("type") in _OF_THE_ORIGINAL:
        return None
    edits = rewriter.edits(line)
    own = body.get("sessionId")
    for key, start, value in _top_level(line):
        if key == b'"sessionId"':
            edits.append(Edit(start, value, json.dumps(new_id).encode()))
    added: dict[str, object] = {}
    if body.get("type") in _CHAIN or isinstance(body.get("message"), dict):
        origin = own if isinstance(own, str) and own else old_id
        if not isinstance(body.get("forkedFrom"), dict):
            added["forkedFrom"] = {"sessionId": origin, "messageUuid": body.get("uuid")}
        if body.get("type") == "assistant" and "requestSessionId" not in body:
            added["requestSessionId"] = origin
        if own is None:
            added["sessionId"] = new_id
    end = line.rfind(b"}")
    if added and end > 0 and "forkedFrom" not in body:
        edits.append(Edit(end, b"", b"," + json.dumps(added, separators=(",", ":")).encode()[1:-1]))
    return apply(line, sorted(edits))


def plain_mode(line: bytes) -> bytes:
    """Return a line whose own permission mode is the agent's default: a checkpoint of somebody else grants nothing."""
    edits = [
        Edit(start, value, b'"default"')
        for key, start, value in _top_level(line)
        if key == b'"permissionMode"' and value != b'"default"'
    ]
    return apply(line, edits)
