"""How much of a reaction is done at once, and how long one handler may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from mesh.db import Row, Statement, UnitOfWork

__all__ = ["HandlerTimeout", "Permits", "TimedWork"]


class HandlerTimeout(Exception):
    """A handler has taken longer than its reaction allows; nothing of it is kept."""


class Permits:
    """A semaphore whose size can be changed while it is in use; at 0 nobody gets in."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken = 0
        self._news = asyncio.Event()

    async def acquire(self) -> None:
        """Waits for a permit."""
        while self._taken >= self.limit:
            self._news.clear()
            await self._news.wait()
        self._taken += 1

    def release(self) -> None:
        """Gives a permit back."""
        self._taken -= 1
        self._news.set()

    def resize(self, limit: int) -> None:
        """Changes how many there are; what runs goes on."""
        self.limit = limit
        self._news.set()


class TimedWork(UnitOfWork):
    """A unit of work that ends its handler at the first statement after the time is over.

    A handler that computes without asking the database is found out when it returns: a thread
    cannot be stopped. Either way its unit is rolled back.
    """

    __slots__ = ("_inner", "_until")

    def __init__(self, inner: UnitOfWork, timeout_s: float) -> None:
        self._inner = inner
        self._until = time.monotonic() + timeout_s

    def check(self) -> None:
        """Raises `HandlerTimeout` if the time is over."""
        if time.monotonic() > self._until:
            raise HandlerTimeout

    async def execute(self, statement: Statement, /, **parameters: object) -> int:
        self.check()
        return await self._inner.execute(statement, **parameters)

    async def execute_many(
        self, statement: Statement, rows: Sequence[Mapping[str, object]], /
    ) -> None:
        self.check()
        await self._inner.execute_many(statement, rows)

    async def fetch_one(self, statement: Statement, /, **parameters: object) -> Row | None:
        self.check()
        return await self._inner.fetch_one(statement, **parameters)

    async def fetch_all(self, statement: Statement, /, **parameters: object) -> list[Row]:
        self.check()
        return await self._inner.fetch_all(statement, **parameters)

    def publish(
        self,
        event: Message,
        /,
        *,
        version: int = 0,
        at_us: int = 0,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self._inner.publish(event, version=version, at_us=at_us, attributes=attributes)

    def start(self, saga: str, entity_id: str, /, *, at_us: int = 0, entity: Any = None) -> None:
        self._inner.start(saga, entity_id, at_us=at_us, entity=entity)

    def on_commit(self, callback: Callable[[], None], /) -> None:
        self._inner.on_commit(callback)
