"""The loop of a reaction: a durable pull consumer, its inbox in the transaction of what it does.

Order is kept by key. When the loop starts, or starts over, the consumer is reset to its ack floor:
what was delivered and not acked comes again at once and in order, not after the ack wait and behind
younger events. What had been applied is found in the inbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from mesh.db import Database
from mesh.errors import Transient
from observability import metrics, tracing

from . import Dead, Reaction
from .answers import Outcome
from .backoff import Backoff
from .deadletters import Hand, Redriven, count_parked, redrive
from .inbox import Entry, Inbox
from .jetstream import ApiError, Connection, Jetstream
from .lanes import Lanes
from .limits import Permits
from .pull import Pull
from .routes import Incoming, Route, describe_error, parking, span_of, wait_for_stream

__all__ = ["MAX_TRIES", "ReactionLoop"]

MAX_TRIES: Final = 10
"""How often an event is tried that nobody can apply, before it is parked."""

_WINDOW: Final = 256
# How often within the ack wait the server is told that what is on its way is being worked on.
_TOLD_IN_ACK_WAIT: Final = 3
_PRUNE_EVERY_S: Final = 600.0
_PRUNE_AGAIN_S: Final = 0.1

logger = logging.getLogger(__name__)


class Item:
    """A delivery on its way through a lane."""

    __slots__ = ("alone", "backoff", "incoming", "key", "tries")

    def __init__(self, incoming: Incoming, retry_s: float) -> None:
        self.incoming = incoming
        self.key = incoming.key
        self.alone = False
        self.tries = 0
        self.backoff = Backoff(first_s=retry_s, cap_s=5.0)


class ReactionLoop:
    """Applies the events of one stream for a reaction, for as long as it runs."""

    def __init__(
        self,
        database: Database,
        jetstream: Jetstream,
        *,
        service: str,
        name: str,
        stream: str,
        routes: Mapping[str, Route],
        options: Reaction | None = None,
        retry_s: float = 0.1,
    ) -> None:
        self._database = database
        self._jetstream = jetstream
        self.stream = stream
        self.routes = routes
        self._options = options or Reaction(name=name)
        self._retry_s = retry_s
        self.consumer = f"{service}-{name}"
        self.concurrency = self._options.concurrency
        self._permits = Permits(self.concurrency)
        self._inbox = Inbox(self.consumer, self._options)
        self._lanes: Lanes[Item] = Lanes()
        self._in_flight: dict[int, Item] = {}

    async def run(self) -> None:
        """Reads and applies until it is cancelled."""
        backoff = Backoff(first_s=0.05, cap_s=5.0)
        while True:
            started_at = time.monotonic()
            try:
                await self._session()
            except* (Transient, ApiError) as errors:
                if time.monotonic() - started_at > 10:
                    backoff.reset()
                logger.info(
                    "%s reads %s anew: %s", self.consumer, self.stream, errors.exceptions[0]
                )
            await asyncio.sleep(backoff.next())

    @property
    def declared(self) -> int:
        """How much is done at once when no operator has said otherwise."""
        return self._options.concurrency

    def set_concurrency(self, concurrency: int) -> None:
        """Changes how much is done at once, from the next transaction on."""
        if concurrency != self.concurrency:
            logger.info("%s has a concurrency of %d now", self.consumer, concurrency)
        self.concurrency = concurrency
        self._permits.resize(concurrency)

    async def redrive(self, key: str = "", hand: Hand | None = None) -> AsyncIterator[Redriven]:
        """Applies parked events of this stream, of one key or of all, and tells of each."""
        async for redriven in redrive(
            self._database, self.consumer, self.stream, self.routes, key, hand
        ):
            yield redriven
        await self.count_parked()

    async def count_parked(self) -> None:
        """Counts the parked events anew, for the metric."""
        parked = await self._database.read(count_parked, self.consumer)
        metrics.DEAD_LETTERS.set(parked, self.consumer)

    async def _session(self) -> None:
        """Reads until something goes wrong; what is on its way then, comes again."""
        connection = await self._jetstream.connection()
        await wait_for_stream(connection, self.stream)
        await self._create_consumer(connection)
        self._lanes = Lanes()
        self._in_flight = {}
        await self.count_parked()
        pull = Pull(connection, self.stream, self.consumer, buffer=_WINDOW)
        async with pull, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(pull))
            tasks.create_task(self._tell_progress(connection))
            tasks.create_task(self._prune())
            permits = self._permits = Permits(self.concurrency)
            options = self._options
            while True:
                await self._lanes.fill(options.batch, options.window_s)
                await permits.acquire()
                batch = await self._lanes.take(options.batch)
                settling = tasks.create_task(self._settle(connection, batch))
                settling.add_done_callback(lambda _: permits.release())

    async def _create_consumer(self, connection: Connection) -> None:
        config = {
            "name": self.consumer,
            "durable_name": self.consumer,
            "ack_policy": "explicit",
            "ack_wait": round(self._options.ack_wait_s * 1_000_000_000),
            "max_ack_pending": _WINDOW,
            "max_deliver": -1,
            "deliver_policy": "all",
            "filter_subjects": [route.kind.subjects for route in self.routes.values()],
        }
        body = {"stream_name": self.stream, "config": config}
        await connection.api(f"CONSUMER.CREATE.{self.stream}.{self.consumer}", body)
        try:
            await connection.api(f"CONSUMER.RESET.{self.stream}.{self.consumer}", {})
        except (ApiError, Transient) as error:
            # A server older than 2.14 cannot: after a crash, order is then by version alone.
            logger.warning("%s was not reset: %s", self.consumer, error)

    async def _read(self, pull: Pull) -> None:
        """Puts what comes into the lanes. The window at the server bounds how much that is."""
        while True:
            for message in await pull.take(_WINDOW):
                incoming = Incoming(message, self.stream, self.routes)
                if incoming.place.sequence not in self._in_flight:
                    item = Item(incoming, self._retry_s)
                    self._in_flight[incoming.place.sequence] = item
                    self._lanes.put(item)

    async def _settle(self, connection: Connection, batch: Sequence[Item]) -> None:
        """Applies a batch and acks it; what fails is put back, to be tried alone and later."""
        outcome = Outcome()
        try:
            outcome = await self._apply([item.incoming for item in batch])
        except Exception as error:
            if len(batch) > 1:
                self._lanes.put_back(batch)
                return
            if not await self._give_up(batch[0], error):
                pause_s = max(batch[0].backoff.next(), getattr(error, "retry_after_s", 0.0))
                self._put_back_after(pause_s, batch)
                return
        waiting: dict[str, list[Item]] = {}
        done: list[Item] = []
        for item in batch:
            if item.incoming.id in outcome.again:
                waiting.setdefault(item.key, []).append(item)
            else:
                await connection.send(item.incoming.message.reply, b"+ACK")
                del self._in_flight[item.incoming.place.sequence]
                done.append(item)
        for items in waiting.values():
            self._put_back_after(outcome.again[items[0].incoming.id].retry_after_s, items)
        # A lane is free once nothing of it waits to be put back.
        self._lanes.settle([item for item in done if item.key not in waiting])
        if outcome.parked:
            await self.count_parked()

    def _put_back_after(self, pause_s: float, items: Sequence[Item]) -> None:
        asyncio.get_running_loop().call_later(pause_s, self._lanes.put_back, items)

    async def _give_up(self, item: Item, error: Exception) -> bool:
        """Counts a failure, and parks the event if it was the last one; tells whether it was."""
        incoming = item.incoming
        if isinstance(error, Transient):
            logger.info("%s will try %s again: %s", self.consumer, incoming.id, error)
            return False
        item.tries += 1
        if item.tries < MAX_TRIES and not isinstance(error, Dead):
            logger.warning("%s failed at %s", self.consumer, incoming.id, exc_info=error)
            return False
        why = describe_error(error)
        for tells in (True, False):
            try:
                with parking(incoming, self.consumer, why, item.tries):
                    await self._database.transact(
                        self._inbox.park, incoming, why, item.tries, tells=tells
                    )
                break
            except Transient as unavailable:
                logger.info("%s could not park %s: %s", self.consumer, incoming.id, unavailable)
                return False
            except Exception:
                if not tells:
                    raise
                logger.exception("%s could not tell of %s", self.consumer, incoming.id)
        await self.count_parked()
        logger.error("%s parked %s of key %s: %s", self.consumer, incoming.id, item.key, why)
        return True

    async def _apply(self, batch: Sequence[Incoming]) -> Outcome:
        """Applies events in one transaction. Raises what a handler raises."""
        entries: list[Entry] = []
        started_at = time.perf_counter()
        error_type = ""
        try:
            for incoming in batch:
                route = incoming.route
                if route is not None:
                    event = incoming.open()
                    if route.wants is not None and not route.wants(event):
                        continue
                    span = span_of(incoming, event, self.consumer)
                    entries.append(Entry(incoming, route, event, span))
            # One event is one trace; the transaction of many belongs to none of theirs.
            with tracing.use(entries[0].span) if len(entries) == 1 else contextlib.nullcontext():
                return await self._database.transact(self._inbox.keep, entries)
        except BaseException as error:
            error_type = type(error).__qualname__
            raise
        finally:
            duration = time.perf_counter() - started_at
            for entry in entries:
                if error_type:
                    tracing.fail(entry.span, error_type)
                entry.span.end()
                template = entry.route.kind.template
                metrics.MESSAGING_CLIENT_CONSUMED_MESSAGES.add(1, template, self.consumer)
                metrics.MESSAGING_PROCESS_DURATION.record(
                    duration, template, self.consumer, error_type
                )

    async def _tell_progress(self, connection: Connection) -> None:
        """Keeps the server from sending again what waits here, or is being worked on."""
        while True:
            await asyncio.sleep(self._options.ack_wait_s / _TOLD_IN_ACK_WAIT)
            for item in tuple(self._in_flight.values()):
                await connection.send(item.incoming.message.reply, b"+WPI")

    async def _prune(self) -> None:
        while True:
            is_more = await self._database.transact(self._inbox.prune)
            await asyncio.sleep(_PRUNE_AGAIN_S if is_more else _PRUNE_EVERY_S)
