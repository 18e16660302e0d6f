"""Making a managed home: who may be in it, what it looks like, and what its record is worth."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness_managed import AGENT, DAEMON, STRANGER, as_user, managed_home, require_other_users

from watchkeeper.daemon import managed_home as making
from watchkeeper.daemon.service import install_system_service, remove_system_service, system_unit_text
from watchkeeper.errors import ConfigError, DaemonError, UsageError, WatchkeeperError
from watchkeeper.managed import read_managed
from watchkeeper.settings import Places, Settings

OWNER = (DAEMON, DAEMON)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to other users")


@pytest.fixture
def places() -> Iterator[Places]:
    """A home that is not made yet, where every user may look for it."""
    base = Path(tempfile.mkdtemp(prefix="wk-managed-"))
    base.chmod(0o755)
    yield Places(base / "wk")
    shutil.rmtree(base, ignore_errors=True)


def look(home: Path) -> dict[str, tuple[int, int, int]]:
    """Return owner, group and mode of the home and everything in it."""
    found = {}
    for path in (home, *home.rglob("*")):
        status = path.stat()
        found[str(path.relative_to(home))] = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
    return found


@needs_root
def test_every_folder_has_its_owner_and_mode(places: Places) -> None:
    """What hooks pass through is open to pass through; the rest is the owner's alone."""
    making.prepare_managed_home(places, OWNER, [AGENT, STRANGER])
    assert look(places.home) == {
        ".": (*OWNER, 0o711),
        "bin": (*OWNER, 0o755),
        "spool": (*OWNER, 0o711),
        f"spool/{AGENT}": (AGENT, DAEMON, 0o2770),
        f"spool/{STRANGER}": (STRANGER, DAEMON, 0o2770),
        "run": (*OWNER, 0o711),
        "ledger": (*OWNER, 0o700),
        "archive": (*OWNER, 0o700),
        "keys": (*OWNER, 0o700),
        "managed.json": (*OWNER, 0o644),
    }
    found = read_managed(places)
    assert found is not None
    assert (found.owner, found.users) == (DAEMON, (AGENT, STRANGER))


@needs_root
def test_making_it_again_changes_nothing_and_mends_modes(places: Places) -> None:
    """Also a file that was readable when the home itself was closed."""
    making.prepare_managed_home(places, OWNER, [AGENT])
    before = look(places.home)
    places.config.touch(0o644)
    places.ledger.chmod(0o755)
    (places.spool / str(AGENT)).chmod(0o700)
    assert making.prepare_managed_home(places, OWNER, [AGENT]) == []
    places.config.chmod(places.config.stat().st_mode)
    assert stat.S_IMODE(places.config.stat().st_mode) == 0o600
    places.config.unlink()
    assert look(places.home) == before


@needs_root
def test_who_is_no_longer_listed_is_named(places: Places) -> None:
    """Their folder stays until somebody has seen what is in it."""
    making.prepare_managed_home(places, OWNER, [AGENT, STRANGER])
    (said,) = making.prepare_managed_home(places, OWNER, [AGENT])
    assert f"no longer listed: user {STRANGER}" in said
    assert str(places.spool / str(STRANGER)) in said


@needs_root
def test_a_folder_above_that_hides_the_home_is_named(places: Places) -> None:
    """No hook would get through it, and nobody would notice."""
    places.home.parent.chmod(0o700)
    said = making.prepare_managed_home(places, OWNER, [AGENT])
    assert any(f"may not pass through {places.home.parent}" in line for line in said)


@pytest.mark.parametrize(
    ("users", "what"),
    [([], "no user"), ([0], "runs as root"), ([AGENT, DAEMON], f"runs as user {DAEMON}")],
)
def test_who_cannot_be_kept_apart_is_refused(places: Places, users: list[int], what: str) -> None:
    """Root and the daemon's own user can change every record."""
    with pytest.raises(UsageError, match=what):
        making.prepare_managed_home(places, OWNER, users)
    assert not places.home.exists()


def test_a_member_of_the_daemons_group_is_refused(places: Places) -> None:
    """Whoever is in the group could read what others spool; here group 1 has its usual user 1."""
    if 1 not in making._members(1):
        pytest.skip("this system has no user 1 in group 1")
    with pytest.raises(UsageError, match="in the daemon's group 1"):
        making.prepare_managed_home(places, (DAEMON, 1), [1])


