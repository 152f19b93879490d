"""Events that are told later: they wait in a table of their own, and are moved when they are due.

An event gets its id and its time when it moves: ids sort by time, and consumers forget old ones.
The id that it had until then goes with it as a header. It moves in one transaction, so that a crash
leaves it in one place or the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Final

from mesh.clock import from_us, now_us
from mesh.db import Database, Row, UnitOfWork, sql
from mesh.errors import Transient
from mesh.ids import new_id

from .envelope import SCHEDULED

__all__ = ["Scheduler"]

_POLL_S: Final = 1.0
_AT_ONCE: Final = 100

_DUE = sql(
    "SELECT event_id, subject, type, key, version, headers, payload FROM scheduled_events"
    " WHERE due_at_us <= :now_us ORDER BY due_at_us, event_id LIMIT :most"
)
_NEXT = sql("SELECT MIN(due_at_us) AS due_at_us FROM scheduled_events")
_TAKE = sql("DELETE FROM scheduled_events WHERE event_id = :event_id")

logger = logging.getLogger(__name__)


class Scheduler:
    """Moves events to the outbox when they are due."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Tells that something was scheduled."""
        self._news.set()

    async def run(self) -> None:
        """Moves events until it is cancelled."""
        while True:
            self._news.clear()
            pause_s = _POLL_S
            try:
                pause_s = await self.step()
            except Transient as error:
                logger.info("scheduled events wait: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()

    async def step(self) -> float:
        """Moves what is due, and tells when to look again, in seconds."""
        next_us = await self._database.read(_next_due)
        if next_us is not None and next_us <= now_us():
            await self._database.transact(_release)
            return 0.0
        if next_us is None:
            return _POLL_S
        return min(_POLL_S, max(0.0, (next_us - now_us()) / 1_000_000))


async def _next_due(work: UnitOfWork) -> int | None:
    row = await work.fetch_one(_NEXT)
    assert row is not None
    due: int | None = row["due_at_us"]
    return due


async def _release(work: UnitOfWork) -> None:
    for row in await work.fetch_all(_DUE, now_us=now_us(), most=_AT_ONCE):
        if await work.execute(_TAKE, event_id=row["event_id"]):
            work.events.append(_told_now(row))


def _told_now(row: Row) -> tuple[object, ...]:
    """The arguments of `KEEP_EVENT` for an event that is told now."""
    told_at_us, event_id = now_us(), new_id()
    headers = {
        **json.loads(row["headers"]),
        "Nats-Msg-Id": event_id,
        "ce-id": event_id,
        "ce-time": from_us(told_at_us).isoformat().replace("+00:00", "Z"),
        SCHEDULED: row["event_id"],
    }
    return (
        event_id,
        row["subject"],
        row["type"],
        row["key"],
        row["version"],
        json.dumps(headers, separators=(",", ":")),
        row["payload"],
        told_at_us,
    )
