"""Reading and replacing files without ever leaving half of one."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watchkeeper.errors import ConfigError, LockedError


def real_path(path: Path) -> Path:
    """Return the file behind a path, through symbolic links; it need not exist."""
    return Path(os.path.realpath(path))


def read_file(path: Path) -> bytes | None:
    """Return a regular file's bytes, or None when there is none.

    Raises:
        ConfigError: It is no regular file, or it cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError("the settings are not a regular file", place=str(path))
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failure("the settings cannot be read", path, error) from error


def missing_directories(path: Path) -> tuple[Path, ...]:
    """Return the folders above a file that do not exist, outermost first."""
    return tuple(reversed([parent for parent in path.parents if not parent.exists()]))


def make_directories(directories: tuple[Path, ...], mode: int) -> None:
    """Create folders that `missing_directories` named.

    Raises:
        ConfigError: One cannot be created.
    """
    for directory in directories:
        try:
            directory.mkdir(mode=mode, exist_ok=True)
        except OSError as error:
            raise _failure("the folder cannot be created", directory, error) from error


@contextmanager
def replacement(path: Path, data: bytes, new_mode: int, *, keep_mode: bool = True) -> Iterator[Path]:
    """Write a file's new content beside it, synced; the caller's block puts it in place with `commit`.

    The owner of an existing file is kept, and with ``keep_mode`` its mode; a new file has ``new_mode``. What
    was not committed is removed.

    Raises:
        ConfigError: The folder cannot be written, or the owner cannot be kept.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        _write(temporary, path, data, new_mode, keep_mode=keep_mode)
        yield temporary
    except OSError as error:
        raise _failure("the file cannot be written", path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write(temporary: Path, path: Path, data: bytes, new_mode: int, *, keep_mode: bool) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        mode = new_mode
        with suppress(FileNotFoundError):
            old = path.stat()
            mode = stat.S_IMODE(old.st_mode) if keep_mode else new_mode
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, old.st_uid, old.st_gid)
        os.fchmod(descriptor, mode)
        stream.flush()
        os.fsync(descriptor)


def commit(temporary: Path, path: Path) -> None:
    """Put a `replacement` in place and make that durable."""
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a folder's entries durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file of ours atomically, with exactly this mode.

    Raises:
        ConfigError: It cannot be written.
    """
    with replacement(path, data, mode, keep_mode=False) as temporary:
        commit(temporary, path)


def expect_unchanged(path: Path, before: bytes | None) -> None:
    """Refuse to overwrite what somebody wrote since the plan was made.

    Raises:
        LockedError: The file has changed.
    """
    if read_file(path) != before:
        raise LockedError(
            "the settings changed while they were being edited",
            hint="Run the command again; nothing was changed.",
            place=str(path),
        )


def _failure(what: str, path: Path, error: OSError) -> ConfigError:
    denied = isinstance(error, PermissionError)
    hint = "Run it as a user who may write there." if denied else "Nothing was changed."
    return ConfigError(what, why=error.strerror or str(error), hint=hint, place=str(path))
