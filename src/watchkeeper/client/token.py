"""The owner-only file with the API token for this machine (``run/token``)."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from watchkeeper.errors import ConfigError, NotFoundError
from watchkeeper.settings import Places

TOKEN_BYTES = 32
LONGEST_TOKEN = 512
"""Bytes; a longer file is not a token."""


def read_token(places: Places) -> str:
    """Return the token.

    Raises:
        NotFoundError: There is none yet.
        ConfigError: The file is not the owner's alone, is a link, or is empty; it is never trusted then.
    """
    path = places.token
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(
            "there is no API token yet", hint="Start the daemon with `wk up`.", place=str(path)
        ) from error
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _refused(path, "it is not a plain file")
        if found.st_uid != os.geteuid():
            raise _refused(path, "it belongs to another user")
        if found.st_mode & 0o077:
            raise _refused(path, f"others may open it (mode {stat.S_IMODE(found.st_mode):04o})")
        text = os.read(descriptor, LONGEST_TOKEN).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    if len(text) < TOKEN_BYTES or not text.isprintable():
        raise _refused(path, "it holds no token")
    return text


def ensure_token(places: Places) -> str:
    """Return the token, made now if there is none; the run folder must exist.

    Raises:
        ConfigError: As in `read_token`, or the run folder cannot be written.
    """
    try:
        return read_token(places)
    except NotFoundError:
        pass
    fresh = places.token.with_name(f".token.{os.getpid()}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(
            fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(descriptor, secrets.token_urlsafe(TOKEN_BYTES).encode() + b"\n")
        finally:
            os.close(descriptor)
        _publish(fresh, places.token)
    except OSError as error:
        raise ConfigError(
            "the API token cannot be written", why=str(error), place=str(places.token)
        ) from error
    return read_token(places)


def _publish(fresh: Path, path: Path) -> None:
    # A link never replaces what another process has published meanwhile, and never shows half a file.
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(
        "the API token cannot be used",
        why=why,
        hint="Remove the file and run `wk up` again.",
        place=str(path),
    )
