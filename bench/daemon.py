"""What the running daemon costs, and whether it keeps up: memory, idle processor time, latency, load.

    python bench/daemon.py [--json FILE] [--check] [--only NAME ...]

Everything happens in a throw-away home, on loopback. Budgets: 150 MB and 0.5 % of a core at rest for all
processes together, ``wk sessions`` in 80 ms, a hook event on the page within 250 ms at worst, also in a session
of 5,000 calls, 3,000 hook events a second of 1 KB from 8 writers without growing lag, and meanwhile a decision's
99th percentile below 5 ms. The load runs the real hook. The least server is a blocking one of ten lines that is
asked in turn with the decider: its times are the machine's.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from websockets.sync.client import connect

from watchkeeper.client.recorder import RecorderClient
from watchkeeper.client.token import read_token
from watchkeeper.daemon import control
from watchkeeper.daemon.decisions import ask
from watchkeeper.daemon.parts import python_command
from watchkeeper.settings import Settings
from watchkeeper.spool.binary import packaged_hook
from watchkeeper.spool.writer import append_frame

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = {
    "memory at rest": 150.0,
    "processor at rest": 0.5,
    "wk sessions": 80.0,
    "live event": 250.0,
    "live event, 5,000 calls": 250.0,
    "memory after 5,000 calls": 150.0,
    "decide under load": 5.0,
    "lag growth": 1.0,
}
WRITERS, RATE, PAYLOAD_BYTES = 8, 3000, 1024
REST_SECONDS = 20.0
SETTLE_SECONDS = 5.0
LONG_CALLS = 5000
SLIMMED_SECONDS = 24.0
"""Twice the recorder's interval, after which memory is given back."""
OLD_SECONDS = 16.0
"""What is younger is looked at with every change; a long session is mostly older."""
LIVE_SESSION = "11fe0000-0000-4000-8000-000000000000"
LONG_SESSION = "10000000-0000-4000-8000-000000000000"

Row = dict[str, Any]


def row(name: str, unit: str, values: Sequence[float], *, judged: float | None = None, **more: Any) -> Row:
    """Return a result: median, minimum and maximum, and whether the judged value (else the median) meets the budget."""
    value = statistics.median(values) if judged is None else judged
    budget = BUDGETS.get(name)
    return {
        "name": name,
        "unit": unit,
        "runs": len(values),
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "budget": budget,
        "judged": round(value, 3),
        "met": None if budget is None else value <= budget,
        **more,
    }


def processes(supervisor: int) -> list[int]:
    """Return the process ids of the supervisor and its parts."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [supervisor, *map(int, children)]


def memory(pid: int) -> tuple[float, float]:
    """Return a process's proportional and resident memory in MB (10^6 bytes)."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in {"Pss", "Rss"}:
            found[name] = int(rest.split()[0]) * 1024 / 1e6
    return found["Pss"], found["Rss"]


def processor_seconds(pid: int) -> float:
    """Return the processor time of all of a process's threads, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def part_name(pid: int) -> str:
    """Return the last word of the module that a process runs."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    name = words[words.index(b"-m") + 1].decode().rpartition(".")[2]
    return "supervisor" if name == "daemon" else name


def measure_rest(settings: Settings) -> list[Row]:
    """Measure memory and processor time while nothing happens."""
    supervisor = control.status(settings).supervisor
    assert supervisor is not None
    time.sleep(SETTLE_SECONDS)
    pids = processes(supervisor)
    sizes = {part_name(pid): memory(pid) for pid in pids}
    before = {pid: processor_seconds(pid) for pid in pids}
    start = time.monotonic()
    time.sleep(REST_SECONDS)
    elapsed = time.monotonic() - start
    used = {part_name(pid): (processor_seconds(pid) - before[pid]) / elapsed * 100 for pid in pids}
    resident = sum(pair[1] for pair in sizes.values())
    return [
        # Resident memory counts shared pages once for each process: the stricter figure is the one judged.
        row(
            "memory at rest",
            "MB resident",
            [resident],
            parts={name: round(pair[1], 1) for name, pair in sizes.items()},
        ),
        row("memory at rest, proportional", "MB", [sum(pair[0] for pair in sizes.values())]),
        row(
            "processor at rest",
            "% of a core",
            [sum(used.values())],
            parts={k: round(v, 3) for k, v in used.items()},
        ),
    ]


def timed(command: Sequence[str | Path], environment: dict[str, str], body: bytes | None = None) -> float:
    """Run a command to its end and return the milliseconds it took.

    Raises:
        SystemExit: It failed.
    """
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, input=body, capture_output=True, check=False)
    took = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        raise SystemExit(f"{command} exited with {done.returncode}: {done.stderr.decode()}")
    return took


