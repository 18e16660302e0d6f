"""Forgetting reaches what lies beside ledger, archive and index: sealed bytes, state.db, checkpoints, journals."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from pathlib import Path

import apsw
import pytest
from forgotten import places_of

from watchkeeper.archive.sealed import open_sealed_reader
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.reredaction import Request, forget
from watchkeeper.settings import Settings

SECRET = b"correct-horse-battery"
ONE, TWO = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def sealed(settings: Settings) -> Settings:
    """A home that keeps bytes as they came, with two sessions that hold the secret."""
    settings = Settings(settings.places.home, {**os.environ, "WATCHKEEPER_ARCHIVE_RAW": "on"})
    assert settings["archive.raw"]
    folder = settings.claude_config_dirs[0] / "projects" / "-srv-app"
    folder.mkdir(parents=True)
    for session in (ONE, TWO):
        body = {
            "type": "user",
            "uuid": session[:4],
            "sessionId": session,
            "timestamp": "2026-11-01T10:00:00.000Z",
        }
        body["message"] = {"role": "user", "content": f"the word is {SECRET.decode()}"}  # type: ignore[assignment]
        (folder / f"{session}.jsonl").write_text(json.dumps(body) + "\n" + json.dumps({"type": "x"}) + "\n")
    catch_up(settings)
    return settings


def raw(settings: Settings) -> list[bytes]:
    reader = open_sealed_reader(settings)
    return [reader.get(address.pack, address.offset) for address in reader.frames()]


def test_a_secret_goes_from_the_sealed_bytes_too(sealed: Settings) -> None:
    assert sum(SECRET in content for content in raw(sealed)) == 2
    forget(sealed, Request("secret", secret=SECRET))
    contents = raw(sealed)
    assert len(contents) == 2
    assert not any(SECRET in content for content in contents)
    assert all(b"the word is [REDACTED:forgotten]" in content for content in contents)


def test_a_session_goes_from_the_sealed_bytes_too(sealed: Settings) -> None:
    forget(sealed, Request("session", sessions=[ONE]))
    contents = raw(sealed)
    assert len(contents) == 1
    assert TWO.encode() in contents[0]


def test_without_the_key_whole_sealed_pieces_go(sealed: Settings) -> None:
    (sealed.places.keys / "raw.key").unlink()
    plain = Settings(sealed.places.home, {**os.environ, "WATCHKEEPER_ARCHIVE_RAW": "off"})
    forget(plain, Request("secret", secret=SECRET))
    assert not list(sealed.places.raw_archive.glob("*.wka"))


def test_rows_and_texts_in_other_databases_go(sealed: Settings) -> None:
    path = sealed.places.home / "state.db"
    path.unlink(missing_ok=True)
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.pragma("journal_mode", "wal")
        connection.execute("CREATE TABLE tags (session_id TEXT, tag TEXT, PRIMARY KEY (session_id, tag))")
        connection.executemany(
            "INSERT INTO tags VALUES (?, ?)", [(ONE, "a"), (ONE, "b"), (TWO, f"see {ONE}")]
        )
        for number in range(500):
            connection.execute("INSERT INTO tags VALUES (?, ?)", (f"{number:036d}", "x" * 50))
    forget(sealed, Request("session", sessions=[ONE]))
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        kept = connection.execute("SELECT * FROM tags WHERE tag NOT LIKE 'x%'").fetchall()
    assert kept == [(TWO, "see [REDACTED:forgotten]")]
    assert places_of(sealed.places, ONE.encode()) == []


def test_other_moved_sessions_keep_their_folder_and_their_way_back(sealed: Settings) -> None:
    """Of a move of several sessions only the lines of the forgotten one go."""
    moves = sealed.places.moves
    moves.mkdir(mode=0o700, exist_ok=True)
    journal, folders = moves / "20261101T100000-abcd.jsonl", moves / "folders.json"
    rows = [{"id": "20261101T100000-abcd"}, *({"session": each, "cwd": "/srv/new"} for each in (ONE, TWO))]
    journal.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"finished": True}]))
    folders.write_text(json.dumps({ONE: "/srv/new", TWO: "/srv/new"}))
    forget(sealed, Request("session", sessions=[ONE]))
    assert [json.loads(line) for line in journal.read_text().splitlines()] == [
        rows[0],
        rows[2],
        {"finished": True},
    ]
    assert json.loads(folders.read_text()) == {TWO: "/srv/new"}
    assert sorted(path.name for path in moves.iterdir()) == [journal.name, folders.name]


def test_checkpoints_and_journals_that_hold_it_go(sealed: Settings) -> None:
    places = sealed.places
    for folder in (places.checkpoints, places.moves):
        folder.mkdir(mode=0o700, exist_ok=True)
    for name, session in (("one", ONE), ("two", TWO)):
        with zipfile.ZipFile(places.checkpoints / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
            bundle.writestr("session/transcript.jsonl", json.dumps({"sessionId": session}) * 50)
        (places.moves / name).write_text(json.dumps({"id": session}))
    report = forget(sealed, Request("session", sessions=[ONE]))
    assert report["files"] >= 2
    assert [path.name for path in places.checkpoints.iterdir()] == ["two.zip"]
    assert [path.name for path in places.moves.iterdir()] == ["two"]


def test_links_are_not_followed(sealed: Settings, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(SECRET)
    (sealed.places.home / "other.log").symlink_to(outside)
    sealed.places.moves.mkdir(mode=0o700, exist_ok=True)
    (sealed.places.moves / "link").symlink_to(outside)
    forget(sealed, Request("secret", secret=SECRET))
    assert outside.read_bytes() == SECRET


def test_files_that_are_people_s_to_change_are_named(sealed: Settings) -> None:
    backup = sealed.places.home / "backups" / "one" / "before.json"
    backup.parent.mkdir(parents=True)
    backup.write_bytes(b'{"env":{"WORD":"' + SECRET + b'"}}')
    report = forget(sealed, Request("secret", secret=SECRET))
    assert report["left"] == [str(backup)]
    assert SECRET in backup.read_bytes()
    assert forget(sealed, Request("session", sessions=[ONE]))["left"] == []
