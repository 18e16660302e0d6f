"""Stretches of time by name: ``today``, ``week``, a date, or from one moment to another; and the one before.

Days, weeks (Monday to Sunday) and months are those of the local time zone (``TZ``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from watchkeeper.errors import UsageError
from watchkeeper.queries.forms import rfc3339
from watchkeeper.queries.periods import since_ms, until_ms

if TYPE_CHECKING:
    from datetime import date

    from watchkeeper.store.sqlite.reading import Reader

RANGES = ("today", "yesterday", "day", "week", "month", "all")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time, and which projects count.

    Attributes:
        name: What it is called: one of `RANGES`, or ``given``.
        since: Its beginning in epoch milliseconds; ``None`` for the beginning of the record.
        until: Its end, exclusive; ``None`` for no end.
        project: Part of a project's path, or ``None`` for all.
        before: Beginning of the stretch to compare with; ``None`` where there is none.
    """

    name: str
    since: int | None
    until: int | None
    project: str | None = None
    before: int | None = None

    def where(self, column: str, session: str = "session_id") -> str:
        """Return a condition on a time column and the session's column; its bindings are `bindings`.

        Sessions that the doctor made never count.
        """
        parts = []
        if self.since is not None:
            parts.append(f"{column} >= :since")
        if self.until is not None:
            parts.append(f"{column} < :until")
        if self.project:
            parts.append(
                f"{session} IN (SELECT session_id FROM sessions"
                " WHERE instr(lower(coalesce(project_path, cwd, '')), :project) > 0)"
            )
        parts.append(f"{session} NOT IN (SELECT session_id FROM sessions WHERE synthetic = 1)")
        return " AND ".join(parts)

    def of_requests(self) -> str:
        """Return the condition for table ``requests``, in the form that its index by quarter-hour answers."""
        quarters = []
        if self.since is not None:
            quarters.append("quarter >= :since - 900000 AND ")
        if self.until is not None:
            quarters.append("quarter < :until AND ")
        return "".join(quarters) + self.where("at")

    @property
    def bindings(self) -> dict[str, Any]:
        """The values of the condition that `where` returns."""
        bound: dict[str, Any] = {}
        if self.since is not None:
            bound["since"] = self.since
        if self.until is not None:
            bound["until"] = self.until
        if self.project:
            bound["project"] = self.project.lower()
        return bound

    def previous(self, now_ms: int) -> Stretch | None:
        """Return the stretch before, as far as this one has come by now; ``None`` where there is none."""
        if self.since is None or self.before is None:
            return None
        end = now_ms if self.until is None else min(self.until, now_ms)
        until = (
            self.since if self.until is not None and self.until <= now_ms else self.before + end - self.since
        )
        return Stretch("previous", self.before, min(self.since, max(self.before, until)), self.project)

    def to_json(self) -> dict[str, Any]:
        """Return the stretch in the published form."""
        return {
            "range": self.name,
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "project": self.project,
        }


def holds_calls(reader: Reader, stretch: Stretch) -> bool:
    """Tell whether any tool call is on record in a stretch, so that finding nothing says something."""
    condition = stretch.where("started_at")
    return bool(reader.value(f"SELECT EXISTS (SELECT 1 FROM calls WHERE {condition})", stretch.bindings))


def resolve_stretch(
    now_ms: int,
    *,
    named: str | None = None,
    day: str | None = None,
    since: str | None = None,
    until: str | None = None,
    project: str | None = None,
    default: str = "all",
) -> Stretch:
    """Return the stretch that the flags name.

    Args:
        now_ms: The present time.
        named: One of `RANGES`. ``day``, ``week`` and ``month`` are those that hold `day`.
        day: A date; alone it means that day.
        since: A moment as `periods.since_ms` takes it; excludes `named` and `day`.
        until: The same for the end.
        project: Part of a project's path.
        default: The range when nothing is given.

    Raises:
        UsageError: A word is not known, or the flags contradict each other.
    """
    if since or until:
        if named or day:
            raise UsageError("--since and --until exclude --range and --date", place="--range")
        begin, end = since_ms(since, now_ms), until_ms(until, now_ms, "--until")
        if begin is not None and end is not None and end < begin:
            raise UsageError("--until lies before --since", place="--until")
        length = None if begin is None else (now_ms if end is None else end) - begin
        before = None if begin is None or length is None else begin - length
        return Stretch("given", begin, end, project, before)
    name = named or ("day" if day else default)
    if name not in RANGES:
        raise UsageError(f"{name[:40]!r} is no range", hint=f"Use {', '.join(RANGES)}.", place="--range")
    if name == "all":
        return Stretch("all", None, None, project)
    begins, ends, before_begins = _calendar(name, _anchor(day, now_ms))
    return Stretch(name, _start(begins), _start(ends), project, _start(before_begins))


def _anchor(day: str | None, now_ms: int) -> date:
    from datetime import date

    if not day or day in {"today", "now"}:
        return date.fromtimestamp(now_ms / 1000)  # noqa: DTZ012 - a local day is wanted
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise UsageError(
            f"{day[:40]!r} is no date", hint="Write it as 2026-11-01.", place="--date"
        ) from error


def _calendar(name: str, anchor: date) -> tuple[date, date, date]:
    """Return first day, day after the last, and first day of the stretch before."""
    from datetime import timedelta

    one = timedelta(days=1)
    try:
        if name == "yesterday":
            anchor -= one
        if name == "week":
            monday = anchor - timedelta(days=anchor.weekday())
            return monday, monday + timedelta(days=7), monday - timedelta(days=7)
        if name == "month":
            first = anchor.replace(day=1)
            return first, (first + timedelta(days=31)).replace(day=1), (first - one).replace(day=1)
        return anchor, anchor + one, anchor - one
    except OverflowError as error:
        raise UsageError(f"{anchor} is too far away", place="--date") from error


def _start(day: date) -> int:
    import time

    try:
        return int(time.mktime((day.year, day.month, day.day, 0, 0, 0, 0, 0, -1))) * 1000
    except (OverflowError, ValueError) as error:
        raise UsageError(f"{day} is too far away", place="--date") from error
