"""What every command is given: the settings in force, and the ways to say something."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from watchkeeper.cli.terminal import harmless, one_line, steps, styled, visible

if TYPE_CHECKING:
    from watchkeeper.settings import Settings


class Context:
    """One run of a command.

    Args:
        settings: The settings of the chosen home.
        json: Whether the answer is one JSON document instead of text.
    """

    def __init__(self, settings: Settings, *, json: bool) -> None:
        self.settings = settings
        self.json = json
        self._colour = _wants_colour(settings.environment)

    def emit(self, document: object) -> None:
        """Print the one JSON document of this run on standard output; indented when a person reads it."""
        import json

        indent = 2 if sys.stdout.isatty() else None
        print(json.dumps(document, indent=indent))

    def line(self, text: str = "") -> None:
        """Print one line of the answer, harmless whatever it holds; nothing with ``--json``."""
        if not self.json:
            print(harmless(text, colour=self._colour))

    def note(self, text: str) -> None:
        """Say something beside the answer, on standard error."""
        print(visible(text), file=sys.stderr, flush=True)

    def next_step(self, text: str) -> None:
        """Print, dim and last, the next useful commands; several are parted by `` · `` or a line each."""
        if not self.json:
            print()
            for line in steps(text, self.width):
                print(self.style(line, "dim"))

    def say_where_transcripts_are_sought(self) -> None:
        """Name the agent's folders, behind an answer that found nothing at all."""
        folders = ", ".join(str(folder) for folder in self.settings.claude_config_dirs)
        self.line(
            self.style(f"Transcripts are looked for in {one_line(folders)} (CLAUDE_CONFIG_DIR).", "dim")
        )

    def style(self, text: str, name: str) -> str:
        """Return the text in a style (good, bad, warn, dim, bold) where standard output shows colour."""
        return styled(text, name, colour=self._colour)

    @property
    def width(self) -> int:
        """Columns to fill: those of the terminal, else 120 (at least 40)."""
        given = self.settings.environment.get("COLUMNS", "")
        if given.isdigit() and int(given) > 0:
            return max(40, int(given))
        if not sys.stdout.isatty():
            return 120
        try:
            return max(40, os.get_terminal_size(sys.stdout.fileno()).columns)
        except OSError:
            return 120

    @property
    def progress(self) -> Progress:
        """A meter on standard error for long work; silent when that is no terminal."""
        return Progress(active=sys.stderr.isatty())


class Progress:
    """One line on standard error that is rewritten as work goes on."""

    def __init__(self, *, active: bool) -> None:
        self._active = active
        self._shown = False

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Show how far the work is; calls without a terminal do nothing."""
        if self._active:
            share = f"{100 * done // total:3d} %" if total else f"{done:,}"
            print(f"\r\x1b[K{share} {what}", end="", file=sys.stderr, flush=True)
            self._shown = True

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_exception: Any) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _wants_colour(environment: dict[str, str]) -> bool:
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()
