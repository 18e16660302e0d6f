"""Lists of words come out of the index as they went in, whatever the words hold."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.queries.forms import words

WORDS = st.lists(st.text(alphabet=st.characters() | st.sampled_from('",[]\\ ')))


@given(WORDS, st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_a_stored_list_of_words_is_read_as_it_was(
    given_words: list[str], ascii_only: bool, separators: tuple[str, str]
) -> None:
    """The quick way and the decoder agree."""
    text = json.dumps(given_words, ensure_ascii=ascii_only, separators=separators)
    assert words(text) == given_words
