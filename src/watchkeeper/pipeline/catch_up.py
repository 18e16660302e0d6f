"""Brings the record up to date from a command, when no daemon does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from watchkeeper.pipeline.folders import agent_folders
from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.tombstones import JOURNAL
from watchkeeper.pipeline.transcripts import IntakeProgress, IntakeReport, TranscriptIntake
from watchkeeper.settings import Settings
from watchkeeper.spool.follower import SpoolFollower

SPOOL_BATCH = 1 << 20
BATCH_BYTES = 4 << 20
"""So much is put on record at once while somebody waits for it, and no hook event does."""

CatchUpReport = IntakeReport


def catch_up(
    settings: Settings,
    paths: Sequence[Path] | None = None,
    progress: Callable[[IntakeProgress], None] | None = None,
) -> CatchUpReport:
    """Record what is spooled, and what is new in the agent's folders or in the given paths.

    Args:
        settings: The home.
        paths: Transcript files or folders; the agent's own folders when absent.
        progress: Called after every slice.

    Raises:
        LockedError: Another process records.
    """
    with Recording(settings) as recording:
        if (settings.places.keys / JOURNAL).exists():
            # Whatever is to be forgotten goes first.
            from watchkeeper.pipeline.reredaction import finish_interrupted

            finish_interrupted(recording)
        drain_spool(recording, settings)
        intake = TranscriptIntake(recording, batch_bytes=BATCH_BYTES, idle=False)
        if paths is None:
            intake.discover(agent_folders(settings, recording.store.connection))
        else:
            intake.discover_paths(paths)
        with closing(intake):
            while intake.pending:
                intake.read_slice()
                if progress is not None:
                    progress(intake.progress)
        return intake.report


def drain_spool(recording: Recording, settings: Settings) -> None:
    """Record what is spooled, and leave no segment behind that holds payloads as they came, but one in use."""
    places = settings.places
    follower = SpoolFollower(places.spool, settings["spool.segment_bytes"], recording.spool_positions())
    follower.rotate(force=True)
    while frames := follower.read(SPOOL_BATCH):
        recording.record_frames(frames)
    recording.forget_segments(follower.release(recording.spool_positions()))
