"""Which version of the rules of redaction everything on record has gone through: a small file beside the keys."""

from __future__ import annotations

import json

from watchkeeper.ledger.files import write_file
from watchkeeper.settings import Places

FILE = "redaction.json"


def note_rules(places: Places, version: str) -> None:
    """Remember that all that is on record has gone through these rules."""
    places.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(places.keys / FILE, json.dumps({"version": version}).encode())


def applied_rules(places: Places) -> str | None:
    """Return the version that was noted last, or ``None`` when nobody knows."""
    try:
        version = json.loads((places.keys / FILE).read_bytes()).get("version")
    except (OSError, ValueError, AttributeError):
        return None
    return version if isinstance(version, str) else None
