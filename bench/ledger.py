"""What the ledger costs: durable entries a second, CPU an entry, reading, one entry at random, a whole check.

Entries are 1 KB of JSON like a hook's payload. Budgets: 24,000 entries a second and 25 us of CPU an entry in
batches of 100, both with hashing, compression and one sync for each batch; one entry at random in 1 ms.

    python bench/ledger.py [--entries 20000] [--rounds 5] [--json FILE] [--check]

``--check`` exits 1 when a budget is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from watchkeeper.ledger.entries import Entry
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.ledger.verify import verify
from watchkeeper.ledger.writer import LedgerWriter

BATCHES = (1, 10, 100, 1000)
RANDOM_READS = 500
BUDGETS: dict[str, tuple[str, float]] = {
    "append, batches of 100 (entries/s)": ("at least", 24_000),
    "append, batches of 100 (CPU us/entry)": ("at most", 25),
    "get at random (ms, median)": ("at most", 1),
}


def payloads(count: int) -> list[bytes]:
    """JSON of about 1 KB with the repetition and the chance that hook payloads have."""
    chance = random.Random(7)
    words = [
        f"{chance.choice('abcdefghij')}{number}_{chance.choice(['path', 'test', 'src', 'value'])}"
        for number in range(400)
    ]
    found = []
    for number in range(count):
        document = {
            "session_id": f"{chance.getrandbits(128):032x}",
            "transcript_path": "/home/someone/.claude/projects/-home-someone-app/session.jsonl",
            "hook_event_name": chance.choice(["PreToolUse", "PostToolUse"]),
            "tool_name": chance.choice(["Bash", "Read", "Edit", "Grep"]),
            "tool_use_id": f"toolu_{chance.getrandbits(96):024x}",
            "tool_input": {"command": " ".join(chance.choices(words, k=60))},
            "number": number,
        }
        found.append(json.dumps(document).encode()[:1024].ljust(1024))
    return found


def append(home: Path, contents: list[bytes], batch: int) -> tuple[float, float]:
    """Return wall and CPU seconds to append everything durably."""
    writer = LedgerWriter(home / "ledger", KeyRing(home / "keys"))
    entries = [
        Entry("hook", f"spool:{n:032x}:{n * 1100}", 1_700_000_000_000 + n, p) for n, p in enumerate(contents)
    ]
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(entries), batch):
        writer.append(entries[start : start + batch])
        writer.commit()
    writer.close()
    return time.perf_counter() - wall, time.process_time() - cpu


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure_reading(home: Path, count: int, results: dict[str, list[float]]) -> None:
    """Measure reading, opening and checking what ``append`` left in a home."""
    size = sum(path.stat().st_size for path in (home / "ledger").rglob("*") if path.is_file())
    results.setdefault("on disk (bytes/entry)", []).append(size / count)
    seconds = timed(lambda: sum(1 for _ in LedgerReader(home / "ledger").entries()))
    results.setdefault("read in order (entries/s)", []).append(count / seconds)
    chance, reader = random.Random(3), LedgerReader(home / "ledger")
    reads = [timed(partial(reader.get, chance.randrange(count))) for _ in range(RANDOM_READS)]
    results.setdefault("get at random (ms, median)", []).append(statistics.median(reads) * 1000)
    cold = timed(lambda: LedgerReader(home / "ledger").get(count // 2))
    results.setdefault("first get of a new reader (ms)", []).append(cold * 1000)
    opening = timed(lambda: LedgerWriter(home / "ledger", KeyRing(home / "keys")))
    results.setdefault("open to append (ms)", []).append(opening * 1000)
    seconds = timed(lambda: verify(home / "ledger", home / "keys"))
    results.setdefault("verify (us/entry)", []).append(seconds / count * 1e6)


def row(name: str, values: list[float]) -> dict[str, Any]:
    """Return a measure's row; its unit is what stands in brackets behind its name."""
    relation, limit = BUDGETS.get(name, ("", 0.0))
    title, _, unit = name.removesuffix(")").rpartition(" (")
    median = statistics.median(values)
    return {
        "name": title,
        "unit": unit,
        "runs": len(values),
        "median": round(median, 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "budget": f"{relation} {limit:g}" if relation else None,
        "met": (median >= limit if relation == "at least" else median <= limit) if relation else None,
    }


def main() -> int:
    """Measure, print the table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    contents = payloads(options.entries)
    results: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for batch in BATCHES:
            part = contents[: min(options.entries, batch * 2_000)]
            with tempfile.TemporaryDirectory() as folder:
                wall, cpu = append(Path(folder), part, batch)
                name = f"append, batches of {batch}"
                results.setdefault(f"{name} (entries/s)", []).append(len(part) / wall)
                results.setdefault(f"{name} (CPU us/entry)", []).append(cpu / len(part) * 1e6)
                if batch == 100:
                    measure_reading(Path(folder), len(part), results)
    rows = [row(name, values) for name, values in results.items()]
    print(f"{'measure':44} {'median':>12} {'min':>12} {'max':>12}  budget")
    for found in rows:
        figures = "".join(f" {found[key]:12,.2f}" for key in ("median", "min", "max"))
        missed = "  MISSED" if found["met"] is False else ""
        print(f"{found['name'] + ' (' + found['unit'] + ')':44}{figures}  {found['budget'] or ''}{missed}")
    met = all(found["met"] is not False for found in rows)
    if options.json:
        document = {"rounds": options.rounds, "entries": options.entries, "rows": rows, "met": met}
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 1 if options.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
