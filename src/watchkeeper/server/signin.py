"""Who has signed in: one-time codes, and the browsers that used one.

A code lives in memory for five minutes and works once. A browser's cookie is a random number; only its digest
is kept, below ``run/``, so that a restart keeps browsers signed in and nobody who reads the file becomes one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("watchkeeper.server")

CODE_SECONDS = 300
BROWSER_SECONDS = 30 * 86_400
MOST_CODES = 64
MOST_BROWSERS = 64
RANDOM_BYTES = 32


class SignIns:
    """The codes and browsers of one server.

    Args:
        file: Where the digests of cookies are kept, owner-only.
        clock: Seconds since the epoch.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._codes: dict[str, float] = {}
        self._browsers = _load(file)

    def new_code(self) -> tuple[str, float]:
        """Return a fresh one-time code and when it expires (seconds since the epoch)."""
        now = self._clock()
        self._codes = {code: end for code, end in self._codes.items() if end > now}
        while len(self._codes) >= MOST_CODES:
            del self._codes[next(iter(self._codes))]
        code, expires = secrets.token_urlsafe(RANDOM_BYTES), now + CODE_SECONDS
        self._codes[_digest(code)] = expires
        return code, expires

    def redeem(self, code: str) -> str | None:
        """Return a new cookie for a valid code, which is used up; ``None`` for any other."""
        now = self._clock()
        expires = self._codes.pop(_digest(code), None)
        if expires is None or expires <= now:
            return None
        cookie = secrets.token_urlsafe(RANDOM_BYTES)
        self._browsers = {digest: end for digest, end in self._browsers.items() if end > now}
        while len(self._browsers) >= MOST_BROWSERS:
            del self._browsers[next(iter(self._browsers))]
        self._browsers[_digest(cookie)] = now + BROWSER_SECONDS
        _save(self._file, self._browsers)
        return cookie

    def knows(self, cookie: str) -> bool:
        """Return whether a cookie was given out here and has not expired."""
        # Looking up a digest tells nothing by its timing about the cookies that are valid.
        return self._browsers.get(_digest(cookie), 0.0) > self._clock()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _load(file: Path) -> dict[str, float]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    except OSError as error:
        log.warning("%s: signed-in browsers cannot be read: %s", file, error.strerror)
        return {}
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            log.warning("%s: not this user's alone; browsers must sign in again", file)
            return {}
        content = stream.read()
    try:
        document = json.loads(content)
    except ValueError:
        log.warning("%s: damaged; browsers must sign in again", file)
        return {}
    entries = document.items() if isinstance(document, dict) else ()
    return {digest: float(end) for digest, end in entries if isinstance(end, int | float)}


def _save(file: Path, browsers: dict[str, float]) -> None:
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        descriptor = os.open(
            fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            json.dump(browsers, stream)
        fresh.replace(file)
    except OSError as error:
        # The browser is signed in all the same, until this process ends.
        log.warning("%s: signed-in browsers cannot be kept: %s", file, error.strerror)
