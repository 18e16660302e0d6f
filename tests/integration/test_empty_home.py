"""What commands say to somebody who has recorded nothing yet: no figure out of the air, and where to look."""

from __future__ import annotations

import pytest
from harness_system import wk

from watchkeeper.settings import Settings


@pytest.mark.parametrize("command", ["usage", "sessions"])
def test_the_folder_that_holds_nothing_is_named(command: str, settings: Settings) -> None:
    """A wrong CLAUDE_CONFIG_DIR is the usual reason."""
    said = wk(settings, command).stdout
    assert f"Transcripts are looked for in {settings.claude_config_dirs[0]} (CLAUDE_CONFIG_DIR)." in said


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("cost", "No request is on record there."),
        ("errors", "No tool call is on record there."),
        ("quality", "No tool call is on record there."),
        ("activity", "No tool call is on record for this day or stretch."),
        ("review", "Nothing is on record there."),
        ("budget", "No budget is set."),
        ("tag", "There are no tags yet."),
        ("hold", "No session is held."),
    ],
)
def test_an_empty_record_is_said_in_words(command: str, words: str, settings: Settings) -> None:
    assert words in wk(settings, command).stdout


def test_an_install_says_whether_there_was_a_status_line(settings: Settings) -> None:
    assert "added a status line" in wk(settings, "install", "--statusline").stdout
