"""Figures in Prometheus's text format; open to every user of the machine, so they name nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEDIA_TYPE = "text/plain; version=0.0.4"
"""Prometheus's text format; the framework adds the charset."""


def render_metrics(version: str, counts: Mapping[str, Any], parts: Mapping[str, str]) -> str:
    """Return the exposition.

    Args:
        version: The package's version.
        counts: ``sessions``, ``tool_calls`` and ``ledger_entries``.
        parts: Each part of the daemon with its state.
    """
    rows = [
        ("watchkeeper_build_info", "gauge", "Version that is running.", {f'version="{version}"': 1}),
        ("watchkeeper_up", "gauge", "Whether the server answers.", {"": 1}),
        (
            "watchkeeper_part_up",
            "gauge",
            "Whether a part of the daemon is up.",
            {f'part="{part}"': int(state == "up") for part, state in sorted(parts.items())},
        ),
        ("watchkeeper_sessions", "gauge", "Sessions on record.", {"": counts["sessions"]}),
        ("watchkeeper_tool_calls_total", "counter", "Tool calls on record.", {"": counts["tool_calls"]}),
        (
            "watchkeeper_ledger_entries_total",
            "counter",
            "Entries of the ledger.",
            {"": counts["ledger_entries"]},
        ),
    ]
    lines: list[str] = []
    for name, kind, help_text, samples in rows:
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
        lines += [
            f"{name}{{{labels}}} {value}" if labels else f"{name} {value}"
            for labels, value in samples.items()
        ]
    return "\n".join(lines) + "\n"
