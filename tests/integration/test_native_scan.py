"""The native scanner as the package ships it: the same words as Python's reading, or none."""

from __future__ import annotations

import json
import os
import random
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from native_scans import SESSION, assert_equal, read_natively, sound_lines, transcript
from usage_answers import scanned_usage

from watchkeeper.pipeline import usage_scan
from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code import native_scan
from watchkeeper.sources.claude_code.native_scan import Part, packaged_scanner, scan_natively

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "transcripts"


@pytest.fixture(scope="module")
def scanner() -> Path:
    """The scanner, built from these sources."""
    program = ROOT / "src" / "watchkeeper" / "_bin" / "watchkeeper-scan"
    runpy.run_path(str(ROOT / "hatch_build.py"))["build_scanner"](ROOT, program)
    return program


@pytest.fixture
def transcripts(tmp_path: Path) -> list[Path]:
    """A dozen sound transcripts below an agent's folder."""
    chance = random.Random(4)
    folder = tmp_path / "agent" / "projects" / "-home-ada"
    folder.mkdir(parents=True)
    paths = [folder / f"5e55000{number:x}-0000-4000-8000-000000000000.jsonl" for number in range(12)]
    for number, path in enumerate(paths):
        lines = b"\n".join(sound_lines(chance, 30, plain=True)) + b"\n"
        path.write_bytes(lines.replace(b'"id":"m', b'"id":"file%d-' % number))
    return paths


def program_that_says(folder: Path, code: str) -> str:
    """Return a program in place of the scanner."""
    path = folder / "program"
    path.write_text(f"#!{sys.executable}\nimport sys, marshal\nsys.stdin.buffer.read()\n{code}\n")
    path.chmod(0o755)
    return str(path)


def part_of(path: Path) -> Part:
    return Part(str(path), 0, path.stat().st_size, None, None)


def test_the_package_ships_the_scanner(scanner: Path) -> None:
    assert packaged_scanner() == str(scanner)


def test_real_transcripts_are_read_equally(scanner: Path) -> None:
    """What people have published: many versions of the client, and files of other tools."""
    if not SHARED.exists():
        pytest.skip(f"no real transcripts at {SHARED}")
    spoken, of = assert_equal(sorted((SHARED / "real").rglob("*.jsonl")), scanner)
    assert spoken > of * 0.85


def test_odd_transcripts_are_read_equally_or_left_to_python(scanner: Path, tmp_path: Path) -> None:
    """Every case that the import is held to."""
    cases = runpy.run_path(str(ROOT / "tests" / "replay" / "test_odd_transcripts.py"))["CASES"]
    paths = []
    for number, case in enumerate(cases.values()):
        for place, content in case.files.items():
            paths.append(tmp_path / str(number) / place)
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            paths[-1].write_bytes(content)
    spoken, of = assert_equal(paths, scanner)
    assert of > 50
    assert spoken > 20


def test_generated_transcripts_are_read_equally(scanner: Path, tmp_path: Path) -> None:
    generator = SHARED / "gen_transcripts.py"
    if not generator.exists():
        pytest.skip(f"no generator at {generator}")
    command = [sys.executable, generator, "--out", tmp_path / "agent", "--size", "3MB", "--seed", "7"]
    subprocess.run(command, check=True, capture_output=True)
    spoken, of = assert_equal(sorted(tmp_path.rglob("*.jsonl")), scanner)
    assert spoken > of * 0.7


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_any_number_of_threads_gives_every_file_its_own_facts(
    scanner: Path, transcripts: list[Path], threads: int
) -> None:
    files = [transcript(path) for path in transcripts]
    answers = read_natively(files, scanner, threads)
    assert answers == [read_natively([file], scanner, 1)[0] for file in files]
    assert None not in answers


def test_an_unfinished_line_is_told_of_but_not_judged(scanner: Path, tmp_path: Path) -> None:
    whole = b'{"type":"user","timestamp":"2026-01-05T10:00:00.000Z"}\n'
    path = tmp_path / "a.jsonl"
    for rest, told in ((b'{"type":"assistant"}', 20), (b'{"type":"assistant"}\0\0', 22), (b'{"type', 0)):
        path.write_bytes(whole + rest)
        (answer,) = scan_natively([part_of(path)], 1, str(scanner))
        assert answer is not None
        assert (answer.position, answer.rest) == (len(whole), told)


def test_lines_are_read_up_to_the_end_that_was_listed(scanner: Path, transcripts: list[Path]) -> None:
    """What an agent writes meanwhile is for the next scan."""
    listed = transcript(transcripts[0])
    before = read_natively([listed], scanner)
    with transcripts[0].open("ab") as stream:
        stream.write(b"\n".join(sound_lines(random.Random(9), 5, plain=True)) + b"\n")
    assert read_natively([listed], scanner) == before


