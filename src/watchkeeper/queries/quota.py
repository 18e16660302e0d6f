"""The client's own figures, which reach us by its status line alone: rate limits, a session's cost and context.

Rate limits exist on subscriptions only, so having seen them lately is also how a subscription is told from an API
account. The status line is read here, with the store's engine and nothing else, because it has 60 ms in all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from watchkeeper.pricing.billing import billed_as
from watchkeeper.queries.forms import dollars, rfc3339
from watchkeeper.store.sqlite.state import State

WINDOWS = {"five_hour": 5 * 3_600_000, "seven_day": 7 * 86_400_000}
"""Length of each window of the client in milliseconds."""

KEPT_MS = 90 * 86_400_000
"""How long the history of quotas is kept."""

_FRESH_MS = 8 * 86_400_000
"""An account without rate limits for longer than their longest window is no subscription any more."""


class Status(NamedTuple):
    """What a status of the client says; None for what it does not say.

    Attributes:
        session_id: The session.
        model: The model's id.
        cost_micros: The session's cost as the client counts it.
        context_used: Share of the context window in hundredths of a per cent.
        context_size: Tokens that the window holds.
        lines_added: Lines of code added.
        lines_removed: Lines of code removed.
        api_duration_ms: Time spent waiting for the API.
        quota: Window -> share used in hundredths of a per cent, and the reset in epoch milliseconds.
    """

    session_id: str | None
    model: str | None
    cost_micros: int | None
    context_used: int | None
    context_size: int | None
    lines_added: int | None
    lines_removed: int | None
    api_duration_ms: int | None
    quota: dict[str, tuple[int | None, int | None]]


def parse_status(document: Any) -> Status:
    """Return what the client's status JSON says; whatever has another form than documented is not known."""
    cost, context = _object(document, "cost"), _object(document, "context_window")
    dollars_spent = _number(cost.get("total_cost_usd"))
    limits = _object(document, "rate_limits")
    quota = {}
    for window, limit in limits.items():
        if isinstance(limit, dict):
            used, resets = _hundredths(limit.get("used_percentage")), _moment(limit.get("resets_at"))
            if used is not None or resets is not None:
                quota[str(window)] = (used, resets)
    return Status(
        session_id=_text(document, "session_id"),
        model=_text(_object(document, "model"), "id"),
        cost_micros=None if dollars_spent is None else round(dollars_spent * 1_000_000),
        context_used=_hundredths(context.get("used_percentage")),
        context_size=_whole(context.get("context_window_size")),
        lines_added=_whole(cost.get("total_lines_added")),
        lines_removed=_whole(cost.get("total_lines_removed")),
        api_duration_ms=_whole(cost.get("total_api_duration_ms")),
        quota=quota,
    )


def record_status(state: State, status: Status, now_ms: int) -> None:
    """Keep what a status says; figures that have not changed within the last minute are not written again."""
    with state.transaction():
        for window, (used, resets_at) in status.quota.items():
            last = next(
                state.rows("SELECT used, resets_at, seen_at FROM quota WHERE window = ?", (window,)), None
            )
            if last is not None and last[:2] == (used, resets_at) and 0 <= now_ms - last[2] < 60_000:
                continue
            state.change(
                "INSERT OR REPLACE INTO quota VALUES (?, ?, ?, ?, ?)",
                (window, used, resets_at, now_ms, status.session_id),
            )
            if last is None or last[:2] != (used, resets_at):
                state.change(
                    "INSERT OR REPLACE INTO quota_history VALUES (?, ?, ?, ?)",
                    (window, now_ms, used, resets_at),
                )
                state.change("DELETE FROM quota_history WHERE at < ?", (now_ms - KEPT_MS,))
        if status.session_id:
            _record_session(state, status, now_ms)


