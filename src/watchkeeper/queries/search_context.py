"""The context of a search hit: the lines in the archive, or the hook event in the ledger, where the words stand.

Only as much is unpacked as one page of an answer shows. Lines are decoded by the standard library; the tolerant
decoder is asked only for what that refuses.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from watchkeeper.errors import FormatError, NotFoundError
from watchkeeper.queries.forms import rfc3339
from watchkeeper.queries.search_words import Span, Word, Words
from watchkeeper.store.search_text import Piece, agent_of, pieces
from watchkeeper.store.sqlite.reading import Reader

if TYPE_CHECKING:
    from watchkeeper.archive.store import ArchiveReader

HITS = 3
"""Hits that are shown of one session at most, unless more words need one each."""
_BEFORE, _AFTER = 60, 100
"""Characters of context on either side of a match."""
_MARKS = 8
"""Matches of one word that are looked at in one text."""

_MORE_DOCUMENTS = 3
"""How many documents beyond one for each word are unpacked, where a context is not found at once."""


class Place(NamedTuple):
    """Where a document of the index comes from."""

    place: str
    generation: int
    first_line: int
    agent_id: str
    by_hook: int
    last_at: int | None


class Mark(NamedTuple):
    """Where a word stands in a text, and which."""

    start: int
    end: int
    number: int


class Window(NamedTuple):
    """A stretch of a text and the matches in it."""

    low: int
    high: int
    marks: list[Mark]


class Contexts:
    """Finds the contexts of hits for one answer; unpacked slices are kept while it lives.

    Args:
        reader: The index.
        words: What is searched for.
    """

    def __init__(self, reader: Reader, words: Words) -> None:
        self._reader = reader
        self._words = words
        self._archive: ArchiveReader | None = None
        self.lost = 0
        """Documents whose text the record no longer holds."""

    def hits(self, session_id: str, documents: Sequence[tuple[Place, set[int]]]) -> list[dict[str, Any]]:
        """Return the hits of one session, at least one for each word that its texts hold.

        Args:
            session_id: The session.
            documents: Its documents in order of preference, each with the numbers of the words it holds.
        """
        found: list[dict[str, Any]] = []
        covered: set[int] = set()
        left = len(self._words.all) + _MORE_DOCUMENTS
        for document, numbers in documents:
            if not left or (found and numbers <= covered):
                continue
            left -= 1
            try:
                covered |= self._of_document(session_id, document, numbers, covered, found)
            except (NotFoundError, FormatError):
                self.lost += 1
        return found

    def _of_document(
        self,
        session_id: str,
        document: Place,
        numbers: set[int],
        covered: set[int],
        found: list[dict[str, Any]],
    ) -> set[int]:
        """Add the hits of one document to `found`; return the words that they show."""
        shown: set[int] = set()
        wanted = [(number, self._words.all[number]) for number in sorted(numbers)]
        for body in self._bodies(session_id, document, [word for _, word in wanted]):
            if body is None:
                if numbers <= covered | shown:
                    return shown
                continue
            for piece in pieces(body):
                missing = numbers - covered - shown
                if not missing and len(found) >= HITS:
                    return shown
                marks = [
                    Mark(*span, number)
                    for number, word in wanted
                    for span in islice(self._words.spans(piece.text, word), _MARKS)
                ]
                present = {mark.number for mark in marks}
                if present and (missing & present or len(found) < HITS):
                    found.extend(_excerpts(body, document, piece, marks, found))
                    shown |= present
        return shown

    def _bodies(self, session_id: str, document: Place, words: list[Word]) -> Iterator[dict[str, Any] | None]:
        """Yield bodies that may hold one of the words; after a ``None`` all others."""
        if not document.by_hook:
            yield from _newest_first(self._data(document), words, session_id)
            return
        from watchkeeper.store.payloads import Payloads

        body = Payloads(self._reader).resolve([document.place, [], 0])
        if isinstance(body, dict):
            yield body

    def _data(self, document: Place) -> bytes:
        row = self._reader.row(
            "SELECT pack, position, digest FROM ranges WHERE file_key = ? AND generation = ? AND first_line = ?",
            document[:3],
        )
        if row is None:
            raise NotFoundError("the range is not on record", place=":".join(map(str, document[:3])))
        if self._archive is None:
            from watchkeeper.archive.store import ArchiveReader

            self._archive = ArchiveReader(self._reader.places.archive)
        return self._archive.get(row["pack"], row["position"], row["digest"])


def excerpt_of(text: str, low: int, high: int, spans: Sequence[Span]) -> tuple[str, list[list[int]]]:
    """Return a part of a text on one line, and where the matches stand in it.

    Args:
        text: The text.
        low: Where the part begins.
        high: Where it ends.
        spans: Matches within it, in order and apart from each other.
    """
    parts = ["…" if low > 0 else ""]
    length, matches, place = len(parts[0]), list[list[int]](), low
    for start, end in [*spans, (high, high)]:
        between = re.sub(r"\s+", " ", text[place:start])
        inside = re.sub(r"\s+", " ", text[start:end])
        parts += (between, inside)
        length += len(between)
        if end > start:
            matches.append([length, length + len(inside)])
        length, place = length + len(inside), end
    parts.append("…" if high < len(text) else "")
    # Half a character, which an escape can leave, is nothing that an answer may hold.
    return "".join(parts).encode("utf-8", "replace").decode(), matches


def _excerpts(
    body: Mapping[str, Any],
    document: Place,
    piece: Piece,
    marks: list[Mark],
    known: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return a piece's hits: the first, and others only where they show another word."""
    excerpts = {hit["excerpt"] for hit in known}
    shown: set[int] = set()
    found = []
    for window in _windows(piece.text, marks):
        numbers = {mark.number for mark in window.marks}
        if numbers <= shown:
            continue
        shown |= numbers
        spans = [(mark.start, mark.end) for mark in window.marks]
        excerpt, matches = excerpt_of(piece.text, window.low, window.high, spans)
        if excerpt in excerpts:
            continue
        hit = {
            "at": rfc3339(document.last_at) if document.by_hook else _time(body.get("timestamp")),
            "kind": piece.kind,
            "agent_id": agent_of(body) or document.agent_id or None,
            "excerpt": excerpt,
            "matches": matches,
        }
        found.append(hit | ({"tool_use_id": piece.tool_use_id} if piece.tool_use_id else {}))
    return found


