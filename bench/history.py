"""The bill, the list and the search on a gigabyte of history, and the import behind them.

    python bench/history.py [CONFIG_DIR] [--ccusage BINARY] [--rounds 5] [--json FILE] [--check]

``CONFIG_DIR`` is an agent's folder (or ``WATCHKEEPER_BENCH_TREE``); without one a tree of 1 GB is generated where the
generator of test transcripts is beside the checkout, else 20 MB are made up.

Whole processes are timed, start included, as somebody at a terminal waits for them. The first bill is taken in an
empty home each time, in turn with ``ccusage claude daily --json --offline`` (its native binary, named by ``--ccusage``
or ``WATCHKEEPER_BENCH_CCUSAGE``); the budget is for the ratio of the medians. A live session is a transcript that grows
by a line before every call. Memory is that of all processes of the import together, sampled every 50 ms. Recall is over
the words planted in the tree, where its truth is beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = ROOT.parent / "shared" / "transcripts" / "gen_transcripts.py"
SIZE, SEED = "1GB", "1000"
BUDGETS = {
    "first bill": 0.5,
    "bill again": 0.15,
    "bill again, live session": 0.15,
    "import": 120.0,
    "memory of the import": 300.0,
    "list": 0.080,
    "search": 0.150,
    "size of the record": 1.0,
}


class Home:
    """A Watchkeeper home over one agent's folder.

    Args:
        path: The home.
        agent: The agent's folder.
    """

    def __init__(self, path: Path, agent: Path) -> None:
        self.path = path
        names = ("PATH", "LANG", "TZ", "PYTHONPATH")
        self.environment = {name: os.environ[name] for name in names if name in os.environ} | {
            "HOME": str(path.parent),
            "WATCHKEEPER_HOME": str(path),
            "CLAUDE_CONFIG_DIR": str(agent),
        }

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a ``wk`` command."""
        return [sys.executable, "-m", "watchkeeper.cli", *arguments]

    def timed(self, *arguments: str) -> float:
        """Return the seconds that a command takes."""
        return timed(self.command(*arguments), self.environment)

    def answer(self, command: str, *arguments: str) -> Any:
        """Return a command's JSON."""
        words = self.command(command, "--json", *arguments)
        done = subprocess.run(words, env=self.environment, capture_output=True, check=True)
        return json.loads(done.stdout)


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Return the seconds from a program's start to its end."""
    start = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def row(name: str, values: list[float], unit: str, **more: Any) -> dict[str, Any]:
    """Return one row; a budget without a ratio is for the median."""
    found = {
        "name": name,
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "unit": unit,
        "runs": len(values),
        **more,
    }
    if name in BUDGETS:
        found["budget"] = BUDGETS[name]
        found["met"] = found.get("ratio", found["median"]) <= BUDGETS[name]
    return found


def first_bill(agent: Path, scratch: Path, rounds: int, ccusage: str | None) -> list[dict[str, Any]]:
    """Time the bill with nothing indexed, in turn with the other program."""
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(rounds + 1):
        home = Home(scratch / f"first{number}", agent)
        seconds = home.timed("usage", "--json")
        other = [ccusage or "", "claude", "daily", "--json", "--offline"]
        environment = {**home.environment, "HOME": str(scratch)}
        beside = timed(other, environment) if ccusage else None
        shutil.rmtree(home.path)
        if number:  # The first round warms the page cache for both.
            ours.append(seconds)
            theirs += [] if beside is None else [beside]
    ratio = {"ratio": statistics.median(ours) / statistics.median(theirs)} if theirs else {}
    rows = [row("first bill", ours, "s", **ratio)] if ratio else [row("first bill alone", ours, "s")]
    return rows + ([row("ccusage", theirs, "s")] if theirs else [])


@contextmanager
def live_session(agent: Path) -> Iterator[Callable[[], None]]:
    """Add a session to the tree, give what makes it grow by an answer, and remove it again."""
    session = "11fe11fe-0000-4000-8000-000000000000"
    path = agent / "projects" / "-bench-live" / f"{session}.jsonl"
    path.parent.mkdir(parents=True)

    def grow() -> None:
        at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        usage = {"input_tokens": 3, "output_tokens": 200, "cache_read_input_tokens": 20_000}
        message = {
            "id": f"msg_{time.time_ns()}",
            "role": "assistant",
            "model": "claude-opus-4-6",
            "content": [{"type": "text", "text": "growing word"}],
            "usage": usage,
        }
        line = {
            "type": "assistant",
            "sessionId": session,
            "timestamp": at,
            "cwd": "/bench/live",
            "message": message,
        }
        with path.open("a") as stream:
            stream.write(json.dumps(line | {"uuid": str(time.time_ns())}) + "\n")

    try:
        grow()
        yield grow
    finally:
        shutil.rmtree(path.parent)


