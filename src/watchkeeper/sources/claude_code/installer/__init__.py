"""Registers our hook in Claude Code's settings, takes it out again, and says what is registered where.

``plan_install`` and ``plan_uninstall`` work out a change, ``apply`` makes it, ``inspect`` reports.
"""

from __future__ import annotations
