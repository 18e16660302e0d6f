"""Runs every benchmark of this folder, prints one table, and writes one JSON document with the machine it ran on.

    python bench/run.py [NAME ...] [--json FILE] [--markdown FILE]

A benchmark is a script here that takes ``--json FILE`` and writes ``{"rows": ...}``: a list of rows with
``name``, or rows by name. A row has ``median``, ``min`` and ``max`` (or ``median_<unit>`` and so on), and may
have ``unit``, ``runs``, ``ratio``, ``budget``, ``met`` and anything else; ``judged`` and ``judged_by`` say which
figure the budget is for, where it is not the median. ``--markdown`` writes the same as a page, with what each
benchmark says of its method. Exit status 1: a budget was missed or a benchmark failed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"
BUSY = 0.3
"""A load average above this says that something else was running."""
COLUMNS = ("benchmark", "what", "median", "min", "max", "unit", "runs", "ratio", "budget", "met")


def machine() -> dict[str, Any]:
    """Describe the machine: what a number means depends on it."""
    cpu = ""
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else ""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.platform(),
        "processor": cpu or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 1e9, 1),
        "python": platform.python_version(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def benchmarks() -> dict[str, Path]:
    """Return the scripts by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.py")) if path.name != Path(__file__).name}


def rows_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a benchmark's rows in the one shape."""
    rows = document["rows"]
    listed = (
        [{"name": name, **row} for name, row in rows.items()] if isinstance(rows, Mapping) else list(rows)
    )
    return [normalised(row) for row in listed]


def normalised(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with ``median``, ``min``, ``max`` and ``unit``, and with ``met`` where it has a budget."""
    result = dict(row)
    for key in row:
        kind, _, unit = key.partition("_")
        if kind in {"median", "min", "max"} and unit:
            result[kind] = result.pop(key)
            result.setdefault("unit", unit.replace("_", " "))
    if result.get("budget") is not None and result.get("ratio") is not None and "judged" not in result:
        result |= {"judged": result["ratio"], "judged_by": "ratio"}
    if result.get("met") is None and result.get("budget") is not None and result.get("ratio") is not None:
        result["met"] = result["ratio"] <= result["budget"]
    return result


def run(name: str, script: Path) -> dict[str, Any]:
    """Run one benchmark and return ``{"rows", "error"}``."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "result.json"
        done = subprocess.run(
            [sys.executable, str(script), "--json", str(output)], capture_output=True, text=True, check=False
        )
        if not output.exists():
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["it wrote no result"]
            return {"rows": [], "error": f"{name}: exit status {done.returncode}: {last[0]}"}
        return {"rows": rows_of(json.loads(output.read_text())), "error": None}


def shown(value: Any) -> str:
    """Return a cell's text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return all rows as one table."""
    lines = [COLUMNS]
    for name, result in results.items():
        for row in result["rows"]:
            cells = [shown(row.get(column)) for column in COLUMNS[2:]]
            lines.append((name, row["name"], *cells))
    widths = [max(len(line[index]) for line in lines) for index in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


PAGE_HEAD = """# Benchmarks

`make bench` measures every budget and prints one table; this page is what `bench/run.py --markdown docs/benchmarks.md`
wrote. Figures are medians with the least and the greatest of all runs in brackets, and beside them the figure that
the budget is for, where it is another; ratios are between programs run in turn.
"""


def method(script: Path) -> str:
    """Return what a benchmark says of itself, without its command lines."""
    said = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    paragraphs = [part for part in said.split("\n\n") if not part.startswith(" ")]
    return " ".join(
        " ".join(part.split()) for part in paragraphs if not part.startswith("``") and part[-1] != ":"
    )


def figure(row: Mapping[str, Any]) -> str:
    """Return a row's figure: ``median [min - max] unit``, and the judged one where it is another."""
    spread = "" if row.get("runs") == 1 else f" [{shown(row['min'])} - {shown(row['max'])}]"
    text = f"{shown(row['median'])}{spread} {row.get('unit', '')}".rstrip()
    if row.get("judged_by"):
        text += f"; {row['judged_by']} {shown(row['judged'])}"
    return text


def markdown(where: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return everything as a page."""
    busy = where["load_average"][0]
    machine_line = (
        f"Machine: {where['cores']} cores ({where['processor']}), {where['memory_gb']} GB, {where['system']}, "
        f"Python {where['python']}, {where['at']}. Load average before the first benchmark: {busy}"
    )
    parts = [PAGE_HEAD, machine_line + (" (other work was running).\n" if busy > BUSY else ".\n")]
    for name, result in results.items():
        parts.append(f"## {name}\n\n{method(FOLDER / f'{name}.py')}\n")
        if result["error"]:
            parts.append(f"Failed: {result['error']}\n")
            continue
        lines = ["| what | figure | runs | budget | met |", "|---|---|---|---|---|"]
        lines += [
            f"| {row['name']} | {figure(row)} | {row.get('runs', '')} | {shown(row.get('budget'))} "
            f"| {shown(row.get('met'))} |"
            for row in result["rows"]
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def missed(results: Iterable[Mapping[str, Any]]) -> int:
    """Return how many budgets were missed and benchmarks failed."""
    listed = list(results)
    return sum(row.get("met") is False for found in listed for row in found["rows"]) + sum(
        found["error"] is not None for found in listed
    )


def main() -> int:
    """Run what was asked for."""
    known = benchmarks()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--json", type=Path, default=RESULTS / "latest.json")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    unknown = set(options.names) - set(known)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    where = machine()
    results = {}
    for name in options.names or known:
        print(f"running {name} ...", file=sys.stderr)
        results[name] = run(name, known[name])
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    print(table(results))
    for found in results.values():
        if found["error"]:
            print(f"FAILED  {found['error']}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": where, "benchmarks": results}, indent=2) + "\n")
    print(f"written to {options.json}")
    if options.markdown:
        options.markdown.write_text(markdown(where, results), encoding="utf-8")
        print(f"written to {options.markdown}")
    return 1 if missed(results.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
