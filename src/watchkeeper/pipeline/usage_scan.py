"""Answers for usage before the import is done: scans what the index does not hold yet, over all processors.

What the index holds is never scanned. A scan is kept in the usage cache, so that the next one reads only what was
added meanwhile; when the index has caught up, the cache is emptied. Quick commands import this, so it takes nothing
but the standard library and SQLite until there is much to read.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from watchkeeper.events.ownership import owner_of
from watchkeeper.pipeline.folders import agent_folders
from watchkeeper.pipeline.freshness import news_of_transcripts
from watchkeeper.pipeline.tombstones import Tombstones
from watchkeeper.pipeline.usage_masking import UsageMasks
from watchkeeper.pricing.rates import RateCard
from watchkeeper.queries.usage_sources import Sums, sums_of
from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code import usage_scan as scan
from watchkeeper.sources.claude_code.discovery import TranscriptFile, find_transcripts
from watchkeeper.sources.claude_code.usage_scan import Place, UsageScan, decode_plainly
from watchkeeper.store.sqlite.reading import Reader
from watchkeeper.store.sqlite.usage_cache import UNWRITABLE, Chunk, UsageCache, chunked

SMALL_BYTES = 1 << 20
"""Up to this much is read by the standard library alone: importing a faster decoder would take longer."""

SHARE_BYTES = 16 << 20
"""A process of its own is started for each of these, as far as there are processors."""

_BLOCK = 64 << 20
_MOST_PROCESSES = 8

Position = tuple[str, int, int, int]
"""Path, size, time, bytes read."""


class Piece(NamedTuple):
    """The part of a file that is to be scanned."""

    file: TranscriptFile
    start: int
    source: str


class _Known(NamedTuple):
    size: int
    mtime_ns: int
    position: int
    generation: int = 0


def refresh(settings: Settings, reader: Reader, rates: RateCard) -> UsageCache | None:
    """Scan what neither index nor cache holds; return the cache, or ``None`` when the index holds everything.

    Args:
        settings: The home.
        reader: The index.
        rates: Prices for what is found.
    """
    path = settings.places.usage_cache
    try:
        return _refresh(settings, reader, rates, UsageCache(path) if path.exists() else None)
    except UNWRITABLE:
        # A full disk, or a home on one that takes nothing: whoever asks has to wait, and gets the bill.
        return _refresh(settings, reader, rates, UsageCache(None))


def _refresh(
    settings: Settings, reader: Reader, rates: RateCard, cache: UsageCache | None
) -> UsageCache | None:
    cached = {name: _Known(*row) for name, row in cache.files().items()} if cache is not None else {}
    if (
        not cached
        and any(reader.rows("SELECT 1 FROM files LIMIT 1"))
        and news_of_transcripts(settings, reader) == []
    ):
        # A glance tells so in half the time that a proper list takes.
        if cache is not None:
            cache.close()
        return None
    columns = "path, size, mtime_ns, position, generation"
    indexed = {row[0]: _Known(*row[1:]) for row in reader.connection.execute(f"SELECT {columns} FROM files")}
    pieces = list(_pieces(_transcripts(settings, reader), indexed, cached))
    if cache is None:
        if not pieces:
            return None
        cache = UsageCache(settings.places.usage_cache)
    elif not pieces and _overtaken(cached, indexed):
        if cached:
            cache.clear()
        cache.close()
        return None
    if cached and cache.rates != rates.digest:
        cache.put((), sums_of(cache.requests().values(), rates), (), {}, (), rates.digest, anew=True)
    if pieces:
        shares = _scan(pieces, rates, UsageMasks(settings, cache.names))
        _keep(cache, shares, rates)
    return cache


def _transcripts(settings: Settings, reader: Reader) -> Iterator[TranscriptFile]:
    tombstones = Tombstones.of(settings.places, reader.connection)
    for folder in agent_folders(settings, reader.connection):
        yield from (file for file in find_transcripts(folder).files if not tombstones.hides(file.relative))


def _pieces(
    files: Iterable[TranscriptFile], indexed: dict[str, _Known], cached: dict[str, _Known]
) -> Iterator[Piece]:
    for file in files:
        known = (indexed.get(file.location), cached.get(file.location))
        state = (file.size, file.mtime_ns)
        if not file.size or any(row is not None and row[:2] == state for row in known):
            continue
        best = max((row for row in known if row is not None), key=lambda row: row.position, default=None)
        if best is None or best.position > file.size:
            yield Piece(file, 0, _source(file, 0 if best is None else best.generation + 1))
        else:
            yield Piece(file, best.position, _source(file, best.generation))


def _source(file: TranscriptFile, generation: int) -> str:
    return f"transcript:{file.config_dir}\0{file.relative}:{generation}:"


def _overtaken(cached: dict[str, _Known], indexed: dict[str, _Known]) -> bool:
    """Tell whether the index holds every file at least as far as the cache does."""
    return all(path in indexed and indexed[path].position >= row.position for path, row in cached.items())


class _Share(NamedTuple):
    """What one process found in its pieces: the keys of the requests, these in chunks, and their sums.

    Those that several sessions claim are also there unpacked, as nearly always no others are looked at again.
    """

    keys: list[str]
    chunks: list[Chunk]
    sums: list[Sums]
    sessions: dict[str, list[Any]]
    copies: dict[str, list[str]]
    contested: dict[str, list[Any]]
    positions: list[Position]

    def requests(self, keys: Collection[str]) -> dict[str, list[Any]]:
        """Return the facts of those of the requests that are in this share."""
        wanted = set(self.keys).intersection(keys)
        if wanted <= self.contested.keys():
            return {key: self.contested[key] for key in wanted}
        found = (chunk.requests() for chunk in self.chunks)
        return {key: facts for chunk in found for key, facts in chunk.items() if key in wanted}


def _scan(pieces: Sequence[Piece], rates: RateCard, masks: UsageMasks) -> list[_Share]:
    total = sum(piece.file.size - piece.start for piece in pieces)
    if total <= SMALL_BYTES:
        return [_scan_share(pieces, rates, masks, bulk=False)]
    import gc

    gc.disable()  # Nothing made here is cyclic, and there is much of it.
    processes = min(_processors(), _MOST_PROCESSES, 1 + total // SHARE_BYTES)
    if processes < 2 or not hasattr(os, "fork"):
        return [_scan_share(pieces, rates, masks, bulk=True)]
    return list(_scan_together(pieces, rates, masks, processes))


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _scan_share(pieces: Sequence[Piece], rates: RateCard, masks: UsageMasks, *, bulk: bool) -> _Share:
    found, positions = UsageScan(), list[Position]()
    if bulk:
        pieces = _scan_natively(pieces, found, positions)
    # One buffer for all files: the memory of a new one would have to be made ready page by page each time.
    largest = max((piece.file.size - piece.start for piece in pieces), default=0)
    buffer = bytearray(min(largest, _BLOCK))
    for piece in pieces:
        try:
            positions.append(_scan_piece(piece, found, buffer, bulk=bulk))
        except OSError:
            # Gone or not readable meanwhile: the import says so with the reason.
            continue
    masks.apply(found)
    requests = found.requests
    sums = sums_of(requests.values(), rates)
    contested = {key: requests[key] for key in found.copies}
    chunks = chunked(requests)
    return _Share(list(requests), chunks, sums, found.sessions, found.copies, contested, positions)


def _scan_natively(pieces: Sequence[Piece], found: UsageScan, positions: list[Position]) -> list[Piece]:
    """Add what the native scanner finds in pieces; return those that it leaves to be read here."""
    from watchkeeper.sources.claude_code.native_scan import Part, scan_natively

    parts = [
        Part(file.location, start, file.size, file.session_hint, file.agent_hint) for file, start, _ in pieces
    ]
    left = []
    for piece, answer in zip(pieces, scan_natively(parts, 1), strict=True):
        file = piece.file
        if answer is None:
            left.append(piece)
            continue
        said = UsageScan(answer.requests, answer.sessions)
        if answer.rest:
            try:
                with open(file.location, "rb", buffering=0) as stream:  # noqa: PTH123
                    stream.seek(answer.position)
                    rest = stream.read(answer.rest)
            except OSError:
                left.append(piece)
                continue
            place = Place(piece.source, file.session_hint, file.agent_hint)
            _take(said, rest, len(rest), place, (file.location, answer.position), bulk=False)
        found.merge(said)
        positions.append((file.location, file.size, file.mtime_ns, answer.position))
    return left


def _scan_piece(piece: Piece, found: UsageScan, buffer: bytearray, *, bulk: bool) -> Position:
    """Scan a file up to its last whole line; a line longer than the buffer makes it grow."""
    file, offset = piece.file, piece.start
    place = Place(piece.source, file.session_hint, file.agent_hint)
    filled = 0
    with open(file.location, "rb", buffering=0) as stream:  # noqa: PTH123 - thousands of files
        stream.seek(offset)
        while filled < file.size - offset:
            if filled == len(buffer):
                buffer.extend(bytes(_BLOCK))
            with memoryview(buffer) as view:
                count = stream.readinto(view[filled : filled + file.size - offset])
            if not count:
                break
            filled += count
            end = buffer.rfind(b"\n", filled - count, filled) + 1
            if end:
                _take(found, buffer, end, place, (file.location, offset), bulk=bulk)
                buffer[: filled - end] = buffer[end:filled]
                offset, filled = offset + end, filled - end
    rest = bytes(buffer[:filled])
    if rest.rstrip(b"\0 \t\r").endswith(b"}"):
        # A last line without its end counts as far as it can be read, and is read again when it has grown.
        _take(found, rest, len(rest), place, (file.location, offset), bulk=False)
    return (file.location, file.size, file.mtime_ns, offset)


def _take(
    found: UsageScan, data: bytes | bytearray, size: int, place: Place, start: tuple[str, int], *, bulk: bool
) -> None:
    lines, starts = scan.telling_lines(data, size)
    if not lines:
        return
    if bulk:
        from watchkeeper.sources.claude_code.usage_lines import decode_telling

        decoded, places = decode_telling(lines, starts)
    else:
        decoded, places = decode_plainly(lines, starts)
    found.take(decoded, place, lambda index: _line_number(start, data, places[index]))


def _line_number(start: tuple[str, int], data: bytes | bytearray, at: int) -> int:
    """Return the number in its file of the line at a place in some bytes that begin at an offset."""
    path, offset = start
    with open(path, "rb") as stream:  # noqa: PTH123
        before = stream.read(offset).count(b"\n")
    return 1 + before + data.count(b"\n", 0, at)


def _scan_together(
    pieces: Sequence[Piece], rates: RateCard, masks: UsageMasks, processes: int
) -> Iterator[_Share]:
    """Scan in this process and in forked ones; a share that fails is scanned here."""
    # What every process needs is imported before they part.
    from watchkeeper.sources.claude_code import native_scan, transcript_view, usage_lines  # noqa: F401

    shares = _shares(pieces, processes)
    children = [_start(share, rates, masks) for share in shares[1:]]
    yield _scan_share(shares[0], rates, masks, bulk=True)
    for (child, descriptor), share in zip(children, shares[1:], strict=True):
        with os.fdopen(descriptor, "rb") as stream:
            data = stream.read()
        _, status = os.waitpid(child, 0)
        if status:
            yield _scan_share(share, rates, masks, bulk=True)
        else:
            keys, chunks, *rest = marshal.loads(data)  # noqa: S302 - from our own child
            yield _Share(keys, [Chunk(*chunk) for chunk in chunks], *rest)


def _shares(pieces: Sequence[Piece], count: int) -> list[list[Piece]]:
    """Split by size, the largest first, each to whom has the least so far.

    Files of one project stay together where that gives fair shares: copies of a session are in the same project, and
    what two shares hold has to be joined.
    """
    projects: dict[str, list[Piece]] = {}
    for piece in pieces:
        projects.setdefault(piece.file.relative.partition("/")[0], []).append(piece)
    total = sum(map(_bytes_of, projects.values()))
    fair = all(_bytes_of(group) * count < total * 1.2 for group in projects.values())
    groups = list(projects.values()) if fair else [[piece] for piece in pieces]
    shares: list[list[Piece]] = [[] for _ in range(count)]
    sizes = [0] * count
    for group in sorted(groups, key=_bytes_of, reverse=True):
        least = sizes.index(min(sizes))
        shares[least].extend(group)
        sizes[least] += _bytes_of(group)
    return shares


def _bytes_of(pieces: Iterable[Piece]) -> int:
    return sum(piece.file.size - piece.start for piece in pieces)


def _start(share: list[Piece], rates: RateCard, masks: UsageMasks) -> tuple[int, int]:
    receiving, sending = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(sending)
        return child, receiving
    status = 1
    try:
        os.close(receiving)
        with os.fdopen(sending, "wb") as stream:
            found = _scan_share(share, rates, masks, bulk=True)
            plain = found._replace(chunks=[tuple(chunk) for chunk in found.chunks])  # type: ignore[misc]
            stream.write(marshal.dumps(tuple(plain)))
        status = 0
    finally:
        # Whatever happened: this process must not go on as if it were the command.
        os._exit(status)


def _keep(cache: UsageCache, shares: Sequence[_Share], rates: RateCard) -> None:
    """Store what was found, after joining what several shares, or the cache, know of the same request."""
    seen: set[str] = set()
    twice: set[str] = set()
    copies = cache.copies()
    sessions = UsageScan()
    for share in shares:
        twice |= seen.intersection(share.keys)
        seen.update(share.keys)
        copies |= share.copies
        sessions.merge(UsageScan({}, share.sessions))
    # Whose a copy is can change only with a session that claims it.
    moved = sessions.sessions.keys()
    copies = {key: claimants for key, claimants in copies.items() if not moved.isdisjoint(claimants)}
    before: dict[str, list[Any]] = {}
    if not cache.empty:
        before = cache.requests(seen | copies.keys())
        sessions.merge(UsageScan({}, cache.sessions(list(sessions.sessions))))
    joined, sums = _joined(shares, twice | before.keys() | copies.keys(), before, copies, rates)
    names = {name for claimants in joined.copies.values() for name in claimants} - sessions.sessions.keys()
    sessions.merge(UsageScan({}, cache.sessions(names)))
    for key, claimants in joined.copies.items():
        ends = {name: _end(sessions.sessions.get(name)) for name in claimants}
        joined.requests[key][scan.SESSION] = owner_of(claimants, ends)
    sums += sums_of(joined.requests.values(), rates)
    cache.put(
        [*(chunk for share in shares for chunk in share.chunks), *chunked(joined.requests)],
        sums,
        sessions.sessions.items(),
        joined.copies,
        [position for share in shares for position in share.positions],
        rates.digest,
    )


def _joined(
    shares: Sequence[_Share],
    keys: Collection[str],
    before: dict[str, list[Any]],
    copies: dict[str, list[str]],
    rates: RateCard,
) -> tuple[UsageScan, list[Sums]]:
    """Join what is known of some requests; return it, and the sums without any of them."""
    sums = [row for share in shares for row in share.sums]
    sums += sums_of(before.values(), rates, -1)
    joined = UsageScan(before, copies=copies)
    for share in shares:
        found = share.requests(keys)
        sums += sums_of(found.values(), rates, -1)
        joined.merge(UsageScan(found))
    return joined, sums


def _end(session: list[Any] | None) -> int | None:
    return None if session is None or not session[scan.SESSION_LAST] else int(session[scan.SESSION_LAST])
