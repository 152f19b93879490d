"""What an operator has set for subscriptions: kept in the database, and followed while it runs.

Whichever process is told, the one that works on events looks once a second; it finds what it was
told itself at once. A setting outlives the process, until it is taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from mesh.clock import now_us
from mesh.db import Database, UnitOfWork, sql

__all__ = ["Adjustable", "SubscriptionSettings"]

_LOOK_EVERY_S: Final = 1.0

_SETTINGS = sql("SELECT name, concurrency FROM event_subscriptions")
_SET = sql(
    "INSERT INTO event_subscriptions (name, concurrency, changed_by, changed_at_us)"
    " VALUES (:name, :concurrency, :actor, :now_us)"
    " ON CONFLICT (name) DO UPDATE SET concurrency = excluded.concurrency,"
    " changed_by = excluded.changed_by, changed_at_us = excluded.changed_at_us"
)
_UNSET = sql("DELETE FROM event_subscriptions WHERE name = :name")


class Adjustable(Protocol):
    """A loop whose concurrency can be changed while it runs."""

    consumer: str

    @property
    def declared(self) -> int: ...
    def set_concurrency(self, concurrency: int) -> None: ...


class SubscriptionSettings:
    """Follows the settings of a service's subscriptions."""

    def __init__(self, database: Database, loops: Sequence[Adjustable]) -> None:
        self._database = database
        self._loops = loops

    async def change(self, name: str, concurrency: int | None, actor: str) -> None:
        """Keeps a setting, or with None takes it back, and follows it here."""
        await self._database.transact(_change, name, concurrency, actor)
        await self.follow()

    async def follow(self) -> None:
        """Reads the settings, and applies them."""
        settings = await self._database.read(_fetch)
        for loop in self._loops:
            loop.set_concurrency(settings.get(loop.consumer, loop.declared))

    async def run(self) -> None:
        """Follows the settings until it is cancelled."""
        while True:
            await self.follow()
            await asyncio.sleep(_LOOK_EVERY_S)


async def _fetch(work: UnitOfWork) -> dict[str, int]:
    return {row["name"]: row["concurrency"] for row in await work.fetch_all(_SETTINGS)}


async def _change(work: UnitOfWork, name: str, concurrency: int | None, actor: str) -> None:
    if concurrency is None:
        await work.execute(_UNSET, name=name)
    else:
        await work.execute(_SET, name=name, concurrency=concurrency, actor=actor, now_us=now_us())
