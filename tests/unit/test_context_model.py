"""What an item of a context costs when it comes, and again at each later request until a compaction drops it."""

from __future__ import annotations

from watchkeeper.queries.context_model import BASELINE, SUMMARY, UNSEEN, Item, Lane, Sent
from watchkeeper.queries.token_estimates import estimated_tokens, has_new_tokenizer, kind_of_path

READ, WRITE = 1, 12
"""Rates of a token that is read from the cache and of one that is written to it."""
RATES = (READ, WRITE, 20, 10)


def sent(read: int, written: int, *, compacted: bool = False) -> Sent:
    return Sent(read, written, 0, 0, RATES, compacted)


def test_a_file_read_at_one_request_is_paid_for_again_at_every_later_one() -> None:
    """Written once, then read from the cache three times."""
    lane = Lane()
    lane.send(sent(0, 1000), [Item("prompt", "hello", 10)])
    file = Item("tool result", "big.py", 500)
    lane.send(sent(1000, 500), [file])
    for size in (1500, 1600, 1700):
        lane.send(sent(size, 100), [Item("answer", "…", 100)])
    lane.finish()
    assert (file.tokens, file.entry, file.carried) == (500, 500 * WRITE, 3 * 500 * READ)
    assert (file.first, file.last) == (1, 4)


def test_a_cache_that_has_expired_writes_the_whole_context_again() -> None:
    """After a pause the carried cost is that of writing, not of reading."""
    lane = Lane()
    file = Item("tool result", "big.py", 1000)
    lane.send(sent(0, 1000), [file])
    lane.send(sent(0, 1000), [])
    lane.finish()
    assert file.carried == 1000 * WRITE


def test_a_compaction_ends_what_items_cost_but_keeps_the_system_prompt() -> None:
    """What is left after it is the baseline, and a summary."""
    lane = Lane()
    file, system = Item("tool result", "big.py", 600), Item("system prompt", "system prompt", 400)
    lane.send(sent(0, 1000), [system, file])
    lane.send(sent(400, 50, compacted=True), [])
    lane.finish()
    assert file.carried == 0
    assert file.last == 0
    assert system.carried == 400 * READ
    summary = next(item for item in lane.items if item.kind == SUMMARY)
    assert (summary.tokens, summary.entry) == (50, 50 * WRITE)


def test_growth_that_nothing_on_record_explains_is_charged_to_nothing_that_is() -> None:
    """An item takes at most half again its estimate; the rest has a name of its own."""
    lane = Lane()
    lane.send(sent(0, 100), [])
    seen = Item("tool result", "small.py", 100)
    lane.send(sent(100, 1000), [seen])
    lane.finish()
    assert seen.tokens == 150
    assert next(item.tokens for item in lane.items if item.kind == UNSEEN) == 850
    assert lane.items[0].kind == BASELINE


def test_a_context_that_shrinks_a_little_lost_thinking_first() -> None:
    """What the provider clears without a compaction is the oldest thinking, then the oldest results."""
    lane = Lane()
    thinking, result, prompt = (Item(kind, kind, 100) for kind in ("thinking", "tool result", "prompt"))
    lane.send(sent(0, 300), [prompt, thinking, result])
    lane.send(sent(0, 180), [])
    assert (thinking.live, result.live, prompt.live) == (0, 80, 100)


def test_estimates_follow_the_class_of_text_and_the_generation_of_the_model() -> None:
    """Newer tokenizers make more tokens of the same text; nothing known makes none."""
    assert estimated_tokens(4330, "prose", "claude-sonnet-4-6") == 1000
    assert estimated_tokens(3150, "prose", "claude-opus-4-8") == 1000
    assert estimated_tokens(None, "prose", "claude-opus-4-8") == 0
    assert [kind_of_path(name) for name in ("a/b.py", "c.MD", "d.json", "Makefile", None)] == [
        "python",
        "prose",
        "data",
        "code",
        "code",
    ]
    old = (
        "claude-3-5-sonnet-20241022",
        "claude-sonnet-4-20250514",
        "claude-opus-4-1-20250805",
        "claude-opus-4-6",
    )
    assert not any(map(has_new_tokenizer, old))
    assert all(
        map(has_new_tokenizer, ("claude-opus-4-7", "claude-sonnet-5-5", "claude-opus-5", None, "other"))
    )
