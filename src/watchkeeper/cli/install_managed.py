"""``wk install --scope managed --users ...``: daemon, keys and record under another user than the agents'."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import Any

from watchkeeper.cli.context import Context
from watchkeeper.daemon.managed_home import (
    check_separation,
    default_managed_home,
    default_owner,
    prepare_managed_home,
    resolve_user,
)
from watchkeeper.daemon.service import ServiceChange, install_system_service, remove_system_service
from watchkeeper.errors import UsageError
from watchkeeper.managed import user_name
from watchkeeper.settings import Settings


@dataclass(frozen=True)
class ManagedInstall:
    """What is to become of a managed home."""

    settings: Settings
    owner: tuple[int, int]
    users: tuple[int, ...]
    service: bool

    def prepare(self) -> list[str]:
        """Make the home and, where it was asked for, the system's service; return what was done.

        Raises:
            WatchkeeperError: As in `prepare_managed_home` and `install_system_service`.
        """
        done = prepare_managed_home(self.settings.places, self.owner, self.users)
        who = ", ".join(user_name(uid) for uid in self.users)
        done.append(f"{self.settings.places.home}: {user_name(self.owner[0])} records {who}")
        if self.service:
            done.append(_service_line(install_system_service(self.settings, self.owner)))
        else:
            home, name = self.settings.places.home, user_name(self.owner[0]).partition(" (")[0]
            done.append(f"its daemon is started by {name}: wk up --home {home}")
        return done

    def to_json(self) -> dict[str, Any]:
        """Return the part of the answer that says whose home records whom."""
        home = str(self.settings.places.home)
        return {"home": home, "owner": self.owner[0], "group": self.owner[1], "users": list(self.users)}


def managed_install(arguments: argparse.Namespace, context: Context) -> ManagedInstall:
    """Return what the flags ask for; the context's settings become those of the managed home.

    Raises:
        UsageError: The flags do not fit each other, or name nobody.
        ConfigError: An agent's user could change the program that the daemon runs.
    """
    if arguments.scope != "managed":
        raise UsageError("--users fits only --scope managed", hint="Add --scope managed.")
    use_managed_home(arguments, context)
    settings = context.settings
    words = [word for word in arguments.users.split(",") if word.strip()]
    users = tuple(sorted({resolve_user(word)[0] for word in words}))
    home = settings.places.home
    owner = resolve_user(arguments.owner) if arguments.owner else default_owner(home)
    check_separation(owner, users)
    return ManagedInstall(settings, owner, users, arguments.service)


def use_managed_home(arguments: argparse.Namespace, context: Context) -> None:
    """Let the context be root's managed home where no other home was named."""
    environment = context.settings.environment
    if os.geteuid() == 0 and not arguments.home and not environment.get("WATCHKEEPER_HOME"):
        context.settings = Settings(default_managed_home(), environment)


def remove_managed(context: Context) -> list[str]:
    """Remove the system's service of the context's home; return what was done, or would have to be done."""
    change = remove_system_service(context.settings)
    if not change.done:
        return []
    return [f"removed {change.path}" + (f"; {change.problem}" if change.problem else "")]


def _service_line(change: ServiceChange) -> str:
    if change.problem:
        return f"wrote {change.path}, not started: {change.problem}"
    return f"wrote and started {change.path}"
