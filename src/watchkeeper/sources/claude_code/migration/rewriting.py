"""Changes transcripts where the agent needs it, byte by byte, so that the change can be undone to the byte.

A move leaves every line as it was written, down to the folder that it was written in (``cwd``): it is history, and what
is counted by it must not change. It ends the transcript with the line that the agent's own ``/cd`` writes
(``relocated``), by which the agent and this program know where the session is now; and it changes the places of spilled
tool output, whose files move too. A fork also gives the lines their new session, and says where they come from
(``forkedFrom``), as the agent's own fork does, so that nothing is counted twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from watchkeeper.sources.claude_code.lines import Skip, decode

_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_COLON = re.compile(rb'\s*:\s*("(?:[^"\\]++|\\.)*+")', re.DOTALL)
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
    """What a move does to one line: the places of the session's own files follow them.

    Args:
        old: Where these files were: a path that ends in a slash.
        new: Where they are.
    """

    old: str = ""
    new: str = ""

    def edits(self, line: bytes) -> list[Edit]:
        """Return the changes of one line, in order; offsets count from its start."""
        if self.old == self.new:
            return []
        before, after = (json.dumps(path, ensure_ascii=False).encode()[1:-1] for path in (self.old, self.new))
        found, at = list[Edit](), line.find(before)
        while at >= 0:
            found.append(Edit(at, before, after))
            at = line.find(before, at + len(before))
        return found

    def inverted(self) -> LineRewriter:
        """Return what undoes it, for lines that were written since."""
        return LineRewriter(self.new, self.old)


def stamp(session_id: str, folder: str) -> bytes:
    """Return the line by which a session says where it is now, with its line end."""
    body = {"type": "relocated", "sessionId": session_id, "relocatedCwd": folder}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


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
