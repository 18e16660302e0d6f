"""The one table of settings, and the places below a Watchkeeper home.

A setting's value comes from, in this order: the command line, the environment, ``config.toml`` in the home, the
default. ``wk config`` prints each with its origin. The hook reads none of this: a project may set the environment of
hooks, so nothing that weakens recording, redaction or guard is ever taken from there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.errors import ConfigError


class Setting(NamedTuple):
    """One row of the table: dotted name in ``config.toml``, environment variable, default, and help."""

    name: str
    env: str
    default: Any
    help: str
    parse: Callable[[str], Any] = str


def parse_flag(text: str) -> bool:
    """Return the truth value of a word such as ``on`` or ``0``.

    Raises:
        ValueError: The word is none of the known ones.
    """
    word = text.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off"}:
        return False
    raise ValueError(f"expected on or off, found {text!r}")


def parse_words(text: str) -> list[str]:
    """Return the words of a list separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


SETTINGS: tuple[Setting, ...] = (
    Setting("server.port", "WATCHKEEPER_PORT", 7878, "Port of the dashboard on 127.0.0.1.", int),
    Setting(
        "sources.claude_config_dir",
        "CLAUDE_CONFIG_DIR",
        "~/.claude",
        "Folder of Claude Code's settings and transcripts; several are separated by commas.",
    ),
    Setting(
        "sources.watch", "WATCHKEEPER_WATCH", True, "Follow transcripts as they are written.", parse_flag
    ),
    Setting(
        "ledger.checkpoint_entries",
        "WATCHKEEPER_CHECKPOINT_ENTRIES",
        1000,
        "Sign a checkpoint after this many ledger entries.",
        int,
    ),
    Setting(
        "ledger.checkpoint_seconds",
        "WATCHKEEPER_CHECKPOINT_SECONDS",
        10,
        "Sign a checkpoint at the latest this many seconds after an entry.",
        int,
    ),
    Setting(
        "spool.segment_bytes",
        "WATCHKEEPER_SEGMENT_BYTES",
        8 << 20,
        "Seal a spool segment when it has grown to this many bytes.",
        int,
    ),
    Setting(
        "archive.retention_days",
        "WATCHKEEPER_RETENTION_DAYS",
        365,
        "Drop the archived transcript of a session this many days after its last event; 0 keeps all.",
        int,
    ),
    Setting(
        "archive.max_bytes",
        "WATCHKEEPER_ARCHIVE_BYTES",
        10 << 30,
        "Drop the oldest archived transcripts when the archive has grown beyond this; 0 for no limit.",
        int,
    ),
    Setting(
        "archive.raw",
        "WATCHKEEPER_ARCHIVE_RAW",
        False,
        "Keep the bytes of transcripts as they came too, secrets and all, encrypted: `wk restore --raw`.",
        parse_flag,
    ),
    Setting(
        "archive.raw_passphrase_file",
        "WATCHKEEPER_RAW_PASSPHRASE_FILE",
        "",
        "File whose first line seals that archive; without one a key is made in keys/.",
    ),
    Setting(
        "disk.max_bytes",
        "WATCHKEEPER_DISK_BYTES",
        20 << 30,
        "The budget of ledger, index, archive and spool together; the oldest transcripts go first; 0 for none.",
        int,
    ),
    Setting(
        "daemon.heartbeat_seconds",
        "WATCHKEEPER_HEARTBEAT_SECONDS",
        300,
        "Write a heartbeat to the ledger this often, so that time without a recorder shows.",
        int,
    ),
    Setting(
        "billing.mode",
        "WATCHKEEPER_BILLING",
        "auto",
        "How sessions are paid for: api, subscription (figures read API-equivalent), or auto.",
    ),
    Setting(
        "prices.multiplier",
        "WATCHKEEPER_PRICE_MULTIPLIER",
        1.0,
        "A contract's factor on every computed cost. Rates per model: [prices.MODEL] in config.toml.",
        float,
    ),
    Setting(
        "prices.rate_input",
        "CLAUDE_RATE_INPUT",
        0.0,
        "Dollars per 1,000 input tokens of every model (0: by the table); cache rates follow it.",
        float,
    ),
    Setting(
        "prices.rate_output",
        "CLAUDE_RATE_OUTPUT",
        0.0,
        "Dollars per 1,000 output tokens of every model (0: by the table).",
        float,
    ),
    Setting(
        "activity.log_dir",
        "CLAUDE_LOG_DIR",
        "",
        "Folder for the daily files of `wk activity --to`.",
    ),
    Setting(
        "redaction.mode",
        "WATCHKEEPER_REDACTION",
        "redact",
        "What is stored of secrets and content: redact, hash (equal secrets are recognised) or metadata (no content).",
    ),
    Setting(
        "redaction.rules_off",
        "WATCHKEEPER_REDACTION_OFF",
        [],
        "Rules of redaction that are not applied, by name; `wk redact --rules` lists them.",
        parse_words,
    ),
    Setting(
        "redaction.rules",
        "WATCHKEEPER_REDACTION_RULES",
        "redaction.toml",
        "File with rules and exceptions of your own; relative to the home.",
    ),
)


