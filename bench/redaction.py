"""How fast secrets are found with each engine, how many of the planted ones, and what clean text sets off.

    python bench/redaction.py [CONFIG_DIR] [--rounds 3] [--seed 7] [--json FILE] [--check]

Speeds are megabytes of transcript JSON for each second of processor time on one core; ``CONFIG_DIR`` is an
agent's folder, without it transcripts are made up. Recall is over several hundred random secrets of more than
thirty kinds, planted into source, configuration, logs and tool results. Clean text is the standard library of
Python, as tool results. The hostile row is the slowest of a list of texts that are made of beginnings of secrets.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(Path(__file__).resolve().parent)]

from planted_secrets import as_lines, planted  # type: ignore[import-not-found]  # noqa: E402

from transcripts import make_up, read_all  # noqa: E402
from watchkeeper.redaction.engine import Redactor  # noqa: E402
from watchkeeper.sources.claude_code.discovery import find_transcripts  # noqa: E402

LEAST_SPEED = 20.0
LEAST_HOSTILE = 4.0
LEAST_RECALL = 90.0
HOSTILE = (
    "key=",
    "api_key=",
    "API_KEY=x",
    "pass=abcd",
    "PASSWORD=hunter2!",
    "sk-",
    "ghp_",
    "glpat-",
    "eyJ",
    "eyJabcdefghijk.",
    "://a:",
    "=",
    "token:",
    "-----BEGIN",
    "Cookie:a=b;",
    "login",
    "--password",
    " -pabc",
    '"pass":"abcd",',
    "_",
    "AKIA",
)


def clean_texts(limit: int) -> list[str]:
    """Return sources of the standard library, up to ``limit`` bytes together, without its tests."""
    texts: list[str] = []
    size = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        texts.append(text)
        size += len(text)
        if size > limit:
            break
    return texts


def seconds_of(redactor: Redactor, data: Iterable[bytes], rounds: int) -> list[float]:
    """Return the processor time of each round."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        for item in data:
            redactor.redact(item)
        times.append(time.process_time() - start)
    return times


def speed_rows(data: list[bytes], rounds: int) -> list[dict[str, Any]]:
    """Return one row for each engine that is installed, and one for making its screen."""
    size = sum(map(len, data))
    rows = []
    for engine in ("re", "re2", "hyperscan"):
        if engine != "re" and find_spec(engine) is None:
            continue
        start = time.process_time()
        redactor = Redactor(engine=engine)
        redactor.redact(b"x" * 1000)
        ready = time.process_time() - start
        redactor.redact(data[0])
        speeds = [size / value / 1e6 for value in seconds_of(redactor, data, rounds)]
        rows.append(
            {
                "name": f"redact with {engine}",
                "unit": "MB/s",
                "runs": rounds,
                **spread(speeds),
                "budget": LEAST_SPEED,
                "met": statistics.median(speeds) >= LEAST_SPEED,
            }
        )
        rows.append({"name": f"{engine} made ready", "unit": "ms", "runs": 1, **spread([1000 * ready])})
    return rows


def spread(values: list[float]) -> dict[str, float]:
    """Return the median, least and greatest of some values."""
    return {
        "median": round(statistics.median(values), 1),
        "min": round(min(values), 1),
        "max": round(max(values), 1),
    }


def recall_rows(seed: int) -> list[dict[str, Any]]:
    """Return the share of planted secrets that are gone, and what was missed by kind."""
    items = planted(seed)
    clean = [
        text[at : at + 600] for text in clean_texts(400_000) for at in range(0, min(len(text), 6000), 600)
    ]
    redactor = Redactor()
    missed: Counter[str] = Counter()
    for item, line in zip(items, as_lines(items, clean, seed), strict=True):
        left = redactor.redact(line).data
        if json.dumps(item.secret)[1:-1].encode() in left or item.secret.encode() in left:
            missed[item.kind] += 1
    share = round(100 * (1 - missed.total() / len(items)), 1)
    return [
        {
            "name": f"recall on {len(items)} secrets of {len({item.kind for item in items})} kinds",
            "unit": "%",
            "runs": 1,
            **spread([share]),
            "budget": LEAST_RECALL,
            "met": share >= LEAST_RECALL,
            "missed": dict(missed),
        }
    ]


def clean_row() -> dict[str, Any]:
    """Return how often clean text sets something off."""
    redactor = Redactor()
    texts = clean_texts(8_000_000)
    hits: Counter[str] = Counter()
    for text in texts:
        hits.update(redactor.redact(json.dumps({"content": text}).encode()).hits)
    size = sum(map(len, texts)) / 1e6
    return {
        "name": f"hits on {size:.1f} MB of clean text",
        "unit": "hits",
        "runs": 1,
        **spread([float(hits.total())]),
        "budget": 0,
        "met": not hits,
        "hits": dict(hits),
    }


def hostile_row() -> dict[str, Any]:
    """Return the speed on the worst of the hostile texts."""
    redactor = Redactor()
    speeds = {}
    for piece in HOSTILE:
        texts = ((piece + " ") * (1_000_000 // (len(piece) + 1)), piece * (1_000_000 // len(piece)))
        lines = [json.dumps({"a": text}).encode() for text in texts]
        speeds[piece] = min(len(line) / min(seconds_of(redactor, [line], 2)) / 1e6 for line in lines)
    worst = min(speeds, key=lambda piece: speeds[piece])
    return {
        "name": f"hostile text, worst of {len(speeds)}: {worst}",
        "unit": "MB/s",
        "runs": 2,
        **spread([speeds[worst]]),
        "budget": LEAST_HOSTILE,
        "met": speeds[worst] >= LEAST_HOSTILE,
        "all": {piece: round(speed, 1) for piece, speed in speeds.items()},
    }


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config_dir", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.config_dir or make_up(Path(scratch), 12)
        data = [item.data for item in read_all(find_transcripts(folder))]
    rows = [*speed_rows(data, options.rounds), *recall_rows(options.seed), clean_row(), hostile_row()]
    report = {"megabytes": round(sum(map(len, data)) / 1e6, 1), "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    else:
        print(json.dumps(report, indent=2))
    return 1 if options.check and any(row.get("met") is False for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