def measure_sessions(settings: Settings, rounds: int = 30) -> list[Row]:
    """Measure ``wk sessions`` against an interpreter that does nothing, interleaved."""
    RecorderClient(settings.places).demo()
    installed = Path(sys.executable).parent / "wk"
    start: list[str | Path] = (
        [installed] if installed.exists() else list(python_command("watchkeeper.cli", []))
    )
    command: list[str | Path] = [*start, "--home", settings.places.home, "sessions"]
    environment = settings.environment
    nothing: list[str | Path] = [sys.executable, "-c", "pass"]
    bare, listed = [], []
    for _ in range(rounds):
        bare.append(timed(nothing, environment))
        listed.append(timed(command, environment))
    ratio = round(statistics.median(listed) / statistics.median(bare), 2)
    return [row("bare interpreter", "ms", bare), row("wk sessions", "ms", listed, ratio=ratio)]


def live_event(session: str, call: str, event: str = "PreToolUse") -> bytes:
    """Return the payload of a tool call's beginning or end."""
    payload = {
        "session_id": session,
        "cwd": "/home/someone/project",
        "hook_event_name": event,
        "tool_name": "Bash",
        "tool_use_id": call,
        "tool_input": {"command": "true " + "x" * 300},
    }
    if event == "PostToolUse":
        payload["tool_response"] = {"stdout": "y" * 400, "stderr": ""}
    return json.dumps(payload).encode()


def live_times(settings: Settings, session: str, rounds: int) -> list[float]:
    """Return the ms from the start of each hook to the message that shows its event in a browser's stream."""
    environment = {"PATH": "/usr/bin:/bin"}
    command: list[str | Path] = [packaged_hook(), "--home", settings.places.home]
    headers = {"Authorization": f"Bearer {read_token(settings.places)}"}
    times = []
    with connect(f"ws://127.0.0.1:{settings['server.port']}/api/live", additional_headers=headers) as stream:
        stream.recv(timeout=10)
        timed(command, environment, live_event(session, f"toolu_{session[:8]}_first"))
        while session not in str(stream.recv(timeout=10)):
            pass
        stream.send(json.dumps({"subscribe": session}))
        for number in range(rounds):
            time.sleep(0.2)
            call = f"toolu_{session[:8]}_live_{number:04d}"
            start = time.perf_counter()
            timed(command, environment, live_event(session, call))
            while call not in str(stream.recv(timeout=10)):
                pass
            times.append((time.perf_counter() - start) * 1000)
    return times


def measure_live(settings: Settings, rounds: int = 40) -> list[Row]:
    """Measure how soon a browser shows what a hook says."""
    times = live_times(settings, LIVE_SESSION, rounds)
    # The worst counts, as an agent's user sees each one.
    return [row("live event", "ms", times, judged=max(times), judged_by="worst")]


def measure_long(settings: Settings, rounds: int = 40) -> list[Row]:
    """Measure the same in a session of 5,000 calls, and the memory that is held after it was watched and read."""
    places = settings.places
    for number in range(LONG_CALLS):
        for event in ("PreToolUse", "PostToolUse"):
            append_frame(places.spool, live_event(LONG_SESSION, f"toolu_old_{number}", event))
    RecorderClient(places, timeout=90).sync(60_000)
    time.sleep(OLD_SECONDS)
    times = live_times(settings, LONG_SESSION, rounds)
    path = f"/api/sessions/{LONG_SESSION}/timeline?limit=10000"
    client = http.client.HTTPConnection("127.0.0.1", settings["server.port"], timeout=30)
    for _ in range(3):
        client.request("GET", path, headers={"Authorization": f"Bearer {read_token(places)}"})
        answer = client.getresponse()
        assert answer.status == http.HTTPStatus.OK, answer.status
        answer.read()
    client.close()
    time.sleep(SLIMMED_SECONDS)
    supervisor = control.status(settings).supervisor
    assert supervisor is not None
    sizes = {part_name(pid): memory(pid)[1] for pid in processes(supervisor)}
    parts = {name: round(size, 1) for name, size in sizes.items()}
    return [
        row("live event, 5,000 calls", "ms", times, judged=max(times), judged_by="worst"),
        row("memory after 5,000 calls", "MB resident", [sum(sizes.values())], parts=parts),
    ]


def build_module() -> ModuleType:
    """Return the project's build code."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_load(folder: Path) -> Path:
    """Compile the load harness and return its path."""
    module = build_module()
    program = folder / "load"
    flags = ["-target", module.native_target()[0], "-O2", "-static"]
    module.zig_cc([*flags, "-o", program, ROOT / "bench" / "harness" / "load.c"])
    return program


ECHO = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
while True:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(connection.recv(65536)[:12])
"""
"""The least that a server can do: its tail under load is the machine's, not the decider's."""


