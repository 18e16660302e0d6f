"""Which job is due: one that was interrupted, one for secrets learnt since, or one because the rules have changed.

The recorder does them when nothing else is to do, a small step at a time; commands do them where no recorder runs.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Generator
from typing import Any, Literal

import msgspec

from watchkeeper.archive.holds import Holds
from watchkeeper.errors import UsageError, WatchkeeperError
from watchkeeper.pipeline.applied_rules import applied_rules, note_rules
from watchkeeper.pipeline.catch_up import drain_spool
from watchkeeper.pipeline.exact_values import ExactValues
from watchkeeper.pipeline.forgetting import Forgetting, Job, read_job, survey
from watchkeeper.pipeline.learning import SHORTEST
from watchkeeper.pipeline.purging import Purge, RulesPurge, SessionsPurge, ValuesPurge
from watchkeeper.pipeline.recording import Recording
from watchkeeper.pipeline.tombstones import JOURNAL
from watchkeeper.redaction.engine import Redactor
from watchkeeper.settings import Settings
from watchkeeper.store.sqlite.contested import copied_from
from watchkeeper.store.sqlite.reading import open_reader
from watchkeeper.store.sqlite.writing import DamagedIndexError

log = logging.getLogger("watchkeeper.recorder")

Progress = Callable[[str, int, int], None]


def due_job(recording: Recording) -> Forgetting | None:
    """Return the job to do next, or ``None`` when old data is as it should be."""
    job = read_job(recording.settings.places)
    if job is not None:
        return Forgetting(recording, job, _purge(recording, job))
    if recording.learnt.pending():
        return _new(recording, "secret", "it was learnt later")
    if not rules_applied(recording):
        return _new(recording, "rules", "the rules are new")
    return None


def rules_applied(recording: Recording) -> bool:
    """Tell whether all that is on record has gone through the rules in force."""
    return applied_rules(recording.settings.places) == recording.redactor.version


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody wants forgotten; it crosses the control socket as JSON.

    Attributes:
        what: ``secret``, ``session``, ``person`` or ``rules``.
        why: The reason for the record; it must not hold what is to go.
        secret: The secret's bytes, for ``secret``.
        sessions: Ids of the sessions, for ``session`` and ``person``.
        once: Do not keep the secret: should it come again, it is recorded again.
    """

    what: Literal["secret", "session", "person", "rules"]
    why: str = ""
    secret: bytes = b""
    sessions: list[str] = []
    once: bool = False

    def __post_init__(self) -> None:
        if self.what == "secret" and len(self.secret) < SHORTEST:
            raise ValueError(f"a secret has at least {SHORTEST} bytes")
        if self.what in {"session", "person"} and not self.sessions:
            raise ValueError("no session is named")


def begin(recording: Recording, request: Request) -> Forgetting:
    """Begin what somebody wants: a secret is learnt first, so that it is masked in all that comes.

    Raises:
        UsageError: One of the sessions is held.
    """
    held = sorted(set(request.sessions) & Holds(recording.settings.places.holds).all().keys())
    if held:
        raise UsageError(
            f"session {held[0]} is held", hint="Run `wk hold SESSION --release` if it may be forgotten."
        )
    if request.what == "secret":
        recording.learn([request.secret], again=True, once=request.once)
    return _new(recording, request.what, request.why, sorted(set(request.sessions)))


def forget(settings: Settings, request: Request, progress: Progress | None = None) -> dict[str, Any]:
    """Forget where no recorder runs, after finishing what was begun before; return the report.

    Raises:
        LockedError: Another process records.
        WatchkeeperError: The disk is full or broken. The next one that records goes on with it.
    """
    with Recording(settings) as recording:
        if read_job(settings.places) is not None and (job := due_job(recording)) is not None:
            finish(job, progress)
        return finish(begin(recording, request), progress)


def survey_request(settings: Settings, request: Request) -> dict[str, Any]:
    """Return what a request would do, without doing it; needs no lock."""
    places = settings.places
    if request.what == "rules":
        purge: Purge = RulesPurge(Redactor.from_settings(settings))
    elif request.what == "secret":
        purge = ValuesPurge([request.secret])
    else:
        with open_reader(places) as reader:
            purge = SessionsPurge(request.sessions, copied_from(reader.connection, request.sessions))
    return survey(places, request.what, len(request.sessions), purge)


def finish_interrupted(recording: Recording, progress: Progress | None = None) -> None:
    """Finish the job that a crash interrupted, if there is one; where that fails, say so and go on.

    Raises:
        DamagedIndexError: The index cannot be used.
    """
    if not (recording.settings.places.keys / JOURNAL).exists():
        return
    try:
        job = due_job(recording)
        if job is not None:
            finish(job, progress)
    except DamagedIndexError:
        raise
    except WatchkeeperError as error:
        log.warning("what was to be forgotten is not gone yet: %s", error)


def steps_of(forgetting: Forgetting) -> Generator[tuple[str, int, int], None, None]:
    """Do a job step by step, and note at its end what it was good for.

    Raises:
        WatchkeeperError: The disk is full or broken; `due_job` returns the job again.
    """
    recording, job = forgetting.recording, forgetting.job
    version = recording.redactor.version
    yield from forgetting.steps()
    if job.what == "secret":
        recording.learnt.settle(job.id)
    elif job.what == "rules":
        note_rules(recording.settings.places, version)
    forgetting.close()


def finish(forgetting: Forgetting, progress: Progress | None = None) -> dict[str, Any]:
    """Do a job to its end where no recorder runs, and return its report."""
    drain_spool(forgetting.recording, forgetting.recording.settings)
    for phase, done, total in steps_of(forgetting):
        if progress is not None:
            progress(phase, done, total)
    return forgetting.report()


def _new(recording: Recording, what: str, why: str, sessions: list[str] | None = None) -> Forgetting:
    # Whoever says why may say what.
    told = ExactValues(session.encode() for session in sessions or ()).redact(why.encode("utf-8", "replace"))
    told = recording.redactor.redact(told.data)
    job = Job(secrets.token_hex(8), what, told.data.decode(), sessions or [])
    job.copied = copied_from(recording.store.connection, job.sessions)
    job.hidden = [recording.tombstones.digest(session) for session in job.sessions]
    if what == "secret":
        recording.learnt.assign(job.id)
    return Forgetting(recording, job, _purge(recording, job))


def _purge(recording: Recording, job: Job) -> Purge:
    if job.what == "rules":
        return RulesPurge(recording.redactor)
    if job.what == "secret":
        return ValuesPurge(recording.learnt.assigned(job.id))
    return SessionsPurge(job.sessions, job.copied)
