"""A managed home for tests, and processes of its users."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import watchkeeper
from watchkeeper.daemon.managed_home import prepare_managed_home
from watchkeeper.errors import NotFoundError
from watchkeeper.settings import Places
from watchkeeper.sources.claude_code.installer.applying import apply
from watchkeeper.sources.claude_code.installer.planning import plan_install
from watchkeeper.sources.claude_code.installer.scopes import Locations
from watchkeeper.spool.binary import packaged_hook

DAEMON, AGENT, STRANGER = 64001, 64002, 64003
"""User ids that no system gives to anybody."""


def environment_below(home: Path) -> dict[str, str]:
    """Return an environment for a user whose home it is."""
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(watchkeeper.__file__).parents[1]),
        "CLAUDE_CONFIG_DIR": str(home / ".claude"),
    }


def as_user(
    uid: int, command: Sequence[str], *, home: Path, payload: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a user that has a group of its own and no other."""
    return subprocess.run(
        list(command),
        input=payload,
        env=environment_below(home),
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        timeout=90,
        check=False,
    )


def require_other_users() -> None:
    """Skip where other users cannot run this interpreter, or where the hook was not built."""
    if os.geteuid() != 0:
        pytest.skip("only root can start processes of other users")
    try:
        packaged_hook()
    except NotFoundError as error:
        pytest.skip(f"{error}: run make install")
    try:
        probe = as_user(AGENT, [sys.executable, "-c", "import watchkeeper.cli, apsw"], home=Path("/"))
    except PermissionError as error:
        pytest.skip(f"other users may not run {sys.executable}: {error}")
    if probe.returncode:
        pytest.skip(f"other users cannot use {sys.executable}: {probe.stderr.decode().strip()[-200:]}")


@contextmanager
def managed_home(*users: int) -> Iterator[Places]:
    """Install a managed home of `DAEMON` for the users, and remove it afterwards."""
    base = Path(tempfile.mkdtemp(prefix="wk-managed-"))
    base.chmod(0o755)
    places = Places(base / "wk")
    try:
        prepare_managed_home(places, (DAEMON, DAEMON), users)
        plan = plan_install("managed", places.home, Locations(base / ".claude", managed_dir=base / "etc"))
        apply(plan, packaged_hook())
        yield places
    finally:
        shutil.rmtree(base, ignore_errors=True)
