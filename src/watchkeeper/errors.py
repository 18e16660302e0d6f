"""The exceptions that Watchkeeper raises on purpose.

Each says what went wrong, why, and what to do next; faces print the three on one line or as one JSON object.
"""

from __future__ import annotations


class WatchkeeperError(Exception):
    """A failure with a remedy.

    Args:
        what: What went wrong, as a short sentence without a full stop.
        why: The cause, where it is known.
        hint: What the reader should do next.
        place: Where it is: a file, ``file:line``, or a field.
    """

    code = "error"

    def __init__(self, what: str, *, why: str = "", hint: str = "", place: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.place = place

    def __str__(self) -> str:
        head = f"{self.place}: {self.what}" if self.place else self.what
        if self.why:
            head = f"{head}: {self.why}"
        return f"{head}. {self.hint}" if self.hint else head

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return the one JSON error shape that commands and the HTTP API share."""
        fields = {
            "code": self.code,
            "what": self.what,
            "why": self.why,
            "hint": self.hint,
            "place": self.place,
        }
        return {"error": {name: value for name, value in fields.items() if value}}


class UsageError(WatchkeeperError):
    """The caller asked for something that does not exist or does not fit (exit status 2)."""

    code = "usage"


class NotFoundError(WatchkeeperError):
    """What was asked for is not on record."""

    code = "not_found"


class ConfigError(WatchkeeperError):
    """A configuration file or setting cannot be used."""

    code = "config"


class FormatError(WatchkeeperError):
    """Stored or received bytes are not what their format promises."""

    code = "format"


class LockedError(WatchkeeperError):
    """Another process holds what this one needs."""

    code = "locked"


class DaemonError(WatchkeeperError):
    """The daemon does not answer, or not as it should."""

    code = "daemon"
