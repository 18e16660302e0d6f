"""Legal holds: sessions whose transcripts stay in the archive whatever their age and its size.

One small owner-only file, ``{"holds": {session_id: {"at": ms, "reason": "..."}}}``, replaced whole at each change.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from watchkeeper.archive.packs import write_failure, write_file
from watchkeeper.errors import FormatError


@dataclass(frozen=True)
class Hold:
    """Why a session is held, and since when in epoch milliseconds."""

    at: int
    reason: str = ""


class Holds:
    """The holds of one home.

    Args:
        path: Their file; a missing one holds nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> dict[str, Hold]:
        """Return the holds by session.

        Raises:
            FormatError: The file is not what this program writes. Nothing may be dropped then.
        """
        try:
            document = json.loads(self._path.read_bytes())
            return {str(session): Hold(**hold) for session, hold in document["holds"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FormatError(
                "the list of holds cannot be read",
                why=str(error),
                hint="Mend or remove the file; nothing is dropped from the archive before.",
                place=str(self._path),
            ) from error

    def add(self, session: str, hold: Hold) -> bool:
        """Hold a session; return whether it was not held before.

        Raises:
            FormatError: The file is not what this program writes.
            ArchiveError: The disk refuses.
        """
        holds = self.all()
        if session in holds:
            return False
        self._write({**holds, session: hold})
        return True

    def remove(self, session: str) -> bool:
        """Let a session go; return whether it was held.

        Raises:
            FormatError: The file is not what this program writes.
            ArchiveError: The disk refuses.
        """
        holds = self.all()
        if session not in holds:
            return False
        self._write({name: hold for name, hold in holds.items() if name != session})
        return True

    def _write(self, holds: dict[str, Hold]) -> None:
        document = {"holds": {session: asdict(hold) for session, hold in sorted(holds.items())}}
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(self._path, json.dumps(document, indent=1).encode() + b"\n")
        except OSError as error:
            raise write_failure(self._path.parent, error) from error
