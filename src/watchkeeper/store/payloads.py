"""Fetches the payloads that refs point to, from ledger and archive.

A ref is ``[source, path, size]``. A source of the spool is found by its ledger entry, a line of a transcript by the
archived range that holds it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from watchkeeper.archive.store import ArchiveReader
from watchkeeper.errors import NotFoundError
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.sources.claude_code.lines import Skip, decode, decode_objects, split_lines
from watchkeeper.store.envelopes import REDACT, read_frame, read_redact
from watchkeeper.store.sqlite.reading import Reader


class Payloads:
    """Resolves refs for one reader; decoded observations are kept while it lives."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._ledger = LedgerReader(reader.places.ledger)
        self._archive = ArchiveReader(reader.places.archive)
        self._observation = lru_cache(maxsize=64)(self._load)

    def resolve(self, ref: list[Any] | None) -> Any:
        """Return the payload that a ref points to; ``None`` for no ref.

        Raises:
            NotFoundError: The record no longer holds it.
        """
        if ref is None:
            return None
        source, path, _size = ref
        value = self._observation(source)
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                raise NotFoundError(
                    "the payload is not where its reference says", place=f"{source} {path}"
                ) from None
        return value

    def ledger_seq(self, source: str) -> int | None:
        """Return the ledger entry that an observation came by, or ``None`` when it is not on record."""
        if source.startswith("transcript:"):
            row = self._range_of(source)
            return None if row is None else int(row["seq"])
        seq = self.reader.value("SELECT seq FROM sources WHERE source = ?", (source,))
        return None if seq is None else int(seq)

    def masked(self, source: str) -> dict[str, int]:
        """Return how many secrets of which rule were masked in an observation of the spool."""
        rows = self.reader.rows("SELECT rule, hits FROM masked WHERE source = ?", (source,))
        return {row["rule"]: row["hits"] for row in rows}

    def _load(self, source: str) -> Any:
        if source.startswith("transcript:"):
            return self._line(source)
        seq = self.ledger_seq(source)
        if seq is None:
            raise NotFoundError("the observation is not on record", place=source)
        entry = self._ledger.get(seq)
        if not entry.payload:
            raise NotFoundError("the payload was erased", place=source)
        payload = entry.payload
        if entry.kind == REDACT:
            _, payload = read_redact(payload, source)
        _, body = read_frame(payload, source)
        return decode(body)

    def _line(self, source: str) -> Any:
        row = self._range_of(source)
        if row is None:
            raise NotFoundError("the transcript line is not on record", place=source)
        number, part = line_number(source)
        data = self.range_content(row)
        for current, line in split_lines(data, row["first_line"]):
            if current == number:
                bodies = decode_objects(line)
                body = bodies[part] if part < len(bodies) else None
                return None if isinstance(body, Skip) else body
        raise NotFoundError("the transcript line is not in its archived range", place=source)

    def range_content(self, row: dict[str, Any]) -> bytes:
        """Return the archived lines of a row of ``ranges`` (``pack``, ``position`` and ``digest`` are looked at).

        Raises:
            GoneError: They were taken out of the archive on purpose; its ``reason`` says why.
            NotFoundError: They were never taken in, or the archive lost them.
            FormatError: The archive is damaged.
        """
        if not row["digest"]:
            raise NotFoundError("the line was too long to be taken in")
        if not row["pack"]:
            place = self._archive.find(row["digest"])
            return self._archive.get(place.pack, place.offset)
        return self._archive.get(row["pack"], row["position"], row["digest"])

    def _range_of(self, source: str) -> dict[str, Any] | None:
        _, file_key, generation, _ = source.split(":")
        number, _part = line_number(source)
        row = self.reader.row(
            "SELECT first_line, line_count, pack, position, seq, digest FROM ranges"
            " WHERE file_key = ? AND generation = ? AND first_line <= ? ORDER BY first_line DESC LIMIT 1",
            (file_key, int(generation), number),
        )
        if row is None or number >= row["first_line"] + row["line_count"]:
            return None
        return row


def line_number(source: str) -> tuple[int, int]:
    """Return the number of the line that a transcript source names, and the place of the object on it."""
    number, _, part = source.rsplit(":", 1)[1].partition(".")
    return int(number), int(part or 0)
