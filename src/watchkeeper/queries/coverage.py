"""How much of what happened is on record, by which witness, and every gap by name."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from watchkeeper.events.entities import SEEN_HOOK, SEEN_TRANSCRIPT
from watchkeeper.events.gaps import GAP_EXPLANATIONS
from watchkeeper.queries.forms import rfc3339
from watchkeeper.queries.gaps import call_gaps, first_hook_ever, session_gap
from watchkeeper.sources.claude_code.hook_events import uncollected_events
from watchkeeper.store.sqlite.reading import Reader

FINDINGS_LIMIT = 200
"""The newest findings that an answer holds."""


def coverage(reader: Reader, session_id: str | None = None, now_ms: int | None = None) -> dict[str, Any]:
    """Return the coverage of one session or of all (`models.CoverageReport`).

    Gaps come newest first. A call counts as complete when every witness that was active in its session saw it. A call
    of the last minute is not held against a transcript, which the client writes behind the work.
    """
    now = int(time.time() * 1000) if now_ms is None else now_ms
    sessions = _sessions(reader, session_id)
    figures = _figures(reader, session_id, now)
    first_hook = first_hook_ever(reader)
    gaps = [gap for session in sessions for gap in _gaps_of(reader, session, now, first_hook)]
    gaps.sort(key=lambda gap: (gap["at"] or "", gap["tool_use_id"] or ""), reverse=True)
    calls = figures["calls"] or 0
    hooked = any(session["hook_first_at"] is not None for session in sessions)
    written = any(session["transcript_first_at"] is not None for session in sessions)
    return {
        "tool_calls": calls,
        "by_witness": {
            "hook": (figures["by_hook"] or 0) if hooked else None,
            "transcript": (figures["by_transcript"] or 0) if written else None,
            "otel": None,
            "proxy": None,
        },
        "complete": round((figures["complete"] or 0) / calls, 4) if calls else None,
        "gaps": gaps,
        "gap_classes": dict(sorted(Counter(gap["kind"] for gap in gaps).items())),
        "findings": list(_findings(reader, session_id)),
        "not_collected": [{"event": event.name, "reason": event.reason} for event in uncollected_events()],
        "unknown_events": _unknown_events(reader, session_id),
    }


def _sessions(reader: Reader, session_id: str | None) -> list[dict[str, Any]]:
    return list(
        reader.rows(
            "SELECT s.*, (SELECT count(*) FROM calls c WHERE c.session_id = s.session_id) AS tool_calls"
            " FROM sessions s WHERE coalesce(s.synthetic, 0) = 0 AND (:id IS NULL OR s.session_id = :id)"
            " ORDER BY s.started_at, s.session_id",
            {"id": session_id},
        )
    )


def _figures(reader: Reader, session_id: str | None, now: int) -> dict[str, Any]:
    found = reader.row(
        f"""SELECT count(*) AS calls,
              sum((c.seen & {SEEN_HOOK}) != 0) AS by_hook,
              sum((c.seen & {SEEN_TRANSCRIPT}) != 0) AS by_transcript,
              sum((s.hook_first_at IS NULL OR (c.seen & {SEEN_HOOK}) != 0)
                  AND (s.transcript_first_at IS NULL OR (c.seen & {SEEN_TRANSCRIPT}) != 0
                       OR c.started_at > :lag)) AS complete
            FROM calls c JOIN sessions s ON s.session_id = c.session_id
            WHERE coalesce(s.synthetic, 0) = 0 AND (:id IS NULL OR c.session_id = :id)""",
        {"id": session_id, "lag": now - 60_000},
    )
    assert found is not None
    return found


def _gaps_of(
    reader: Reader, session: dict[str, Any], now: int, first_hook: int | None
) -> list[dict[str, Any]]:
    kind = session_gap(session, first_hook)
    if kind is not None:
        return [_gap(session, kind, ["hook"], None)] if session["tool_calls"] else []
    return [
        _gap(session, name, missing, row)
        for row, name, missing in call_gaps(reader, session, now, first_hook)
    ]


def _gap(
    session: dict[str, Any], kind: str, missing: list[str], row: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "kind": kind,
        "session_id": session["session_id"],
        "tool_use_id": row["tool_use_id"] if row else None,
        "tool": row["tool"] if row else None,
        "at": rfc3339(row["started_at"] if row else session["started_at"]),
        "missing": missing,
        "explanation": GAP_EXPLANATIONS[kind],
    }


def _findings(reader: Reader, session_id: str | None) -> Iterator[dict[str, Any]]:
    rows = reader.rows(
        "SELECT * FROM findings WHERE :id IS NULL OR session_id = :id"
        " ORDER BY at DESC, finding_key LIMIT :limit",
        {"id": session_id, "limit": FINDINGS_LIMIT},
    )
    for row in rows:
        yield {
            "rule": row["rule"],
            "severity": row["severity"],
            "at": rfc3339(row["at"]),
            "session_id": row["session_id"],
            "tool_use_id": row["tool_use_id"],
            "what": row["what"],
        }


def _unknown_events(reader: Reader, session_id: str | None) -> dict[str, int]:
    rows = reader.rows(
        "SELECT name, count(*) AS n FROM events WHERE known = 0 AND (:id IS NULL OR session_id = :id)"
        " GROUP BY name ORDER BY name",
        {"id": session_id},
    )
    return {row["name"]: row["n"] for row in rows}
