"""Spool folders of other users: read and emptied without their owners' rights, and never held up by them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness_managed import (
    AGENT,
    DAEMON,
    STRANGER,
    as_user,
    environment_below,
    managed_home,
    require_other_users,
)

from watchkeeper.daemon.decisions import Answer, Verdict
from watchkeeper.settings import Places
from watchkeeper.spool.frames import Frame, FrameKind, decode_frames, encode_frame
from watchkeeper.spool.segments import segment_name

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of other users")

FOLLOW = """
import json, sys
from pathlib import Path
from watchkeeper.spool.follower import SpoolFollower
follower = SpoolFollower(Path(sys.argv[1]), int(sys.argv[2]), {})
positions, payloads, damage, removed = {}, [], [], 0
def turn(force):
    global removed
    found = follower.read(1 << 16)
    for item in found:
        if item.segment:
            positions[item.segment] = item.end
        if item.frame is not None:
            payloads.append([item.frame.uid, item.frame.payload.decode()])
        else:
            damage.append([item.source, item.damage.reason])
    follower.rotate(force=force)
    removed += len(follower.release(positions))
    return bool(found)
"""
UNTIL_TOLD = (
    FOLLOW
    + """
import threading
told = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), told.set()), daemon=True).start()
while not told.is_set():
    turn(force=True)
while turn(force=True):
    pass
turn(force=True)
print(json.dumps([payloads, damage, removed]))
"""
)
ONCE = (
    FOLLOW
    + """
while turn(force=False):
    pass
print(json.dumps([payloads, damage, removed]))
"""
)


@pytest.fixture
def places() -> Iterator[Places]:
    """A managed home of two agents, without a daemon."""
    require_other_users()
    with managed_home(AGENT, STRANGER) as found:
        yield found


def hook(places: Places, payload: bytes, *flags: str, uid: int = AGENT) -> bytes:
    """Run the hook as a user, and return what it says."""
    command = [str(places.hook), "--home", str(places.home), *flags]
    done = as_user(uid, command, home=places.home.parent, payload=payload)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def follow(places: Places) -> tuple[list[list[object]], list[list[str]], int]:
    """Read everything as the daemon's user; return payloads with their users, damage, and segments removed."""
    command = [sys.executable, "-c", ONCE, str(places.spool), str(8 << 20)]
    done = as_user(DAEMON, command, home=places.home.parent)
    assert done.returncode == 0, done.stderr
    payloads, damage, removed = json.loads(done.stdout)
    return payloads, damage, removed


def in_agents_folder(places: Places, code: str) -> None:
    """Run Python as the agent's user in its own spool folder."""
    program = f"import os\nos.chdir({str(places.spool / str(AGENT))!r})\n{code}"
    done = as_user(AGENT, [sys.executable, "-c", program], home=places.home.parent)
    assert done.returncode == 0, done.stderr


def test_segments_are_the_users_and_readable_by_the_daemons_group_alone(places: Places) -> None:
    hook(places, b"{}")
    path = places.spool / str(AGENT) / "current.wks"
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (AGENT, DAEMON, 0o640)


