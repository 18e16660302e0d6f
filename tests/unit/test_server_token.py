"""The owner-only token file."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from watchkeeper.client.token import ensure_token, read_token
from watchkeeper.errors import ConfigError, NotFoundError
from watchkeeper.settings import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(tmp_path)
    places.run.mkdir(mode=0o700)
    return places


def test_it_is_made_once_owner_only_and_kept(places: Places) -> None:
    token = ensure_token(places)
    assert len(token) == 43
    assert stat.S_IMODE(places.token.stat().st_mode) == 0o600
    assert ensure_token(places) == token == read_token(places)
    assert [path.name for path in places.run.iterdir()] == ["token"]


def test_reading_makes_none(places: Places) -> None:
    with pytest.raises(NotFoundError, match="wk up"):
        read_token(places)
    assert not places.token.exists()


def test_several_that_make_it_at_once_agree(places: Places) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_token(places))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {read_token(places)}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_may_open_is_refused(places: Places, mode: int) -> None:
    ensure_token(places)
    places.token.chmod(mode)
    with pytest.raises(ConfigError, match="others may open it") as caught:
        ensure_token(places)
    assert caught.value.place == str(places.token)


def test_a_link_is_refused(places: Places, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.write_text("x" * 43)
    real.chmod(0o600)
    places.token.symlink_to(real)
    with pytest.raises(ConfigError):
        ensure_token(places)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_refused(places: Places) -> None:
    ensure_token(places)
    os.chown(places.token, 65534, -1)
    with pytest.raises(ConfigError, match="another user"):
        read_token(places)


def test_a_pipe_in_its_place_is_refused_without_waiting(places: Places) -> None:
    os.mkfifo(places.token, 0o600)
    with pytest.raises(ConfigError, match="plain file"):
        read_token(places)


def test_an_empty_file_is_refused_rather_than_taken_for_an_empty_token(places: Places) -> None:
    places.token.touch(mode=0o600)
    with pytest.raises(ConfigError, match="no token"):
        ensure_token(places)
