"""The live stream's hub: rounds, slow browsers, what is watched."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from watchkeeper.errors import FormatError
from watchkeeper.server import live
from watchkeeper.server.live import LiveHub, Subscriber


class Store:
    """Answers from lists instead of a database, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.watched: set[str] = set()
        self.broken = False
        self.calls: list[list[str]] = []
        self.again: float | None = None

    async def hello(self, session_id: str | None) -> bytes:
        self.asked.append(("hello", session_id))
        return b"hello"

    async def status_message(self) -> bytes:
        return b"status"

    async def changed_sessions(self, session_ids: list[str]) -> bytes | None:
        if self.broken:
            raise FormatError("the index cannot be read")
        self.asked.append(("sessions", session_ids))
        return b"sessions " + ",".join(session_ids).encode()

    async def watch(self, session_id: str) -> None:
        self.watched.add(session_id)

    async def unwatch(self, session_id: str) -> None:
        self.watched.remove(session_id)

    async def changed_items(
        self, session_id: str, tool_use_ids: list[str]
    ) -> tuple[bytes | None, float | None]:
        self.asked.append(("items", session_id))
        self.calls.append(tool_use_ids)
        again, self.again = self.again, None
        return b"items " + session_id.encode(), again


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario

    asyncio.run(bounded())


async def next_of(subscriber: Subscriber, store: Store) -> str:
    return await subscriber.next_message(store.hello)


def test_a_subscriber_begins_with_a_hello_and_hears_of_every_session_but_only_its_own_items() -> None:
    async def scenario() -> None:
        store = Store()
        hub = LiveHub(store)
        one, two = await hub.join("a"), await hub.join(None)
        assert [await next_of(one, store), await next_of(two, store)] == ["hello", "hello"]
        running = asyncio.create_task(hub.run())
        hub.changed(["a", "b"])
        assert await next_of(one, store) == "items a"
        assert await next_of(one, store) == "sessions a,b"
        assert await next_of(two, store) == "sessions a,b"
        assert ("items", "b") not in store.asked
        running.cancel()

    run(scenario())


def test_notices_that_come_while_a_round_runs_become_one_round() -> None:
    async def scenario() -> None:
        store = Store()
        hub = LiveHub(store)
        subscriber = await hub.join(None)
        await next_of(subscriber, store)
        running = asyncio.create_task(hub.run())
        hub.changed(["first"])
        assert await next_of(subscriber, store) == "sessions first"
        for number in range(20):
            hub.changed([f"s{number % 3}"])
            await asyncio.sleep(0)
        assert await next_of(subscriber, store) == "sessions s0,s1,s2"
        running.cancel()

    run(scenario())


