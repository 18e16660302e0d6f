"""Runs the real Claude Code in a home, a repository and a network of its own, where only loopback leads anywhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = "sk-no-real-key"
SECONDS = 120
FILES = {
    "app.py": "def add(a, b):\n    return a - b\n",
    "notes.md": "# Notes\n\nAdd adds.\n",
    ".claude/commands/review.md": "Review the code with care: $ARGUMENTS\n",
}
CLOSED = "http://127.0.0.1:9"
"""The discard port, where nothing listens: every way out but loopback."""


@dataclass(frozen=True)
class Finished:
    """A run that ended: its exit status, the rows of its output, and its standard error."""

    status: int
    rows: list[dict[str, Any]]
    errors: str

    @property
    def session_id(self) -> str:
        """The session's id, as the client told it."""
        return str(next(row["session_id"] for row in self.rows if row.get("session_id")))

    @property
    def result(self) -> dict[str, Any]:
        """The last row, which sums the run up."""
        return next(row for row in self.rows if row.get("type") == "result")


class ClientSession:
    """One session's surroundings.

    Args:
        binary: The client.
        root: A folder of this session's own.
        base_url: Where the model answers.
        config_dir: The agent's settings and transcripts; sessions may share them.
        files: What the repository holds, by path.
    """

    def __init__(
        self, binary: Path, root: Path, base_url: str, config_dir: Path, files: Mapping[str, str] = FILES
    ) -> None:
        self.binary = binary
        self.project = root / "project"
        self.config_dir = config_dir
        for folder in (root / "home", root / "tmp", self.project, config_dir):
            folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "PATH": f"{binary.parent}:{os.environ['PATH']}",
            "HOME": str(root / "home"),
            "TMPDIR": str(root / "tmp"),
            "LANG": "C.UTF-8",
            "CLAUDE_CONFIG_DIR": str(config_dir),
            "ANTHROPIC_BASE_URL": base_url,
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_AUTOUPDATER": "1",
            "ENABLE_TOOL_SEARCH": "false",
            # As root the client refuses to skip permissions anywhere but in a sandbox.
            "IS_SANDBOX": "1",
            "HTTP_PROXY": CLOSED,
            "HTTPS_PROXY": CLOSED,
            "NO_PROXY": "127.0.0.1,localhost",
        } | {
            f"GIT_{role}_{field}": value
            for role in ("AUTHOR", "COMMITTER")
            for field, value in (("NAME", "Dev"), ("EMAIL", "dev@example.com"))
        }
        self._make_repository(files)
        self._skip_onboarding()

    def _make_repository(self, files: Mapping[str, str]) -> None:
        for name, content in files.items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
            subprocess.run(["git", *command], cwd=self.project, env=self.environment, check=True)

    def _skip_onboarding(self) -> None:
        """Leave what a user who once clicked through the first questions has."""
        path = self.config_dir / ".claude.json"
        known = json.loads(path.read_text()) if path.exists() else {"projects": {}}
        known |= {
            "hasCompletedOnboarding": True,
            "bypassPermissionsModeAccepted": True,
            "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
        }
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        known["projects"][str(self.project)] = trusted
        path.write_text(json.dumps(known))

    def start(self, prompt: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a run in print mode, in a process group of its own."""
        command: Sequence[str] = [
            str(self.binary), "-p", prompt, "--output-format", "stream-json", "--verbose",
            "--model", "sonnet", "--dangerously-skip-permissions", *arguments,
        ]  # fmt: skip
        return subprocess.Popen(
            command,
            cwd=self.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Finished:
        """Wait for a run's end; one that does not end is killed, and that is a failure."""
        try:
            output, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return Finished(process.returncode, [json.loads(row) for row in output.splitlines()], errors)

    def run(self, prompt: str, *arguments: str) -> Finished:
        """Run to the end."""
        return self.finish(self.start(prompt, *arguments))
