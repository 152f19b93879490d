"""Gives records their numbers and seals, soon after they were written."""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from typing import Final

from mesh.db import Database, UnitOfWork, sql
from mesh.db.errors import UniqueViolated
from mesh.errors import Overloaded, Transient
from observability import logs

from .chain import Head, seal_of

__all__ = ["Sealer", "seal_some"]

PART: Final = 256
"""The most records that are sealed in one unit of work."""

PAUSE_S: Final = 0.5
"""How long records may gather before they are sealed."""

RETRY_S: Final = 2.0
TELL_S: Final = 60.0
"""How often the head is told, at most."""

WAITING = sql(
    "SELECT id, digest FROM audit WHERE number IS NULL ORDER BY id LIMIT :limit FOR UPDATE"
)
LAST = sql("SELECT number, seal FROM audit WHERE number IS NOT NULL ORDER BY number DESC LIMIT 1")
SEAL = sql("UPDATE audit SET number = :number, previous = :previous, seal = :seal WHERE id = :id")

log = logs.get_logger(__name__)


async def seal_some(work: UnitOfWork, limit: int = PART) -> tuple[int, Head]:
    """Seals the oldest records that wait; tells how many they were, and the head."""
    # Before the head is read: who waits here for another process then sees what that one has done.
    rows = await work.fetch_all(WAITING, limit=limit)
    last = await work.fetch_one(LAST)
    head = Head(last["number"], last["seal"]) if last is not None else Head()
    sealed = []
    for row in rows:
        number, before = head.number + 1, head.seal
        head = Head(number, seal_of(number, row["id"], before, row["digest"]))
        sealed.append({"id": row["id"], "number": number, "previous": before, "seal": head.seal})
    if sealed:
        await work.execute_many(SEAL, sealed)
    return len(sealed), head


class Sealer:
    """Seals what this process, and one that has died, have left to be sealed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wake = asyncio.Event()
        self._wake.set()
        self._told_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins, with what is left from before."""
        self._database.on_record.append(self._wake.set)
        self._task = asyncio.create_task(self._run(), name="audit", context=Context())

    async def stop(self) -> None:
        """Seals what is left, and ends."""
        if self._task is None:
            return
        self._database.on_record.remove(self._wake.set)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        if self._wake.is_set():
            await self._seal()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(PAUSE_S)
            self._wake.clear()
            if not await self._seal():
                self._wake.set()
                await asyncio.sleep(RETRY_S)

    async def _seal(self) -> bool:
        """Seals all that waits; tells whether that could be done."""
        try:
            count, head = PART, Head()
            while count == PART:
                count, head = await self._database.transact(seal_some)
        except UniqueViolated:
            # Another process has given the same number at the same time.
            return False
        except (Transient, Overloaded) as error:
            log.warning("the audit is not sealed: %s", error.message)
            return False
        if time.monotonic() - self._told_at > TELL_S:
            self._told_at = time.monotonic()
            log.info("audit", extra={"number": head.number, "seal": head.seal.hex()})
        return True