def test_nothing_is_lost_or_doubled_while_hooks_write_and_the_daemon_renames_and_removes(
    places: Places,
) -> None:
    """Forty rounds of hooks in four threads against a follower that rotates and removes all the time."""
    command = [sys.executable, "-c", UNTIL_TOLD, str(places.spool), "1"]
    with subprocess.Popen(
        command,
        user=DAEMON,
        group=DAEMON,
        extra_groups=[],
        env=environment_below(places.home),
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as follower:

        def write(thread: int) -> None:
            for number in range(40):
                hook(places, f"{thread}-{number}".encode(), uid=AGENT if thread % 2 else STRANGER)

        threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        output, _ = follower.communicate(b"", timeout=60)
    payloads, damage, removed = json.loads(output)
    wanted = sorted(
        [AGENT if thread % 2 else STRANGER, f"{thread}-{number}"]
        for thread in range(4)
        for number in range(40)
    )
    assert sorted(payloads) == wanted
    assert damage == []
    assert removed > 0
    assert [path for path in places.spool.rglob("*.wks") if path.name != "current.wks"] == []


LATE = """
import fcntl, os, sys
file = os.open("current.wks", os.O_RDWR | os.O_APPEND)
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
os.write(file, bytes.fromhex(sys.argv[1]))
fcntl.flock(file, fcntl.LOCK_UN)
print("written", flush=True)
"""
AROUND_A_LATE_WRITER = (
    FOLLOW
    + """
import os
def names():
    return sorted(os.listdir(os.path.join(sys.argv[1], "64002")))
turn(force=False); payloads.clear()
os.rename(os.path.join(sys.argv[1], "64002", "current.wks"), os.path.join(sys.argv[1], "64002", sys.argv[3]))
turn(force=False)
print(json.dumps(names()), flush=True)
sys.stdin.readline()
turn(force=False)
turn(force=False)
print(json.dumps([names(), payloads]), flush=True)
"""
)


def test_a_segment_stays_while_a_writer_that_came_late_has_its_lock(places: Places) -> None:
    """It waited for the lock of a segment that was renamed meanwhile; what it writes is taken in first."""
    hook(places, b"early")
    folder = places.spool / str(AGENT)
    header = (folder / "current.wks").read_bytes()[:32]
    name = segment_name(int.from_bytes(header[8:16], "little"), header[16:32])
    late = encode_frame(Frame(FrameKind.EVENT, 0, 1, 1, bytes(16), AGENT, 1, 1, {}, b"late")).hex()
    follower_words = [sys.executable, "-c", AROUND_A_LATE_WRITER, str(places.spool), "1000000", name]
    with (
        started_as(AGENT, [sys.executable, "-c", LATE, late], folder) as writer,
        started_as(DAEMON, follower_words, Path("/")) as follower,
    ):
        assert reply(writer) == "locked"
        assert json.loads(reply(follower)) == [name]
        assert reply(writer, b"write\n") == "written"
        left, payloads = json.loads(reply(follower, b"go on\n"))
    assert left == []
    assert payloads == [[AGENT, "late"]]


def started_as(uid: int, command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start a process of a user that is talked to."""
    return subprocess.Popen(
        command,
        user=uid,
        group=uid,
        extra_groups=[],
        env=environment_below(Path("/nonexistent")),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def reply(process: subprocess.Popen[bytes], words: bytes = b"") -> str:
    """Say something to a process and return its next line."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(words)
    process.stdin.flush()
    return process.stdout.readline().decode().strip()


def test_a_payload_beyond_memory_reaches_the_daemon(places: Places) -> None:
    """A segment of its own, closed by the hook before anybody may read it."""
    payload = b"x" * 3_000_000
    hook(places, payload)
    payloads, damage, removed = follow(places)
    assert payloads == [[AGENT, payload.decode()]]
    assert (damage, removed) == ([], 1)


@pytest.mark.parametrize(
    "harm",
    [
        "os.chmod('.', 0o500)",
        "os.chmod('.', 0o0)",
        "open('private-0000000000000001-" + "2" * 32 + ".wks', 'w').close(); os.chmod('.', 0o550)",
        "open('current.wks', 'w').write('x' * 64); os.chmod('.', 0o550)",
        "os.mkfifo('private-0000000000000001-" + "0" * 32 + ".wks')",
        "os.symlink('/etc/passwd', 'current.wks')",
        "os.symlink('/', '0000000000000001-" + "1" * 32 + ".wks')",
        "open('current.wks', 'w').truncate(1 << 40)",
        "os.umask(0); open('current.wks', 'w').truncate(1 << 20)",
        "import fcntl\nfd = os.open('current.wks', os.O_CREAT | os.O_RDWR, 0o640)\nfcntl.flock(fd, fcntl.LOCK_EX)",
        "[open(f'{n:016x}-' + f'{n:032x}.wks', 'w').close() for n in range(600)]",
    ],
)
def test_whatever_one_user_does_to_its_folder_the_others_are_recorded(places: Places, harm: str) -> None:
    """Modes, pipes, links, holes, locks, and more files than there are descriptors."""
    in_agents_folder(places, harm)
    hook(places, b"another's event", uid=STRANGER)
    payloads, _, _ = follow(places)
    assert [STRANGER, "another's event"] in payloads


def test_a_folder_that_is_closed_to_the_daemon_is_a_finding(places: Places) -> None:
    """Who locks the recorder out loses only events of its own, and it shows."""
    in_agents_folder(places, "os.chmod('.', 0o700)")
    _, damage, _ = follow(places)
    assert damage == [[f"spool:file:{AGENT}", "not a folder, or not readable"]]


def test_a_group_that_is_not_the_owners_gets_no_events(places: Places) -> None:
    """A folder that some other group may write to is none that the hook trusts."""
    folder = places.spool / str(AGENT)
    os.chown(folder, AGENT, STRANGER)
    folder.chmod(0o2770)
    hook(places, b"{}")
    assert list(folder.iterdir()) == []


LISTEN = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listener.listen()
print("ready", flush=True)
peer, _ = listener.accept()
peer.sendall(bytes.fromhex(sys.argv[2]))
peer.recv(9)
"""


@pytest.mark.parametrize(
    ("listener", "believed"), [(AGENT, False), (STRANGER, False), (DAEMON, True), (0, True)]
)
def test_only_the_owner_of_the_home_and_root_decide(places: Places, listener: int, believed: bool) -> None:
    """Even where an administrator's slip lets everybody bind in the folder of sockets."""
    places.run.chmod(0o777)
    answer = Answer(Verdict.ALLOW, 0, b"allowed").encode().hex()
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(places.decider_socket), answer],
        user=listener,
        group=listener,
        extra_groups=[],
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        said = hook(places, b"{}", "--decide", "--deadline-ms", "20000")
        process.kill()
    assert said == (b"allowed" if believed else b"")
    data = (places.spool / str(AGENT) / "current.wks").read_bytes()
    (decision,) = (item.frame for item in decode_frames(data, 32) if item.frame and item.frame.kind == 2)
    assert json.loads(decision.payload)["verdict"] == ("allow" if believed else "unreachable")
