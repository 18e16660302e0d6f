"""``python -m watchkeeper.daemon.recorder --home H``: the one process that records.

One loop in one thread: hook frames first, then what has changed in transcripts, then the backlog of the import, a slice
at a time. It sleeps until a hook rings, a file changes, a command asks, or a timer is due; it never scans what has not
changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from watchkeeper import __version__
from watchkeeper.daemon.control_socket import ControlSocket, Subscribers
from watchkeeper.daemon.registration_watch import RegistrationWatch
from watchkeeper.daemon.rewriting import Rewriting
from watchkeeper.daemon.sockets import listen_unix
from watchkeeper.daemon.tidying import Tidying
from watchkeeper.daemon.watching import FolderWatches
from watchkeeper.errors import WatchkeeperError
from watchkeeper.managed import hook_socket_mode
from watchkeeper.pipeline.catch_up import SPOOL_BATCH
from watchkeeper.pipeline.demo import load_demo
from watchkeeper.pipeline.folders import agent_folders, folder_of
from watchkeeper.pipeline.memory import release_memory
from watchkeeper.pipeline.recording import Recording, now_ms, process_facts, set_index_aside
from watchkeeper.pipeline.transcripts import TranscriptIntake
from watchkeeper.queries.forms import rfc3339
from watchkeeper.settings import Settings
from watchkeeper.spool.follower import SpoolFollower
from watchkeeper.store import envelopes
from watchkeeper.store.interpret import Interpretation
from watchkeeper.store.sqlite.writing import Changes, DamagedIndexError

log = logging.getLogger("watchkeeper.recorder")

LOOK_SECONDS = 1.0
"""At most this often the recorder looks whether a folder that a session names is there yet."""
SWEEP_SECONDS = 2.0
"""How long a frame may wait whose doorbell was lost."""
ROTATE_SECONDS = 10.0
FIRST_BEAT_SECONDS = 15.0
LONG_BURST = 1000
"""Ledger entries after which memory is given back, once nothing new has come for a while."""
LONG_IMPORT = 4 << 20
"""Bytes of transcripts after which memory is given back."""
LONG_IMPORT_BYTES = 64 << 20
"""Transcripts left to read for which nobody who only wants a fresh answer waits."""
RETRY_SECONDS = 1.0
"""Pause after a failure such as a full disk, before the same work is tried again."""


class Recorder:
    """The running recorder of one home.

    Args:
        settings: The home.
        watch: Called with each of the agent's folders, for its files' changes to be told to `files_changed`.
    """

    def __init__(self, settings: Settings, watch: Callable[[Path], None]) -> None:
        self.settings = settings
        self.watch = watch
        self.recording = Recording(settings)
        self.intake = TranscriptIntake(self.recording)
        self.subscribers = Subscribers()
        self.registration = RegistrationWatch(settings, self.recording)
        self.rewriting = Rewriting(self.recording, self._before_rewriting)
        self.tidying = Tidying(self.recording, lambda: self.rewriting.status() is not None)
        self.wake = asyncio.Event()
        self.stopping = False
        self.synced_until = time.monotonic()
        self.import_finished_at: int | None = None
        self._follower: SpoolFollower | None = None
        self._begun = self._settings_changed = False
        self.folders: list[Path] = []
        self._looked = 0.0
        self._rotated = time.monotonic()
        # The first look for what was missed comes soon after the start, each later one with a heartbeat.
        self._beaten = self._rotated + FIRST_BEAT_SECONDS - settings["daemon.heartbeat_seconds"]
        self._failure: str | None = None
        self._settled_bytes = 0
        self._settled_seq = self._seq_before = self.recording.ledger.next_seq

    def _new_follower(self) -> SpoolFollower:
        places = self.settings.places
        return SpoolFollower(
            places.spool, self.settings["spool.segment_bytes"], self.recording.spool_positions()
        )

    async def run(self) -> None:
        """Record until told to stop."""
        while not self.stopping:
            try:
                busy = self.step()
                if not busy:
                    self.synced_until = time.monotonic()
                    busy = self.rewriting.step() or self.tidying.step()
                self._failure = None
            except DamagedIndexError:
                # The next process finds none, and makes it anew.
                set_index_aside(self.settings.places.database)
                raise
            except (OSError, WatchkeeperError) as error:
                self._fail(error)
                await self._pause(RETRY_SECONDS)
                continue
            if busy:
                await asyncio.sleep(0)
            else:
                await self._pause(SWEEP_SECONDS)
        self.drain()
        self._note(envelopes.STOP, process_facts())

    def step(self) -> bool:
        """Do the most urgent piece of work; return whether there was any."""
        self.recording.recover()
        if not self._begun:
            self._begun = True
            self._follow_folders()
            self.intake.discover(self.folders)
            self._note(envelopes.START, process_facts() | {"version": __version__})
            self.registration.check(self.folders)
            return True
        if self._take_frames():
            return True
        if self._settings_changed:
            self._settings_changed = False
            self.registration.check(self.folders)
            self.subscribers.send({"event": "status"})
            return True
        if self.intake.pending:
            self._publish(self.intake.read_slice())
            if not self.intake.pending:
                self.import_finished_at = now_ms()
                self._settle()
                self.subscribers.send({"event": "status"})
            return True
        return self._do_timers()

    def _settle(self) -> None:
        """Give back what a long import took; for the few lines of a live session it is not worth the time."""
        done = self.intake.progress.bytes_done
        if done - self._settled_bytes >= LONG_IMPORT:
            self._settled_bytes = done
            self._slim()

    def _settle_burst(self) -> None:
        """Give back what many frames took, when none has come since the last time."""
        before, self._seq_before = self._seq_before, self.recording.ledger.next_seq
        if self._seq_before == before and before - self._settled_seq >= LONG_BURST:
            self._slim()

    def _slim(self) -> None:
        self._settled_seq = self.recording.ledger.next_seq
        self.recording.store.forget_states()
        release_memory()

    def drain(self) -> None:
        """Record every frame that is whole, before the process ends."""
        with contextlib.suppress(OSError, WatchkeeperError):
            while self._take_frames():
                pass
            if self._follower is not None:
                self._tidy_spool(self._follower)
                self._take_frames()

    def _take_frames(self) -> bool:
        try:
            if self._follower is None:
                self._follower = self._new_follower()
            frames = self._follower.read(SPOOL_BATCH)
            if not frames:
                return False
            changes, result = self.recording.record_frames(frames)
        except (OSError, WatchkeeperError):
            # What was read but not stored must be read again, from where the record then says.
            self._follower = None
            raise
        self._publish(changes)
        if self._names_new_place(result):
            self._follow_folders()
        return True

    def _names_new_place(self, result: Interpretation) -> bool:
        """Tell whether a session says that its transcript is in a folder that is not followed."""
        named = {
            folder_of(facts.values["transcript_path"])
            for facts in result.facts
            if facts.entity == "session" and facts.values.get("transcript_path")
        }
        followed = {str(folder) for folder in self.folders}
        now = time.monotonic()
        # The client makes the folder some time after its first event, so the look is repeated, but not each time.
        if named <= followed | {None} or now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        return True

    def _follow_folders(self) -> None:
        """Read and watch the folders that are not followed yet."""
        for folder in agent_folders(self.settings, self.recording.store.connection):
            if folder not in self.folders:
                self.folders.append(folder)
                self.watch(folder)
                self.intake.discover([folder])

    def _do_timers(self) -> bool:
        now = time.monotonic()
        if now - self._rotated >= ROTATE_SECONDS and self._follower is not None:
            self._rotated = now
            self._note_lost_segments(self._follower)
            self._tidy_spool(self._follower)
            self.recording.ledger.checkpoint()
            self._settle_burst()
        if now - self._beaten >= self.settings["daemon.heartbeat_seconds"]:
            self._beaten = now
            self._note(envelopes.HEARTBEAT, process_facts())
            self.recording.follow_prices()
            self._follow_folders()
            self.registration.check(self.folders)
            # What changed before the kernel was asked to tell, or where it does not tell (network folders).
            self.intake.discover(self.folders)
        return False

    def _tidy_spool(self, follower: SpoolFollower) -> None:
        """Remove what is on record: a segment holds payloads as they came, secrets and all."""
        follower.rotate(force=True)
        self.recording.forget_segments(follower.release(self.recording.spool_positions()))

    def _note_lost_segments(self, follower: SpoolFollower) -> None:
        for segment, position, size in follower.lost():
            how = "was removed" if size is None else f"was cut from {position} to {size} bytes"
            body: dict[str, object] = {
                "rule": "spool_tampered",
                "severity": "high",
                "what": f"Spool segment {segment} {how} by somebody else; events behind that point may be lost.",
            }
            self._publish(
                self.recording.note(envelopes.FINDING, body, source=f"spool-lost:{segment}:{position}")[0]
            )
            self.recording.move_segment(segment, size)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wake.wait(), seconds)
        self.wake.clear()

    def _note(self, kind: str, body: dict[str, object]) -> None:
        changes, _ = self.recording.note(kind, body)
        self._publish(changes)

    def _publish(self, changes: Changes) -> None:
        if changes.sessions or changes.calls:
            self.subscribers.send(
                {
                    "event": "changed",
                    "sessions": sorted(changes.sessions),
                    "calls": sorted(changes.calls),
                    "ledger_seq": self.recording.ledger.next_seq,
                }
            )

    def _fail(self, error: Exception) -> None:
        text = str(error)
        if text != self._failure:
            log.warning("recording is held up: %s", text)
        self._failure = text

    def files_changed(self, paths: set[Path]) -> None:
        """Queue changed transcripts, and look at the agent's settings when one of those changed."""
        transcripts = {path for path in paths if path.suffix == ".jsonl"}
        sidecars = {path for path in paths if path.name.endswith(".meta.json")}
        owners = {path.with_name(path.name.removesuffix(".meta.json") + ".jsonl") for path in sidecars}
        self.intake.discover_paths(sorted(transcripts | owners), first=True)
        if any(path.name.startswith("settings") and path.suffix == ".json" for path in paths):
            self._settings_changed = True
        self.wake.set()

    # What commands ask for.

    async def sync(self, timeout_ms: int) -> dict[str, Any]:
        """Wait until all that was spooled or written before is on record."""
        asked = time.monotonic()
        self.recording.follow_prices()
        self.intake.discover(self.folders)
        self.wake.set()
        deadline = asked + timeout_ms / 1000
        while self.synced_until < asked and time.monotonic() < deadline:
            self.wake.set()
            await asyncio.sleep(0.001)
            if self._bytes_left() > LONG_IMPORT_BYTES:
                # Nobody gains by waiting: the list says how far the reading is.
                break
        stale = (
            0 if self.synced_until >= asked else max(1, round((time.monotonic() - self.synced_until) * 1000))
        )
        return {"ledger_seq": self.recording.ledger.next_seq, "stale_ms": stale}

    def _bytes_left(self) -> int:
        return (
            self.intake.progress.bytes_total - self.intake.progress.bytes_done if self.intake.pending else 0
        )

    async def import_paths(self, paths: list[str] | None) -> dict[str, Any]:
        """Read transcripts now, ahead of anything else that waits, and report what was read."""
        intake = TranscriptIntake(self.recording)
        if paths is None:
            intake.discover(self.folders)
        else:
            intake.discover_paths([Path(path) for path in paths])
        while intake.pending:
            self._publish(intake.read_slice())
            await asyncio.sleep(0)
        self.intake.reload()
        return {"report": intake.report.to_json()}

    def _before_rewriting(self) -> None:
        """Take in and remove what is spooled, and read positions anew: what is forgotten must not be read again."""
        self.tidying.drop()
        for _ in range(2):
            while self._take_frames():
                pass
            if self._follower is not None:
                self._tidy_spool(self._follower)
        self.intake.reload()

    async def forget(self, request: dict[str, Any]) -> dict[str, Any]:
        """Erase something for good, and return the report."""
        report = await self.rewriting.forget(request)
        self.subscribers.send({"event": "status"})
        return {"report": report}

    async def housekeeping(self, *, dry_run: bool) -> dict[str, Any]:
        """Drop what is beyond retention and budget, and return the report."""
        report = await self.tidying.sweep(dry_run=dry_run)
        self.subscribers.send({"event": "status"})
        return {"report": report}

    async def rotate_key(self) -> dict[str, Any]:
        """Sign with a new key from here on."""
        return {"key": self.recording.ledger.rotate_key().to_json()}

    async def demo(self) -> dict[str, Any]:
        """Put the packaged demo sessions on record."""
        self._publish(load_demo(self.recording))
        self.intake.reload()
        return {}

    def status(self) -> dict[str, Any]:
        """Return what only the recorder knows."""
        progress = self.intake.progress
        return {
            "import_progress": {
                "running": self.intake.pending,
                "files_total": progress.files_total,
                "files_done": progress.files_done,
                "bytes_total": progress.bytes_total,
                "bytes_done": progress.bytes_done,
                "skipped": len(self.intake.report.skipped),
                "finished_at": rfc3339(self.import_finished_at),
            },
            "hooks_installed": self.registration.installed,
            "held_up": self._failure,
            "rewriting": self.rewriting.status(),
        }


