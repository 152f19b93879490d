"""A lease: what only one process of a service does at a time, and who it is.

It is a row in the service's own database, renewed while its owner lives. It saves work, and keeps
order; nothing is lost or doubled if two processes hold it for a moment.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from mesh.clock import now_us
from mesh.db import UnitOfWork, Units, sql
from mesh.errors import Transient

__all__ = ["LEASE_S", "Lease"]

LEASE_S: Final = 2.0
RENEW_S: Final = 0.5

_HOLD = sql(
    "INSERT INTO leases (name, owner, until_us) VALUES (:name, :owner, :until_us)"
    " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until_us = excluded.until_us"
    " WHERE leases.owner = excluded.owner OR leases.until_us < :now_us"
)
_RELEASE = sql("DELETE FROM leases WHERE name = :name AND owner = :owner")

logger = logging.getLogger(__name__)


class Lease:
    """One lease, as one process sees it."""

    def __init__(self, database: Units, name: str, owner: str) -> None:
        self._database = database
        self._name = name
        self._owner = owner
        self._held_until = 0.0

    async def hold(self) -> bool:
        """Takes the lease, or renews it; tells whether it is held.

        While the database cannot be reached, a lease that was held is, until its time is over.
        """
        asked_at = time.monotonic()
        try:
            held = await self._database.transact(_hold, self._name, self._owner)
        except Transient as error:
            logger.debug("lease %s: %s", self._name, error)
            return asked_at < self._held_until
        self._held_until = asked_at + LEASE_S if held else 0.0
        return held

    async def acquire(self) -> None:
        """Waits until the lease is held."""
        while not await self.hold():  # noqa: ASYNC110
            await asyncio.sleep(RENEW_S)

    async def keep(self) -> None:
        """Renews the lease, and returns when it is lost."""
        while await self.hold():  # noqa: ASYNC110
            await asyncio.sleep(RENEW_S)

    async def release(self) -> None:
        """Gives the lease back, so that the next one need not wait for its end."""
        if self._held_until:
            self._held_until = 0.0
            try:
                await self._database.transact(_release, self._name, self._owner)
            except Transient as error:
                logger.debug("lease %s: %s", self._name, error)


async def _hold(work: UnitOfWork, name: str, owner: str) -> bool:
    now = now_us()
    until = now + round(LEASE_S * 1_000_000)
    rows = await work.execute(_HOLD, name=name, owner=owner, until_us=until, now_us=now)
    return rows == 1


async def _release(work: UnitOfWork, name: str, owner: str) -> None:
    await work.execute(_RELEASE, name=name, owner=owner)
