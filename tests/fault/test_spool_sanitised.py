"""The hook's C code under the address and undefined-behaviour sanitisers."""

from __future__ import annotations

import random
import runpy
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from watchkeeper.spool.follower import SpoolFollower
from watchkeeper.spool.frames import FrameKind

pytestmark = pytest.mark.fault
ROOT = Path(__file__).parents[2]
GOLDEN = sorted((ROOT / "schemas" / "wire.v1").glob("*.bin"))
Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compile_sanitised(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile sources of native/ with both sanitisers."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    folder = tmp_path_factory.mktemp("sanitised")
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    if compiler is None or subprocess.run([compiler, *flags, "-o", folder / "probe", probe]).returncode != 0:
        pytest.skip("no system compiler with the address sanitiser")

    def compile_program(name: str, sources: list[str], *defines: str) -> Path:
        paths = [ROOT / "native" / source for source in sources]
        subprocess.run([compiler, *flags, *defines, "-o", folder / name, *paths], check=True)
        return folder / name

    return compile_program


@pytest.fixture(scope="session")
def sanitised_hook(compile_sanitised: Compile) -> Path:
    """The whole hook."""
    sources = runpy.run_path(str(ROOT / "hatch_build.py"))["NATIVE_SOURCES"]
    return compile_sanitised("hook", list(sources), '-DWATCHKEEPER_VERSION="0"')


@pytest.fixture
def place(home: Path) -> Path:
    """A home with its spool and run folders."""
    for folder in (home, home / "spool", home / "run"):
        folder.mkdir(mode=0o700)
    return home


def corpus() -> list[bytes]:
    """Payloads as agents send them, as they must not be, and golden bytes with some changed."""
    chance = random.Random(11)
    made = [b"", b"\0", b"{", b"[" * 5000, b"\xff\xfe" * 99, b'"' * 8192, b"x" * ((1 << 20) + 5)]
    for path in GOLDEN:
        for _ in range(4):
            data = bytearray(path.read_bytes())
            for _ in range(chance.randrange(5)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            made.append(bytes(data[: chance.randrange(len(data) + 1)]))
    return made


def test_parsers_survive_mutated_golden_frames(compile_sanitised: Compile) -> None:
    program = compile_sanitised("fuzz", ["fuzz_wire.c", "wire.c"], "-DFUZZ_ROUNDS=3000")
    done = subprocess.run([program, *GOLDEN], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_hook_survives_every_payload_of_the_corpus(sanitised_hook: Path, place: Path) -> None:
    for payload in corpus():
        done = subprocess.run(
            [sanitised_hook, "--home", place, "--decide", "--deadline-ms", "5"],
            input=payload,
            capture_output=True,
            timeout=60,
            env={"USER_NAME": "x" * 9000, "USER_EMAIL": "y" * 9000, "USER": "\udcff"},
        )
        assert (done.returncode, done.stderr) == (0, b"")
    found = SpoolFollower(place / "spool", 1 << 30, {}).read(1 << 30)
    assert [item.damage for item in found if item.damage] == []
    events = [item.frame.payload for item in found if item.frame and item.frame.kind == FrameKind.EVENT]
    assert sorted(events) == sorted(corpus())


def test_hook_survives_mutated_answers(sanitised_hook: Path, place: Path) -> None:
    chance = random.Random(13)
    golden = next(path for path in GOLDEN if path.name == "answer.bin").read_bytes()
    answers = []
    for _ in range(40):
        data = bytearray(golden)
        for _ in range(chance.randrange(4)):
            data[chance.randrange(14)] = chance.choice([0, 1, 2, 3, 255, chance.randrange(256)])
        answers.append(bytes(data[: chance.randrange(len(data) + 1)]))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "run" / "watchkeeper.sock"))
        listener.listen()
        listener.settimeout(60)

        def serve() -> None:
            for answer in answers:
                peer, _ = listener.accept()
                with peer:
                    peer.recv(1 << 16)
                    peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        for _ in answers:
            done = subprocess.run(
                [sanitised_hook, "--home", place, "--decide", "--deadline-ms", "5000"],
                input=b"{}",
                capture_output=True,
                timeout=60,
            )
            assert done.returncode in {0, 2}
            assert done.stderr == b""
        thread.join(60)
    assert not thread.is_alive()


def test_odd_arguments_are_survived(sanitised_hook: Path, place: Path) -> None:
    deep = str(place) + "/." * 2100
    for arguments in (
        [],
        ["--home"],
        ["--home", ""],
        ["--home", deep],
        ["--home", str(place), "--deadline-ms", "99999999999999999999"],
        ["--home", str(place), "--deadline-ms", "-1", "--kind", ""],
        [""] * 50,
        ["--version", "--capabilities"],
    ):
        done = subprocess.run([sanitised_hook, *arguments], input=b"{}", capture_output=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
