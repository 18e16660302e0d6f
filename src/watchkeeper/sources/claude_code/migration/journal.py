"""The record of one move or fork, from which it is undone: JSON lines in an owner-only file, synced before each step.

It holds places, digests and the changed texts (paths and ids), never what a transcript says, so that no secret gets
into the home by it.

====================================== ==========================================================
line                                   written
====================================== ==========================================================
``{"id", "kind", "old", "new", "at"}`` first
``{"made": FOLDER}``                   before a folder is made
``{"into": FOLDER}``                   before the first file is made in a folder
``{"session", "from", "cwd"}``         before a session's files: where it worked, and where it will
``{"file": {...}}``                    when the new file lies ready beside its place, before it is put there
``{"refused": FILE}``                  when something else had its name
``{"emptied": FOLDER, "mode": N}``     before a folder that the move has emptied is removed
``{"finished": true}``                 last
``{"undone": true}``                   when everything is back
====================================== ==========================================================
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchkeeper.errors import FormatError, NotFoundError
from watchkeeper.sources.claude_code.migration.rewriting import Edit

_NAME = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{4}")


@dataclass(frozen=True, slots=True)
class FileStep:
    """One file of a move or fork.

    Attributes:
        source: Where it was.
        target: Where it goes; the same where it is only changed.
        before: SHA-256 of the original.
        after: SHA-256 of the new file.
        size: Bytes of the new file.
        mode: Permission bits.
        times: Times of access and change of the original in ns.
        edits: What was changed, by offset of the original; empty for a file that is taken as it is.
        session: Old and new folder of the session's own files, each with a slash; empty for a file of no session.
    """

    source: str
    target: str
    before: str
    after: str
    size: int
    mode: int
    times: tuple[int, int]
    edits: list[Edit] = field(default_factory=list)
    session: tuple[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the form of the journal: each changed text once."""
        texts: dict[str, int] = {}
        edits = [
            [edit.start, *(texts.setdefault(text.decode(), len(texts)) for text in edit[1:])]
            for edit in self.edits
        ]
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "edits"}
        return plain | {"texts": list(texts), "edits": edits}

    @staticmethod
    def from_json(body: dict[str, Any]) -> FileStep:
        """Return what `to_json` wrote."""
        texts = [text.encode() for text in body.pop("texts")]
        edits = [Edit(start, texts[old], texts[new]) for start, old, new in body.pop("edits")]
        times, session = body.pop("times"), body.pop("session")
        return FileStep(
            **body, times=(times[0], times[1]), edits=edits, session=session and (session[0], session[1])
        )


class Journal:
    """A journal that is being written."""

    def __init__(self, folder: Path, kind: str, olds: tuple[str, ...], new: str) -> None:
        """Begin one; the folder is made where need be."""
        for part in (folder.parent, folder):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.identity = f"{stamp}-{secrets.token_hex(2)}"
        self.path = folder / f"{self.identity}.jsonl"
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.write(
            {"id": self.identity, "kind": kind, "old": list(olds), "new": new, "at": int(time.time() * 1000)}
        )

    def write(self, row: dict[str, Any]) -> None:
        """Append a line and make it durable."""
        os.write(self._descriptor, json.dumps(row, ensure_ascii=False).encode() + b"\n")
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


@dataclass(frozen=True)
class Recorded:
    """A journal as it is read back."""

    path: Path
    identity: str
    kind: str
    olds: tuple[str, ...]
    new: str
    at: int
    made: list[str]
    into: list[str]
    steps: list[FileStep]
    emptied: list[tuple[str, int]]
    folders: dict[str, str]
    """Where each session worked before, by its id."""
    targets: dict[str, str]
    """Where each session is to work now, by its id."""
    finished: bool
    undone: bool

    def mark_undone(self) -> None:
        """Say that everything is back."""
        with self.path.open("ab") as stream:
            stream.write(b'{"undone": true}\n')
            stream.flush()
            os.fsync(stream.fileno())


def read_journal(path: Path) -> Recorded:
    """Read one; a last line that a crash cut off is left out, since nothing was done after it.

    Raises:
        FormatError: It is no journal.
    """
    rows = list(_rows(path))
    head = rows[0] if rows else {}
    if "id" not in head or "kind" not in head:
        raise FormatError("this is no journal of a move", place=str(path))
    refused = {row["refused"] for row in rows if "refused" in row}
    steps = [FileStep.from_json(row["file"]) for row in rows if "file" in row]
    return Recorded(
        path=path,
        identity=head["id"],
        kind=head["kind"],
        olds=tuple(head["old"]),
        new=head["new"],
        at=head["at"],
        made=[row["made"] for row in rows if "made" in row],
        into=[row["into"] for row in rows if "into" in row],
        steps=[step for step in steps if step.target not in refused],
        emptied=[(row["emptied"], row["mode"]) for row in rows if "emptied" in row],
        folders={row["session"]: row["from"] for row in rows if row.get("from")},
        targets={row["session"]: row["cwd"] for row in rows if "session" in row},
        finished=any("finished" in row for row in rows),
        undone=any("undone" in row for row in rows),
    )


def find_journal(folder: Path, identity: str | None) -> Recorded:
    """Return the journal with this id, or the latest one that was not undone.

    Raises:
        NotFoundError: There is none, or it was undone already.
    """
    journals = _journals(folder)
    journals.sort(key=lambda journal: (journal.at, journal.identity))
    wanted = [journal for journal in journals if not journal.undone and identity in {None, journal.identity}]
    if not wanted:
        known = any(journal.identity == identity for journal in journals)
        why = "it was undone already" if known else ""
        raise NotFoundError(
            "there is no such move to undo" if identity else "there is no move to undo", why=why
        )
    return wanted[-1]


def note_folders(folder: Path) -> None:
    """Write down where each moved or forked session works now, for `queries.folders`: ``folders.json``."""
    now: dict[str, str] = {}
    for journal in sorted(_journals(folder), key=lambda each: (each.at, each.identity)):
        if not journal.undone:
            now |= journal.targets
    path = folder / "folders.json"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        json.dump(now, stream, ensure_ascii=False)
    temporary.replace(path)


def _journals(folder: Path) -> list[Recorded]:
    paths = [path for path in sorted(folder.glob("*.jsonl")) if _NAME.fullmatch(path.stem)]
    # One without even its first line was begun by a process that died before it did anything.
    return [read_journal(path) for path in paths if any(_rows(path))]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line) if line else None
        except ValueError:
            return
        if isinstance(row, dict):
            yield row
