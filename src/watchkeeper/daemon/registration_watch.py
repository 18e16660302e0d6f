"""Watches who registers hooks with the agent: a changed registration is on the ledger and a finding.

An agent that runs as the same user can switch its own hooks off; it cannot do so unseen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from watchkeeper.pipeline.recording import Recording
from watchkeeper.settings import Settings
from watchkeeper.sources.claude_code.installer.inspection import (
    Report,
    inspect,
    registration_digests,
    watched_files,
)
from watchkeeper.sources.claude_code.installer.scopes import Locations
from watchkeeper.store import envelopes

log = logging.getLogger("watchkeeper.recorder")

PROJECTS_WATCHED = 200
"""Projects with the latest sessions whose own settings are looked at too."""


class RegistrationWatch:
    """Compares the agent's settings with what they were when last looked at."""

    def __init__(self, settings: Settings, recording: Recording) -> None:
        self._settings = settings
        self._recording = recording
        self.installed: bool | None = None

    def check(self, folders: Iterable[Path]) -> None:
        """Put every change in the agent's folders since the last look on record, each with a finding."""
        installed = False
        for config_dir in folders:
            locations = Locations(config_dir)
            files = watched_files(locations, self._projects())
            report = inspect(self._settings.places.home, locations, environment=self._settings.environment)
            installed = installed or report.installed
            for file, digest in registration_digests(files).items():
                self._compare(file, digest, report)
        self.installed = installed

    def _compare(self, file: str, digest: str, report: Report) -> None:
        known = self._recording.store.get_meta(f"registration:{file}")
        if known == digest:
            return
        body: dict[str, object] = {
            "file": file,
            "before": known,
            "after": digest,
            "registered": len(report.events),
            "missing": list(report.missing),
        }
        self._recording.note(envelopes.REGISTRATION, body, source=f"registration:{file}")
        if known is not None:
            self._recording.note(
                envelopes.FINDING, _finding(file, report), source=f"registration:{file}:{digest[:16]}"
            )
            log.info("the hook registration in %s has changed", file)

    def _projects(self) -> list[Path]:
        rows = self._recording.store.connection.execute(
            "SELECT coalesce(project_path, cwd) AS path, max(last_at) AS latest FROM sessions"
            " WHERE coalesce(project_path, cwd) IS NOT NULL GROUP BY path ORDER BY latest DESC, path LIMIT ?",
            (PROJECTS_WATCHED,),
        )
        # Paths are what agents say: no file has a NUL in its name, and asking for one is an error of its own.
        return [Path(path) for path, _ in rows if "\0" not in path and Path(path).is_absolute()]


def _finding(file: str, report: Report) -> dict[str, object]:
    errors = [problem for problem in report.problems if problem.severity == "error"]
    if errors or not report.events:
        why = errors[0].what if errors else "no hook of ours is registered any more"
        hint = errors[0].hint if errors else "Run `wk install` if you did not remove it yourself."
        return {
            "rule": "registration_weakened",
            "severity": "high",
            "what": f"The hook registration in {file} has changed: {why}. {hint}",
        }
    return {
        "rule": "registration_changed",
        "severity": "low",
        "what": f"The hook registration in {file} has changed; {len(report.events)} events are recorded now.",
    }
