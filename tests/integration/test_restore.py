"""A session that the agent deleted comes back from the archive as it was archived, and says what is masked."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.archive.departures import GoneError
from watchkeeper.archive.holds import Holds
from watchkeeper.archive.sealed import drop_sealed, rewrite_sealed
from watchkeeper.archive.store import ArchiveReader
from watchkeeper.cli.entry import run
from watchkeeper.errors import ConfigError, FormatError, NotFoundError, UsageError
from watchkeeper.pipeline.catch_up import catch_up
from watchkeeper.pipeline.housekeeping import sweep
from watchkeeper.pipeline.rebuild import rebuild
from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.restoring import deleted_sessions, prepare, write
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.reading import open_reader

SESSION = "44444444-4444-4444-8444-444444444444"
TOKEN = "ghp_" + "q7Zk2LmX9vBc4RtY8wEs6HnJ1pDf5GaU3oKi"
AT = "2026-03-01T10:00:00.000Z"
AT_NS = 1_772_359_200_000_000_000


def line(number: int, text: str, **more: Any) -> bytes:
    body = {
        "type": "user",
        "uuid": f"u-{number}",
        "sessionId": SESSION,
        "cwd": "/home/dev/app",
        "version": "2.1.0",
        "timestamp": AT,
        "message": {"role": "user", "content": text},
    }
    return json.dumps(body | more).encode() + b"\n"


def projects(settings: Settings) -> Path:
    return settings.claude_config_dirs[0] / "projects"


def write_session(settings: Settings, secret: str = "") -> dict[Path, bytes]:
    folder = projects(settings) / "-home-dev-app"
    agents = folder / SESSION / "subagents"
    agents.mkdir(parents=True)
    files = {
        folder / f"{SESSION}.jsonl": line(1, "plant the walnut tree")
        + line(2, f"key is {secret}")
        + b"not json\n",
        agents / "agent-abc.jsonl": line(3, "look around", isSidechain=True, agentId="abc"),
        agents / "agent-abc.meta.json": b'{"agentType":"Explore","description":"look"}',
    }
    for path, content in files.items():
        path.write_bytes(content)
    return files


@pytest.fixture
def deleted(settings: Settings) -> tuple[Settings, dict[Path, bytes]]:
    """A recorded session whose files the agent has deleted."""
    files = write_session(settings)
    catch_up(settings)
    shutil.rmtree(projects(settings))
    return settings, files


def restored(settings: Settings, **options: Any) -> Any:
    force = options.pop("force", False)
    with open_reader(settings.places) as reader:
        result = prepare(settings, reader, SESSION, **options)
    write(result, force=force)
    return result


def found(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_deleted_session_comes_back_whole_with_subagents_and_sidecars(
    deleted: tuple[Settings, dict[Path, bytes]],
) -> None:
    settings, files = deleted
    restored(settings)
    assert found(projects(settings)) == files
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    main = projects(settings) / "-home-dev-app" / f"{SESSION}.jsonl"
    assert main.stat().st_mtime_ns == AT_NS


def test_it_comes_back_also_after_a_rebuild_and_into_another_folder(
    deleted: tuple[Settings, dict[Path, bytes]], tmp_path: Path
) -> None:
    settings, files = deleted
    rebuild(settings)
    target = tmp_path / "elsewhere"
    restored(settings, to=target)
    assert found(target) == {
        target / "projects" / path.relative_to(projects(settings)): files[path] for path in files
    }
    assert not projects(settings).exists()


def test_a_session_that_was_read_in_many_slices_comes_back_to_the_byte(settings: Settings) -> None:
    folder = projects(settings) / "-home-dev-app"
    folder.mkdir(parents=True)
    path = folder / f"{SESSION}.jsonl"
    content = b""
    for number, piece in enumerate(
        [line(1, "one"), line(2, "two")[:-1], b"\n" + line(3, "three"), line(4, "x\r")[:-1]]
    ):
        content += piece
        path.write_bytes(content)
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
        catch_up(settings)
    content += b"\r\n" + line(5, "five")
    path.write_bytes(content)
    catch_up(settings)
    path.unlink()
    restored(settings)
    assert path.read_bytes() == content


def test_secrets_come_back_as_placeholders_and_every_place_is_named(settings: Settings) -> None:
    files = write_session(settings, TOKEN)
    catch_up(settings)
    shutil.rmtree(projects(settings))
    result = restored(settings)
    main = next(path for path in files if path.stem == SESSION)
    assert TOKEN.encode() not in main.read_bytes()
    assert [(item["file"], item["line"], item["count"]) for item in result.masked] == [(str(main), 2, 1)]
    assert result.masked[0]["rule"].encode() in main.read_bytes()


def test_a_file_that_is_there_and_differs_is_never_overwritten_unasked(
    deleted: tuple[Settings, dict[Path, bytes]],
) -> None:
    settings, files = deleted
    main = next(path for path in files if path.stem == SESSION)
    main.parent.mkdir(parents=True)
    main.write_bytes(b"precious\n")
    with pytest.raises(UsageError, match="differs"):
        restored(settings)
    assert found(projects(settings)) == {main: b"precious\n"}
    result = restored(settings, force=True)
    assert main.read_bytes() == files[main]
    assert result.files[0].kept.read_bytes() == b"precious\n"
    assert {item.state for item in restored(settings).files} == {"there"}


def test_only_sessions_that_the_agent_has_lost_are_listed(settings: Settings) -> None:
    files = write_session(settings)
    catch_up(settings)
    with open_reader(settings.places) as reader:
        assert deleted_sessions(reader) == []
    main = next(path for path in files if path.stem == SESSION)
    main.unlink()
    with open_reader(settings.places) as reader:
        (row,) = deleted_sessions(reader)
    assert (row["session_id"], row["path"], row["files"]) == (SESSION, str(main), 2)


def test_what_retention_dropped_says_so_and_a_damaged_frame_is_never_handed_out(
    deleted: tuple[Settings, dict[Path, bytes]],
) -> None:
    settings, _ = deleted
    (pack,) = settings.places.archive.glob("*.wka")
    whole = pack.read_bytes()
    first = next(iter(ArchiveReader(settings.places.archive).frames()))
    harmed = bytearray(whole)
    harmed[first.offset + first.length - 3] ^= 0x55
    pack.write_bytes(harmed)
    with pytest.raises((FormatError, NotFoundError)):
        restored(settings)
    assert not projects(settings).exists()
    pack.write_bytes(whole)
    with Recording(settings) as recording:
        sweep(recording, at_ms=AT_NS // 1_000_000 + 400 * 86_400_000)
    with pytest.raises(GoneError):
        restored(settings)


def test_an_unknown_session_is_named(deleted: tuple[Settings, dict[Path, bytes]]) -> None:
    settings, _ = deleted
    with open_reader(settings.places) as reader, pytest.raises(NotFoundError):
        prepare(settings, reader, "nobody")


# Byte for byte.


def raw_settings(settings: Settings, **more: str) -> Settings:
    return Settings(settings.places.home, {**settings.environment, "WATCHKEEPER_ARCHIVE_RAW": "on", **more})


def test_a_raw_restore_gives_the_bytes_as_they_were_and_no_file_of_ours_holds_them_in_the_clear(
    settings: Settings,
) -> None:
    sealed = raw_settings(settings)
    files = write_session(sealed, TOKEN)
    main = next(path for path in files if path.stem == SESSION)
    main.write_bytes(content := main.read_bytes() + b'{"broken": "\xff\xfe"\r\n' + line(9, "the last")[:-1])
    catch_up(sealed)
    for path in sealed.places.home.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
    shutil.rmtree(projects(sealed))
    result = restored(sealed, raw=True)
    assert main.read_bytes() == content
    assert result.masked == []
    assert stat.S_IMODE((sealed.places.keys / "raw.key").stat().st_mode) == 0o600


def test_without_the_setting_nothing_is_sealed_and_raw_says_so(
    deleted: tuple[Settings, dict[Path, bytes]],
) -> None:
    settings, _ = deleted
    assert not settings.places.raw_archive.exists()
    with pytest.raises(NotFoundError, match="byte for byte"):
        restored(settings, raw=True)


def test_a_passphrase_opens_what_it_sealed_and_no_other_does(settings: Settings, tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery\nsecond line\n")
    sealed = raw_settings(settings, WATCHKEEPER_RAW_PASSPHRASE_FILE=str(secret))
    files = write_session(sealed, TOKEN)
    catch_up(sealed)
    assert not (sealed.places.keys / "raw.key").exists()
    shutil.rmtree(projects(sealed))
    secret.write_text("wrong\n")
    with pytest.raises(ConfigError, match="passphrase"):
        restored(sealed, raw=True)
    secret.write_text("correct horse battery\n")
    restored(sealed, raw=True)
    assert found(projects(sealed)) == files


def test_a_key_of_another_home_unseals_nothing(settings: Settings) -> None:
    sealed = raw_settings(settings)
    write_session(sealed)
    catch_up(sealed)
    shutil.rmtree(projects(sealed))
    (sealed.places.keys / "raw.key").write_bytes(os.urandom(32))
    with pytest.raises(FormatError, match="unsealed"):
        restored(sealed, raw=True)


def test_retention_and_forgetting_reach_the_sealed_archive_too(settings: Settings) -> None:
    sealed = raw_settings(settings)
    write_session(sealed, TOKEN)
    catch_up(sealed)
    reader = ArchiveReader(sealed.places.raw_archive)
    assert len(list(reader.frames())) == 2
    assert rewrite_sealed(sealed, lambda _, data: data.replace(TOKEN.encode(), b"x"), reason="forgotten") == 1
    shutil.rmtree(projects(sealed))
    restored(sealed, raw=True)
    assert b"key is x" in (projects(sealed) / "-home-dev-app" / f"{SESSION}.jsonl").read_bytes()
    with Recording(sealed) as recording:
        sweep(recording, at_ms=AT_NS // 1_000_000 + 400 * 86_400_000)
    left = list(reader.frames())
    assert drop_sealed(sealed.places.raw_archive, [item.digest for item in left], reason="forgotten") == len(
        left
    )
    assert list(reader.frames()) == []


def test_a_restored_copy_that_was_taken_in_again_does_not_hide_the_raw_original(settings: Settings) -> None:
    sealed = raw_settings(settings)
    files = write_session(sealed, TOKEN)
    catch_up(sealed)
    shutil.rmtree(projects(sealed))
    restored(sealed)
    catch_up(sealed)
    shutil.rmtree(projects(sealed))
    restored(sealed, raw=True)
    assert found(projects(sealed)) == files


# The commands.


def wk(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    for name, value in settings.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WATCHKEEPER_HOME", str(settings.places.home))
    return run([*words, "--json"])


def test_the_command_finds_a_session_by_words_and_prints_how_to_resume_it(
    deleted: tuple[Settings, dict[Path, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings, files = deleted
    assert wk(settings, monkeypatch, "restore", "--list") == 0
    assert json.loads(capsys.readouterr().out)["sessions"][0]["session_id"] == SESSION
    assert wk(settings, monkeypatch, "restore", "walnut", "--dry-run") == 0
    assert not projects(settings).exists()
    capsys.readouterr()
    assert wk(settings, monkeypatch, "restore", "walnut") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["session_id"] == SESSION
    assert document["resume"].endswith(f"claude --resume {SESSION}")
    assert {item["path"] for item in document["files"]} == {str(path) for path in files}
    assert found(projects(settings)) == files


def test_a_hold_is_set_listed_and_released_by_prefix(
    deleted: tuple[Settings, dict[Path, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings, _ = deleted
    assert wk(settings, monkeypatch, "hold", SESSION[:8], "--reason", "case 7") == 0
    (hold,) = json.loads(capsys.readouterr().out)["holds"]
    assert (hold["session_id"], hold["reason"]) == (SESSION, "case 7")
    assert list(Holds(settings.places.holds).all()) == [SESSION]
    assert wk(settings, monkeypatch, "housekeeping") == 0
    assert json.loads(capsys.readouterr().out)["sessions"] == []
    assert wk(settings, monkeypatch, "hold", SESSION[:8], "--release") == 0
    assert json.loads(capsys.readouterr().out)["holds"] == []
    assert wk(settings, monkeypatch, "hold", SESSION[:8], "--release") == 1


def test_show_says_that_the_content_has_gone_and_keeps_the_timeline(
    deleted: tuple[Settings, dict[Path, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings, _ = deleted
    assert wk(settings, monkeypatch, "show", SESSION[:8]) == 0
    before = json.loads(capsys.readouterr().out)
    assert before["content_gone"] is None
    with Recording(settings) as recording:
        sweep(recording, at_ms=AT_NS // 1_000_000 + 400 * 86_400_000)
    assert wk(settings, monkeypatch, "show", SESSION[:8]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["content_gone"]["reason"] == "age"
    assert after["total"] == before["total"]
    assert after["session"] == before["session"]
    assert run(["show", SESSION[:8]]) == 0
    assert "was dropped on" in capsys.readouterr().out


def test_disk_adds_up_what_is_there(
    deleted: tuple[Settings, dict[Path, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings, _ = deleted
    assert wk(settings, monkeypatch, "disk") == 0
    document = json.loads(capsys.readouterr().out)
    sizes = {part["name"]: part["bytes"] for part in document["parts"]}
    on_disk = sum(path.stat().st_size for path in settings.places.home.rglob("*") if path.is_file())
    assert sum(sizes.values()) == on_disk
    assert sizes["archive"] == sum(path.stat().st_size for path in settings.places.archive.rglob("*.*"))
    assert document["total_bytes"] == sum(part["bytes"] for part in document["parts"] if part["in_budget"])
    assert document["over_bytes"] == 0
    assert run(["disk"]) == 0
    assert "archive" in capsys.readouterr().out
