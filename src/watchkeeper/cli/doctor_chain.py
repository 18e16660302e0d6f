"""One synthetic event on its way through the chain, from hook to database; and the daemon's parts.

The event is a frame of kind *synthetic* with a random nonce as its payload: it is put on record like any
other, and belongs to no session.
"""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path

from watchkeeper.analysis.doctor import Check, run_hook, timed
from watchkeeper.client.recorder import RecorderClient
from watchkeeper.daemon.control import DaemonStatus
from watchkeeper.ledger.entries import StoredEntry
from watchkeeper.ledger.reader import LedgerReader
from watchkeeper.settings import Settings

_SYNC_MS = 5000
_SLOW_DECISION_MS = 50.0
"""The hook's own deadline: a slower decider is one that the hook does not hear."""
_CLOCK_SLACK = 2.0
"""Seconds that a file's time may be behind the clock."""
_SPOOL_HINT = "Look at the home's disk space and at the owner and mode of its spool folder."


class Journey:
    """Follows one synthetic event.

    Args:
        settings: The home.
        hook: The hook to run, or ``None`` where there is none.
        daemon: Whether a recorder answers; otherwise this process takes the event in itself.
    """

    def __init__(self, settings: Settings, hook: Path | None, *, daemon: bool) -> None:
        self._settings = settings
        self._places = settings.places
        self._hook = hook
        self._daemon = daemon
        self._nonce = secrets.token_hex(16)
        self._start = 0
        self._sent = 0.0
        self._entry: StoredEntry | None = None

    def checks(self) -> list[Check]:
        """Send the event and look for it at each link; after a broken one the rest is skipped."""
        steps = [
            ("synthetic event", self._send),
            ("spool", self._look_in_spool),
            ("taken in", self._take_in),
            ("ledger entry", self._look_in_ledger),
            ("database row", self._look_in_database),
        ]
        found: list[Check] = []
        for name, step in steps:
            if found and found[-1].state != "ok":
                found.append(Check(name, "skipped", f"needs: {_first_broken(found)}"))
            else:
                found.append(timed(name, step))
        return found

    def _send(self) -> Check:
        name = "synthetic event"
        if self._hook is None:
            return Check(name, "skipped", "there is no hook to run")
        with LedgerReader(self._places.ledger) as reader:
            self._start = reader.last_seq + 1
        self._sent = time.time()
        payload = {"hook_event_name": "WatchkeeperDoctor", "nonce": self._nonce}
        command = [str(self._hook), "--home", str(self._places.home), "--kind", "synthetic"]
        said = run_hook(command, json.dumps(payload).encode())
        if said:
            return Check(
                name, "failed", f"the hook printed {said[:80]!r}, the agent would read that", "wk install"
            )
        return Check(name, "ok", f"sent through {self._hook}")

    def _look_in_spool(self) -> Check:
        for segment in sorted(self._places.spool.glob("*.wks")):
            try:
                recent = segment.stat().st_mtime >= self._sent - _CLOCK_SLACK
                if recent and self._nonce.encode() in segment.read_bytes():
                    return Check("spool", "ok", f"its frame is in {segment.name}")
            except FileNotFoundError:
                continue  # the recorder removes what it has stored
        if self._find_in_ledger() is not None:
            return Check("spool", "ok", "taken out already")
        return Check("spool", "failed", "the hook ran and left no frame", _SPOOL_HINT)

    def _take_in(self) -> Check:
        if not self._daemon:
            from watchkeeper.pipeline.catch_up import catch_up

            catch_up(self._settings)
            return Check("taken in", "ok", "no daemon; taken in by this command")
        answer = RecorderClient(self._places).sync(_SYNC_MS)
        behind = int(answer.get("stale_ms") or 0)
        if behind:
            detail = f"it is {behind / 1000:.1f} s behind after {_SYNC_MS / 1000:.0f} s"
            return Check("taken in", "failed", detail, f"Look at {self._places.log}")
        return Check("taken in", "ok", "in step with spool and transcripts")

    def _find_in_ledger(self) -> StoredEntry | None:
        needle = self._nonce.encode()
        with LedgerReader(self._places.ledger) as reader:
            found = (entry for entry in reader.entries(self._start) if needle in entry.payload)
            self._entry = next(found, None)
        return self._entry

    def _look_in_ledger(self) -> Check:
        entry = self._entry or self._find_in_ledger()
        if entry is None:
            return Check(
                "ledger entry", "failed", "the event is not on record", f"Look at {self._places.log}"
            )
        return Check("ledger entry", "ok", f"number {entry.seq:,}")

    def _look_in_database(self) -> Check:
        from watchkeeper.store.sqlite.reading import open_reader

        assert self._entry is not None
        with open_reader(self._places) as reader:
            seq = reader.value("SELECT seq FROM sources WHERE source = ?", (self._entry.source,))
        if seq != self._entry.seq:
            return Check("database row", "failed", "the database has not merged it", "wk rebuild")
        return Check("database row", "ok", "merged, and in no session")


def _first_broken(checks: list[Check]) -> str:
    return next(check.name for check in checks if check.state != "ok")


def daemon_checks(status: DaemonStatus) -> list[Check]:
    """Return one check per part of the daemon, from round trips to each."""
    if status.supervisor is None:
        hint = "wk up"
        return [Check("daemon", "skipped", "not running; hooks fill the spool, commands take it in", hint)]
    checks = [Check("daemon", "ok", f"supervisor {status.supervisor}, {status.url}")]
    for name, part in status.parts.items():
        latency = part.latency_ms or 0.0
        if not part.alive:
            checks.append(Check(name, "failed", part.problem, "wk down && wk up"))
        elif name == "decider" and latency > _SLOW_DECISION_MS:
            detail = f"a decision took {latency:.1f} ms, hooks wait {_SLOW_DECISION_MS:.0f} ms"
            checks.append(Check(name, "failed", detail, "Look for what keeps the machine busy.", latency))
        else:
            checks.append(Check(name, "ok", f"answered in {latency:.2f} ms", "", latency))
    return checks
