"""How fast transcripts are found, read, decoded, redacted and archived, on one core.

    python bench/transcripts.py [CONFIG_DIR] [--rounds 3] [--json FILE] [--check]

``CONFIG_DIR`` is an agent's folder with ``projects`` in it, best of some 100 MB, generated or real; without
it some 20 MB are made up. Speeds are megabytes of transcript for each second of processor time, as the
median with the least and the greatest of the rounds. ``--check`` exits 1 when a budget is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchkeeper.archive.store import LEVEL, ArchiveReader, ArchiveWriter
from watchkeeper.redaction.engine import Redactor
from watchkeeper.sources.claude_code.discovery import Discovery, find_transcripts
from watchkeeper.sources.claude_code.lines import Skip, decode, split_lines
from watchkeeper.sources.claude_code.tail import Range, TranscriptTail

BUDGETS = {"redact": 20.0}


def read_all(found: Discovery) -> list[Range]:
    """Return all ranges of all files, as an import reads them."""
    tail = TranscriptTail()
    ranges: list[Range] = []
    for file in found.files:
        cursor = None
        while (piece := tail.read_new(file, cursor, settled=True)) is not None:
            ranges.append(piece)
            cursor = piece.cursor
    return ranges


def decode_all(ranges: list[Range]) -> tuple[int, int]:
    """Return how many lines are objects, and how many are not."""
    objects = skips = 0
    for item in ranges:
        for _, line in split_lines(item.data, item.first_line):
            if isinstance(decode(line), Skip):
                skips += 1
            else:
                objects += 1
    return objects, skips


def redact_all(ranges: list[Range]) -> int:
    """Return the number of secrets."""
    redactor = Redactor()
    return sum(sum(redactor.redact(item.data).hits.values()) for item in ranges)


def archive_all(ranges: list[Range], scratch: Path) -> Path:
    """Put the ranges into a new archive and return its folder."""
    directory = Path(tempfile.mkdtemp(dir=scratch))
    with ArchiveWriter(directory) as writer:
        for item in ranges:
            writer.put(item.data)
        writer.commit()
    return directory


def unpack_all(directory: Path) -> int:
    """Return the bytes of all frames of an archive."""
    reader = ArchiveReader(directory)
    return sum(len(reader.get(item.pack, item.offset)) for item in reader.frames())


def make_up(directory: Path, megabytes: int = 20) -> Path:
    """Write transcripts of invented prose, tool results and usage; return the agent's folder."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlucmfw_./", k=chance.randint(2, 11))) for _ in range(4000)]
    for number in range(megabytes):
        path = (
            directory
            / "projects"
            / f"-made-up-{number % 5}"
            / f"{uuid.UUID(int=chance.getrandbits(128))}.jsonl"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            while stream.tell() < 1_000_000:
                text = "\n".join(" ".join(chance.choices(words, k=12)) for _ in range(chance.randint(1, 60)))
                usage = {"input_tokens": chance.randrange(9999), "output_tokens": chance.randrange(9999)}
                line = {
                    "uuid": str(uuid.UUID(int=chance.getrandbits(128))),
                    "sessionId": path.stem,
                    "message": {"id": f"msg_01{chance.getrandbits(100):x}", "content": text, "usage": usage},
                }
                stream.write(json.dumps(line).encode() + b"\n")
    return directory


def measure(rounds: int, action: Callable[[], Any]) -> tuple[list[float], Any]:
    """Return the processor time of each round in seconds, and the last result."""
    seconds: list[float] = []
    result: Any = None
    for _ in range(rounds):
        start = time.process_time()
        result = action()
        seconds.append(time.process_time() - start)
    return seconds, result


def report_on(config_dir: Path, rounds: int, scratch: Path) -> dict[str, Any]:
    """Measure every stage and return the report."""
    walk, found = measure(rounds, lambda: find_transcripts(config_dir))
    read, ranges = measure(rounds, lambda: read_all(found))
    decoded, (objects, skips) = measure(rounds, lambda: decode_all(ranges))
    redacted, hits = measure(rounds, lambda: redact_all(ranges))
    archived, archive = measure(rounds, lambda: archive_all(ranges, scratch))
    unpacked, size = measure(rounds, lambda: unpack_all(archive))
    total = sum(len(item.data) for item in ranges)
    stages = {
        "tail": read,
        "split and decode": decoded,
        "tail, split and decode": [sum(pair) for pair in zip(read, decoded, strict=True)],
        "redact": redacted,
        "archive": archived,
        "unpack": unpacked,
    }
    rows = [speed_row(stage, total, seconds) for stage, seconds in stages.items()]
    rows.append({"name": "walk", "unit": "ms", "runs": rounds, **spread([1000 * value for value in walk])})
    return {
        "files": len(found.files),
        "megabytes": round(total / 1e6, 1),
        "lines": objects,
        "skipped_lines": skips,
        "secrets": hits,
        "archive_level": LEVEL,
        "archive_ratio": round(size / sum(path.stat().st_size for path in archive.iterdir()), 2),
        "rows": rows,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Return the median, least and greatest of some values."""
    return {
        "median": round(statistics.median(values), 1),
        "min": round(min(values), 1),
        "max": round(max(values), 1),
    }


def speed_row(stage: str, total: int, seconds: list[float]) -> dict[str, Any]:
    """Return the row of a stage that took these times for ``total`` bytes."""
    row: dict[str, Any] = {"name": stage, "unit": "MB/s", "runs": len(seconds)}
    row |= spread([total / value / 1e6 for value in seconds])
    if stage in BUDGETS:
        row |= {"budget": BUDGETS[stage], "met": row["median"] >= BUDGETS[stage]}
    return row


def main() -> int:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("config_dir", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        config_dir = options.config_dir or make_up(Path(name) / "agent")
        report = report_on(config_dir, options.rounds, Path(name))
    print("  ".join(f"{name} {value}" for name, value in report.items() if name != "rows"))
    print(f"{'stage':24} {'median':>8} {'min':>8} {'max':>8}")
    for row in report["rows"]:
        print(f"{row['name']:24} {row['median']:8.1f} {row['min']:8.1f} {row['max']:8.1f}  {row['unit']}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    missed = [row for row in report["rows"] if not row.get("met", True)]
    for row in missed:
        print(f"{row['name']} is below its budget of {row['budget']} {row['unit']}")
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
