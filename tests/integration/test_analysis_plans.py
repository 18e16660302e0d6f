"""What sums up a history reads it through indexes: the planner is not left to guess."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from watchkeeper.queries import attribution, quality, stats
from watchkeeper.queries.stretches import Stretch
from watchkeeper.settings import Places
from watchkeeper.store.sqlite.reading import open_reader

STRETCHES = (Stretch("all", None, None), Stretch("given", 1, 10**13))


@pytest.mark.parametrize("stretch", STRETCHES, ids=lambda stretch: stretch.name)
@pytest.mark.parametrize(
    "ask",
    [
        lambda reader, stretch: stats._calls(reader, stretch, {}),
        stats._requests,
        stats._active,
        stats.cost_by_day,
        quality._looping,
        attribution.top_prompts,
    ],
    ids=["calls", "requests", "active", "by day", "loops", "prompts"],
)
def test_the_big_tables_are_read_through_their_indexes(ask: object, stretch: Stretch, tmp_path: Path) -> None:
    with open_reader(Places(tmp_path)) as reader:
        plans: list[str] = []
        connection = reader.connection

        def trace(_cursor: apsw.Cursor, statement: str, bindings: object) -> bool:
            if statement.startswith(("SELECT", "WITH")):
                rows = explaining.execute("EXPLAIN QUERY PLAN " + statement, bindings)
                plans.extend(row[3] for row in rows)
            return True

        explaining = open_reader(Places(tmp_path)).connection
        connection.exec_trace = trace
        ask(reader, stretch)  # type: ignore[operator]
        connection.exec_trace = None
        explaining.close()
    big = [
        line
        for line in plans
        if line.startswith(("SCAN", "SEARCH")) and line.split()[1] in {"calls", "requests"}
    ]
    assert big
    assert [line for line in big if "INDEX" not in line] == []
    # Who walks through all of it touches no row of the table.
    assert [line for line in big if line.startswith("SCAN") and "COVERING" not in line] == []
