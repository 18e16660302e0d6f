"""A managed home with real processes of three users: the daemon's, an agent's, and a stranger's."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness_managed import AGENT, DAEMON, STRANGER, as_user, managed_home, require_other_users

from watchkeeper.daemon.decisions import encode_request
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.settings import Places
from watchkeeper.spool.frames import Frame, FrameKind, encode_frame, encode_segment_header
from watchkeeper.spool.segments import segment_name

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users")


@dataclass(frozen=True)
class ManagedDaemon:
    """A daemon that runs as its own user."""

    places: Places
    port: int

    def wk(self, *words: str, uid: int = DAEMON) -> subprocess.CompletedProcess[bytes]:
        """Run a command as some user."""
        command = [sys.executable, "-m", "watchkeeper.cli", *words, "--home", str(self.places.home)]
        return as_user(uid, command, home=self.places.home.parent)

    def asked(self, *words: str) -> Any:
        """Return a command's JSON, run as the owner."""
        done = self.wk(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def hook(self, session: str, *flags: str, uid: int = AGENT) -> bytes:
        """Run the hook as some user's agent would, and return what it says."""
        payload = {
            "hook_event_name": "PreToolUse",
            "session_id": session,
            "cwd": "/srv/project",
            "tool_name": "Bash",
            "tool_use_id": f"toolu_{session}",
            "tool_input": {"command": "id"},
        }
        command = [str(self.places.hook), "--home", str(self.places.home), *flags]
        done = as_user(uid, command, home=self.places.home.parent, payload=json.dumps(payload).encode())
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    def sessions(self) -> set[str]:
        """Return the ids of all sessions, once everything spooled is on record."""
        return {row["session_id"] for row in self.asked("sessions")["sessions"]}

    def entries(self, kind: str) -> list[bytes]:
        """Return the payloads of all entries of a kind."""
        with LedgerReader(self.places.ledger) as reader:
            return [entry.payload for entry in reader.entries(0) if entry.kind == kind]


@pytest.fixture(scope="module")
def daemon() -> Iterator[ManagedDaemon]:
    """One daemon for the tests of this file; each uses sessions of its own."""
    require_other_users()
    with managed_home(AGENT) as places, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        running = ManagedDaemon(places, port)
        started = running.wk("up", "--no-open", "--port", str(port))
        assert started.returncode == 0, started.stderr
        try:
            yield running
        finally:
            running.wk("down")


def frame_of(uid: int, payload: bytes) -> bytes:
    """Return a frame that claims to be of a user."""
    return encode_frame(Frame(FrameKind.EVENT, 0, 1, 1, bytes(16), uid, 1, 1, {}, payload))


def test_what_the_agent_does_is_on_its_owners_record(daemon: ManagedDaemon) -> None:
    """Hook, decider, spool, recorder, ledger and query hold together across users."""
    assert daemon.hook("chain", "--decide") == b""
    assert "chain" in daemon.sessions()
    assert any(b'"verdict":"none"' in payload for payload in daemon.entries("frame"))
    owners = {path.stat().st_uid for path in daemon.places.ledger.rglob("*")}
    assert owners == {DAEMON}


def test_the_record_is_anchored_with_another_user(daemon: ManagedDaemon) -> None:
    """Owner and root come to the same verdict, and the doctor finds the chain whole."""
    daemon.hook("anchor")
    assert "anchor" in daemon.sessions()
    verdict = daemon.asked("verify")
    assert (verdict["ok"], verdict["anchor"]) == (True, "other-user")
    as_root = daemon.wk("verify", "--json", uid=0)
    assert json.loads(as_root.stdout)["anchor"] == "other-user"
    checks = {check["name"]: check for check in daemon.asked("doctor")["checks"]}
    for name in ("home", "hook program", "decider", "recorder", "server", "spool", "database row", "record"):
        assert checks[name]["state"] == "ok", checks[name]
    assert "anchor other-user" in checks["record"]["detail"]
    assert str(AGENT) in checks["home"]["detail"]


def test_the_agents_user_reaches_nothing_but_what_hooks_need(daemon: ManagedDaemon) -> None:
    """Every file and folder of the home is tried: to read, to write, to add to, and to replace."""
    daemon.hook("reach")
    daemon.sessions()
    home = daemon.places.home
    paths = [home, *home.rglob("*")]
    script = (
        "import json, os, sys\n"
        "found = {}\n"
        "for path in json.load(sys.stdin):\n"
        "    found[path] = ''.join(l for l, m in (('r', os.R_OK), ('w', os.W_OK)) if os.access(path, m))\n"
        "print(json.dumps(found))"
    )
    asked = json.dumps([str(path) for path in paths]).encode()
    done = as_user(AGENT, [sys.executable, "-c", script], home=home.parent, payload=asked)
    reached = {Path(path): ways for path, ways in json.loads(done.stdout).items() if ways}
    own = daemon.places.spool / str(AGENT)
    other = {path: ways for path, ways in reached.items() if path != own and own not in path.parents}
    assert other == {
        daemon.places.bin: "r",
        daemon.places.hook: "r",
        home / "managed.json": "r",
        daemon.places.decider_socket: "rw",
        daemon.places.doorbell_socket: "rw",
    }
    assert reached[own] == "rw"
    names = {path.name for path in paths}
    assert {"watchkeeper.db", "token", "recorder.sock", "server.sock"} <= names
    assert any(name.endswith(".private") for name in names)


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.socket(socket.AF_UNIX).bind(HOME + '/run/mine.sock')",
        "import os; os.rename(HOME + '/run/doorbell.sock', HOME + '/run/watchkeeper.sock')",
        "import os; os.mkdir(HOME + '/spool/64003')",
        "import os; os.rename(HOME + '/spool/64002', HOME + '/spool/64004')",
        "import os; os.unlink(HOME + '/managed.json')",
        "import os; os.listdir(HOME + '/spool')",
    ],
)
def test_the_agents_user_takes_nobodys_place(daemon: ManagedDaemon, attempt: str) -> None:
    """No socket of its own in the decider's folder, no other spool folder, no other mark."""
    code = f"HOME = {str(daemon.places.home)!r}\n{attempt}"
    done = as_user(AGENT, [sys.executable, "-c", code], home=daemon.places.home.parent)
    assert b"PermissionError" in done.stderr