@needs_root
def test_a_program_that_the_agent_could_change_is_refused(tmp_path: Path) -> None:
    """Whoever can change what the daemon runs can make it sign anything."""
    program = tmp_path / "python"
    program.touch()
    os.chown(program, AGENT, AGENT)
    with pytest.raises(ConfigError, match="could change the program"):
        making._check_program(program, [AGENT])
    making._check_program(program, [STRANGER])
    os.chown(program, 0, 0)
    program.chmod(0o777)
    with pytest.raises(ConfigError, match="all may write"):
        making._check_program(program, [AGENT])


@needs_root
def test_somebody_elses_home_is_not_taken_over(places: Places) -> None:
    """Neither a third user's folder, nor one full of root's files, nor a link."""
    places.home.mkdir()
    os.chown(places.home, STRANGER, STRANGER)
    with pytest.raises(ConfigError, match=f"belongs to user {STRANGER}"):
        making.prepare_managed_home(places, OWNER, [AGENT])
    os.chown(places.home, 0, 0)
    places.ledger.mkdir()
    (places.ledger / "0.wkl").touch()
    with pytest.raises(ConfigError, match="what root has written"):
        making.prepare_managed_home(places, OWNER, [AGENT])
    shutil.rmtree(places.home)
    places.home.symlink_to("/tmp")
    with pytest.raises(WatchkeeperError):
        making.prepare_managed_home(places, OWNER, [AGENT])


@needs_root
@pytest.mark.parametrize(
    ("content", "mode", "owner"),
    [
        (b'{"users": [64002]}', 0o666, DAEMON),
        (b'{"users": [64002]}', 0o644, AGENT),
        (b'{"users": [0]}', 0o644, DAEMON),
        (b'{"users": "64002"}', 0o644, DAEMON),
        (b'{"users": [true]}', 0o644, DAEMON),
        (b"[]", 0o644, DAEMON),
        (b"{", 0o644, DAEMON),
    ],
)
def test_a_doubtful_mark_is_refused(places: Places, content: bytes, mode: int, owner: int) -> None:
    """Never half believed: the daemon does not start, and says why."""
    making.prepare_managed_home(places, OWNER, [AGENT])
    mark = places.home / "managed.json"
    mark.write_bytes(content)
    mark.chmod(mode)
    os.chown(mark, owner, owner)
    with pytest.raises(ConfigError, match="mark of a managed home"):
        read_managed(places)


def test_an_ordinary_home_has_no_mark(places: Places) -> None:
    """Nor has one that does not exist."""
    assert read_managed(places) is None


def wk(places: Places, *words: str, uid: int) -> subprocess.CompletedProcess[bytes]:
    """Run a command on the home as some user."""
    command = [sys.executable, "-m", "watchkeeper.cli", *words, "--home", str(places.home)]
    return as_user(uid, command, home=places.home.parent)


@needs_root
def test_the_owner_may_repeat_an_install_but_not_add_users(places: Places) -> None:
    """Only root can give a folder to somebody."""
    require_other_users()
    making.prepare_managed_home(places, OWNER, [AGENT])
    code = (
        "import sys; from pathlib import Path; from watchkeeper.settings import Places\n"
        "from watchkeeper.daemon.managed_home import prepare_managed_home\n"
        "from watchkeeper.errors import DaemonError\n"
        "places = Places(Path(sys.argv[1]))\n"
        f"print(prepare_managed_home(places, {OWNER}, [{AGENT}]))\n"
        "try:\n"
        f"    prepare_managed_home(places, {OWNER}, [{AGENT}, {STRANGER}])\n"
        "except DaemonError as error:\n"
        "    print(error)\n"
    )
    done = as_user(DAEMON, [sys.executable, "-c", code, str(places.home)], home=places.home.parent)
    again, refused = done.stdout.decode().splitlines()
    assert again == "[]"
    assert f"only root can make a spool folder for user {STRANGER}" in refused
    assert not (places.spool / str(STRANGER)).exists()