def _record_session(state: State, status: Status, now_ms: int) -> None:
    figures = (*status[1:8], int(bool(status.quota)))
    last = next(
        state.rows(
            "SELECT model, cost_micros, context_used, context_size, lines_added, lines_removed, api_duration_ms,"
            " has_quota, seen_at FROM session_status WHERE session_id = ?",
            (status.session_id,),
        ),
        None,
    )
    if last is None or last[:-1] != figures or not 0 <= now_ms - last[-1] < 60_000:
        state.change(
            "INSERT OR REPLACE INTO session_status VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (status.session_id, now_ms, *figures),
        )


def quota(state: State, now_ms: int) -> list[dict[str, Any]]:
    """Return the newest known rate limits, one row per window.

    Keys: ``window``, ``used_percent`` (None when unknown; 0 once the window has been reset since), ``resets_at``,
    ``seen_at``, ``basis`` (``reported``), ``reset_since_seen``.
    """
    rows = []
    for window, used, resets_at, seen_at in state.rows(
        "SELECT window, used, resets_at, seen_at FROM quota ORDER BY window"
    ):
        reset = resets_at is not None and resets_at <= now_ms
        rows.append(
            {
                "window": window,
                "used_percent": None if used is None else 0.0 if reset else used / 100,
                "resets_at": None if reset else rfc3339(resets_at),
                "seen_at": rfc3339(seen_at),
                "reset_since_seen": reset,
                "basis": "reported",
            }
        )
    return rows


def quota_history(state: State, window: str, since_ms: int) -> list[tuple[int, float | None]]:
    """Return time (epoch milliseconds) and share used in per cent at each change, oldest first."""
    found = state.rows(
        "SELECT at, used FROM quota_history WHERE window = ? AND at >= ? ORDER BY at", (window, since_ms)
    )
    return [(at, None if used is None else used / 100) for at, used in found]


def session_status(state: State, session_id: str) -> dict[str, Any] | None:
    """Return the client's own last figures of a session: cost, context, lines, and whether it has a quota."""
    for seen_at, model, micros, used, size, added, removed, waited, has_quota in state.rows(
        "SELECT seen_at, model, cost_micros, context_used, context_size, lines_added, lines_removed,"
        " api_duration_ms, has_quota FROM session_status WHERE session_id = ?",
        (session_id,),
    ):
        return {
            "session_id": session_id,
            "seen_at": rfc3339(seen_at),
            "model": model,
            "cost_usd": dollars(micros),
            "cost_basis": None if micros is None else "reported",
            "context_percent": None if used is None else used / 100,
            "context_size": size,
            "lines_added": added,
            "lines_removed": removed,
            "api_duration_ms": waited,
            "has_quota": bool(has_quota),
        }
    return None


def billing(mode: str, state: State, now_ms: int) -> str:
    """Return how this machine's sessions are paid for now: ``api`` or ``subscription`` (see `pricing.billing`)."""
    newest = next(state.rows("SELECT max(seen_at) FROM quota"), (None,))[0]
    return billed_as(mode, quota_seen=newest is not None and now_ms - newest < _FRESH_MS)


def session_billing(mode: str, state: State, session_id: str, model: str | None = None) -> str:
    """Return how one session is paid for: ``api`` or ``subscription``."""
    found = next(state.rows("SELECT has_quota FROM session_status WHERE session_id = ?", (session_id,)), (0,))
    return billed_as(mode, quota_seen=bool(found[0]), model=model)


def _object(document: Any, name: str) -> dict[str, Any]:
    value = document.get(name) if isinstance(document, dict) else None
    return value if isinstance(value, dict) else {}


def _text(document: Any, name: str) -> str | None:
    value = document.get(name) if isinstance(document, dict) else None
    return value[:500] if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e12 < value < 1e15:
        return None
    return float(value)


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _hundredths(value: Any) -> int | None:
    number = _number(value)
    return None if number is None or number < 0 else round(number * 100)


def _moment(value: Any) -> int | None:
    number = _number(value)
    if number is not None:
        # Seconds as documented; thousands of them could only be milliseconds.
        return int(number if number > 1e11 else number * 1000)
    if not isinstance(value, str):
        return None
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(value)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
