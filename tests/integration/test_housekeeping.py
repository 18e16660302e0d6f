"""Retention drops whole sessions from the archive, keeps every figure, and a rebuild agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from observations import projections

from watchkeeper.archive.departures import GoneError
from watchkeeper.archive.holds import Hold, Holds
from watchkeeper.archive.store import ArchiveReader
from watchkeeper.errors import FormatError, UsageError
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.disk import disk_usage
from watchkeeper.pipeline.housekeeping import sweep
from watchkeeper.pipeline.rebuild import rebuild
from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.reredaction import Request, forget
from watchkeeper.queries.calls import get_call
from watchkeeper.settings import Settings
from watchkeeper.store import envelopes
from watchkeeper.store.sqlite.reading import open_reader
from watchkeeper.store.sqlite.writing import StoreWriteError

DAY = 86_400_000
NOW = 1_900_000_000_000
OLD, NEW = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def stamp(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def session_lines(session: str, at_ms: int, word: str) -> list[dict[str, Any]]:
    base = {"sessionId": session, "cwd": "/home/dev/app", "version": "2.1.0", "timestamp": stamp(at_ms)}
    usage = {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 7,
    }
    answer = {
        "id": f"msg_{word}",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [
            {"type": "text", "text": f"The answer about {word}."},
            {"type": "tool_use", "id": f"toolu_{word}", "name": "Bash", "input": {"command": f"echo {word}"}},
        ],
        "usage": usage,
    }
    result = {"type": "tool_result", "tool_use_id": f"toolu_{word}", "content": f"output of {word}"}
    return [
        base | {"type": "user", "uuid": f"{word}-1", "message": {"role": "user", "content": f"ask {word}"}},
        base | {"type": "assistant", "uuid": f"{word}-2", "requestId": f"req_{word}", "message": answer},
        base | {"type": "user", "uuid": f"{word}-3", "message": {"role": "user", "content": [result]}},
    ]


def write_session(settings: Settings, session: str, at_ms: int, word: str) -> Path:
    folder = settings.claude_config_dirs[0] / "projects" / "-home-dev-app"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{session}.jsonl"
    lines = [json.dumps(line) for line in session_lines(session, at_ms, word)]
    path.write_text("\n".join([*lines, "no json at all", ""]))
    return path


@pytest.fixture
def two(settings: Settings) -> Settings:
    """A home with a session from 400 days ago, one of its subagents, and one from two days ago."""
    path = write_session(settings, OLD, NOW - 400 * DAY, "walnut")
    write_session(settings, NEW, NOW - 2 * DAY, "cherry")
    agents = path.with_suffix("") / "subagents"
    agents.mkdir(parents=True)
    lines = [
        line | {"isSidechain": True, "agentId": "abc"}
        for line in session_lines(OLD, NOW - 400 * DAY, "pecan")
    ]
    (agents / "agent-abc.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    catch_up(settings)
    return settings


def figures(settings: Settings) -> list[Any]:
    with open_reader(settings.places) as reader:
        queries = (
            "SELECT * FROM requests ORDER BY 1",
            "SELECT * FROM calls ORDER BY 1",
            "SELECT * FROM sessions ORDER BY 1",
            "SELECT * FROM prompts ORDER BY 1",
            "SELECT * FROM subagents ORDER BY 1",
            "SELECT * FROM skipped ORDER BY 1, 2, 3",
            "SELECT message_key, session_id, kind, at FROM messages ORDER BY 1",
        )
        return [list(reader.rows(query)) for query in queries]


def everything(settings: Settings) -> tuple[bytes, list[Any]]:
    with Recording(settings) as recording:
        rows = projections(recording.store)
    with open_reader(settings.places) as reader:
        columns = "file_key, generation, first_line, line_count, digest, pack, position"
        ranges = list(reader.rows(f"SELECT {columns} FROM ranges ORDER BY 1, 2, 3"))
        documents = list(
            reader.rows("SELECT place, first_line, session_id FROM search_docs ORDER BY 1, 2, 3")
        )
        files = list(reader.rows("SELECT * FROM files ORDER BY 1"))
    return rows, [ranges, documents, files]


def archived(settings: Settings) -> bytes:
    reader = ArchiveReader(settings.places.archive)
    return b"".join(reader.get(item.pack, item.offset) for item in reader.frames())


def test_a_session_beyond_retention_leaves_the_archive_and_its_figures_stay(two: Settings) -> None:
    before = figures(two)
    with Recording(two) as recording:
        report = sweep(recording, at_ms=NOW)
    assert [(item["session_id"], item["reason"]) for item in report.dropped] == [(OLD, "age")]
    assert report.frames == 2
    assert figures(two) == before
    content = archived(two)
    assert b"output of walnut" not in content
    assert b"The answer about walnut" not in content
    assert b"output of pecan" not in content
    assert b"output of cherry" in content


def test_a_rebuild_after_a_sweep_comes_to_the_same_index(two: Settings) -> None:
    with Recording(two) as recording:
        sweep(recording, at_ms=NOW)
    before, numbers = everything(two), figures(two)
    rebuild(two)
    assert figures(two) == numbers
    assert everything(two) == before


def test_what_has_gone_says_so_and_what_stays_is_still_found(two: Settings) -> None:
    with Recording(two) as recording:
        sweep(recording, at_ms=NOW)
    with open_reader(two.places) as reader:
        gone, there = get_call(reader, "toolu_walnut", NOW), get_call(reader, "toolu_cherry", NOW)
        texts = dict(reader.connection.execute("SELECT session_id, text FROM messages ORDER BY agent_id"))
        mark = reader.value("SELECT value FROM meta WHERE name = ?", (f"retired:{OLD}",))
    assert "older than the archive keeps" in str(gone["input"])
    assert there["result"] == "output of cherry"
    assert texts[OLD] is None
    assert "cherry" in texts[NEW]
    assert mark.startswith("age:")


def test_the_retirement_is_on_record_with_counts_and_session(two: Settings) -> None:
    with Recording(two) as recording:
        sweep(recording, at_ms=NOW)
    with LedgerReader(two.places.ledger) as reader:
        (entry,) = [item for item in reader.entries() if item.kind == envelopes.RETIREMENT]
    head = envelopes.read_retirement(entry.payload, entry.source)
    assert (head.sessions, head.frames, head.reason) == ([OLD], 2, "age")
    assert head.bytes > 0


def test_a_second_sweep_finds_nothing_and_the_transcript_is_not_taken_in_again(two: Settings) -> None:
    with Recording(two) as recording:
        sweep(recording, at_ms=NOW)
    before = everything(two)
    catch_up(two)
    with Recording(two) as recording:
        report = sweep(recording, at_ms=NOW)
    assert (report.dropped, report.frames) == ([], 0)
    assert everything(two) == before


def test_a_session_that_goes_on_later_is_archived_from_there(two: Settings) -> None:
    with Recording(two) as recording:
        sweep(recording, at_ms=NOW)
    path = two.claude_config_dirs[0] / "projects" / "-home-dev-app" / f"{OLD}.jsonl"
    with path.open("a") as stream:
        for line in session_lines(OLD, NOW - DAY // 2, "almond"):
            stream.write(json.dumps(line) + "\n")
    catch_up(two)
    with Recording(two) as recording:
        assert sweep(recording, at_ms=NOW).dropped == []
    before, numbers = everything(two), figures(two)
    rebuild(two)
    assert (everything(two), figures(two)) == (before, numbers)
    assert b"output of almond" in archived(two)


def test_a_held_session_stays_and_a_dry_run_drops_nothing(two: Settings) -> None:
    before = everything(two)
    with Recording(two) as recording:
        planned = sweep(recording, at_ms=NOW, dry_run=True)
    assert [item["session_id"] for item in planned.dropped] == [OLD]
    Holds(two.places.holds).add(OLD, Hold(1, "case 7"))
    with Recording(two) as recording:
        report = sweep(recording, at_ms=NOW)
    assert (report.dropped, report.held) == ([], [OLD])
    assert everything(two) == before


def test_what_is_held_is_not_forgotten_either(two: Settings) -> None:
    Holds(two.places.holds).add(OLD, Hold(1, "case 7"))
    with pytest.raises(UsageError, match="held"):
        forget(two, Request(what="session", why="asked for", sessions=(OLD,)))
    assert b"output of walnut" in archived(two)
    Holds(two.places.holds).remove(OLD)
    forget(two, Request(what="session", why="asked for", sessions=(OLD,)))
    assert b"output of walnut" not in archived(two)


def test_a_list_of_holds_that_cannot_be_read_stops_the_sweep(two: Settings) -> None:
    two.places.holds.write_text("{")
    with Recording(two) as recording, pytest.raises(FormatError, match="holds"):
        sweep(recording, at_ms=NOW)
    assert b"output of walnut" in archived(two)


def limited(settings: Settings, **variables: str) -> Settings:
    return Settings(settings.places.home, {**settings.environment, **variables})


def test_the_oldest_go_first_when_the_archive_is_too_large_but_never_those_in_use(two: Settings) -> None:
    write_session(two, "33333333-3333-4333-8333-333333333333", NOW - 1000, "hazel")
    catch_up(two)
    small = limited(two, WATCHKEEPER_ARCHIVE_BYTES="1", WATCHKEEPER_RETENTION_DAYS="0")
    with Recording(small) as recording:
        report = sweep(recording, at_ms=NOW)
    assert [(item["session_id"], item["reason"]) for item in report.dropped] == [(OLD, "size"), (NEW, "size")]
    assert report.over_bytes > 0
    assert b"output of hazel" in archived(two)


def test_transcripts_go_for_the_disk_only_where_that_can_help(two: Settings) -> None:
    forever = {"WATCHKEEPER_RETENTION_DAYS": "0"}
    before = archived(two)
    with Recording(limited(two, WATCHKEEPER_DISK_BYTES="1", **forever)) as recording:
        report = sweep(recording, at_ms=NOW)
    assert report.dropped == []
    assert report.over_bytes > 0
    assert archived(two) == before
    whole = disk_usage(two)["total_bytes"]
    with Recording(limited(two, WATCHKEEPER_DISK_BYTES=str(whole - 10), **forever)) as recording:
        report = sweep(recording, at_ms=NOW)
    assert report.dropped[0]["session_id"] == OLD


def test_nothing_goes_while_all_is_within_the_budgets(two: Settings) -> None:
    keep = limited(two, WATCHKEEPER_RETENTION_DAYS="0")
    with Recording(keep) as recording:
        assert sweep(recording, at_ms=NOW).dropped == []


def test_a_frame_that_a_kept_session_shares_stays(two: Settings) -> None:
    folder = two.claude_config_dirs[0] / "projects" / "-home-dev-copy"
    folder.mkdir()
    copied = two.claude_config_dirs[0] / "projects" / "-home-dev-app" / f"{OLD}.jsonl"
    target = folder / f"{NEW}.jsonl"
    target.write_bytes(copied.read_bytes())
    catch_up(two)
    with Recording(two) as recording:
        sweep(recording, at_ms=NOW)
    assert b"output of walnut" in archived(two)
    assert b"output of pecan" not in archived(two)
    before = everything(two)
    rebuild(two)
    assert everything(two) == before


def test_what_a_kept_file_says_of_a_retired_session_is_still_found(two: Settings) -> None:
    folder = two.claude_config_dirs[0] / "projects" / "-home-dev-app"
    quoting = session_lines(OLD, NOW - 2 * DAY, "quince") + session_lines(NEW, NOW - 2 * DAY, "medlar")
    with (folder / f"{NEW}.jsonl").open("a") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in quoting)
    catch_up(two)
    with Recording(two) as recording:
        # The session has an event of two days ago, in another's file; its own is held to be as old as it says.
        recording.store.connection.execute("UPDATE sessions SET last_at = 1 WHERE session_id = ?", (OLD,))
        assert [row["session_id"] for row in sweep(recording, at_ms=NOW).dropped] == [OLD]
    before = everything(two)[1]
    sessions = {row["session_id"] for row in before[1]}
    assert sessions == {OLD, NEW}
    rebuild(two)
    assert everything(two)[1] == before


def test_a_crash_between_ledger_and_archive_is_made_good_by_the_next_sweep(
    two: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise StoreWriteError("the power failed")

    with monkeypatch.context() as patched:
        patched.setattr("watchkeeper.pipeline.housekeeping.begin_dropping", die)
        with Recording(two) as recording, pytest.raises(StoreWriteError):
            sweep(recording, at_ms=NOW)
    assert b"output of walnut" in archived(two)
    rebuild(two)
    with Recording(two) as recording:
        sweep(recording, at_ms=NOW)
    assert b"output of walnut" not in archived(two)
    with open_reader(two.places) as reader:
        row = reader.row("SELECT digest FROM ranges WHERE pack = ''")
    assert row is not None
    with pytest.raises(GoneError):
        ArchiveReader(two.places.archive).find(row["digest"])
