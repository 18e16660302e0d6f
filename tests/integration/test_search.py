"""Full-text search as a user meets it: generated histories, growing files, hooks, deletion, and the command."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.rebuild import rebuild
from watchkeeper.queries import search
from watchkeeper.queries.resuming import resume_anywhere, resume_here
from watchkeeper.queries.search import search_sessions
from watchkeeper.settings import Places, Settings
from watchkeeper.store.rows import TextRow
from watchkeeper.store.sqlite import search_index
from watchkeeper.store.sqlite.reading import open_reader
from watchkeeper.store.sqlite.schema import connect_for_writing, ddl

SOURCES = Path(__file__).resolve().parents[2] / "src"
GENERATOR = Path(__file__).parents[2].parent / "shared" / "transcripts" / "gen_transcripts.py"
MINE = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


def wk(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``wk`` on the test's home."""
    env = {
        "HOME": str(home.parent),
        "WATCHKEEPER_HOME": str(home),
        "CLAUDE_CONFIG_DIR": str(home.parent / ".claude"),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCES),
        "TZ": "UTC",
        **environment,
    }
    command = [sys.executable, "-m", "watchkeeper.cli", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def line(session: str, number: int, text: str, **more: Any) -> str:
    """Return one line of a transcript: a prompt."""
    return (
        json.dumps(
            {
                "type": "user",
                "uuid": f"{session[:4]}-{number}",
                "sessionId": session,
                "timestamp": f"2026-11-01T10:{number // 60:02}:{number % 60:02}.000Z",
                "cwd": "/home/dev/my project",
                "version": "2.1.330",
                "message": {"role": "user", "content": text},
                **more,
            }
        )
        + "\n"
    )


def transcript(home: Path, session: str, lines: list[str], *, within: str = "") -> Path:
    """Append lines to a session's transcript, or to a file in its folder."""
    folder = home.parent / ".claude" / "projects" / "-home-dev-my-project"
    path = folder / session / within if within else folder / f"{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)
    return path


def ids(places: Places, *words: str) -> set[str]:
    """Return the ids of the sessions that a search finds."""
    with open_reader(places) as reader:
        answer = search_sessions(reader, words=words, limit=1000)
    assert answer["contexts_lost"] == 0
    return {session["session_id"] for session in answer["sessions"]}


def frame(session: str, number: int, text: str, agent: str | None = None) -> TextRow:
    """Return what a hook event gives the index."""
    return TextRow(f"spool:1:{number}", 0, 0, session, agent, True, number, number, text)


def lines_of(session: str, first: int, last: int, text: str, agent: str | None = None) -> TextRow:
    """Return what a range of a transcript gives the index."""
    return TextRow(f"file-{session}", 0, first, session, agent, False, first, last, text)


@pytest.fixture
def index() -> apsw.Connection:
    """An empty index in memory."""
    connection = apsw.Connection(":memory:")
    connection.execute(ddl())
    return connection


def places_of(connection: apsw.Connection, word: str) -> set[str]:
    """Return where the index has a word from."""
    query = "SELECT place FROM search JOIN search_docs ON doc = search.rowid WHERE search MATCH ?"
    return {place for (place,) in connection.execute(query, (word,))}


@pytest.mark.skipif(not GENERATOR.exists(), reason=f"needs the generator: {GENERATOR}")
def test_every_planted_needle_is_found_in_exactly_its_sessions(
    settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts, answers, thinking, inputs, results, subagents; dashes, quotes, umlauts; and what is nowhere."""
    spec = importlib.util.spec_from_file_location("gen_transcripts", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gen_transcripts", generator)
    spec.loader.exec_module(generator)
    # In a tree this small the rarer ones would be in no session at all.
    often = [
        (name, query, max(share, 0.5) if share > 1e-6 else share, kind)
        for name, query, share, kind in generator.NEEDLES
    ]
    monkeypatch.setattr(generator, "NEEDLES", often)
    truth = home.parent / "truth.json"
    out = home.parent / ".claude"
    monkeypatch.setattr(
        sys, "argv", ["gen", "--out", str(out), "--size", "4MB", "--seed", "7", "--truth", str(truth)]
    )
    generator.main()
    catch_up(settings)
    needles = json.loads(truth.read_text())["needles"]
    found = {name: ids(settings.places, needle["query"]) for name, needle in needles.items()}
    assert found == {name: set(needle["sessions"]) for name, needle in needles.items()}
    assert sum(bool(sessions) for sessions in found.values()) == 9


def test_a_file_that_grows_is_found_as_if_it_had_been_read_at_once(settings: Settings, home: Path) -> None:
    """Appended lines are searchable after the next look, and a rebuild answers the same."""
    for number in range(6):
        transcript(home, MINE, [line(MINE, number, f"step number{number} of alpha{number % 2}")])
        catch_up(settings)
        assert ids(settings.places, f"number{number}") == {MINE}
    transcript(home, OTHER, [line(OTHER, number, f"step number{number}") for number in range(3)])
    catch_up(settings)
    words = ([f"number{number}"] for number in range(6))
    queries = [
        *words,
        ["alpha0", "alpha1"],
        ["number5", "number0"],
        ["step number1"],
        ["number1 of"],
        ["absent"],
    ]
    before = [ids(settings.places, *query) for query in queries]
    assert before[6:] == [{MINE}, {MINE}, {MINE, OTHER}, {MINE}, set()]
    rebuild(settings)
    assert [ids(settings.places, *query) for query in queries] == before


def test_what_a_subagent_said_is_found_under_its_parent(settings: Settings, home: Path) -> None:
    """In a file of its own and inside the parent's, and the hit says which agent."""
    transcript(home, MINE, [line(MINE, 0, "please delegate")])
    inner = line(MINE, 1, "borborygmus here", agentId="a1b2", isSidechain=True)
    transcript(home, MINE, [inner], within="subagents/agent-a1b2.jsonl")
    nested = {
        "type": "agent_progress",
        "agentId": "c3d4",
        "message": json.loads(line(MINE, 2, "petrichor there")),
    }
    progress = json.loads(line(MINE, 3, "")) | {"type": "progress", "data": nested}
    transcript(home, MINE, [json.dumps(progress) + "\n"])
    catch_up(settings)
    for words, agent in ((["borborygmus"], "a1b2"), (["petrichor"], "c3d4")):
        with open_reader(settings.places) as reader:
            (session,) = search_sessions(reader, words=words)["sessions"]
        assert session["session_id"] == MINE
        assert [hit["agent_id"] for hit in session["hits"]] == [agent]
    assert ids(settings.places, "delegate", "borborygmus", "petrichor") == {MINE}


def test_an_accent_or_an_escape_costs_no_context(settings: Settings, home: Path) -> None:
    """The line is found as bytes where it can be, and otherwise all the same."""
    transcript(home, MINE, [line(MINE, 0, "eine Größenänderung hier"), line(MINE, 1, 'say "plugh"\ntwice')])
    catch_up(settings)
    for word, marked in (
        ("grossen", None),
        ("größenanderung", "Größenänderung"),
        ('"plugh twice"', 'plugh" twice'),
    ):
        with open_reader(settings.places) as reader:
            sessions = search_sessions(reader, words=[word])["sessions"]
        hits = [hit for session in sessions for hit in session["hits"]]
        shown = [hit["excerpt"][start:end] for hit in hits for start, end in hit["matches"]]
        assert shown == ([] if marked is None else [marked])


def test_hook_events_are_indexed_until_the_transcript_has_come_so_far(index: apsw.Connection) -> None:
    """Whatever arrives first, nothing is there twice and nothing is missing."""
    rows = [
        frame(MINE, 5, "early word"),
        frame(MINE, 20, "late word"),
        frame(MINE, 6, "inner word", "a1"),
        frame(OTHER, 5, "only word"),
        lines_of(MINE, 0, 10, "early word"),
    ]
    for order in (rows, rows[::-1]):
        index.execute("DELETE FROM search; DELETE FROM search_docs")
        search_index.put(index, order)
        known = index.execute("SELECT place, session_id, agent_id FROM search_docs").fetchall()
        assert sorted(known) == [
            (f"file-{MINE}", MINE, ""),
            ("spool:1:20", MINE, ""),
            ("spool:1:5", OTHER, ""),
            ("spool:1:6", MINE, "a1"),
        ]


def test_the_same_place_again_takes_the_place_of_the_former(index: apsw.Connection) -> None:
    """A replay changes nothing; a redacted text leaves no word of the old one."""
    row = lines_of(MINE, 0, 10, "secret word")
    search_index.put(index, [row, row])
    assert index.execute("SELECT count(*) FROM search_docs").fetchall() == [(1,)]
    search_index.put(index, [lines_of(MINE, 0, 10, "masked word")])
    assert places_of(index, "secret") == set()
    assert places_of(index, "masked") == {f"file-{MINE}"}
    search_index.put(index, [lines_of(MINE, 0, 10, "")])
    assert index.execute("SELECT count(*) FROM search_docs").fetchall() == [(0,)]


def test_what_was_deleted_is_not_even_in_the_file(tmp_path: Path) -> None:
    """After a purge no byte of a deleted word is left."""
    path = tmp_path / "index.db"
    connection = connect_for_writing(path)
    connection.execute(ddl())
    for number in range(50):
        search_index.put(connection, [lines_of(MINE, number, number, f"zanzibarquux{number} common")])
        search_index.put(connection, [lines_of(OTHER, number, number, f"kept{number} common")])
    assert search_index.delete_session(connection, MINE) == 50
    assert search_index.delete_place(connection, "file-nobody") == 0
    search_index.purge(connection)
    connection.execute("VACUUM")
    connection.pragma("wal_checkpoint", "truncate")
    assert places_of(connection, "common") == {f"file-{OTHER}"}
    connection.close()
    assert b"zanzibarquux" not in path.read_bytes()
    assert b"kept" in path.read_bytes()


@pytest.mark.parametrize(
    ("query", "bindings"),
    [
        (search._IN_TEXTS, ("word",)),
        (search._DOCUMENTS, ("s",)),
        (search_index._OVERTAKEN, ("s", "", 1)),
        (search_index._OVERTAKES, ("s", "", 1)),
        (search_index._SAME_PLACE, ("f", 0, 0, "s")),
    ],
)
def test_no_query_of_the_search_reads_a_whole_table(
    index: apsw.Connection, query: str, bindings: tuple[Any, ...]
) -> None:
    """The planner is asked, since a wrong choice would only show on large histories."""
    plan = [row[3] for row in index.execute(f"EXPLAIN QUERY PLAN {query}", bindings)]
    assert plan
    assert all("VIRTUAL TABLE INDEX" in step or step.startswith(("SEARCH", "USE TEMP")) for step in plan), (
        plan
    )


def test_the_command_finds_words_shows_them_and_how_to_resume(home: Path) -> None:
    """After -- everything is a word; the folder is quoted; the words stand in their line."""
    transcript(
        home,
        MINE,
        [line(MINE, 0, "run it --frobnicate-level=7 please"), line(MINE, 1, 'then say "plugh" twice')],
    )
    transcript(home, OTHER, [line(OTHER, 0, "nothing like it")])
    done = wk(home, "sessions", "twice", "--", "--frobnicate-level=7", COLUMNS="100")
    assert done.returncode == 0, done.stderr
    assert "run it --frobnicate-level=7 please" in done.stdout
    assert f"cd '/home/dev/my project' && claude --resume {MINE}" in done.stdout
    assert OTHER[:8] not in done.stdout
    document = json.loads(wk(home, "sessions", "--json", 'say "plugh" twice').stdout)
    assert document["total"] == 1
    (session,) = document["sessions"]
    assert session["resume"] == f"claude --resume {MINE}"
    (hit,) = session["hits"]
    assert (hit["kind"], hit["at"]) == ("prompt", "2026-11-01T10:00:01.000Z")
    assert [hit["excerpt"][start:end] for start, end in hit["matches"]] == ["say", "plugh", "twice"]


def test_the_command_says_what_it_cannot_search_for(home: Path) -> None:
    """A word of punctuation is looked for in names only, a phrase that is nowhere says how to loosen it."""
    transcript(home, MINE, [line(MINE, 0, "a * b")])
    done = wk(home, "sessions", "--", "*")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "No session matches.")
    assert "'*' has no letter or digit" in done.stderr
    assert "in double quotes is a phrase" in wk(home, "sessions", '"b a"').stdout
    assert wk(home, "sessions", "b a").stdout.startswith("session")
    assert json.loads(wk(home, "sessions", "--json", "--", "*").stdout)["only_in_names"] == ["*"]


def test_a_project_path_and_an_id_are_found_and_filters_hold(home: Path) -> None:
    """Names match as they did, without a context; since and project narrow the search."""
    transcript(home, MINE, [line(MINE, 0, "hello")])
    total = [
        json.loads(wk(home, "sessions", "--json", *words).stdout)["total"]
        for words in (
            ("my project",),
            (MINE[:8],),
            ("hello", "-p", "other"),
            ("hello", "--since", "2026-11-02"),
            ("hello", "--since", "2026-11-01", "--until", "2026-11-01", "-n", "1"),
        )
    ]
    assert total == [1, 1, 0, 0, 1]


def test_no_id_and_no_path_reaches_the_shell() -> None:
    """An id that no agent gives has no command; a path is one word, whatever is in it."""
    for hostile in ("$(reboot)", "a;b", "a b", "--help", "", "x" * 200, "a\nb"):
        assert resume_here(hostile) is None
        assert resume_anywhere(hostile, "/x") is None
    assert resume_anywhere(MINE, "/it's $HOME") == f"cd '/it'\"'\"'s $HOME' && claude --resume {MINE}"
    assert resume_anywhere(MINE, "/esc\x1b[2J") == f"claude --resume {MINE}"
