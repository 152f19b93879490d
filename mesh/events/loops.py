"""All that a service does with events, behind one switch.

Of the processes of a service, one holds the lease and relays, projects and reacts; the others tell
it when they have committed events. When it dies, another takes over within the time of the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from google.protobuf.message import Message

from mesh.clock import now_us
from mesh.db import Database
from mesh.errors import Transient
from mesh.ids import new_id
from observability import metrics

from . import Projection, Reaction
from .backfill import Owners
from .backoff import Backoff
from .control import SubscriptionSettings
from .envelope import EventType
from .freshness import Freshness
from .jetstream import Connection, Jetstream
from .lease import Lease
from .projection import ProjectionLoop
from .reaction import ReactionLoop
from .rebuild import Progress, Rebuild
from .reconcile import Finding, reconcile
from .relay import Relay
from .routes import routes_by_stream
from .schedule import Scheduler
from .stream import StreamSettings

__all__ = ["EventLoops"]

_LAST_EVENTS_S: Final = 1.0

Duty = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


class EventLoops:
    """The relay, the projections and the reactions of a service.

    `publishes` names events of the service, whose streams are then made at the start rather than
    with the first event. `instance` tells this process from others of the service. `retry_s`
    bounds the first pause after a reaction has failed. The `jetstream` is started and stopped by
    its owner.

    Raises `TypeError` if a handler is for a message that is not an event.
    """

    def __init__(
        self,
        database: Database,
        jetstream: Jetstream,
        service: str,
        projections: Sequence[Projection] = (),
        reactions: Sequence[Reaction] = (),
        *,
        publishes: Sequence[type[Message]] = (),
        streams: StreamSettings | None = None,
        instance: str = "",
        retry_s: float = 0.1,
    ) -> None:
        self.service = service
        self.owners: Owners | None = None
        """Whom to ask for facts that a stream no longer has; nobody, if None."""
        self._database = database
        self._jetstream = jetstream
        self._subject = f"mesh.outbox.{service}"
        self._relay = Relay(database, jetstream, streams, publishes=publishes)
        self._scheduler = Scheduler(database)
        self._lease = Lease(database, "events", instance or new_id())
        self._committed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._leads = False
        self.declared = {f"{service}-{each.name}": each for each in projections}
        self.projections = [
            ProjectionLoop(
                database, jetstream, service=service, name=each.name, stream=stream, routes=routes
            )
            for each in projections
            for stream, routes in routes_by_stream(each.on).items()
        ]
        self.reactions = [
            ReactionLoop(
                database,
                jetstream,
                service=service,
                name=each.name,
                stream=stream,
                routes=routes,
                options=each,
                retry_s=retry_s,
            )
            for each in reactions
            for stream, routes in routes_by_stream(each.on, each.where).items()
        ]
        self.subscriptions: list[ProjectionLoop | ReactionLoop] = [
            *self.projections,
            *self.reactions,
        ]
        self._settings = SubscriptionSettings(database, self.subscriptions)
        self.freshness = Freshness(database, jetstream, self.projections)

    @property
    def leads(self) -> bool:
        """Whether this process is the one of its service that works on events."""
        return self._leads

    async def start(self) -> None:
        """Begins, and waits for nothing: neither for NATS nor for the lease."""
        self._database.on_outbox.append(self._on_outbox)
        metrics.OUTBOX_AGE.observe(self._outbox_age_s)
        metrics.OUTBOX_PENDING.observe(lambda: self._relay.pending if self._leads else None)
        self._task = asyncio.create_task(self._run(), name="events")

    async def stop(self) -> None:
        """Sends what was committed last, if that is quickly done, and ends all loops."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        self._database.on_outbox.remove(self._on_outbox)
        metrics.OUTBOX_AGE.observe(None)
        metrics.OUTBOX_PENDING.observe(None)
        await self._lease.release()

    def missing(self) -> list[str]:
        """Says what keeps events from flowing; nothing of it keeps a service from answering."""
        problem = self._jetstream.missing()
        missing = [f"nats: {problem}"] if problem else []
        if self._leads:
            missing += filter(None, (loop.missing() for loop in self.projections))
            missing += [self._relay.problem] if self._relay.problem else []
        return missing

    @property
    def outbox_problem(self) -> str:
        """Says what keeps events from being told; empty when nothing does."""
        return self._relay.problem or self._jetstream.missing() or ""

    @property
    def streams(self) -> list[EventType]:
        """The streams of this service's own events, one event of each."""
        return self._relay.published

    async def set_concurrency(self, subscription: str, concurrency: int | None, actor: str) -> None:
        """Keeps how much of a subscription is done at once; None for what the code says."""
        await self._settings.change(subscription, concurrency, actor)

    async def connection(self) -> Connection:
        """Gives the connection to NATS. Raises `Transient` if there is none at once."""
        if problem := self._jetstream.missing():
            raise Transient("NATS_UNAVAILABLE", f"NATS cannot be asked: {problem}.")
        return await self._jetstream.connection()

    async def rebuild(self, subscription: str, database_url: str) -> AsyncIterator[Progress]:
        """Builds the rows of a projection anew, and tells how far it is (`mesh.events.rebuild`)."""
        connection = await self.connection()
        rebuild = Rebuild(
            self._database,
            self._jetstream,
            self.declared[subscription],
            service=self.service,
            url=database_url,
            owners=self.owners,
        )
        async for progress in rebuild.run(connection):
            yield progress

    async def reconcile(self, *, dry_run: bool, accept_loss: bool = False) -> list[Finding]:
        """Compares the streams of this service with what it has sent (`mesh.events.reconcile`)."""
        connection = await self.connection()
        found = [
            await reconcile(
                connection,
                self._database,
                kind,
                self._relay.settings,
                dry_run=dry_run,
                accept_loss=accept_loss,
            )
            for kind in self.streams
        ]
        self._relay.wake()
        return found

    def _on_outbox(self) -> None:
        self._relay.wake()
        self._scheduler.wake()
        self._committed.set()

    def _outbox_age_s(self) -> float | None:
        since = self._relay.backlog_since_us
        return None if since is None else (now_us() - since) / 1_000_000

    async def _run(self) -> None:
        while True:
            async with _running([self._announce]):
                await self._lease.acquire()
            self._leads = True
            duties: list[Duty] = [self._relay.run, self._scheduler.run, self._listen]
            duties.append(self._settings.run)
            duties += [loop.run for loop in self.subscriptions]
            try:
                async with _running(duties):
                    await self._lease.keep()
                logger.warning("the lease on events was lost")
            except asyncio.CancelledError:
                await self._send_last()
                raise
            finally:
                self._leads = False

    async def _send_last(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_EVENTS_S):
                await self._relay.empty()

    async def _listen(self) -> None:
        """Hears of what the other processes of the service have committed."""
        while True:
            connection = await self._jetstream.connection()
            await connection.subscribe(self._subject, lambda _: self._wake())
            await connection.lost.wait()

    def _wake(self) -> None:
        self._relay.wake()
        self._scheduler.wake()

    async def _announce(self) -> None:
        """Tells the process that relays that this one has committed events."""
        while True:
            await self._committed.wait()
            self._committed.clear()
            connection = await self._jetstream.connection()
            await connection.send(self._subject)


@contextlib.asynccontextmanager
async def _running(duties: Sequence[Duty]) -> AsyncIterator[None]:
    """Runs duties in the background of a block, and has ended them when it is left."""
    tasks = [asyncio.create_task(_for_ever(duty)) for duty in duties]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _for_ever(duty: Duty) -> None:
    """Begins a duty again when it fails: a bug in one must not end the others."""
    backoff = Backoff(first_s=0.1, cap_s=5.0)
    while True:
        try:
            await duty()
        except Transient as error:
            logger.info("%s: %s", duty.__qualname__, error)
        except Exception:
            logger.exception("%s has failed, and begins again", duty.__qualname__)
        await asyncio.sleep(backoff.next())
