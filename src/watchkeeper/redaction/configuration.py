"""The redactor that the settings of a home ask for."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from watchkeeper.errors import ConfigError
from watchkeeper.redaction.engine import MODES, Redactor
from watchkeeper.redaction.rules import RULES
from watchkeeper.redaction.user_rules import read_user_rules
from watchkeeper.settings import Settings

_KEY_BYTES = 32


def configured(settings: Settings) -> Redactor:
    """Return the redactor for these settings.

    Raises:
        ConfigError: The mode or a rule that is to be off is unknown, or the user's file cannot be used.
    """
    mode = settings["redaction.mode"]
    if mode not in MODES:
        raise ConfigError(f"redaction.mode cannot be {mode!r}", hint=f"Choose one of {', '.join(MODES)}.")
    path = settings.places.home / settings["redaction.rules"]
    own = read_user_rules(path, frozenset(rule.name for rule in RULES))
    rules = (*own.rules, *RULES)
    off = set(settings["redaction.rules_off"])
    unknown = off - {rule.name for rule in rules}
    if unknown:
        raise ConfigError(
            f"redaction.rules_off names unknown rules: {', '.join(sorted(map(str, unknown)))}",
            hint="Run `wk redact --rules` for the list.",
        )
    key = hash_key(settings.places.keys / "redaction.key") if mode == "hash" else b""
    return Redactor((rule for rule in rules if rule.name not in off), mode=mode, key=key, allow=own.allow)


def hash_key(path: Path) -> bytes:
    """Return this home's key for the digits of placeholders; made on first use, owner-only.

    Raises:
        ConfigError: The file has another length.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    if not path.exists():
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(_KEY_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            # A link never replaces: of two processes that start at once, both use the key of the first.
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ConfigError(
            "the key for hashed placeholders is damaged",
            place=str(path),
            hint="Remove the file for a new key.",
        )
    return key
