"""The native scanner under the address and undefined-behaviour sanitisers, on sound and on hostile transcripts.

What it says must be what Python's reading says, to the last fact; it may only be silent.
"""

from __future__ import annotations

import random
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from native_scans import assert_equal, mutated, read_natively, read_plainly, sound_lines, transcript

from watchkeeper.pipeline import usage_scan

pytestmark = pytest.mark.fault
ROOT = Path(__file__).parents[2]
Compile = Callable[..., Path]


@pytest.fixture(scope="module")
def compile_sanitised(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile sources of native/ with both sanitisers."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    folder = tmp_path_factory.mktemp("sanitised-scan")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-g", "-O1", "-pthread"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    if compiler is None or subprocess.run([compiler, *flags, "-o", folder / "probe", probe]).returncode != 0:
        pytest.skip("no system compiler with the address sanitiser")

    def compile_program(name: str, sources: list[str], *defines: str) -> Path:
        paths = [ROOT / "native" / source for source in sources]
        subprocess.run([compiler, *flags, *defines, "-o", folder / name, *paths, "-lm"], check=True)
        return folder / name

    return compile_program


def sources() -> list[str]:
    return list(runpy.run_path(str(ROOT / "hatch_build.py"))["SCANNER_SOURCES"])


@pytest.fixture(scope="module", params=["", "-DSCAN_PLAIN"], ids=["vectors", "plain"])
def scanner(compile_sanitised: Compile, request: pytest.FixtureRequest) -> Path:
    """The whole scanner, with the search that this machine has, and with the one for every machine."""
    defines = [request.param] if request.param else []
    return compile_sanitised(f"scan{request.param}", sources(), *defines)


def hostile_tree(folder: Path, seed: int, files: int) -> list[Path]:
    """Write transcripts of which each has a few things wrong, or none."""
    chance = random.Random(seed)
    made = []
    for number in range(files):
        lines = b"\n".join(sound_lines(chance, chance.randrange(1, 7)))
        end = chance.choice((b"\n", b"\n", b"\n", b"", b"\0\0", b"\r\n", b" "))
        name = chance.choice((f"session{number}.jsonl", f"agent-a{number}.jsonl"))
        path = folder / "project" / f"s{number % 7}" / "subagents" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mutated(lines + end, chance))
        made.append(path)
    return made


def test_mutated_transcripts_are_read_as_python_reads_them_or_left_to_it(
    scanner: Path, tmp_path: Path
) -> None:
    """Bytes changed, cut, doubled; fields of other types, twice, escaped; lines that are none."""
    spoken, of = assert_equal(hostile_tree(tmp_path, 5, 800), scanner)
    assert of == 800
    assert 200 < spoken < 750


def test_transcripts_of_todays_form_are_read_natively(scanner: Path, tmp_path: Path) -> None:
    chance = random.Random(3)
    paths = []
    for number in range(200):
        paths.append(tmp_path / f"session{number}.jsonl")
        paths[-1].write_bytes(b"\n".join(sound_lines(chance, 12, plain=True)) + b"\n")
    assert assert_equal(paths, scanner) == (200, 200)


def test_files_larger_than_a_block_are_read_in_blocks(
    compile_sanitised: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks end within lines; a line that is longer than a block is left to Python."""
    block = 4096
    monkeypatch.setattr(usage_scan, "_BLOCK", block)
    program = compile_sanitised("blocks", sources(), f"-DSCAN_BLOCK={block}")
    chance = random.Random(8)
    answers = 0
    for number in range(30):
        path = tmp_path / f"session{number}.jsonl"
        lines = sound_lines(chance, 40, plain=True)
        if number % 5 == 0:
            lines.insert(number, b'{"type":"user","content":"' + b"x" * chance.choice((3000, 9000)) + b'"}')
        path.write_bytes(b"\n".join(lines) + chance.choice((b"\n", b"")))
        file = transcript(path)
        (answer,) = read_natively([file], program)
        if answer is not None:
            answers += 1
            assert answer == read_plainly(file)
    assert answers > 20


def test_parts_from_any_line_on_are_equal(scanner: Path, tmp_path: Path) -> None:
    """A file that has grown is read from where it was left."""
    path = tmp_path / "session.jsonl"
    data = b"\n".join(sound_lines(random.Random(21), 60, plain=True)) + b"\n"
    path.write_bytes(data)
    file = transcript(path)
    spoken = 0
    for start in [0, *(at + 1 for at, byte in enumerate(data) if byte == 10)]:
        (answer,) = read_natively([file], scanner, start=start)
        if answer is not None:
            spoken += 1
            assert answer == read_plainly(file, start)
    assert spoken > 60


def test_odd_input_is_survived(scanner: Path, tmp_path: Path) -> None:
    """Nothing, too few strings, no number, no such file, a folder, an end before the start."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"type":"assistant"}\n')
    name = str(path).encode()
    for given, expected in (
        (b"", {0}),
        (name, {2}),
        (name + b"\0" + b"0\0", {2}),
        (name + b"\0zero\0many\0\0\0", {0}),
        (name + b"\x009999999999999999999999\x0010\0\0\0", {2}),
        (name + b"\x000\x00-5\0\0\0", {2}),
        (name + b"\x0030\x0010\0\0\0", {0}),
        (b"/nowhere\x000\x0010\0\0\0", {0}),
        (str(tmp_path).encode() + b"\x000\x0010\0\0\0", {0}),
        (b"\0\0\0\0\0" * 1000, {0}),
    ):
        for threads in ("1", "3", "99", "-1", "many"):
            done = subprocess.run([scanner, threads], input=given, capture_output=True, timeout=60)
            assert done.returncode in expected
            assert done.stderr == b""


def test_fuzz_target_holds_on_mutated_transcripts(compile_sanitised: Compile, tmp_path: Path) -> None:
    parts = [source for source in sources() if source != "scan.c"]
    program = compile_sanitised("fuzz-scan", ["fuzz_scan.c", *parts], "-DFUZZ_ROUNDS=1500")
    done = subprocess.run(
        [program, *hostile_tree(tmp_path, 13, 20)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
