"""Takes contents out of a pack, or changes them, by writing the pack anew.

A rewrite has two halves, so that a caller can commit what depends on it in between:

1. `begin_rewrite` writes the new pack beside the old under a temporary name and syncs it. Nothing has changed yet;
   after a crash the temporary file is removed by the next writer.
2. `Rewrite.commit` puts down a small plan (the point of no return), then carries it out: the new pack gets its name,
   the departures are noted, the old pack is removed. After a crash anywhere in it, `recover` does the rest.

The new pack keeps the time of the old one, so it sorts where that one stood. Addresses into the old pack fit no more;
`ArchiveReader.get` finds the contents by their digests, so references may be moved by the caller, but need not be.
Only the holder of the writer lock rewrites, and a pack that a writer has open is released first.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from watchkeeper.archive.codecs import Codec, PlainCodec
from watchkeeper.archive.departures import Departure, append_departures
from watchkeeper.archive.frames import FRAME_HEADER, PACK_HEADER, FrameHeader, read_frame_header
from watchkeeper.archive.packs import (
    SUFFIX,
    TEMPORARY,
    Address,
    ArchiveError,
    address_of,
    check_pack_header,
    new_pack_id,
    pack_header,
    pack_path,
    read_frame,
    sync_data,
    sync_directory,
    write_failure,
    write_file,
    write_whole,
)
from watchkeeper.errors import FormatError, NotFoundError

log = logging.getLogger("watchkeeper.recorder")

PLAN = ".rewrite"

Transform = Callable[[Address, bytes], "bytes | None"]
Decide = Callable[[Address, FrameHeader, bytes], "bytes | None"]
"""Returns the frame to write for a frame that was read, or ``None``."""


@dataclass
class Rewrite:
    """A pack that was written anew and waits for its commit.

    Attributes:
        directory: Folder of the packs.
        old: Id of the pack that goes.
        new: Id of the one in its place; ``None`` when nothing is left.
        moved: For each offset in the old pack where its content is now, or ``None`` when it was dropped.
        changed: Whether anything was dropped or changed; otherwise `commit` leaves the old pack alone and
            ``moved`` names it.
        damaged: Offsets and reasons of frames that could not be read and were dropped.
    """

    directory: Path
    old: str
    new: str | None
    reason: str
    moved: dict[int, Address | None] = field(default_factory=dict)
    changed: bool = False
    damaged: list[tuple[int, str]] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)

    def place(self, source: Address, target: Address | None) -> None:
        """Note where the content of one frame of the old pack is now."""
        self.moved[source.offset] = target
        digest = None if target is None else target.digest
        if digest != source.digest:
            self.changed = True
            now = time.time_ns() // 1_000_000
            self.departures.append(Departure(source.digest, digest, self.reason, now))

    def commit(self) -> dict[int, Address | None]:
        """Put the new pack in the old one's place and return ``moved``.

        Raises:
            ArchiveError: The disk refuses. The old pack stands, or the next writer does the rest.
        """
        if self.changed:
            plan = _Plan(self.old, self.new, self.departures)
            try:
                write_file(self.directory / (self.old + PLAN), plan.encode())
                _carry_out(self.directory, plan)
            except OSError as error:
                raise write_failure(self.directory, error) from error
        return self.moved

    def abandon(self) -> None:
        """Remove the new pack; nothing has changed then."""
        if self.new is not None:
            _temporary(self.directory, self.new).unlink(missing_ok=True)


def rewrite_pack(
    directory: Path, pack: str, transform: Transform, *, reason: str = "rewritten", codec: Codec | None = None
) -> dict[int, Address | None]:
    """Write one pack anew with what ``transform`` makes of each content, at once.

    Args:
        directory: Folder of the packs.
        pack: Id of the pack.
        transform: Returns the content to keep, or ``None`` to drop the frame.
        reason: Why contents go or change, kept with their digests.
        codec: Kind of the frames; those of redacted transcripts when absent.

    Returns:
        For each offset in the old pack where its content is now, or ``None`` when it was dropped.

    Raises:
        NotFoundError: There is no such pack.
        FormatError: A frame is damaged; the pack stays as it is.
        ArchiveError: The disk refuses.
    """
    return begin_rewrite(directory, pack, transform, reason=reason, codec=codec).commit()


def begin_rewrite(
    directory: Path,
    pack: str,
    transform: Transform,
    *,
    reason: str = "rewritten",
    codec: Codec | None = None,
    drop_damaged: bool = False,
) -> Rewrite:
    """Write the new pack beside the old one, and change nothing else yet.

    Args:
        directory: Folder of the packs.
        pack: Id of the pack.
        transform: Returns the content to keep, or ``None`` to drop the frame.
        reason: Why contents go or change, kept with their digests.
        codec: Kind of the frames; those of redacted transcripts when absent.
        drop_damaged: Drop what cannot be read instead of raising, so that forgetting can be complete.

    Raises:
        NotFoundError: There is no such pack.
        FormatError: A frame is damaged; the pack stays as it is.
        ArchiveError: The disk refuses.
    """
    kind = codec or PlainCodec()

    def decide(address: Address, header: FrameHeader, frame: bytes) -> bytes | None:
        content = kind.unpack(header, frame[FRAME_HEADER.size :], f"{pack}:{address.offset}")
        result = transform(address, content)
        if result is None or result == content:
            return None if result is None else frame
        return kind.pack(result, kind.digest(result))

    return _begin(directory, pack, decide, reason, drop_damaged=drop_damaged)


def begin_dropping(directory: Path, pack: str, keep: Callable[[Address], bool], *, reason: str) -> Rewrite:
    """Write the new pack with the frames that ``keep`` accepts, without unpacking any (and so without their key).

    Raises:
        NotFoundError: There is no such pack.
        FormatError: A frame is damaged; the pack stays as it is.
        ArchiveError: The disk refuses.
    """
    return _begin(directory, pack, lambda address, _, frame: frame if keep(address) else None, reason)


def recover(directory: Path) -> None:
    """After a crash, carry out the rewrites that were committed and remove the rest of those that were not.

    A plan that somebody has damaged is set aside and the old pack kept: it must not stop the recording of new things.

    Raises:
        ArchiveError: The disk refuses.
    """
    try:
        for path in sorted(directory.glob("*" + PLAN)):
            try:
                plan = _Plan.decode(path)
            except FormatError as error:
                log.warning("set aside: %s", error)
                path.rename(path.with_name(path.name + ".damaged"))
                continue
            _carry_out(directory, plan)
        for path in directory.glob("*" + TEMPORARY):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise write_failure(directory, error) from error


@dataclass
class _Plan:
    old: str
    new: str | None
    departures: list[Departure]

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, path: Path) -> _Plan:
        try:
            document = json.loads(path.read_bytes())
            departures = [Departure(**item) for item in document["departures"]]
            return cls(document["old"], document["new"], departures)
        except (ValueError, TypeError, KeyError) as error:
            raise FormatError(
                "the plan of an archive rewrite cannot be read",
                why=str(error),
                place=str(path),
            ) from error


def _carry_out(directory: Path, plan: _Plan) -> None:
    """Do what is left of a plan; every step may have been done before."""
    if plan.new is not None:
        temporary = _temporary(directory, plan.new)
        if temporary.exists():
            temporary.rename(pack_path(directory, plan.new))
            sync_directory(directory)
    append_departures(directory, plan.departures)
    pack_path(directory, plan.old).unlink(missing_ok=True)
    sync_directory(directory)
    (directory / (plan.old + PLAN)).unlink(missing_ok=True)
    sync_directory(directory)


def _begin(
    directory: Path,
    pack: str,
    decide: Decide,
    reason: str,
    *,
    drop_damaged: bool = False,
) -> Rewrite:
    path = pack_path(directory, pack)
    rewrite = Rewrite(directory, pack, new_pack_id(int(pack.split("-")[0], 16)), reason)
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFoundError("the archive pack does not exist", place=str(path)) from error
    try:
        check_pack_header(source, path)
        _fill(source, path, rewrite, decide, drop_damaged=drop_damaged)
    except OSError as error:
        rewrite.abandon()
        raise write_failure(directory, error) from error
    except (FormatError, ArchiveError):
        rewrite.abandon()
        raise
    finally:
        os.close(source)
    _settle(rewrite)
    return rewrite


def _fill(source: int, path: Path, rewrite: Rewrite, decide: Decide, *, drop_damaged: bool) -> None:
    assert rewrite.new is not None
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    target = os.open(_temporary(rewrite.directory, rewrite.new), flags, 0o600)
    placed, end = dict[str, Address](), PACK_HEADER.size
    try:
        write_whole(target, pack_header(rewrite.new), 0)
        for address, header, frame in _walk(source, path, rewrite, drop_damaged=drop_damaged):
            try:
                result = decide(address, header, frame)
            except FormatError as error:
                if not drop_damaged:
                    raise
                rewrite.damaged.append((address.offset, error.why or error.what))
                result = None
            if result is None:
                rewrite.place(address, None)
                continue
            written = address_of(rewrite.new, end, read_frame_header(result[: FRAME_HEADER.size], str(path)))
            if written.digest not in placed:
                write_whole(target, result, end)
                placed[written.digest] = written
                end += written.length
            rewrite.place(address, placed[written.digest])
        sync_data(target)
    finally:
        os.close(target)


def _walk(
    source: int, path: Path, rewrite: Rewrite, *, drop_damaged: bool
) -> Iterator[tuple[Address, FrameHeader, bytes]]:
    """Yield the frames with their addresses; with ``drop_damaged`` pass over what is none, else raise at it."""
    start, end = PACK_HEADER.size, os.fstat(source).st_size
    while start < end:
        try:
            header, frame = read_frame(source, start, f"{path}:{start}")
        except FormatError as error:
            if not drop_damaged:
                raise
            rewrite.damaged.append((start, error.why or error.what))
            rewrite.changed = True
            start = _next_frame(source, start + 1, end, path)
            continue
        yield address_of(path.stem, start, header), header, frame
        start += len(frame)


def _next_frame(source: int, start: int, end: int, path: Path) -> int:
    tail = os.pread(source, end - start, start)
    found = tail.find(b"WKAF")
    while found >= 0:
        try:
            read_frame(source, start + found, str(path))
        except FormatError:
            found = tail.find(b"WKAF", found + 1)
        else:
            return start + found
    return end


def _settle(rewrite: Rewrite) -> None:
    """Do without a new pack where nothing has changed or nothing is left."""
    kept = [address for address in rewrite.moved.values() if address is not None]
    if rewrite.changed and kept:
        return
    rewrite.abandon()
    rewrite.new = None
    if not rewrite.changed:
        rewrite.moved = {
            offset: Address(item.digest, rewrite.old, offset, item.length, item.size)
            for offset, item in rewrite.moved.items()
            if item is not None
        }


def _temporary(directory: Path, pack: str) -> Path:
    return directory / (pack + SUFFIX + TEMPORARY)