def test_a_file_that_cannot_be_read_is_left_to_python(
    scanner: Path, tmp_path: Path, transcripts: list[Path]
) -> None:
    """Gone, a folder, a pipe: no answer, no waiting, and the others lose nothing."""
    pipe, gone = tmp_path / "pipe.jsonl", Part(str(tmp_path / "gone"), 0, 10, None, None)
    sound = part_of(transcripts[0])
    os.mkfifo(pipe)
    folder = Part(str(tmp_path), 0, 10, None, None)
    answers = scan_natively([gone, sound, folder, Part(str(pipe), 0, 10, None, None)], 2, str(scanner))
    assert [answer is None for answer in answers] == [True, False, True, True]


def test_names_that_are_no_text_do_not_stop_the_scan(scanner: Path, tmp_path: Path) -> None:
    """A path may be any bytes; a hint that is not Unicode leaves the files to Python."""
    path = Path(os.fsdecode(bytes(tmp_path) + b"/\xff\n.jsonl"))
    path.write_bytes(b"\n")
    assert scan_natively([part_of(path)], 1, str(scanner)) != [None]
    assert scan_natively([part_of(path)._replace(session_hint="\udcff")], 1, str(scanner)) == [None]


GOOD = "[[0, 5, {}, {}, 0]]"
ANSWERS = {
    "nothing": "",
    "another form": "sys.stdout.buffer.write(b'wkscan9\\n')",
    "no documents": "sys.stdout.buffer.write(b'wkscan1\\n')",
    "an end too early": "sys.stdout.buffer.write(b'wkscan1\\n' + (99).to_bytes(8, 'little') + b'[')",
    "no marshal": "sys.stdout.buffer.write(b'wkscan1\\n' + (3).to_bytes(8, 'little') + b'\\xff\\xff\\xff')",
    "a file twice": f"say({GOOD}); say({GOOD})",
    "a file that was not asked for": "say([[7, 5, {}, {}, 0]])",
    "a file before the first": "say([[-1, 5, {}, {}, 0]])",
    "facts of another type": "say([[0, 5, 7, [], 0]])",
    "too few facts": "say([[0, 5, {}]])",
    "another shape": "say(5)",
    "an error": f"say({GOOD}); sys.exit(3)",
    "a crash": f"say({GOOD}); import os; os.kill(os.getpid(), 11)",
}
SAY = (
    "def say(what):\n    data = marshal.dumps(what)\n"
    "    sys.stdout.buffer.write(len(data).to_bytes(8, 'little') + data)\n    sys.stdout.flush()\n"
)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_not_right_is_none(tmp_path: Path, name: str) -> None:
    """A scanner of another version, one that dies, one that fails: Python reads everything."""
    code = ANSWERS[name]
    begin = "sys.stdout.buffer.write(b'wkscan1\\n')\n" if "say(" in code else ""
    program = program_that_says(tmp_path, SAY + begin + code)
    assert scan_natively([Part("/a", 0, 5, None, None)], 1, program) == [None]


def test_a_right_answer_from_the_same_program_is_taken(tmp_path: Path) -> None:
    """So that the cases above fail for what they name."""
    program = program_that_says(tmp_path, f"{SAY}sys.stdout.buffer.write(b'wkscan1\\n')\nsay({GOOD})")
    assert scan_natively([Part("/a", 0, 5, None, None)], 1, program) == [(5, {}, {}, 0)]


def test_the_bill_is_the_same_with_without_and_with_a_broken_scanner(
    scanner: Path, transcripts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several processes, with a torn line and an old form among the files."""
    with transcripts[1].open("ab") as stream:
        stream.write(b'{"type":"assistant","mess\n')
    with transcripts[2].open("ab") as stream:
        last = {"type": "assistant", "uuid": "u", "sessionId": SESSION, "timestamp": 1767600000000}
        usage = {"input_tokens": 5.0, "output_tokens": 7}
        stream.write(json.dumps(last | {"message": {"id": "late", "usage": usage}}).encode())
    environment = dict(os.environ) | {"CLAUDE_CONFIG_DIR": str(tmp_path / "agent"), "HOME": str(tmp_path)}
    monkeypatch.setattr(usage_scan, "SMALL_BYTES", -1)
    monkeypatch.setattr(usage_scan, "SHARE_BYTES", 20_000)
    monkeypatch.setattr(usage_scan, "_processors", lambda: 2)
    asked: list[int] = []

    def bill(name: str, program: str | None) -> Any:
        def packaged() -> str | None:
            asked.append(os.getpid())
            return program

        monkeypatch.setattr(native_scan, "packaged_scanner", packaged)
        return scanned_usage(Settings(tmp_path / name, environment), tmp_path / f"{name}-scanned")

    plain = bill("plain", None)
    assert plain[("day",)]["total"]["requests"] > 20
    assert bill("native", str(scanner)) == plain
    assert bill("broken", program_that_says(tmp_path, "sys.exit(1)")) == plain
    assert len(asked) >= 3
