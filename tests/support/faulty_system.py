"""What the tests that break the running system share: its processes, load on it, and a file system to fill."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from harness_system import ledger_payloads, ledger_sources

from watchkeeper.client.recorder import RecorderClient
from watchkeeper.errors import DaemonError
from watchkeeper.settings import Places

SYNC_MS = 60_000


def recorder_pid(places: Places) -> int | None:
    """Return the process id of the recorder that answers, if one does."""
    try:
        return int(RecorderClient(places).ping()["pid"])
    except DaemonError:
        return None


def is_synced(places: Places) -> bool:
    """Bring everything on record; False while nobody answers, or not all could be recorded."""
    try:
        return bool(RecorderClient(places).sync(SYNC_MS)["stale_ms"] == 0)
    except DaemonError:
        return False


def parts_of(supervisor: int) -> dict[str, int]:
    """Return the process ids of a supervisor's parts by the last part of their module's name."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    if not children.exists():
        pytest.skip("no /proc to look into")
    found = {}
    for pid in children.read_text().split():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"-m" in words:
            found[words[words.index(b"-m") + 1].decode().rpartition(".")[2]] = int(pid)
    return found


def is_gone(pid: int) -> bool:
    """Return whether no process has the id, or only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def recorded_calls(places: Places) -> Counter[str]:
    """Return how often the ledger holds an event of each call; no observation may be there twice."""
    twice = {source: times for source, times in ledger_sources(places).items() if times > 1}
    assert twice == {}
    found: Counter[str] = Counter()
    for _, content in ledger_payloads(places):
        payload = json.loads(content.partition(b"\n")[2] or b"{}")
        if "tool_use_id" in payload:
            found[payload["tool_use_id"]] += 1
    return found


def mount_small(folder: Path, size: str) -> None:
    """Mount an empty file system of a size on a folder, or skip the test."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")


def fill(folder: Path) -> Path:
    """Write until not one more byte fits into the file system; return the file that fills it."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as stream:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while stream.write(bytes(size)):
                    pass
            except OSError:
                continue
    return filler
