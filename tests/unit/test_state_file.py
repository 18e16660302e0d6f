"""The file that no rebuild touches: made owner-only, brought to the newest version, never read when newer."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import apsw
import pytest

from watchkeeper.errors import FormatError, LockedError
from watchkeeper.settings import Places
from watchkeeper.store.sqlite import state as state_module
from watchkeeper.store.sqlite.state import PARTS, State, open_state, read_state


def tables(places: Places) -> set[str]:
    """Return the names of the tables in the file."""
    connection = apsw.Connection(str(places.state))
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Neither the file nor the home is open to others; a second opening changes nothing."""
    places = Places(tmp_path / "home")
    for _ in range(2):
        with open_state(places) as state:
            assert state.change("INSERT OR IGNORE INTO tags VALUES ('a', 'project', 'app', 1)") in (0, 1)
    for path in (places.state, Path(f"{places.state}-wal")):
        assert not path.exists() or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(places.home.stat().st_mode) == 0o700
    with read_state(places) as state:
        assert list(state.rows("SELECT tag FROM tags")) == [("a",)]


def test_reading_makes_no_file(tmp_path: Path) -> None:
    """Where there is none, all tables are empty."""
    places = Places(tmp_path / "home")
    with read_state(places) as state:
        assert list(state.rows("SELECT * FROM budgets")) == []
    assert not places.home.exists()


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """A reader cannot write by mistake."""
    places = Places(tmp_path)
    with open_state(places):
        pass
    with pytest.raises(FormatError), read_state(places) as state:
        state.change("DELETE FROM tags")


def test_each_part_moves_on_by_its_own_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is new, and a new version of an old one, are added; what is there stays."""
    places = Places(tmp_path)
    with open_state(places) as state:
        state.change("INSERT INTO tags VALUES ('kept', 'project', 'app', 1)")
    grown = {
        **PARTS,
        "tags": (*PARTS["tags"], "ALTER TABLE tags ADD COLUMN note TEXT;"),
        "notes": ("CREATE TABLE notes (id TEXT PRIMARY KEY) WITHOUT ROWID;",),
    }
    monkeypatch.setattr(state_module, "PARTS", grown)
    with open_state(places) as state:
        assert list(state.rows("SELECT tag, note FROM tags")) == [("kept", None)]
    assert "notes" in tables(places)
    monkeypatch.setattr(state_module, "PARTS", PARTS)
    with pytest.raises(FormatError, match="newer version of Watchkeeper"), open_state(places):
        pass


def test_a_failed_step_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parts move on together or none does."""
    places = Places(tmp_path)
    with open_state(places):
        pass
    before = tables(places)
    broken = {**PARTS, "notes": ("CREATE TABLE notes (id); CREATE TABLE tags (id);",)}
    monkeypatch.setattr(state_module, "PARTS", broken)
    with pytest.raises(FormatError), open_state(places):
        pass
    assert tables(places) == before


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    """A failure in the middle takes back what came before."""
    places = Places(tmp_path)

    def half(state: State) -> None:
        with state.transaction():
            state.change("INSERT INTO tags VALUES ('a', 'project', 'app', 1)")
            raise ZeroDivisionError

    with open_state(places) as state, pytest.raises(ZeroDivisionError):
        half(state)
    with read_state(places) as state:
        assert list(state.rows("SELECT * FROM tags")) == []


def test_damage_and_a_busy_file_are_said(tmp_path: Path) -> None:
    """Both name the file; neither is waited for longer than asked."""
    places = Places(tmp_path)
    with open_state(places):
        pass
    holder = apsw.Connection(str(places.state))
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LockedError), open_state(places, wait_ms=1) as state:
        state.change("DELETE FROM tags")
    holder.close()
    places.state.write_bytes(b"no database at all, but long enough to look like one" * 100)
    with pytest.raises(FormatError) as caught, open_state(places):
        pass
    assert caught.value.place == str(places.state)


def test_two_processes_may_make_it_at_once(tmp_path: Path) -> None:
    """Whoever comes second finds it done."""
    places = Places(tmp_path)
    failures: list[BaseException] = []

    def make() -> None:
        try:
            with open_state(places):
                pass
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {"budgets", "tags", "quota"} <= tables(places)
