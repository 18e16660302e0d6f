"""The ledger's verdict, for the page."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from typing import Literal

import msgspec

from watchkeeper.settings import Places

_one_at_a_time = threading.Lock()


class Verdict(msgspec.Struct):
    """Whether the record is whole and unchanged; the answer of ``wk verify``."""

    ok: bool
    entries: int
    integrity: Literal["intact", "broken"]
    completeness: Literal["complete", "truncated", "unknown"]
    first_bad: int | str | None
    anchor: str
    """How far the record is anchored beyond this user's reach: ``none`` means that it is self-signed only."""
    findings: list[str]


async def verify_home(places: Places) -> Verdict:
    """Return the verdict on a home's ledger; reads all of it."""
    return await asyncio.to_thread(_verify, places)


def _verify(places: Places) -> Verdict:
    from watchkeeper.ledger.verify import verify  # with its cryptography, only where somebody asks

    with _one_at_a_time:
        verdict = verify(places.ledger, places.keys)
    return msgspec.convert(dataclasses.asdict(verdict), Verdict)