SECTIONS = frozenset({"prices"})
"""Sections of ``config.toml`` that may hold tables under names of the user's choosing; `Settings.sections`."""


class Places(NamedTuple):
    """The paths below one Watchkeeper home."""

    home: Path

    @property
    def config(self) -> Path:
        """The user's configuration file."""
        return self.home / "config.toml"

    @property
    def bin(self) -> Path:
        """Where the installer copies the hook."""
        return self.home / "bin"

    @property
    def hook(self) -> Path:
        """The installed native hook."""
        return self.bin / "watchkeeper-hook"

    @property
    def spool(self) -> Path:
        """Raw frames that wait for the recorder."""
        return self.home / "spool"

    @property
    def ledger(self) -> Path:
        """The append-only record."""
        return self.home / "ledger"

    @property
    def archive(self) -> Path:
        """Compressed transcript ranges."""
        return self.home / "archive"

    @property
    def moves(self) -> Path:
        """Journals of session moves and forks, owner-only: what `wk move --undo` goes by."""
        return self.home / "moves"

    @property
    def checkpoints(self) -> Path:
        """Portable session checkpoints, owner-only."""
        return self.home / "checkpoints"

    @property
    def raw_archive(self) -> Path:
        """Transcript bytes as they came, encrypted; only where that was asked for."""
        return self.archive / "raw"

    @property
    def holds(self) -> Path:
        """Sessions whose transcripts no housekeeping drops."""
        return self.home / "holds.json"

    @property
    def keys(self) -> Path:
        """Signing keys, owner-only."""
        return self.home / "keys"

    @property
    def database(self) -> Path:
        """The index, which can be rebuilt at any time."""
        return self.home / "watchkeeper.db"

    @property
    def usage_cache(self) -> Path:
        """Usage of transcripts that the index does not hold yet; may be removed at any time."""
        return self.home / "usage.db"

    @property
    def state(self) -> Path:
        """What no rebuild touches: annotations, users, tokens."""
        return self.home / "state.db"

    @property
    def run(self) -> Path:
        """Sockets, locks and tokens of the running daemon."""
        return self.home / "run"

    @property
    def decider_socket(self) -> Path:
        """Where the hook asks for a decision."""
        return self.run / "watchkeeper.sock"

    @property
    def doorbell_socket(self) -> Path:
        """Where the hook rings after an append (datagrams)."""
        return self.run / "doorbell.sock"

    @property
    def recorder_socket(self) -> Path:
        """Where commands and the server talk to the recorder."""
        return self.run / "recorder.sock"

    @property
    def server_socket(self) -> Path:
        """The HTTP API for this user's own processes."""
        return self.run / "server.sock"

    @property
    def token(self) -> Path:
        """The owner-only file with the API token for this machine."""
        return self.run / "token"

    @property
    def daemon_lock(self) -> Path:
        """Held by the one running supervisor."""
        return self.run / "daemon.lock"

    @property
    def writer_lock(self) -> Path:
        """Held by the one process that may append, migrate or rebuild."""
        return self.run / "writer.lock"

    @property
    def log(self) -> Path:
        """What the daemon has to say."""
        return self.home / "daemon.log"


