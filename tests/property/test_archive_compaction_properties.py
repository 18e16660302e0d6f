"""A rewrite that is stopped anywhere ends, after the next writer has opened, as if never begun or as if done."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.archive.compaction import rewrite_pack
from watchkeeper.archive.departures import GoneError
from watchkeeper.archive.store import Address, ArchiveReader, ArchiveWriter

PLACES = [
    "watchkeeper.archive.compaction.write_whole",
    "watchkeeper.archive.compaction.sync_data",
    "watchkeeper.archive.compaction.sync_directory",
    "watchkeeper.archive.packs.write_whole",
    "watchkeeper.archive.packs.sync_directory",
    "watchkeeper.archive.departures.write_whole",
    "watchkeeper.archive.departures.sync_data",
    "pathlib.Path.rename",
    "pathlib.Path.unlink",
]

contents = st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8, unique=True)


class Killed(BaseException):
    """Stands for the death of the process: no handler of ours catches it."""


class Clock:
    """Counts the steps that touch the disk and stops before the last one allowed, half done where it is a write."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                if real.__name__ == "write_whole":
                    descriptor, data, offset = arguments
                    real(descriptor, data[: len(data) // 2], offset)
                raise Killed
            return real(*arguments, **named)

        return step


def resolve(name: str) -> Callable[..., Any]:
    module, attribute = name.rsplit(".", 1)
    owner = Path if module == "pathlib.Path" else importlib.import_module(module)
    found: Callable[..., Any] = getattr(owner, attribute)
    return found


@given(contents, st.data())
@settings(max_examples=150, deadline=None)
def test_a_rewrite_stopped_anywhere_loses_and_keeps_nothing_by_halves(
    given_contents: list[bytes], data: st.DataObject
) -> None:
    fates = data.draw(
        st.lists(
            st.sampled_from(["keep", "drop", "change"]),
            min_size=len(given_contents),
            max_size=len(given_contents),
        )
    )
    steps = data.draw(st.integers(0, 30))
    wanted = dict(zip(given_contents, fates, strict=True))

    def transform(_: Address, content: bytes) -> bytes | None:
        fate = wanted[content]
        return None if fate == "drop" else content + b"!" * 201 if fate == "change" else content

    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with ArchiveWriter(directory) as writer:
            addresses = {content: writer.put(content) for content in given_contents}
        clock, done = Clock(steps), True
        patches = [patch(name, clock.wrap(resolve(name))) for name in PLACES]
        for item in patches:
            item.start()
        try:
            rewrite_pack(directory, addresses[given_contents[0]].pack, transform, reason="forgotten")
        except Killed:
            done = False
        finally:
            for item in patches:
                item.stop()
        ArchiveWriter(directory).close()
        assert not list(directory.glob("*.tmp")) + list(directory.glob("*.rewrite"))
        states = {
            state_of(directory, address, content, wanted[content]) for content, address in addresses.items()
        }
        states.discard("either")
        assert states in (set(), {"before"}, {"after"})
        assert not (done and states == {"before"})


def state_of(directory: Path, address: Address, content: bytes, fate: str) -> str:
    try:
        found = ArchiveReader(directory).get(address.pack, address.offset, address.digest)
    except GoneError as gone:
        return f"after as {fate}, {gone.reason}" if fate != "drop" else "after"
    if fate == "keep":
        assert found == content
        return "either"
    assert found == content or (fate == "change" and found == content + b"!" * 201)
    return "before" if found == content else "after"
