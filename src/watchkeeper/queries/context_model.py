"""What a context held at each request, and what each piece of it cost then and at every later request.

A context is a list of items in the order in which they came. The provider says exactly how many tokens every request
sent (fresh, written to the cache, read from it); how these divide over the items is estimated from the sizes of their
texts and fitted to those totals, so that at every request the items add up to what was sent. A cache holds a prefix, so
the oldest items are the ones that were read from it. What grew without anything on record to explain it is an item of
its own, so nothing is spread over what did not cause it.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

from watchkeeper.queries.shares import divide

STRETCH = (3, 2)
"""An item takes at most so many times its estimate; what grew beyond is not explained by it."""

UNSEEN = "not on record"
BASELINE = "system prompt and the like"
SUMMARY = "summary after compaction"
KEPT_KINDS = frozenset({BASELINE, "system prompt", "tool definition"})
"""Kinds that a compaction leaves in the context; what the client attaches, it attaches anew."""

_CLEARED_FIRST = ("thinking", "tool result", UNSEEN)
"""When a context shrinks without a compaction: kinds that the client or the provider clears, oldest first."""


@dataclass(slots=True, eq=False)
class Item:
    """One piece of a context.

    Attributes:
        kind: What it is: prompt, answer, thinking, tool input, tool result, attachment, memory, ...
        label: What it is called.
        estimate: Its tokens by the size of its text.
        tool: The tool, for inputs, results and definitions.
        tool_use_id: The call, for inputs and results.
        used: For definitions and skills whether anything used them.
        tokens: Its tokens as fitted to the totals; what it had when it came.
        live: What is left of them.
        first: The request, by its number, that it was first sent in.
        last: The last one.
        entry: Cost of the first time, in the unit of the rates.
        carried: Cost of all later times.
    """

    kind: str
    label: str
    estimate: int
    tool: str | None = None
    tool_use_id: str | None = None
    used: bool | None = None
    tokens: int = 0
    live: int = 0
    first: int = -1
    last: int = -1
    entry: int = 0
    carried: int = 0


@dataclass(slots=True)
class Sent:
    """What one request sent, in the order of the context: read from the cache, written to it, fresh.

    Attributes:
        read: Tokens read from the cache.
        written_5m: Tokens written for five minutes.
        written_1h: Tokens written for an hour.
        fresh: Tokens that no cache held.
        rates: Cost of one token of each of the four; all 0 where no price is known.
        compacted: A compaction lies between the request before and this one.
    """

    read: int
    written_5m: int
    written_1h: int
    fresh: int
    rates: tuple[int, int, int, int] = (0, 0, 0, 0)
    compacted: bool = False

    @property
    def tokens(self) -> int:
        """The size of the context."""
        return self.read + self.written_5m + self.written_1h + self.fresh

    @property
    def cost(self) -> int:
        """What sending it cost, in the unit of the rates."""
        counts = (self.read, self.written_5m, self.written_1h, self.fresh)
        return sum(count * rate for count, rate in zip(counts, self.rates, strict=True))


@dataclass(slots=True)
class Lane:
    """The context of one agent as it goes from request to request."""

    items: list[Item] = field(default_factory=list)
    live: list[Item] = field(default_factory=list)
    requests: int = 0
    _ends: list[int] = field(default_factory=list)
    _marks: dict[int, int] = field(default_factory=dict)

    def send(self, sent: Sent, arrivals: list[Item]) -> None:
        """Take what arrived since the last request into the context, and charge this request to what it held."""
        total = sent.tokens
        if not self.requests:
            known_from = 0
            self._begin(total, arrivals, BASELINE)
        elif sent.compacted or total * 2 < self._size():
            known_from = self._restart(total, arrivals)
        else:
            known_from = self._grow(total, arrivals)
        self._charge(sent, known_from)
        self.requests += 1

    def finish(self) -> list[Item]:
        """Return every item there ever was, with its costs."""
        self._settle()
        return self.items

    def _size(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _begin(self, room: int, arrivals: list[Item], rest_kind: str) -> None:
        """Fit arrivals into a context of a known size; what they leave is of one kind, before them."""
        fitted = _fit(room, arrivals)
        rest = room - sum(fitted)
        if rest:
            self._append(Item(rest_kind, rest_kind, rest), rest)
        for item, tokens in zip(arrivals, fitted, strict=True):
            self._append(item, tokens)

    def _restart(self, total: int, arrivals: list[Item]) -> int:
        """Begin anew after a compaction: the baseline stays as far as it fits beside what is new, all else is gone."""
        self._settle()
        kept = [item for item in self.live if item.kind in KEPT_KINDS]
        left = max(0, total - sum(item.estimate for item in arrivals))
        for item in kept:
            item.live = min(item.live, left)
            left -= item.live
        self.live = [item for item in kept if item.live]
        self._measure()
        known_from = len(self.live)
        self._begin(total - self._size(), arrivals, SUMMARY)
        return known_from

    def _grow(self, total: int, arrivals: list[Item]) -> int:
        growth = total - self._size()
        if growth < 0:
            wanted = sum(item.estimate for item in arrivals) - growth
            self._shrink(wanted)
            growth = total - self._size()
            if growth < 0:
                self._shrink(-growth, whatever=True)
                growth = total - self._size()
        known_from = len(self.live)
        fitted = _fit(growth, arrivals)
        for item, tokens in zip(arrivals, fitted, strict=True):
            self._append(item, tokens)
        rest = growth - sum(fitted)
        if rest:
            self._append(Item(UNSEEN, "reminders, attachments and what else no line shows", rest), rest)
        return known_from

    def _shrink(self, tokens: int, *, whatever: bool = False) -> None:
        self._settle()
        groups = [[item for item in self.live if item.kind == kind] for kind in _CLEARED_FIRST]
        if whatever:
            groups.append(self.live[::-1])
        for item in (item for group in groups for item in group):
            taken = min(tokens, item.live)
            item.live -= taken
            tokens -= taken
            if not tokens:
                break
        self.live = [item for item in self.live if item.live]
        self._measure()

    def _append(self, item: Item, tokens: int) -> None:
        self.items.append(item)
        item.tokens = item.live = tokens
        item.first = self.requests
        # One that takes no room is on the list, but in no request.
        if tokens:
            self.live.append(item)
            self._ends.append(self._size() + tokens)

    def _measure(self) -> None:
        self._ends = list(accumulate(item.live for item in self.live))

    def _charge(self, sent: Sent, known_from: int) -> None:
        """Charge a request: the wholly cached prefix by a mark that `_settle` sums up, the rest at once."""
        inside = min(bisect_right(self._ends, sent.read), known_from)
        if inside:
            self._marks[inside] = self._marks.get(inside, 0) + sent.rates[0]
        begin = self._ends[inside - 1] if inside else 0
        bounds = list(accumulate((sent.read, sent.written_5m, sent.written_1h, sent.fresh)))
        for place in range(inside, len(self.live)):
            item, end = self.live[place], self._ends[place]
            cost, low = 0, begin
            for bound, rate in zip(bounds, sent.rates, strict=True):
                high = min(end, bound)
                if high > low:
                    cost += (high - low) * rate
                    low = high
            if place >= known_from:
                item.entry += cost
            else:
                item.carried += cost
            begin = end

    def _settle(self) -> None:
        """Charge what the marks have gathered; needed before the order or size of items changes."""
        rate = 0
        for place in range(len(self.live), 0, -1):
            rate += self._marks.get(place, 0)
            item = self.live[place - 1]
            item.carried += item.live * rate
            item.last = self.requests - 1
        self._marks.clear()


def _fit(room: int, arrivals: list[Item]) -> list[int]:
    """Return tokens for items that grew a context by `room`: by their estimates, up to `STRETCH` times of each."""
    if not arrivals:
        return []
    estimates = [item.estimate for item in arrivals]
    most = sum(estimates) * STRETCH[0] // STRETCH[1]
    if not most or room <= 0:
        return [0] * len(arrivals)
    return divide(min(room, most), estimates)