@needs_root
def test_a_dry_run_says_whose_home_records_whom_and_makes_nothing(places: Places) -> None:
    """The JSON names home, owner and users."""
    words = ("install", "--scope", "managed", "--users", f"{AGENT},{STRANGER}", "--owner", str(DAEMON))
    done = wk(places, *words, "--dry-run", "--json", uid=0)
    assert json.loads(done.stdout)["managed"] == {
        "home": str(places.home),
        "owner": DAEMON,
        "group": DAEMON,
        "users": [AGENT, STRANGER],
    }
    assert not places.home.exists()


@needs_root
@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--users", "64002"), "--users fits only --scope managed"),
        (("--scope", "managed", "--owner", "64001"), "--owner goes with --users"),
        (("--scope", "managed", "--service"), "--service goes with --users"),
        (("--scope", "managed", "--users", "nobody-of-that-name"), "there is no user 'nobody-of-that-name'"),
        (("--scope", "managed", "--users", ",", "--owner", "64001"), "no user is named"),
    ],
)
def test_flags_that_do_not_fit_are_refused(places: Places, words: tuple[str, ...], what: str) -> None:
    """With status 2, and nothing made."""
    done = wk(places, "install", *words, "--dry-run", uid=0)
    assert done.returncode == 2
    assert what in done.stderr.decode()
    assert not places.home.exists()


@needs_root
def test_a_record_with_an_agent_of_the_owners_is_anchored_with_nobody() -> None:
    """Where the daemon's own user ran an agent, that agent could have signed anything."""
    require_other_users()
    with managed_home(AGENT) as places:
        assert wk(places, "sessions", uid=DAEMON).returncode == 0
        before = json.loads(wk(places, "verify", "--json", uid=DAEMON).stdout)
        payload = json.dumps({"hook_event_name": "Stop", "session_id": "own"}).encode()
        hook = [str(places.hook), "--home", str(places.home)]
        as_user(DAEMON, hook, home=places.home.parent, payload=payload)
        assert b"own" in wk(places, "sessions", "--json", uid=DAEMON).stdout
        after = json.loads(wk(places, "verify", "--json", uid=DAEMON).stdout)
    assert (before["anchor"], after["anchor"]) == ("other-user", "none")
    assert any(f"belongs to user {DAEMON}" in finding["why"] for finding in after["findings"])


@needs_root
def test_a_folder_above_that_the_agent_owns_is_no_anchor() -> None:
    """Who owns the folder above the home can put another in its place."""
    require_other_users()
    with managed_home(AGENT) as places:
        assert wk(places, "sessions", uid=DAEMON).returncode == 0
        os.chown(places.home.parent, AGENT, AGENT)
        verdict = json.loads(wk(places, "verify", "--json", uid=DAEMON).stdout)
    assert verdict["anchor"] == "none"
    assert any("can replace what is in it" in finding["why"] for finding in verdict["findings"])


def test_the_systems_unit_is_written_and_removed(places: Places, tmp_path: Path) -> None:
    """It runs as the owner, writes below the home only, and starts with the machine."""
    settings = Settings(places.home, {"PATH": str(tmp_path / "nothing")})
    change = install_system_service(settings, OWNER, folder=tmp_path)
    assert change.problem == "systemctl is not installed"
    lines = change.path.read_text().splitlines()
    assert {f"User={DAEMON}", f"Group={DAEMON}", f"ReadWritePaths={places.home}", "UMask=0077"} <= set(lines)
    assert "WantedBy=multi-user.target" in lines
    other = Settings(places.home.with_name("other"), settings.environment)
    assert not remove_system_service(other, folder=tmp_path).done
    assert remove_system_service(settings, folder=tmp_path).done
    assert not change.path.exists()


def test_the_systems_unit_is_one_that_systemd_accepts(places: Places, tmp_path: Path) -> None:
    """Read by systemd itself, which finds nothing to complain about in it."""
    path = install_system_service(Settings(places.home, {"PATH": ""}), OWNER, folder=tmp_path).path
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: nobody read the unit")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if path.name in line]
    assert ours == []


def test_a_unit_that_cannot_be_written_says_so(places: Places, tmp_path: Path) -> None:
    """The folder's name is taken by a file."""
    taken = tmp_path / "units"
    taken.touch()
    with pytest.raises(DaemonError, match="cannot be written"):
        install_system_service(Settings(places.home, {}), OWNER, folder=taken)
    assert "Type=exec" in system_unit_text(Settings(places.home, {}), OWNER)
