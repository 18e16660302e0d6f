"""Points the index to where the archive holds contents now, after a replay of entries that name older places."""

from __future__ import annotations

from watchkeeper.archive.store import ArchiveReader
from watchkeeper.errors import NotFoundError
from watchkeeper.store.sqlite.writing import Store


def settle_places(store: Store, archive: ArchiveReader) -> None:
    """Move references into packs that are gone; contents would be found by digest too, but not as quickly."""
    packs = set(archive.packs())
    moved: dict[str, dict[int, tuple[str, int]]] = {}
    for pack, position, digest in store.connection.execute(
        "SELECT DISTINCT pack, position, digest FROM ranges WHERE pack != ''"
    ):
        if pack in packs:
            continue
        try:
            place = archive.find(digest)
        except NotFoundError:
            continue
        moved.setdefault(pack, {})[position] = (place.pack, place.offset)
    for pack, places in moved.items():
        store.move_ranges(pack, places)
