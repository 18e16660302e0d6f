"""The history that the documents show commands on: the packaged demo sessions, and three written ones of a project."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from written_session import WrittenSession

from watchkeeper.pipeline.demo import load_demo
from watchkeeper.pipeline.recording import Recording
from watchkeeper.settings import Settings

SESSION = "5a11ce03-4a53-4f0e-9d3c-70a5ac3d0003"
"""Stands for a session of the reader's own, and is still where the agent wrote it."""

PROJECT = "/home/dev/app"
"""The folder that the written sessions worked in."""

SECRETS = "DB_PASSWORD=Xk29sdf8Qpz!\ncurl -u deploy:T7wq9Lm2zz https://api.example.org\n"
"""A file that `wk redact` is shown on."""


def make_history(settings: Settings) -> None:
    """Put the demo on record and write transcripts that nothing has read yet."""
    with Recording(settings) as recording:
        load_demo(recording)
    folder = settings.claude_config_dirs[0]
    _migration(folder, "5a11ce01-4a53-4f0e-9d3c-70a5ac3d0001", 2)
    _migration(folder, "5a11ce02-4a53-4f0e-9d3c-70a5ac3d0002", 3)
    _migration(folder, SESSION, 4)


def _migration(folder: Path, session_id: str, day: int) -> None:
    """Write a session that looks things up again and again before it finds the command that works."""
    session = WrittenSession(folder, session_id, datetime(2026, 11, day, 9, 30, tzinfo=UTC))
    session.prompt("Write the next prisma migration and run the tests.")
    for _ in range(3):
        session.read(f"{PROJECT}/docs/migrations.md", "Migrations are named by date.\n" * 120)
    session.bash("npm test", "Error: DATABASE_URL is not set", error=True)
    session.bash("npm test", "Error: DATABASE_URL is not set", error=True)
    session.bash("npm run test:local", "41 passing")
    session.edit(f"{PROJECT}/prisma/schema.prisma")
    session.answer({"type": "text", "text": "The migration is written and the tests pass."})