def _windows(text: str, marks: list[Mark]) -> list[Window]:
    """Return the stretches of text around the matches; matches near each other share one."""
    windows: list[Window] = []
    for mark in _apart(marks):
        if windows and mark.end <= windows[-1].high:
            windows[-1].marks.append(mark)
        else:
            windows.append(Window(*_stretch(text, mark.start, mark.end), [mark]))
    return windows


def _apart(marks: list[Mark]) -> Iterator[Mark]:
    done = -1
    for mark in sorted(marks, key=lambda mark: (mark.start, -mark.end)):
        if mark.start >= done:
            yield mark
            done = mark.end


def _stretch(text: str, start: int, end: int) -> Span:
    """Return the context around a match, cut at blanks where one is near."""
    low, high = max(0, start - _BEFORE), min(len(text), end + _AFTER)
    if low:
        blank = text.find(" ", low, start)
        low = blank + 1 if 0 <= blank < low + 20 else low
    if high < len(text):
        blank = text.rfind(" ", end, high)
        high = blank if blank > high - 20 else high
    return low, high


def _newest_first(data: bytes, words: list[Word], session_id: str) -> Iterator[dict[str, Any] | None]:
    """Yield the lines of a slice that seem to hold one of the words, the last first; after a ``None`` the others.

    Lines are searched as they are written; only where letters stand there in another way (escapes, other accents)
    does a word stand in none of the likely ones.
    """
    lines = data.split(b"\n")
    ends = list(accumulate(len(line) + 1 for line in lines))
    folded, likely = data.lower(), set[int]()
    for word in words:
        place = 0
        pattern = re.compile(word.pattern)
        while (match := pattern.search(folded, place)) is not None:
            number = bisect_right(ends, match.start())
            likely.add(number)
            place = ends[number]
    others = [number for number in range(len(lines)) if number not in likely]
    for number in sorted(likely, reverse=True):
        yield from _of_session(lines[number], session_id)
    yield None
    for number in reversed(others):
        yield from _of_session(lines[number], session_id)


def _of_session(line: bytes, session_id: str) -> Iterator[dict[str, Any]]:
    for body in _objects(line):
        named = body.get("sessionId")
        if named == session_id or not isinstance(named, str) or not named:
            yield body


def _objects(line: bytes) -> list[dict[str, Any]]:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        if not line.strip():
            return []
        from watchkeeper.sources.claude_code.lines import decode_objects

        return [item for item in decode_objects(line) if isinstance(item, dict)]
    return [body] if isinstance(body, dict) else []


def _time(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return rfc3339(round(moment.timestamp() * 1000))