def test_a_strangers_hook_records_nothing_and_breaks_nothing(daemon: ManagedDaemon) -> None:
    """A user who is not listed gets silence, and everybody else goes on."""
    assert daemon.hook("stranger", "--decide", uid=STRANGER) == b""
    assert daemon.hook("neighbour", "--decide") == b""
    found = daemon.sessions()
    assert "neighbour" in found
    assert "stranger" not in found
    assert b"stranger" not in b"".join(daemon.entries("frame"))


def test_a_frame_in_another_users_name_is_damage(daemon: ManagedDaemon) -> None:
    """An agent may forge events of its own user's, never those of another."""
    segment, created = os.urandom(16), 1
    payload = json.dumps({"hook_event_name": "Stop", "session_id": "forged"}).encode()
    data = encode_segment_header(segment, created) + frame_of(STRANGER, payload)
    path = daemon.places.spool / str(AGENT) / segment_name(created, segment, private=True)
    code = f"import os, sys; os.umask(0o027); open({str(path)!r}, 'wb').write(sys.stdin.buffer.read())"
    written = as_user(AGENT, [sys.executable, "-c", code], home=daemon.places.home.parent, payload=data)
    assert written.returncode == 0, written.stderr
    assert "forged" not in daemon.sessions()
    reason = f"a frame of user {STRANGER} in a file of user {AGENT}".encode()
    assert any(reason in payload for payload in daemon.entries("damage"))


@pytest.mark.parametrize(
    ("peer", "named", "answered"),
    [(AGENT, AGENT, True), (AGENT, STRANGER, False), (STRANGER, STRANGER, False), (DAEMON, DAEMON, True)],
)
def test_the_decider_asks_the_kernel_who_asks(
    daemon: ManagedDaemon, peer: int, named: int, answered: bool
) -> None:
    """It answers listed users about their own frames, and nobody else about anything."""
    code = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])\n"
        "try:\n"
        "    s.sendall(sys.stdin.buffer.read()); print(len(s.recv(64)))\n"
        "except OSError:\n"
        "    print(0)\n"
    )
    command = [sys.executable, "-c", code, str(daemon.places.decider_socket)]
    request = encode_request(frame_of(named, b"{}"), 5000)
    done = as_user(peer, command, home=daemon.places.home.parent, payload=request)
    assert (int(done.stdout) > 0) is answered, done.stderr


@pytest.mark.parametrize(
    "command", ["doctor", "sessions", "coverage", "verify", "up", "url", "rebuild", "config"]
)
@pytest.mark.parametrize("uid", [AGENT, STRANGER])
def test_another_users_command_says_whose_home_it_is(daemon: ManagedDaemon, command: str, uid: int) -> None:
    """One line that names the owner, and no traceback."""
    done = daemon.wk(command, uid=uid)
    assert done.returncode == 1
    assert done.stdout == b""
    said = done.stderr.decode()
    assert f"this managed home belongs to user {DAEMON}" in said
    assert len(said.splitlines()) == 1


def test_root_leaves_no_files_in_the_owners_home(daemon: ManagedDaemon) -> None:
    """What root wrote there, the daemon could not use; so root is told to become its owner."""
    done = daemon.wk("sessions", uid=0)
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"sudo -u '#{DAEMON}' wk sessions" in done.stderr.decode()


def test_only_hook_sockets_are_open(daemon: ManagedDaemon) -> None:
    """The decider's and the doorbell; the recorder's and the server's are the owner's."""
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in daemon.places.run.glob("*.sock")}
    assert modes == {
        "watchkeeper.sock": 0o666,
        "doorbell.sock": 0o666,
        "recorder.sock": 0o600,
        "server.sock": 0o600,
    }