def test_a_burst_of_changes_is_followed_by_the_totals_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The footer's counts and an import's progress would else stay as they were when the page was opened."""
    monkeypatch.setattr(live, "TOTALS_SECONDS", 0.1)

    async def scenario() -> None:
        store = Store()
        hub = LiveHub(store)
        subscriber = await hub.join(None)
        await next_of(subscriber, store)
        running = asyncio.create_task(hub.run())
        for name in "abc":
            hub.changed([name])
        assert await next_of(subscriber, store) == "sessions a,b,c"
        assert await next_of(subscriber, store) == "status"
        hub.changed(["d"])
        assert await next_of(subscriber, store) == "sessions d"
        assert await next_of(subscriber, store) == "status"
        running.cancel()

    run(scenario())


def test_nothing_is_asked_while_nobody_watches() -> None:
    async def scenario() -> None:
        store = Store()
        hub = LiveHub(store)
        running = asyncio.create_task(hub.run())
        hub.changed(["a"])
        hub.status_changed()
        await asyncio.sleep(0.1)
        assert store.asked == []
        running.cancel()

    run(scenario())


def test_a_slow_subscriber_loses_its_queue_for_a_fresh_hello_and_delays_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "COALESCE_SECONDS", 0.0)
    monkeypatch.setattr(live, "QUEUE_MESSAGES", 4)

    async def scenario() -> None:
        store = Store()
        hub = LiveHub(store)
        slow, quick = await hub.join(None), await hub.join(None)
        await next_of(slow, store)
        await next_of(quick, store)
        running = asyncio.create_task(hub.run())
        for number in range(6):
            hub.changed([str(number)])
            assert await next_of(quick, store) == f"sessions {number}"
        assert await next_of(slow, store) == "hello"
        assert await next_of(slow, store) == "sessions 5"
        running.cancel()

    run(scenario())


def test_a_queue_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUEUE_BYTES", 100)
    subscriber = Subscriber(needs_hello=False)
    subscriber.offer("x" * 60)
    assert not subscriber.needs_hello
    subscriber.offer("y" * 60)
    assert subscriber.needs_hello


def test_what_changes_while_a_hello_is_made_comes_behind_it() -> None:
    async def scenario() -> None:
        store = Store()
        subscriber = Subscriber()

        async def slow_hello(session_id: str | None) -> bytes:
            subscriber.offer("later")
            return b"hello"

        assert await subscriber.next_message(slow_hello) == "hello"
        assert await next_of(subscriber, store) == "later"

    run(scenario())


def test_a_session_is_watched_as_long_as_somebody_watches_it() -> None:
    async def scenario() -> None:
        store = Store()
        hub = LiveHub(store)
        one, two = await hub.join("a"), await hub.join("a")
        await hub.watch(one, "b")
        assert store.watched == {"a", "b"}
        await hub.leave(two)
        assert store.watched == {"b"}
        await hub.watch(one, None)
        assert store.watched == set()

    run(scenario())


def test_an_import_of_many_sessions_is_told_in_several_rounds_with_the_watched_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "SESSIONS_PER_ROUND", 3)

    async def scenario() -> None:
        store = Store()
        hub = LiveHub(store)
        subscriber = await hub.join("s6")
        await next_of(subscriber, store)
        running = asyncio.create_task(hub.run())
        hub.changed([f"s{number}" for number in range(7)])
        told = [await next_of(subscriber, store) for _ in range(4)]
        assert told == ["items s6", "sessions s6,s0,s1", "sessions s2,s3,s4", "sessions s5"]
        running.cancel()

    run(scenario())


def test_a_round_that_fails_lets_everyone_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSE_SECONDS", 0.0)

    async def scenario() -> None:
        store = Store()
        hub = LiveHub(store)
        subscriber = await hub.join(None)
        await next_of(subscriber, store)
        running = asyncio.create_task(hub.run())
        store.broken = True
        hub.changed(["a"])
        assert await next_of(subscriber, store) == "hello"
        store.broken = False
        hub.changed(["b"])
        assert await next_of(subscriber, store) == "sessions b"
        running.cancel()

    run(scenario())


def test_the_calls_of_a_notice_are_passed_on_once() -> None:
    async def scenario() -> None:
        store = Store()
        hub = LiveHub(store)
        subscriber = await hub.join("a")
        await next_of(subscriber, store)
        running = asyncio.create_task(hub.run())
        hub.changed(["a"], ["t1", "t2"])
        assert await next_of(subscriber, store) == "items a"
        hub.changed(["a"])
        assert await next_of(subscriber, store) == "sessions a"
        assert await next_of(subscriber, store) == "items a"
        assert store.calls == [["t1", "t2"], []]
        running.cancel()

    run(scenario())


def test_a_timeline_that_was_not_looked_at_whole_is_looked_at_again() -> None:
    async def scenario() -> None:
        store = Store()
        store.again = 0.01
        hub = LiveHub(store)
        subscriber = await hub.join("a")
        await next_of(subscriber, store)
        running = asyncio.create_task(hub.run())
        hub.changed(["a"])
        assert [await next_of(subscriber, store) for _ in range(4)] == ["items a", "sessions a"] * 2
        running.cancel()

    run(scenario())