def again(home: Home, rounds: int, *command: str, before: Callable[[], None] | None = None) -> list[float]:
    """Return the seconds of each call but the first."""
    values = []
    for number in range(rounds + 1):
        if before is not None:
            before()
        seconds = home.timed(*command)
        values += [seconds] if number else []
    return values


def import_all(home: Home) -> tuple[float, float]:
    """Import everything; return seconds and the greatest memory of all its processes together in MB."""
    start = time.perf_counter()
    process = psutil.Popen(
        home.command("import"), env=home.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    most = 0
    while process.poll() is None:
        most = max(most, memory_of(process))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"the import failed with {process.returncode}")
    return time.perf_counter() - start, most / 1e6


def memory_of(process: psutil.Process) -> int:
    """Return the resident bytes of a process and all below it, what they share counted once."""
    total = 0
    try:
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_full_info().pss
    except psutil.Error:
        pass
    return total


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def recall_of(home: Home, truth: Path) -> list[dict[str, Any]]:
    """Compare what searches find with the sessions in which words were planted."""
    planted = json.loads(truth.read_text())["needles"]
    right = expected = 0
    for needle in planted.values():
        answer = home.answer("sessions", "-n", "100000", "--", needle["query"])
        found = {session["session_id"] for session in answer["sessions"]}
        right += len(found & set(needle["sessions"]))
        expected += len(needle["sessions"])
    return [{**row("recall", [100 * right / expected], "%"), "budget": 100, "met": right == expected}]


def searches(home: Home, rounds: int, truth: Path | None) -> list[dict[str, Any]]:
    """Time the list, and searches for a rare, a frequent and two words."""
    rows = [row("list", again(home, rounds, "sessions"), "s")]
    values: list[float] = []
    for words in (["authentication"], ["zanzibarquux"], ["authentication", "migration"]):
        values += again(home, rounds, "sessions", "--", *words)
    rows.append(row("search", values, "s"))
    return rows + (recall_of(home, truth) if truth is not None and truth.exists() else [])


def tree_for(scratch: Path) -> tuple[Path, Path | None]:
    """Generate or make up an agent's folder; return it and its truth."""
    agent, truth = scratch / "agent", scratch / "truth.json"
    if GENERATOR.exists():
        command = [sys.executable, str(GENERATOR), "--out", str(agent), "--size", SIZE, "--seed", SEED]
        subprocess.run([*command, "--truth", str(truth)], check=True, stdout=subprocess.DEVNULL)
        return agent, truth
    from transcripts import make_up

    return make_up(agent), None


def report(
    agent: Path, truth: Path | None, scratch: Path, rounds: int, ccusage: str | None
) -> dict[str, Any]:
    """Measure everything."""
    rows = first_bill(agent, scratch, rounds, ccusage)
    home = Home(scratch / "home", agent)
    rows.append(row("bill again", again(home, rounds, "usage", "--json"), "s"))
    with live_session(agent) as grow:
        rows.append(row("bill again, live session", again(home, rounds, "usage", "--json", before=grow), "s"))
    shutil.rmtree(home.path)
    seconds, megabytes = import_all(home)
    rows.append(row("import", [seconds], "s"))
    rows.append(row("memory of the import", [megabytes], "MB"))
    record, history = size_of(home.path), size_of(agent / "projects")
    rows.append(row("size of the record", [record / history], "of the transcripts", bytes=record))
    rows.append(row("bill from the index", again(home, rounds, "usage", "--json"), "s"))
    rows += searches(home, rounds, truth)
    with live_session(agent) as grow:
        rows.append(row("list, live session", again(home, rounds, "sessions", before=grow), "s"))
        rows.append(row("bill from the index, live session", again(home, rounds, "usage", before=grow), "s"))
    return {"transcripts_mb": history / 1e6, "rows": rows}


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config_dir", nargs="?", default=os.environ.get("WATCHKEEPER_BENCH_TREE"))
    parser.add_argument("--ccusage", default=os.environ.get("WATCHKEEPER_BENCH_CCUSAGE"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if options.config_dir:
            agent = Path(options.config_dir)
            truth: Path | None = agent.with_name(f"{agent.name}.truth.json")
        else:
            agent, truth = tree_for(scratch)
        found = report(agent, truth, scratch, options.rounds, options.ccusage)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    for item in found["rows"]:
        print(json.dumps(item))
    return 1 if options.check and any(item.get("met") is False for item in found["rows"]) else 0


if __name__ == "__main__":
    raise SystemExit(main())
