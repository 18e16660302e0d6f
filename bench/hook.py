"""What the native hook costs an agent, as a ratio to starting ``/bin/true`` in the same run.

Budgets at the median, for an 8 KB payload: record at most 0.6, decide at most 1.2.

Run it on a quiet machine:

    python bench/hook.py [--rounds 300] [--json FILE] [--decider COMMAND] [--check]

The real decider answers, unless ``--decider`` names a command that serves ``HOME/run/watchkeeper.sock``
(``{home}`` in it becomes the home).

``--check`` exits 1 when a budget is missed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from watchkeeper.daemon.parts import python_command, safe_environment

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = {"record": 0.6, "decide": 1.2}


def build_module() -> ModuleType:
    """Return the project's build code."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(folder: Path) -> tuple[Path, Path]:
    """Compile hook and harness; return both."""
    module = build_module()
    hook, harness = folder / "watchkeeper-hook", folder / "spawn_bench"
    module.build_native(ROOT, hook)
    flags = ["-target", module.native_target()[0], "-O2", "-static", "-fno-pie", "-no-pie"]
    module.zig_cc([*flags, "-o", harness, ROOT / "bench/harness/spawn_bench.c"])
    return hook, harness


def payload() -> bytes:
    """Return a tool call of 8 KB as an agent sends it."""
    call = {
        "session_id": "0b51fda3-a457-4b36-97b6-8d3f4a4d1a07",
        "cwd": "/home/someone/project",
        "hook_event_name": "PreToolUse",
        "tool_name": "Write",
        "tool_input": {"file_path": "/home/someone/project/notes.txt", "content": ""},
        "tool_use_id": "toolu_01A09q90qw90lq917835lq9",
    }
    short = len(json.dumps(call))
    call["tool_input"] = {"file_path": "/home/someone/project/notes.txt", "content": "x" * (8192 - short)}
    return json.dumps(call).encode()


def wait_for(path: Path) -> None:
    """Wait until something accepts on the socket."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"no decider came up on {path}")


def measure(harness: Path, hook: Path, home: Path, rounds: int, decider: list[str]) -> dict[str, list[int]]:
    """Run everything interleaved; return the nanoseconds of each run by name."""
    body = home / "payload.json"
    body.write_bytes(payload())
    running = subprocess.Popen(decider, env=safe_environment(os.environ))
    try:
        wait_for(home / "run" / "watchkeeper.sock")
        command = [str(harness), str(rounds), str(body)]
        command += ["--", "true", "/bin/true", "--", "record", str(hook), "--home", str(home)]
        command += ["--", "decide", str(hook), "--home", str(home), "--decide"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        running.kill()
        running.wait()
    times: dict[str, list[int]] = {}
    for line in output.splitlines():
        name, took, status = line.split()
        if status != "0":
            raise SystemExit(f"{name} exited with {status}")
        times.setdefault(name, []).append(int(took))
    return times


def summary(times: dict[str, list[int]]) -> dict[str, Any]:
    """Return median, minimum and maximum in milliseconds and the ratio to ``true`` for each."""
    base = statistics.median(times["true"])
    return {
        name: {
            "runs": len(took),
            "median_ms": round(statistics.median(took) / 1e6, 3),
            "min_ms": round(min(took) / 1e6, 3),
            "max_ms": round(max(took) / 1e6, 3),
            "ratio": round(statistics.median(took) / base, 3),
            "budget": BUDGETS.get(name),
        }
        for name, took in times.items()
    }


def verdicts(home: Path) -> dict[str, int]:
    """Count the verdicts on record, so that no timeout passes for a decision."""
    counts: dict[str, int] = {}
    for segment in (home / "spool").glob("*.wks"):
        data = segment.read_bytes()
        for part in data.split(b'"verdict":"')[1:]:
            word = part[: part.index(b'"')].decode()
            counts[word] = counts.get(word, 0) + 1
    return counts


def main() -> int:
    """Measure, print the table, and say whether the budgets hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--decider")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        for folder in (home, home / "spool", home / "run"):
            folder.mkdir(mode=0o700)
        own = python_command("watchkeeper.daemon.decider", ["--home", str(home)])
        given = shlex.split(options.decider.replace("{home}", str(home))) if options.decider else own
        hook, harness = build(Path(scratch))
        rows = summary(measure(harness, hook, home, options.rounds, given))
        decided = verdicts(home)
    print(f"{'':10}{'runs':>6}{'median ms':>11}{'min':>8}{'max':>8}{'x true':>8}{'budget':>8}")
    for name, row in rows.items():
        budget = "" if row["budget"] is None else row["budget"]
        print(
            f"{name:10}{row['runs']:6}{row['median_ms']:11.3f}{row['min_ms']:8.3f}{row['max_ms']:8.3f}"
            f"{row['ratio']:8.3f}{budget:>8}"
        )
    print(f"verdicts on record: {decided}")
    met = all(row["ratio"] <= row["budget"] for row in rows.values() if row["budget"] is not None)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "verdicts": decided, "met": met}, indent=2) + "\n")
    return 0 if met or not options.check else 1


if __name__ == "__main__":
    raise SystemExit(main())
