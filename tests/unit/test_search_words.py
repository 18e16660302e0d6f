"""What a search word means: tokens, phrases, beginnings, and where it stands in a text."""

from __future__ import annotations

import apsw
import pytest

from watchkeeper.queries.search_words import Words, split_query
from watchkeeper.store.rows import TextRow
from watchkeeper.store.search_text import prepared, slice_text
from watchkeeper.store.sqlite.search_index import DDL, put


@pytest.fixture
def connection() -> apsw.Connection:
    """An index without anything in it."""
    connection = apsw.Connection(":memory:")
    connection.execute(DDL)
    return connection


def found(connection: apsw.Connection, text: str, word: str) -> bool:
    """Tell whether the index finds the word in the text, after checking that the context reader agrees."""
    words = Words(connection, [word])
    put(connection, [TextRow("f", 0, 0, "s", None, False, None, None, prepared(text))])
    query = "SELECT count(*) FROM search WHERE search MATCH ?"
    by_index = connection.execute(query, (words.all[0].match,)).fetchall() != [(0,)]
    assert by_index == bool(list(words.spans(text, words.all[0])))
    return by_index


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("run --frobnicate-level=7 now", "--frobnicate-level=7"),
        ('they say "plugh" twice', 'say "plugh" twice'),
        ("see src/app/main.py:12", "src/app/main.py"),
        ("the migrations ran", "migrat"),
        ("calls getUserName()", "getuser"),
        ("set my_long_name = 1", "my_long"),
        ("eine Größenänderung", "Größenänderung"),
        ("eine Gro\u0308ßenänderung", "größen"),
        ("eine Größenänderung", "GROßENANDERUNG"),
        ("über alles", "uber"),
        ("请修复登录错误然后", "登录错误"),
        ("abc登录def", "登录"),
        ("エラーログを見る", "ログ"),
        ("แก้ไขข้อผิดพลาด", "ผิดพลาด"),
        ("오류를 고쳐", "오류"),
        ("half a \ud800character", "character"),
        ("before\x00after", "after"),
        ("a AND b", "AND"),
        ("NEAR the end", "near"),
        ("col:umn", "col:umn"),
        ("it's", "it's"),
        ("line one\nline two", "one line"),
    ],
)
def test_a_word_is_found_where_it_stands(connection: apsw.Connection, text: str, word: str) -> None:
    """Dashes, quotes, paths, accents, scripts without blanks and the index's own operators are plain words."""
    assert found(connection, text, word)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("the migrations ran", '"migrat"'),
        ("the migrations ran", "igrations"),
        ("one two three", "one three"),
        ("登录 成功 错误", "登录错误"),
        ("level 70", "level 7"),
        ("b or a", "a b"),
        ("a b", "a NOT b"),
        ("x", "y*"),
    ],
)
def test_a_word_is_not_found_where_it_does_not_stand(
    connection: apsw.Connection, text: str, word: str
) -> None:
    """Exact words do not go on, phrases keep their order, and nothing is an operator."""
    assert not found(connection, text, word)


def test_no_phrase_reaches_from_one_message_into_the_next(connection: apsw.Connection) -> None:
    """Two messages of one slice stay apart."""
    bodies = [{"type": "user", "message": {"content": text}} for text in ("ends with alpha", "beta begins")]
    put(connection, [TextRow("f", 0, 0, "s", None, False, None, None, slice_text(bodies))])
    query = "SELECT count(*) FROM search WHERE search MATCH ?"
    counts = [
        connection.execute(query, (Words(connection, [w]).all[0].match,)).fetchall()
        for w in ("alpha", "beta", "alpha beta")
    ]
    assert counts == [[(1,)], [(1,)], [(0,)]]


def test_spans_cover_the_whole_of_what_matched(connection: apsw.Connection) -> None:
    """A beginning is highlighted to the end of its word, in plain and in accented text, at the right characters."""
    words = Words(connection, ["migr", "größ"])
    migration, size = words.all
    for text in ("a Migration_x", "ü Migration_x"):
        assert [text[start:end] for start, end in words.spans(text, migration)] == ["Migration"]
    text = "😀 漢字 eine Größe hier"
    assert [text[start:end] for start, end in words.spans(text, size)] == ["Größe"]


def test_a_line_of_words_is_split_outside_of_quotes() -> None:
    """What stands in quotes is one word; quotes that do not close are characters."""
    assert split_query('one "two three" four-4 "" "x') == ["one", '"two three"', "four-4", '"x']


def test_encoded_bytes_are_no_words() -> None:
    """A run of letters that no person would type stays out of the index, and what stands beside it stays in."""
    assert prepared("see " + "QUJD" * 100 + " end").split() == ["see", "end"]
    assert prepared("x" * 150) == "x" * 150


def test_a_word_is_found_line_by_line_as_in_the_whole_text() -> None:
    """Texts that are not ASCII are taken apart only where the word stands."""
    words = Words(apsw.Connection(":memory:"), ["größe"])
    text = "Eine Größe\nno such word here\n\u0301 grosse GRÖSSE\ngrößer 日本größe\nGRÖßE"
    (word,) = words.all
    assert [text[start:end] for start, end in words.spans(text, word)] == [
        "Größe",
        "größer",
        "größe",
        "GRÖßE",
    ]
