"""Checks of the links that need no running daemon: home, hook, transcripts, clock.

Each check answers with one `Check`; it never raises for what it finds wrong, because finding it is its work.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from watchkeeper.errors import WatchkeeperError
from watchkeeper.managed import folder_mode, read_managed, user_name
from watchkeeper.settings import Places

State = Literal["ok", "failed", "skipped"]

LEAST_FREE_BYTES = 256 << 20
"""Less free space than this is a failure: the hook stays silent on a full disk, and events are lost."""
FUTURE_SECONDS = 120
"""Files may be this much newer than the clock; network file systems keep clocks of their own."""
EARLIEST_CLOCK = 1_750_000_000
"""Seconds of the epoch (June 2025); a clock before it was never set."""
HOOK_SECONDS = 5


@dataclass(frozen=True)
class Check:
    """One link of the chain.

    Attributes:
        name: The link.
        state: ok, failed, or skipped because it does not apply or a link before it failed.
        detail: What was found, in one line.
        hint: How to mend it; empty when there is nothing to mend.
        ms: How long the check took, in milliseconds.
    """

    name: str
    state: State
    detail: str
    hint: str = ""
    ms: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the check as the JSON of ``wk doctor`` holds it."""
        return asdict(self)


def timed(name: str, check: Callable[[], Check]) -> Check:
    """Run a check and note how long it took; a failure with a remedy becomes a failed check."""
    begin = time.perf_counter()
    try:
        found = check()
    except WatchkeeperError as error:
        place = f"{error.place}: " if error.place else ""
        why = f": {error.why}" if error.why else ""
        found = Check(name, "failed", f"{place}{error.what}{why}", error.hint)
    except OSError as error:
        found = Check(name, "failed", str(error), "Check the file and its owner.")
    return replace(found, ms=round((time.perf_counter() - begin) * 1000, 2))


def check_home(places: Places) -> Check:
    """Check that the home exists, is this user's alone, can be written and has room."""
    name, home = "home", places.home
    try:
        found = home.stat()
    except FileNotFoundError:
        return Check(name, "failed", f"{home} does not exist", "wk up")
    if not stat.S_ISDIR(found.st_mode):
        return Check(name, "failed", f"{home} is no folder", "Move it away, then: wk up")
    if found.st_uid != os.geteuid():
        detail = f"{home} belongs to user {found.st_uid}, this is user {os.geteuid()}"
        return Check(name, "failed", detail, f"sudo chown -R {os.geteuid()} {home}")
    for folder in (home, places.spool, places.ledger, places.archive, places.keys, places.run):
        mode = folder_mode(places, folder)
        if folder.exists() and folder.stat().st_mode & 0o077 & ~mode:
            return Check(name, "failed", f"others may enter {folder}", f"chmod {mode:o} {folder}")
    if not os.access(home, os.W_OK | os.X_OK):
        return Check(name, "failed", f"{home} cannot be written", f"chmod 700 {home}")
    free = shutil.disk_usage(home).free
    room = f"{free / (1 << 30):.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        return Check(name, "failed", f"{home}: {room}", "Free some disk space, or move WATCHKEEPER_HOME.")
    managed = read_managed(places)
    whose = f"managed, records {', '.join(map(user_name, managed.users))}" if managed else "yours alone"
    return Check(name, "ok", f"{home}, {whose}, {room}")


def check_hook(places: Places, packaged: Path | None, version: str) -> Check:
    """Check that the installed hook is there, can be run, and is the one this version packages.

    Args:
        places: The home.
        packaged: The hook inside the package, or ``None`` where it was not built.
        version: The version that the hook should answer with.
    """
    name, hook = "hook program", places.hook
    if not hook.exists():
        if packaged is None:
            return Check(name, "failed", "neither installed nor packaged", "make install")
        return Check(name, "failed", f"{hook} is not installed", "wk install")
    found = hook.stat()
    if not found.st_mode & stat.S_IXUSR:
        return Check(name, "failed", f"{hook} may not be run", f"chmod 700 {hook}")
    if found.st_mode & 0o022:
        return Check(name, "failed", f"others may change {hook}", f"chmod 700 {hook}")
    answer = run_hook([str(hook), "--version"])
    if version not in answer:
        detail = f"{hook} answers {answer or 'nothing'}, expected version {version}"
        return Check(name, "failed", detail, "wk install")
    if packaged is not None and hook.read_bytes() != packaged.read_bytes():
        return Check(name, "failed", f"{hook} differs from the packaged one", "wk install")
    return Check(name, "ok", f"{hook}, version {version}")


def run_hook(command: Sequence[str], payload: bytes = b"") -> str:
    """Run the hook as the agent would, and return what it prints.

    Raises:
        WatchkeeperError: It cannot be started, ends with an error, or does not end.
    """
    try:
        done = subprocess.run(
            list(command), input=payload, capture_output=True, timeout=HOOK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WatchkeeperError(
            "the hook does not end",
            why=f"stopped after {HOOK_SECONDS} s",
            place=command[0],
            hint="wk install",
        ) from error
    except OSError as error:
        raise WatchkeeperError(
            "the hook cannot be run", why=error.strerror or str(error), place=command[0], hint="wk install"
        ) from error
    if done.returncode != 0:
        raise WatchkeeperError(
            f"the hook ended with status {done.returncode}", place=command[0], hint="wk install"
        )
    return done.stdout.decode("utf-8", "replace").strip()


def check_transcripts(folders: Sequence[Path], *, watch: bool, daemon: bool) -> Check:
    """Check that the agent's transcripts are found, and whether they are followed."""
    name = "transcripts"
    roots = [folder / "projects" for folder in folders if (folder / "projects").is_dir()]
    looked = ", ".join(str(folder) for folder in folders)
    if not roots:
        return Check(
            name,
            "skipped",
            f"no projects folder below {looked}",
            "Run the agent once, or set CLAUDE_CONFIG_DIR to its folder.",
        )
    count, newest = 0, 0.0
    for modified in _transcript_times(roots):
        count += 1
        newest = max(newest, modified)
    if not count:
        return Check(name, "skipped", f"no transcript yet below {looked}", "Run the agent once.")
    followed = "followed" if watch and daemon else "read when asked"
    age = _age(time.time() - newest)
    if daemon and not watch:
        return Check(name, "ok", f"{count:,} files, newest {age} old, not followed: sources.watch is off")
    return Check(name, "ok", f"{count:,} files, newest {age} old, {followed}")


def _transcript_times(roots: Sequence[Path]) -> Iterator[float]:
    for root in roots:
        for folder, _, files in os.walk(root):
            for file in files:
                if file.endswith(".jsonl"):
                    try:
                        yield (Path(folder) / file).stat().st_mtime
                    except FileNotFoundError:
                        continue  # the agent cleans up while we look


def check_clock(places: Places) -> Check:
    """Check that the wall clock was set, and that nothing on record comes from its future."""
    name, now = "clock", time.time()
    if now < EARLIEST_CLOCK:
        return Check(name, "failed", f"the clock says {time.strftime('%Y-%m-%d')}", "Set the system's clock.")
    for folder in (places.spool, places.ledger):
        for path in folder.iterdir() if folder.is_dir() else ():
            ahead = path.stat().st_mtime - now
            if ahead > FUTURE_SECONDS:
                detail = f"{path} was written {_age(ahead)} in the future; the clock went back"
                return Check(name, "failed", detail, "Set the system's clock; the order of the record holds.")
    return Check(name, "ok", "set, and nothing on record is from its future")


def _age(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} seconds"
