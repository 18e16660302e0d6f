"""Clears what has to go from whatever else lies in a home: other databases, logs, leftovers of repairs and crashes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from watchkeeper.pipeline.exact_values import PLACEHOLDER
from watchkeeper.settings import Places
from watchkeeper.store.sqlite.writing import StoreWriteError

_BLOCK = 1 << 20
_LARGEST = 64 << 20
_BUSY_MILLISECONDS = 5000


def sweep(places: Places, forms: Sequence[bytes]) -> dict[str, int]:
    """Clear everything but ledger, archive, spool and index; return how many files and rows that touched.

    Args:
        places: The home.
        forms: What has to go, in every form in which it may stand; nothing for leftovers alone.

    Raises:
        StoreWriteError: A database stays busy or cannot be written.
    """
    files = _remove_leftovers(places)
    rows = 0
    if forms:
        for path in sorted(places.home.glob("*.db")):
            if path != places.database:
                rows += _clear_database(path, forms)
        for path in sorted(places.home.glob("*.log*")):
            files += _overwrite(path, forms)
        files += sum(_remove_copy(path, forms) for path in _copies(places))
    return {"files": files, "rows": rows}


def left_in(places: Places, forms: Sequence[bytes]) -> list[str]:
    """Return the other files of a home in which it still stands, such as backups of settings: to be changed by people.

    Args:
        places: The home.
        forms: What had to go.
    """
    cleared = {
        places.ledger,
        places.archive,
        places.raw_archive,
        places.keys,
        places.spool,
        places.run,
        places.bin,
    }
    found: list[str] = []
    for folder, folders, names in os.walk(places.home):
        folders[:] = [name for name in folders if Path(folder, name) not in cleared]
        for path in (Path(folder, name) for name in sorted(names)):
            if path.suffix.startswith(".db") or path.is_symlink() or not path.is_file():
                continue
            content = path.read_bytes() if path.stat().st_size <= _LARGEST else b""
            if any(form in content for form in forms):
                found.append(str(path))
    return found


def _remove_leftovers(places: Places) -> int:
    """Remove copies that repairs and crashes left behind; they may hold what is nowhere else any more."""
    count = 0
    for path in _leftovers(places):
        path.unlink(missing_ok=True)
        count += 1
    return count


def _leftovers(places: Places) -> Iterator[Path]:
    name = places.database.name
    # It holds what transcripts said before they were imported, and is made anew when needed.
    yield from sorted(places.home.glob(f"{places.usage_cache.name}*"))
    yield from sorted(places.home.glob(f"{name}.damaged*"))
    yield from sorted(places.home.glob(f"{places.database.stem}.new*"))
    yield from sorted(places.ledger.glob("*.cut"))


def _copies(places: Places) -> Iterator[Path]:
    """Yield what people had made of sessions: checkpoints, and the journals by which a move is undone."""
    for folder in (places.moves, places.checkpoints):
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _remove_copy(path: Path, forms: Sequence[bytes]) -> int:
    """Remove a file that holds any of it, packed or not; 1 where it did.

    Of the journal of a move, and of the list of where moved sessions are, only what holds it goes: the other sessions
    are to be found and taken back as before.
    """
    if not any(form in content for content in _contents(path) for form in forms):
        return 0
    rest = _rest_of(path, forms)
    if rest is None:
        path.unlink()
    else:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(rest)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    return 1


def _rest_of(path: Path, forms: Sequence[bytes]) -> bytes | None:
    """Return what stays of a journal or list of folders; None where the file has to go as a whole."""

    def clean(content: bytes) -> bool:
        return not any(form in content for form in forms)

    if path.suffix == ".jsonl":
        head, *lines = path.read_bytes().split(b"\n")
        kept = [head, *(line for line in lines if clean(line))]
        return b"\n".join(kept) if clean(head) and clean(os.fsencode(path.name)) and any(kept[1:]) else None
    if path.name == "folders.json":
        try:
            found = json.loads(path.read_bytes())
        except ValueError:
            return None
        items = found.items() if isinstance(found, dict) else ()
        rows = {
            key: value for key, value in items if clean(json.dumps({key: value}, ensure_ascii=False).encode())
        }
        rest = json.dumps(rows, ensure_ascii=False).encode()
        return rest if rows and clean(rest) else None
    return None


def _contents(path: Path) -> Iterator[bytes]:
    """Yield a file's name, its bytes, and where it is a zip what is in it, one member at a time."""
    yield os.fsencode(path.name)
    yield path.read_bytes()
    with (
        contextlib.suppress(zipfile.BadZipFile, zlib.error, NotImplementedError),
        zipfile.ZipFile(path) as bundle,
    ):
        for name in bundle.namelist():
            yield name.encode()
            yield bundle.read(name)


def _overwrite(path: Path, forms: Sequence[bytes]) -> int:
    """Overwrite every occurrence in a text file where it stands, since its writer may have it open; 1 where any was."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return 0
    longest, found = max(map(len, forms)), 0
    try:
        offset = 0
        while block := os.pread(descriptor, _BLOCK + longest, offset):
            for form in forms:
                place = block.find(form)
                while place >= 0:
                    os.pwrite(descriptor, b"*" * len(form), offset + place)
                    found = 1
                    place = block.find(form, place + len(form))
            offset += _BLOCK
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return found


def _clear_database(path: Path, forms: Sequence[bytes]) -> int:
    texts = [form.decode("utf-8", "replace") for form in forms]
    try:
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            connection.set_busy_timeout(_BUSY_MILLISECONDS)
            connection.pragma("secure_delete", 1)
            with connection:
                rows = sum(_clear_table(connection, table, texts) for table in _tables(connection))
            if rows:
                connection.execute("VACUUM")
            connection.pragma("wal_checkpoint", "truncate")
            return rows
    except apsw.NotADBError:
        return 0
    except apsw.Error as error:
        raise StoreWriteError(
            "a database cannot be cleared", why=str(error), hint="Ask again in a moment.", place=str(path)
        ) from error


def _tables(connection: apsw.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    return [name for (name,) in connection.execute(query)]


def _clear_table(connection: apsw.Connection, table: str, texts: Sequence[str]) -> int:
    """Delete rows that are about it (a column says nothing else), and replace it within longer texts."""
    columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
    count = 0
    for column in columns:
        for text in texts:
            bare = f'"{table}" WHERE "{column}" = ?'
            connection.execute(f"DELETE FROM {bare}", (text,))
            count += connection.changes()
            connection.execute(
                f'UPDATE OR REPLACE "{table}" SET "{column}" = replace("{column}", ?1, ?2)'
                f' WHERE typeof("{column}") = \'text\' AND instr("{column}", ?1) > 0',
                (text, PLACEHOLDER),
            )
            count += connection.changes()
    return count
