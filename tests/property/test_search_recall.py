"""Random words and phrases of real transcripts are found in exactly the sessions that hold them.

The other reader here is a plain one: every line decoded, every text read through, word by word.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given, settings, strategies

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.queries.search import search_sessions
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import Reader, open_reader

REAL = Path(__file__).parents[2].parent / "shared" / "transcripts" / "real" / "projects"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real transcripts: {REAL}")
LARGEST = 300_000
PLACES = strategies.integers(0, 10_000)
TOKEN = re.compile(r"[^\W_]+")
ACCENT = re.compile("[\u0300-\u036f]")
WIDE = re.compile("[\u2e80-\U0002ffff]")
NAMES = "title_custom, title_ai, title_summary, coalesce(project_path, cwd), session_id"


class Read:
    """The index of an import, and what the plain reader read: by session its texts as lower-case words."""

    def __init__(self, reader: Reader, texts: dict[str, list[str]]) -> None:
        self.reader = reader
        self.texts = texts
        self.phrases = phrases_of(texts)

    def holding(self, phrase: str, *, prefix: bool) -> set[str]:
        """Return the sessions that hold a phrase, in a text or in their name."""
        wanted = f" {phrase}" if prefix else f" {phrase} "
        by_text = {session for session, texts in self.texts.items() if any(wanted in text for text in texts)}
        names = self.reader.connection.execute(f"SELECT session_id, {NAMES} FROM sessions")
        return by_text | {
            row[0] for row in names if phrase in "\n".join(str(value or "") for value in row[1:]).lower()
        }


def strings(value: Any) -> Iterator[str]:
    """Yield all texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in {
                "type",
                "signature",
                "source",
                "tool_use_id",
                "id",
                "name",
                "caller",
                "cache_control",
            }:
                yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def conversation(body: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of one line's message: prompts, answers, thinking, inputs, results."""
    if body.get("type") == "progress":
        data = body.get("data") or {}
        if data.get("type") == "agent_progress" and isinstance(data.get("message"), dict):
            yield from conversation(data["message"])
    elif isinstance(body.get("message"), dict):
        content = body["message"].get("content")
        for block in [content] if isinstance(content, str) else content or []:
            if isinstance(block, str):
                yield block
            elif block.get("type") == "tool_use":
                yield from strings(block.get("input"))
            elif block.get("type") == "tool_result" and not any(strings(block.get("content"))):
                yield from strings(body.get("toolUseResult"))
            elif block.get("type") not in {"image", "redacted_thinking"}:
                yield from strings(block)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    """The smaller real transcripts, imported as a user's would be."""
    base = tmp_path_factory.mktemp("real")
    texts: dict[str, list[str]] = {}
    for path in sorted(REAL.rglob("*.jsonl")):
        if path.stat().st_size > LARGEST:
            continue
        copy = base / ".claude" / "projects" / path.relative_to(REAL)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                body = json.loads(line)
            except ValueError:
                continue
            session = body.get("sessionId") or path.stem
            for text in conversation(body):
                plain = WIDE.sub(" ", ACCENT.sub("", normalize("NFD", text)))
                words = [word.lower() for word in TOKEN.findall(plain)]
                if words:
                    texts.setdefault(session, []).append(" " + " ".join(words) + " ")
    environment = dict(os.environ) | {"HOME": str(base), "CLAUDE_CONFIG_DIR": str(base / ".claude")}
    catch_up(Settings(base / "wk", environment))
    with open_reader(Settings(base / "wk", environment).places) as reader:
        yield Read(reader, texts)


def phrases_of(texts: dict[str, list[str]]) -> list[str]:
    """Return one to three neighbouring words from random places; only such as no redaction rule takes for a secret."""
    chosen = random.Random(3)
    flat = [text for session in sorted(texts) for text in texts[session]]
    found = []
    for text in chosen.choices(flat, k=400):
        words = text.split()
        start = chosen.randrange(len(words))
        phrase = words[start : start + chosen.randint(1, 3)]
        if all(word.isascii() and word.isalpha() and 2 <= len(word) <= 12 for word in phrase):
            found.append(" ".join(phrase))
    return found


def sessions_with(read: Read, *words: str) -> set[str]:
    """Return the sessions that a search finds, after checking that each shows why."""
    answer = search_sessions(read.reader, words=words, limit=10_000)
    assert answer["total"] == len(answer["sessions"])
    assert answer["contexts_lost"] == 0
    return {session["session_id"] for session in answer["sessions"]}


@settings(max_examples=60, deadline=None)
@given(place=PLACES)
def test_a_phrase_is_found_in_exactly_the_sessions_that_hold_it(real: Read, place: int) -> None:
    """Exact in quotes, with any ending without."""
    phrase = real.phrases[place % len(real.phrases)]
    listed = sessions_with(real)
    assert sessions_with(real, f'"{phrase}"') == real.holding(phrase, prefix=False) & listed
    assert sessions_with(real, phrase) == real.holding(phrase, prefix=True) & listed


@settings(max_examples=30, deadline=None)
@given(places=strategies.lists(PLACES, min_size=2, max_size=3))
def test_several_words_are_found_where_all_of_them_are(real: Read, places: list[int]) -> None:
    """Each may stand anywhere in the session."""
    words = [real.phrases[place % len(real.phrases)] for place in places]
    expected = set.intersection(*(real.holding(word, prefix=True) for word in words))
    assert sessions_with(real, *words) == expected & sessions_with(real)


@settings(max_examples=30, deadline=None)
@given(place=PLACES)
def test_every_hit_shows_the_words_it_matched(real: Read, place: int) -> None:
    """A session that holds a word in a text has a hit with it, and the marked characters are the word."""
    phrase = real.phrases[place % len(real.phrases)]
    answer = search_sessions(real.reader, words=[phrase], limit=5)
    wanted = f" {phrase}"
    for session in answer["sessions"]:
        if any(wanted in text for text in real.texts.get(session["session_id"], ())):
            assert session["hits"]
        for hit in session["hits"]:
            for start, end in hit["matches"]:
                assert " ".join(TOKEN.findall(hit["excerpt"][start:end])).lower().startswith(phrase)


@settings(max_examples=100, deadline=None)
@given(words=strategies.lists(strategies.text(max_size=20), min_size=1, max_size=3))
def test_nothing_that_is_typed_breaks_a_search(real: Read, words: list[str]) -> None:
    """Whatever the characters, there is an answer."""
    answer = search_sessions(real.reader, words=words, limit=2)
    assert answer["total"] >= len(answer["sessions"])
    json.dumps(answer).encode()
