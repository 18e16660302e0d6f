"""What a terminal is shown cannot be steered by recorded data, and fits its width."""

from __future__ import annotations

import pytest

from watchkeeper.cli.terminal import (
    clip,
    columns_of,
    harmless,
    money,
    one_line,
    pad,
    places_for,
    steps,
    styled,
    visible,
    wrapped,
)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\tc", "a\nb\tc"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("over\rwritten", "over\\x0dwritten"),
        ("\x9b31m", "\\x9b31m"),
        ("\x7f", "\\x7f"),
        ("safe\u202etxt.exe", "safe\\u202etxt.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028end", "line\\u2028end"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("half \ud800 pair", "half \\ud800 pair"),
        ("Grüße 日本 👍", "Grüße 日本 👍"),
        ("family \U0001f468\u200d\U0001f469", "family \U0001f468\u200d\U0001f469"),
    ],
)
def test_every_control_a_terminal_obeys_is_spelled_out(given: str, shown: str) -> None:
    assert visible(given) == shown


def test_no_character_below_space_or_in_c1_survives_but_newline_and_tab() -> None:
    survivors = [code for code in [*range(0x20), *range(0x7F, 0xA0)] if chr(code) in visible(chr(code))]
    assert survivors == [0x09, 0x0A]


def test_one_line_has_no_breaks_and_accepts_nothing() -> None:
    assert one_line("  a\n\tb  \r\n c") == "a b c"
    assert one_line(None) == ""


def test_wide_characters_fill_two_columns_and_combining_ones_none() -> None:
    assert columns_of("abc") == 3
    assert columns_of("日本") == 4
    assert columns_of("e\u0301") == 1


def test_clip_never_exceeds_the_width_and_marks_the_cut() -> None:
    assert clip("abcdef", 6) == "abcdef"
    assert clip("abcdef", 5) == "abcd…"
    assert columns_of(clip("日本語テスト", 5)) <= 5
    assert clip("abc", 0) == ""


def test_pad_aligns_by_columns_not_characters() -> None:
    assert pad("日", 4) == "日  "
    assert pad("7", 3, right=True) == "  7"


def test_only_our_own_styles_pass_and_only_with_colour() -> None:
    ours = styled("denied", "warn", colour=True)
    assert harmless(ours, colour=True) == ours
    assert harmless(ours, colour=False) == "\\x1b[33mdenied\\x1b[0m"
    assert harmless(f"{ours}\x1b[2J\x1b]0;x\x07", colour=True) == f"{ours}\\x1b[2J\\x1b]0;x\\x07"


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        ("15.704417", "15.70"), ("1.16907", "1.17"), ("0.995", "1.00"), ("1234567.5", "1,234,567.50"),
        ("0.00", "0.00"), ("0.000001", "<0.01"), ("-6.167195", "-6.17"), ("-0.001", ">-0.01"), (None, "—"),
    ],
)  # fmt: skip
def test_money_is_shown_to_the_cent_and_neither_unknown_nor_little_reads_as_nothing(
    usd: str | None, shown: str
) -> None:
    assert money(usd) == shown


def test_estimated_money_says_so() -> None:
    assert money("2.5", about=True) == "≈2.50"


def test_small_tables_of_money_have_four_decimals() -> None:
    assert places_for("0.181644") == 4
    assert places_for("1.00") == places_for(None) == 2
    assert money("0.003472", places=4) == "0.0035"
    assert money("0.00001", places=4) == "<0.0001"


def test_next_steps_are_parted_between_commands_and_never_inside_one() -> None:
    assert steps("wk usage · wk quality · wk errors", 21) == ["wk usage · wk quality", "wk errors"]
    assert steps("wk move --undo 20261121T165055-e102", 10) == ["wk move --undo 20261121T165055-e102"]
    assert steps("claude --resume X\nwk move --undo", 200) == ["claude --resume X", "wk move --undo"]


def test_a_remark_is_wrapped_and_a_long_word_stays_whole() -> None:
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("/a/very/long/path is it", 8) == ["/a/very/long/path", "is it"]
