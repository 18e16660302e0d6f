"""The ledger's verdict, for the page."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import Literal

import msgspec

from watchkeeper.settings import Settings

_one_at_a_time = threading.Lock()


class VerdictFinding(msgspec.Struct):
    """Something that was noticed about the ledger, whether or not it changes the verdict."""

    what: str
    why: str
    place: str


class Verdict(msgspec.Struct):
    """Whether the record is whole and unchanged; the answer of ``wk verify``."""

    ok: bool
    entries: int
    integrity: Literal["intact", "broken"]
    completeness: Literal["complete", "truncated", "unknown"]
    first_bad: int | None
    anchor: str
    """How far the record is anchored beyond this user's reach: ``none`` means that it is self-signed only."""
    checkpoints: int
    """Signatures that held."""
    findings: list[VerdictFinding]


async def verify_home(settings: Settings) -> Verdict:
    """Return the verdict on a home's ledger; reads all of it."""
    return await asyncio.to_thread(_verify, settings)


def _verify(settings: Settings) -> Verdict:
    # With its cryptography, only where somebody asks.
    from watchkeeper.analysis import verdict as analysis

    with _one_at_a_time:
        verdict = analysis.verify_home(settings)
    return msgspec.convert(dataclasses.asdict(verdict), Verdict)