def echo(path: Path, frame: bytes) -> None:
    """Make one round trip to the least server."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(frame)
        connection.recv(12)


def sample(done: threading.Event, pause: float, question: Callable[[], None]) -> threading.Thread:
    """Ask a question again and again in a thread until done."""

    def repeat() -> None:
        while not done.wait(pause):
            question()

    thread = threading.Thread(target=repeat)
    thread.start()
    return thread


def written_at(reports: Sequence[tuple[float, int, int]], moment: float) -> float:
    """Return how many events all writers had written at a moment, between their reports."""
    total = 0.0
    for writer in {report[1] for report in reports}:
        points = [(0.0, 0)] + [(at, count) for at, found, count in reports if found == writer]
        before = max((point for point in points if point[0] <= moment), default=points[0])
        after = min((point for point in points if point[0] > moment), default=None)
        share = 0.0
        if after is not None and before[0] > 0:
            share = (moment - before[0]) / (after[0] - before[0]) * (after[1] - before[1])
        total += before[1] + share
    return total


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the least-squares line through points."""
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def measure_load(settings: Settings, seconds: float = 10.0) -> list[Row]:
    """Run the real hook 3,000 times a second; watch the recorder's backlog and the decider's answers meanwhile."""
    places, recorder = settings.places, RecorderClient(settings.places, timeout=10)
    frame = control.synthetic_frame(b"x" * PAYLOAD_BYTES)
    decisions: list[float] = []
    floor: list[float] = []
    recorded: list[tuple[float, int]] = []

    def decide() -> None:
        start = time.perf_counter()
        ask(places.decider_socket, frame, deadline_ms=2000)
        middle = time.perf_counter()
        echo(echo_socket, frame)
        decisions.append((middle - start) * 1000)
        floor.append((time.perf_counter() - middle) * 1000)

    def ping() -> None:
        # Each hook frame is one ledger entry. The time is that of the answer: asking may take a while.
        count = int(recorder.ping()["ledger_seq"])
        recorded.append((time.monotonic(), count))

    recorder.sync(10_000)
    before = int(recorder.ping()["ledger_seq"])
    done = threading.Event()
    echo_socket = places.run / "bench-echo.sock"
    server = subprocess.Popen([sys.executable, "-c", ECHO, str(echo_socket)])
    while not echo_socket.exists():
        time.sleep(0.01)
    with tempfile.TemporaryDirectory() as scratch:
        load = [build_load(Path(scratch)), WRITERS, RATE, seconds, PAYLOAD_BYTES, packaged_hook()]
        threads = [sample(done, 0.01, decide), sample(done, 0.25, ping)]
        begun = time.monotonic()
        try:
            output = subprocess.run(
                [str(word) for word in (*load, "--home", places.home)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        finally:
            ended = time.monotonic()
            done.set()
            for thread in threads:
                thread.join()
            server.kill()
            server.wait()
    start = time.monotonic()
    recorder.sync(60_000)
    drained = time.monotonic() - start
    reports = [
        (int(at) / 1e9, int(writer), int(count)) for at, writer, count in map(str.split, output.splitlines())
    ]
    return load_rows(
        reports, [(at, count - before) for at, count in recorded], (decisions, floor), (begun, ended, drained)
    )


def load_rows(
    reports: Sequence[tuple[float, int, int]],
    recorded: Sequence[tuple[float, int]],
    answers: tuple[Sequence[float], Sequence[float]],
    times: tuple[float, float, float],
) -> list[Row]:
    """Return the results of the load."""
    begun, ended, drained = times
    total = written_at(reports, ended)
    rate = total / (ended - begun)
    # The first second fills caches; it says nothing about growth.
    lag = [(at, written_at(reports, at) - count) for at, count in recorded if begun + 1 < at < ended]
    growth = slope(lag) / rate * 100
    decisions, floor = answers
    tail, floor_tail = (sorted(found)[int(len(found) * 0.99)] for found in answers)
    return [
        row("load reached", "events/s", [rate], target=RATE, events=int(total)),
        row("backlog", "events", [points[1] for points in lag]),
        row("lag growth", "% of the rate", [growth]),
        row("drained after the load", "s", [drained]),
        row("least server under load", "ms", floor, p99=round(floor_tail, 3)),
        row(
            "decide under load", "ms", decisions, judged=tail, judged_by="99th percentile", p99=round(tail, 3)
        ),
    ]


MEASUREMENTS: dict[str, Callable[[Settings], list[Row]]] = {
    "rest": measure_rest,
    "sessions": measure_sessions,
    "live": measure_live,
    "long": measure_long,
    "load": measure_load,
}


def throw_away_settings(folder: Path) -> Settings:
    """Return settings for a home in a folder, with a free port and an agent's folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    agent = folder / ".claude"
    agent.mkdir()
    own = {"HOME": str(folder), "CLAUDE_CONFIG_DIR": str(agent), "WATCHKEEPER_PORT": str(port)}
    return Settings(folder / "wk", dict(os.environ) | own | {"WATCHKEEPER_HOME": str(folder / "wk")})


def main() -> int:
    """Measure, print the table, and say whether the budgets hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="wk-bench-") as scratch:
        settings = throw_away_settings(Path(scratch))
        try:
            control.ensure_running(settings, wait_seconds=60)
            for name in options.only:
                rows += MEASUREMENTS[name](settings)
        finally:
            control.stop(settings)
    for found in rows:
        print(json.dumps(found))
    met = all(found["met"] is not False for found in rows)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "met": met}, indent=2) + "\n")
    return 0 if met or not options.check else 1


if __name__ == "__main__":
    raise SystemExit(main())