def open_doorbell(path: Path, wake: asyncio.Event, mode: int = 0o600) -> socket.socket:
    """Listen for the hooks' datagrams; each wakes the loop, and what is in it is nobody's concern."""
    bell = listen_unix(path, kind=socket.SOCK_DGRAM, mode=mode)

    def rung() -> None:
        with contextlib.suppress(BlockingIOError):
            while bell.recv(64):
                pass
        wake.set()

    asyncio.get_running_loop().add_reader(bell, rung)
    return bell


async def serve(settings: Settings) -> None:
    """Run the recorder of a home until SIGTERM or SIGINT.

    Raises:
        LockedError: Another process records.
    """
    watches = FolderWatches()
    recorder = Recorder(settings, watches.add if settings["sources.watch"] else lambda _folder: None)
    watches.changed = recorder.files_changed
    places = settings.places
    loop = asyncio.get_running_loop()

    def stop() -> None:
        recorder.stopping = True
        recorder.wake.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    bell = open_doorbell(places.doorbell_socket, recorder.wake, hook_socket_mode(places))
    control = ControlSocket(places.recorder_socket, recorder, recorder.subscribers)
    await control.open()
    gc.collect()
    gc.freeze()
    try:
        await recorder.run()
    finally:
        await watches.close()
        await control.close()
        loop.remove_reader(bell)
        bell.close()
        places.doorbell_socket.unlink(missing_ok=True)
        recorder.recording.close()


def main(arguments: Sequence[str]) -> int:
    """Serve the home that ``--home`` names."""
    if len(arguments) != 2 or arguments[0] != "--home":
        sys.stderr.write("Usage: python -m watchkeeper.daemon.recorder --home H\n")
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s recorder: %(message)s", stream=sys.stderr)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    try:
        asyncio.run(serve(Settings(Path(arguments[1]))))
    except (WatchkeeperError, OSError) as error:
        sys.stderr.write(f"recorder: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
