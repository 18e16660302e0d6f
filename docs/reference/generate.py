"""Writes the generated pages of this folder from the code: ``make docs``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from watchkeeper.settings import SETTINGS

FOLDER = Path(__file__).resolve().parent


def pages() -> dict[str, str]:
    """Return the text of each generated page by file name."""
    return {"settings.md": settings_page()}


def settings_page() -> str:
    """Return the page of settings."""
    lines = [
        "# Settings",
        "",
        "Generated from the table in `src/watchkeeper/settings.py` by `make docs`; do not edit.",
        "",
        "A value comes from, in this order: the command line, the environment, `config.toml` in the home,",
        "the default. `wk config` prints each with its origin. The home itself is named by `--home` or",
        "`WATCHKEEPER_HOME`; by default it is `~/.local/share/watchkeeper`, on macOS",
        "`~/Library/Application Support/watchkeeper`. The hook reads none of this, because a project can",
        "set the environment of hooks.",
        "",
        "| setting | environment | default | meaning |",
        "|---|---|---|---|",
        *(f"| `{row.name}` | `{row.env}` | `{shown(row.default)}` | {row.help} |" for row in SETTINGS),
        "",
    ]
    return "\n".join(lines)


def shown(value: Any) -> str:
    """Return a default as `config.toml` would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