def default_home(environment: Mapping[str, str] | None = None) -> Path:
    """Return ``WATCHKEEPER_HOME``, else the platform's folder for user data."""
    env = os.environ if environment is None else environment
    if env.get("WATCHKEEPER_HOME"):
        return Path(env["WATCHKEEPER_HOME"]).expanduser().absolute()
    home = Path(env.get("HOME") or Path.home())
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "watchkeeper"
    return Path(env.get("XDG_DATA_HOME") or home / ".local" / "share") / "watchkeeper"


class Value(NamedTuple):
    """A setting's value with where it came from: ``default``, ``config.toml`` or the variable's name."""

    setting: Setting
    value: Any
    origin: str


class Settings:
    """The settings in force for one home.

    Raises:
        ConfigError: ``config.toml`` cannot be parsed, or a value has the wrong form; the place is named.
    """

    def __init__(self, home: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        self.environment = dict(os.environ if environment is None else environment)
        self.places = Places(home if home is not None else default_home(self.environment))
        stored = _read_config(self.places.config)
        self.values = {row.name: self._resolve(row, stored) for row in SETTINGS}
        self.sections: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in SECTIONS}
        for name, value in stored.items():
            section, _, key = name.partition(".")
            if section in SECTIONS and isinstance(value, dict):
                self.sections[section][key] = value

    def __getitem__(self, name: str) -> Any:
        return self.values[name].value

    @property
    def claude_config_dirs(self) -> list[Path]:
        """The agent's folders, in the order given; a name with commas is one folder where that exists."""
        given, home = str(self["sources.claude_config_dir"]), self.environment.get("HOME")
        if "," in given and (whole := _expand(given, home)).is_dir():
            return [whole]
        parts = [part.strip() for part in given.split(",")]
        return [_expand(part, home) for part in parts if part]

    def _resolve(self, row: Setting, stored: Mapping[str, Any]) -> Value:
        text = self.environment.get(row.env)
        if text:
            try:
                return Value(row, row.parse(text), row.env)
            except ValueError as error:
                raise ConfigError(f"{row.env} cannot be used", why=str(error), hint=row.help) from error
        if row.name in stored:
            value = stored[row.name]
            if isinstance(row.default, float) and type(value) is int:
                value = float(value)
            if not isinstance(value, type(row.default)):
                raise ConfigError(
                    f"{row.name} must be a {type(row.default).__name__}",
                    hint=row.help,
                    place=str(self.places.config),
                )
            return Value(row, value, "config.toml")
        return Value(row, row.default, "default")


def _expand(text: str, home: str | None) -> Path:
    if home and (text == "~" or text.startswith("~/")):
        return Path(home + text[1:])
    return Path(text).expanduser()


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    # Only where there is a file to read: quick commands pay for every import.
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the configuration cannot be read",
            why=str(error),
            hint="Correct the file or remove it.",
            place=str(path),
        ) from error
    flat: dict[str, Any] = {}
    for section, content in document.items():
        for name, value in content.items() if isinstance(content, dict) else ():
            flat[f"{section}.{name}"] = value
    known = {row.name for row in SETTINGS}
    for name, value in flat.items():
        own_table = isinstance(value, dict) and name.partition(".")[0] in SECTIONS
        if name not in known and not own_table:
            raise ConfigError(
                f"unknown setting {name}", hint="Run `wk config` for the list.", place=str(path)
            )
    return flat
