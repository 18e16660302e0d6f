"""What a search word means: its tokens, how the index is asked for them, and where they stand in a text.

A word is a phrase of its tokens, as the index's own tokenizer gives them; the last one may go on (``migrat`` finds
*migration*) unless the word stands in double quotes. Nothing a person types is an operator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from unicodedata import normalize

import apsw

from watchkeeper.store.search_text import prepared, stands_alone
from watchkeeper.store.sqlite.search_index import TOKENIZER

_SHORTEST_PREFIX = 2
"""A single letter or digit means itself: as a beginning it would mean nearly everything."""
_PART = re.compile(r'"([^"]*)"|(\S+)')
_MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u20d0-\u20ff]")

Span = tuple[int, int]


class Token(NamedTuple):
    """One token of a text: its folded form and the characters it was made from."""

    text: str
    start: int
    end: int


class Word(NamedTuple):
    """One search word.

    Attributes:
        given: As it was typed, without quotes around it.
        tokens: Its tokens; none where it holds no letter and no digit.
        prefix: Whether the last token may go on.
        written: The tokens in lower case, but with the accents they were typed with.
    """

    given: str
    tokens: tuple[str, ...]
    prefix: bool
    written: tuple[str, ...]

    @property
    def pattern(self) -> bytes:
        """A pattern for lower-cased lines as they are written, escapes and all; it may find more than the word."""
        forms = [
            re.escape(form) if form == token else f"(?:{re.escape(form)}|{re.escape(token)})"
            for form, token in zip(self.written, self.tokens, strict=True)
        ]
        return rb"(?:[^a-z0-9]|\\[a-z]){0,200}?".join(form.encode() for form in forms)

    @property
    def match(self) -> str:
        """The expression for the index: a phrase, whatever its tokens look like."""
        return '"' + " ".join(self.tokens) + '"' + (" *" if self.prefix else "")


def split_query(text: str) -> list[str]:
    """Return the words of a query on one line: what stands in double quotes is one word and stays quoted."""
    found = []
    for match in _PART.finditer(text):
        quoted, plain = match.groups()
        if quoted is None:
            found.append(plain)
        elif quoted.strip():
            found.append(f'"{quoted}"')
    return found


class Words:
    """Search words, understood by the tokenizer of one connection.

    Args:
        connection: A connection to the index.
        words: As given; one with blanks is a phrase, one in double quotes is meant to the letter.
    """

    def __init__(self, connection: apsw.Connection, words: Sequence[str]) -> None:
        name, arguments = TOKENIZER
        self._tokenizer = connection.fts5_tokenizer(name, list(arguments))
        self._plain_of = self._plain = ""
        self.all = [self._understood(word) for word in dict.fromkeys(words) if word.strip()]

    def tokens(self, text: str) -> list[Token]:
        """Return the tokens of a text as the index sees them."""
        return list(self._tokens(text))

    def spans(self, text: str, word: Word) -> Iterator[Span]:
        """Yield where a word stands in a text; a word that goes on is covered to its end."""
        if not word.tokens:
            return
        if text.isascii():
            yield from (match.span() for match in _ascii_pattern(word).finditer(text))
            return
        if text is not self._plain_of:
            self._plain_of, self._plain = text, _plain(text)
        if not all(_plain(token) in self._plain for token in word.tokens):
            return
        if len(word.tokens) > 1:
            yield from _phrases(self.tokens(text), word)
        else:
            yield from self._in_lines(text, word)

    def _in_lines(self, text: str, word: Word) -> Iterator[Span]:
        """Yield where a word of one token stands: no token reaches over a line, and few lines hold the word."""
        token, pattern, offset = _plain(word.tokens[0]), None, 0
        for line in text.split("\n"):
            if line.isascii():
                pattern = pattern or _ascii_pattern(word)
                found: Iterable[Span] = (match.span() for match in pattern.finditer(line))
            else:
                found = _phrases(self.tokens(line), word) if token in _plain(line) else ()
            yield from ((offset + start, offset + end) for start, end in found)
            offset += len(line) + 1

    def _understood(self, given: str) -> Word:
        bare = given.strip()
        exact = len(bare) > 2 and bare[0] == bare[-1] == '"'
        text = prepared(bare)
        found = self.tokens(text)
        tokens = tuple(token.text for token in found)
        written = tuple(text[token.start : token.end].lower() for token in found)
        last = tokens[-1] if tokens else ""
        prefix = not exact and len(last) >= _SHORTEST_PREFIX
        return Word(bare[1:-1] if exact else bare, tokens, prefix, written)

    def _tokens(self, text: str) -> Iterator[Token]:
        for token in self._raw_tokens(text):
            piece = text[token.start : token.end]
            if piece.isascii() or not any(map(stands_alone, piece)):
                yield token
            else:
                yield from self._single(piece, token.start)

    def _single(self, piece: str, offset: int) -> Iterator[Token]:
        """Yield the tokens of a run in which characters stand alone."""
        place = 0
        while place < len(piece):
            end = place + 1
            if not stands_alone(piece[place]):
                while end < len(piece) and not stands_alone(piece[end]):
                    end += 1
            for token in self._raw_tokens(piece[place:end]):
                yield Token(token.text, offset + place + token.start, offset + place + token.end)
            place = end

    def _raw_tokens(self, text: str) -> Iterator[Token]:
        data = text.encode("utf-8", "replace")
        found: Any = self._tokenizer(data, apsw.FTS5_TOKENIZE_DOCUMENT, None)
        if len(data) == len(text):
            yield from (Token(form, start, end) for start, end, form in found)
            return
        place = characters = 0
        for start, end, form in found:
            characters += len(data[place:start].decode("utf-8", "replace"))
            length = len(data[start:end].decode("utf-8", "replace"))
            yield Token(form, characters, characters + length)
            characters, place = characters + length, end


def _phrases(tokens: list[Token], word: Word) -> Iterator[Span]:
    size = len(word.tokens)
    *firsts, last = word.tokens
    fits: Callable[[str], bool] = (lambda text: text.startswith(last)) if word.prefix else last.__eq__
    for index in range(len(tokens) - size + 1):
        if fits(tokens[index + size - 1].text) and all(
            tokens[index + step].text == form for step, form in enumerate(firsts)
        ):
            yield tokens[index].start, tokens[index + size - 1].end


def _ascii_pattern(word: Word) -> re.Pattern[str]:
    """Return the pattern that finds a word in a text of ASCII only, where tokens are runs of letters and digits."""
    phrase = "[^A-Za-z0-9]+".join(map(re.escape, word.tokens))
    rest = "[A-Za-z0-9]*+" if word.prefix else "(?![A-Za-z0-9])"
    return re.compile(f"(?<![A-Za-z0-9]){phrase}{rest}", re.IGNORECASE | re.ASCII)


def _plain(text: str) -> str:
    """Return a text without case and accents: what the tokenizer folds alike is alike here, and more."""
    return _MARKS.sub("", normalize("NFD", text.casefold()))
