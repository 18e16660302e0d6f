"""The writer killed at any moment, and the disk full: what was committed stays, and the ledger goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchkeeper.ledger.entries import Entry
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.ledger.verify import verify
from watchkeeper.ledger.writer import LedgerWriteError, LedgerWriter

pytestmark = pytest.mark.fault

SOURCE = Path(__file__).parents[2] / "src"
APPENDER = """
import sys
from pathlib import Path
from watchkeeper.ledger.entries import Entry
from watchkeeper.ledger.keys import KeyRing
from watchkeeper.ledger.writer import LedgerWriter
home = Path(sys.argv[1])
writer = LedgerWriter(home / "ledger", KeyRing(home / "keys"), checkpoint_entries=20, segment_bytes=60_000)
while True:
    first = writer.next_seq
    seqs = writer.append(Entry("hook", f"s:{n}", n, b"payload %d " % n * (n % 90)) for n in range(first, first + 7))
    writer.commit()
    sys.stdout.write(f"{seqs[0]} {seqs[-1]}\\n")
    sys.stdout.flush()
"""


def test_killed_twenty_times_while_appending(tmp_path: Path) -> None:
    """Each entry that a commit reported is there after kill -9, and the verdict stays good."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    reported = 0
    for round_number in range(20):
        command = [sys.executable, "-c", APPENDER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for _ in range(3 + round_number * 2):
                reported = int(process.stdout.readline().split()[1])
            process.kill()
            reported = max(
                [reported, *(int(line.split()[1]) for line in process.stdout if line.endswith("\n"))]
            )
        stored = list(LedgerReader(tmp_path / "ledger").entries())
        assert [entry.seq for entry in stored] == list(range(len(stored)))
        assert stored[-1].seq >= reported
        for entry in stored:
            assert entry.kind == "repair" or entry.payload == b"payload %d " % entry.at * (entry.at % 90)
        verdict = verify(tmp_path / "ledger", tmp_path / "keys")
        assert (verdict.ok, verdict.integrity, verdict.entries) == (True, "intact", len(stored)), verdict
    LedgerWriter(tmp_path / "ledger", KeyRing(tmp_path / "keys")).close()
    assert verify(tmp_path / "ledger", tmp_path / "keys").ok


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("segment_bytes", [20_000, 32 << 20])
def test_a_full_disk_is_told_and_loses_nothing_committed(small_disk: Path, segment_bytes: int) -> None:
    """Commit says clearly that the disk is full; reading and opening go on, and so does writing once there is room."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    writer = LedgerWriter(
        small_disk / "ledger",
        KeyRing(small_disk / "keys"),
        checkpoint_entries=50,
        segment_bytes=segment_bytes,
    )
    taken: list[bytes] = []
    safe = 0
    failure: LedgerWriteError | None = None
    while failure is None:
        payloads = [os.urandom(900) for _ in range(5)]
        writer.append(Entry("hook", "s", 1, payload) for payload in payloads)
        taken += payloads
        try:
            writer.commit()
        except LedgerWriteError as error:
            failure = error
        else:
            safe = len(taken)
    assert failure.what == "the ledger cannot be written"
    assert "space" in failure.why

    def stored() -> list[bytes]:
        return [
            entry.payload for entry in LedgerReader(small_disk / "ledger").entries() if entry.kind == "hook"
        ]

    # A checkpoint can fail after its entries were synced, so there may be more than the last commit confirmed.
    assert stored()[:safe] == taken[:safe]
    assert len(stored()) in (safe, len(taken))
    assert verify(small_disk / "ledger", small_disk / "keys").ok
    writer.append([Entry("hook", "s", 1, os.urandom(900_000))])
    with pytest.raises(LedgerWriteError):
        writer.commit()
    ballast.unlink()
    LedgerWriter(small_disk / "ledger", KeyRing(small_disk / "keys")).close()
    verdict = verify(small_disk / "ledger", small_disk / "keys")
    assert (verdict.ok, verdict.integrity, verdict.completeness) == (True, "intact", "complete")
    assert stored()[:safe] == taken[:safe]


def test_the_same_writer_goes_on_when_there_is_room_again(small_disk: Path) -> None:
    """What a failed commit left in the buffer is committed by the next one that succeeds."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(700_000))
    writer = LedgerWriter(small_disk / "ledger", KeyRing(small_disk / "keys"))
    writer.append([Entry("hook", "s", 1, os.urandom(500_000))])
    for _ in range(2):
        with pytest.raises(LedgerWriteError):
            writer.commit()
    ballast.unlink()
    writer.append([Entry("hook", "s", 2, b"later")])
    writer.commit()
    writer.close()
    assert [entry.at for entry in LedgerReader(small_disk / "ledger").entries()] == [1, 2]
    assert verify(small_disk / "ledger", small_disk / "keys").ok
