"""Posts what is due, in the one process of a service that holds the lease on it.

Each webhook has a line of its own: a slow one holds up nothing but itself. What is being posted
when a process dies is posted again by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any, Final

from mesh.clock import now_us
from mesh.db import UnitOfWork, Units
from mesh.errors import Transient
from mesh.events import Event
from mesh.events.lease import Lease
from mesh.ids import new_id

from . import store
from .posting import TRY_S, Poster
from .schedule import Schedule
from .signing import SIGNATURE_HEADER, sign
from .store import Delivery, Webhook

__all__ = ["Webhooks"]

_POLL_S: Final = 0.5
_AT_ONCE: Final = 4
_IN_ALL: Final = 64
_PRUNE_EVERY_S: Final = 600.0

logger = logging.getLogger(__name__)


class Webhooks:
    """The webhooks of a service. `run` posts; the rest are units of work that have it posted.

    `is_open` lets messages go to our own addresses, and without TLS: in development.
    """

    def __init__(
        self,
        units: Units,
        *,
        is_open: bool,
        schedule: Schedule | None = None,
        try_s: float = TRY_S,
    ) -> None:
        self.is_open = is_open
        self._units = units
        self._schedule = schedule or Schedule()
        self._try_s = try_s
        self._news = asyncio.Event()
        self._lines: dict[str, asyncio.Task[None]] = {}
        self._free_at: dict[str, float] = {}
        self._permits = asyncio.Semaphore(_IN_ALL)

    async def add(self, work: UnitOfWork, webhook: Webhook, *, most: int) -> tuple[Webhook, bool]:
        """Keeps a webhook and has its token posted (`store.add`)."""
        work.on_commit(self._news.set)
        return await store.add(work, webhook, most=most)

    async def offer(self, work: UnitOfWork, event: Event[Any], owner: str, name: str) -> None:
        """Has an event posted to the webhooks of an owner that want it (`store.offer`)."""
        if await store.offer(work, event, owner, name):
            work.on_commit(self._news.set)

    async def deliver_again(self, work: UnitOfWork, webhook_id: str, delivery_id: str) -> Delivery:
        """Has a message posted again (`store.deliver_again`)."""
        work.on_commit(self._news.set)
        return await store.deliver_again(work, webhook_id, delivery_id)

    async def run(self) -> None:
        """Posts what is due, for as long as it runs and this process holds the lease."""
        lease = Lease(self._units, "webhooks", new_id())
        poster = Poster(is_open=self.is_open, try_s=self._try_s)
        try:
            while True:
                await lease.acquire()
                await self._lead(lease, poster)
        finally:
            await lease.release()
            await poster.close()

    async def _lead(self, lease: Lease, poster: Poster) -> None:
        tasks = [asyncio.create_task(lease.keep()), asyncio.create_task(self._look(poster))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks += self._lines.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, poster: Poster) -> None:
        prune_at = 0.0
        while True:
            self._news.clear()
            pause_s = _POLL_S
            try:
                for webhook_id in await self._units.read(store.due_webhooks):
                    if webhook_id not in self._lines:
                        self._begin(webhook_id, poster)
                if time.monotonic() >= prune_at:
                    await self._units.transact(store.prune)
                    prune_at = time.monotonic() + _PRUNE_EVERY_S
                next_us = await self._units.read(store.next_due_us)
                if next_us is not None:
                    pause_s = min(pause_s, max(0.0, (next_us - now_us()) / 1_000_000))
            except Transient as error:
                logger.info("webhooks wait: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()

    def _begin(self, webhook_id: str, poster: Poster) -> None:
        line = asyncio.create_task(self._work_off(webhook_id, poster))
        self._lines[webhook_id] = line

        def ended(task: asyncio.Task[None]) -> None:
            del self._lines[webhook_id]
            self._news.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("webhook %s stands", webhook_id, exc_info=error)

        line.add_done_callback(ended)

    async def _work_off(self, webhook_id: str, poster: Poster) -> None:
        """Posts what is due to a webhook, so much at once and in a second."""
        while True:
            try:
                webhook, due = await self._units.read(store.due, webhook_id, _AT_ONCE)
                if webhook is None or not due:
                    return
                async with asyncio.TaskGroup() as tries:
                    for delivery in due:
                        await self._take_turn(webhook)
                        tries.create_task(self._try(webhook, delivery, poster))
            except* Transient as errors:
                logger.info("webhook %s waits: %s", webhook_id, errors.exceptions[0])
                await asyncio.sleep(_POLL_S)

    async def _take_turn(self, webhook: Webhook) -> None:
        clock = asyncio.get_running_loop().time
        wait_s = self._free_at.get(webhook.id, 0.0) - clock()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        self._free_at[webhook.id] = clock() + 1.0 / webhook.max_per_second

    async def _try(self, webhook: Webhook, delivery: Delivery, poster: Poster) -> None:
        now = now_us()
        headers = {
            **delivery.headers,
            "Webhook-Id": delivery.id,
            "Webhook-Attempt": str(delivery.attempts + 1),
            SIGNATURE_HEADER: sign(delivery.body, webhook.keys(now), now // 1_000_000),
        }
        async with self._permits:
            answer = await poster.post(webhook.url, delivery.body, headers)
        status = await self._units.transact(store.settle, webhook, delivery, answer, self._schedule)
        if status == store.DEAD:
            logger.warning(
                "webhook %s: message %s is given up: %s", webhook.id, delivery.id, answer.error
            )
