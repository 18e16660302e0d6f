"""Makes a managed home: folders for the daemon's user, a spool folder for each agent's user, and the mark.

Root makes them for others. The home's owner can change the list only as far as the folders exist, because only
root can give a folder to somebody. Everything is done through open folders, never through a path that a link
could lead elsewhere.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import watchkeeper
from watchkeeper.errors import ConfigError, DaemonError, UsageError
from watchkeeper.managed import (
    FOLDER_MODES,
    MARK,
    OWNER_ONLY,
    USER_SPOOL_MODE,
    encode_mark,
    read_managed,
    user_name,
)
from watchkeeper.settings import Places
from watchkeeper.spool.segments import list_names

FOLDERS = ("bin", "spool", "ledger", "archive", "keys", "run")
DEFAULT_OWNER = "watchkeeper"
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def default_managed_home(platform: str = sys.platform) -> Path:
    """Return where root makes a managed home unless told otherwise."""
    return Path("/usr/local/var/watchkeeper" if platform == "darwin" else "/var/lib/watchkeeper")


def resolve_user(word: str) -> tuple[int, int]:
    """Return user id and group id of a user named by name, by ``uid`` or by ``uid:gid``.

    A number that the system does not know has the group of the same number.

    Raises:
        UsageError: There is no such user.
    """
    uid, colon, gid = word.strip().partition(":")
    if uid.isdecimal() and (gid.isdecimal() or not colon):
        try:
            group = int(gid) if colon else pwd.getpwuid(int(uid)).pw_gid
        except KeyError:
            group = int(uid)
        return int(uid), group
    try:
        found = pwd.getpwnam(word.strip())
    except KeyError:
        raise UsageError(
            f"there is no user {word.strip()!r}",
            hint=f"Make one for the daemon: useradd --system --user-group {DEFAULT_OWNER}",
        ) from None
    return found.pw_uid, found.pw_gid


def default_owner(home: Path) -> tuple[int, int]:
    """Return user and group that a home belongs to, or is to belong to: its owner, else ``watchkeeper``.

    Raises:
        UsageError: It does not exist, or is root's, and the system has no user ``watchkeeper``.
    """
    try:
        found = home.stat()
    except FileNotFoundError:
        return resolve_user(DEFAULT_OWNER)
    return (found.st_uid, found.st_gid) if found.st_uid else resolve_user(DEFAULT_OWNER)


def prepare_managed_home(places: Places, owner: tuple[int, int], users: Collection[int]) -> list[str]:
    """Make or change a managed home and return what was done, in words.

    Args:
        places: The home.
        owner: User and group id of the daemon. The group must be that user's alone: it reads the spool.
        users: The user ids that agents run as; this is the whole list.

    Raises:
        UsageError: The users cannot be kept apart from the daemon.
        ConfigError: An agent's user could change the program that the daemon runs, or something is another's.
        DaemonError: This user may not make what is missing.
    """
    check_separation(owner, users)
    before = read_managed(places) if places.home.exists() else None
    done: list[str] = []
    if not places.home.exists():
        done.append(f"made {places.home} for {user_name(owner[0])}")
    try:
        for parent in reversed(places.home.parents):
            parent.mkdir(mode=0o755, exist_ok=True)
        with _folder(places.home, None, owner, FOLDER_MODES[""]) as home:
            for name in FOLDERS:
                with _folder(name, home, owner, FOLDER_MODES.get(name, OWNER_ONLY)) as inner:
                    if name == "spool":
                        done += _prepare_spools(inner, owner, users)
            _close_files(home)
            _write_mark(home, owner, users)
    except PermissionError as error:
        raise DaemonError(
            "the managed home cannot be made by this user",
            why=error.strerror or "",
            hint="Run it as root.",
            place=str(error.filename or places.home),
        ) from error
    except OSError as error:
        raise DaemonError(
            "the managed home cannot be made", why=str(error), place=str(error.filename or places.home)
        ) from error
    done += [
        f"the users may not pass through {parent}, so their hooks record nothing: chmod o+x {parent}"
        for parent in places.home.parents
        if not parent.stat().st_mode & 0o001
    ]
    gone = sorted(set(before.users if before else ()) - set(users))
    done += [
        f"no longer listed: {user_name(uid)}; remove {places.spool / str(uid)} to stop recording"
        for uid in gone
    ]
    return done


def check_separation(owner: tuple[int, int], users: Collection[int]) -> None:
    """Refuse users who would not be another than the daemon.

    Raises:
        UsageError: One is root, the daemon's user, or in its group; or there is none.
        ConfigError: One could change the program that the daemon runs.
    """
    if not users:
        raise UsageError("no user is named", hint="Name those whom agents run as: --users alice,bob")
    if 0 in users or owner[0] in users:
        which = "root" if 0 in users else user_name(owner[0])
        raise UsageError(
            f"an agent that runs as {which} cannot be kept apart from the daemon",
            why="that user can change the record and its keys",
        )
    inside = sorted(_members(owner[1]) & set(users))
    if inside:
        raise UsageError(
            f"{user_name(inside[0])} is in the daemon's group {owner[1]}",
            why="whoever is in it can read what other users spool",
            hint="Give the daemon's user a group of its own.",
        )
    for path in _program_paths():
        _check_program(path, users)


def _members(group: int) -> set[int]:
    found = {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == group}
    try:
        names = grp.getgrgid(group).gr_mem
    except KeyError:
        return found
    return found | {entry.pw_uid for entry in pwd.getpwall() if entry.pw_name in names}


def _program_paths() -> Iterator[Path]:
    """Yield what the daemon will run, with the folders above it."""
    for start in (Path(sys.executable), Path(sys.executable).resolve(), Path(watchkeeper.__file__).resolve()):
        yield start
        yield from start.parents


def _check_program(path: Path, users: Collection[int]) -> None:
    found = path.lstat()
    replaceable = (
        found.st_mode & 0o002 and not found.st_mode & stat.S_ISVTX and not stat.S_ISLNK(found.st_mode)
    )
    if found.st_uid in users or replaceable:
        raise ConfigError(
            "an agent's user could change the program that the daemon runs",
            why=f"it belongs to {user_name(found.st_uid)}"
            if found.st_uid in users
            else "all may write to it",
            hint="Install Watchkeeper as root, below /opt for instance, and run this from there.",
            place=str(path),
        )


@contextmanager
def _folder(name: str | Path, at: int | None, owner: tuple[int, int], mode: int) -> Iterator[int]:
    """Open a folder, made if it is missing, and see to owner and mode.

    Raises:
        ConfigError: It is somebody else's, neither the wanted owner's nor root's.
    """
    with suppress(FileExistsError):
        os.mkdir(name, OWNER_ONLY, dir_fd=at)
    folder = os.open(name, _OPEN_FOLDER, dir_fd=at)
    try:
        found = os.fstat(folder)
        if found.st_uid not in (owner[0], 0):
            raise ConfigError(
                f"the folder belongs to {user_name(found.st_uid)}",
                why=f"it must be {user_name(owner[0])}'s",
                place=str(name),
            )
        if found.st_uid != owner[0] and at is not None and name != "bin" and list_names(folder):
            raise ConfigError(
                "the folder holds what root has written",
                hint=f"Give the whole home to {user_name(owner[0])} first: chown -R.",
                place=str(name),
            )
        if (found.st_uid, found.st_gid) != owner:
            os.fchown(folder, *owner)
        if stat.S_IMODE(os.fstat(folder).st_mode) != mode:
            os.fchmod(folder, mode)
        yield folder
    finally:
        os.close(folder)


def _prepare_spools(spool: int, owner: tuple[int, int], users: Collection[int]) -> Sequence[str]:
    made = []
    for uid in sorted(users):
        known = str(uid) in list_names(spool)
        if not known and os.geteuid() != 0:
            raise DaemonError(
                f"only root can make a spool folder for {user_name(uid)}", hint="Run it as root."
            )
        with _folder(str(uid), spool, (uid, owner[1]), USER_SPOOL_MODE):
            made += [] if known else [f"made a spool folder for {user_name(uid)}"]
    return made


def _close_files(home: int) -> None:
    """Close the files of a home that was its owner's alone: from now on others may pass through it."""
    for name in list_names(home):
        status = os.stat(name, dir_fd=home, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077 and name != MARK:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home)
            os.fchmod(file, 0o600)
            os.close(file)


def _write_mark(home: int, owner: tuple[int, int], users: Collection[int]) -> None:
    fresh = f".{MARK}.{os.getpid()}"
    file = os.open(
        fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=home
    )
    try:
        os.write(file, encode_mark(users))
        if (os.geteuid(), os.getegid()) != owner:
            os.fchown(file, *owner)
        os.fchmod(file, 0o644)
        os.fsync(file)
    finally:
        os.close(file)
    os.replace(fresh, MARK, src_dir_fd=home, dst_dir_fd=home)
