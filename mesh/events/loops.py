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
from .backoff import Backoff
from .jetstream import Jetstream
from .lease import Lease
from .projection import ProjectionLoop
from .reaction import ReactionLoop
from .relay import Relay
from .routes import routes_by_stream
from .stream import StreamSettings

__all__ = ["EventLoops"]

_LAST_EVENTS_S: Final = 1.0

Duty = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


class EventLoops:
    """The relay, the projections and the reactions of a service.

    `publishes` names events of the service, whose streams are then made at the start rather than
    with the first event. `instance` tells this process from others of the service. The `jetstream`
    is started and stopped by its owner.

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
    ) -> None:
        self._database = database
        self._jetstream = jetstream
        self._subject = f"mesh.outbox.{service}"
        self._relay = Relay(database, jetstream, streams, publishes=publishes)
        self._lease = Lease(database, "events", instance or new_id())
        self._committed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._leads = False
        self._projections = [
            ProjectionLoop(
                database, jetstream, service=service, name=each.name, stream=stream, routes=routes
            )
            for each in projections
            for stream, routes in routes_by_stream(each.on).items()
        ]
        self._reactions = {
            each.name: [
                ReactionLoop(
                    database,
                    jetstream,
                    service=service,
                    name=each.name,
                    stream=stream,
                    routes=routes,
                )
                for stream, routes in routes_by_stream(each.on).items()
            ]
            for each in reactions
        }

    @property
    def leads(self) -> bool:
        """Whether this process is the one of its service that works on events."""
        return self._leads

    async def start(self) -> None:
        """Begins, and waits for nothing: neither for NATS nor for the lease."""
        self._database.on_outbox.append(self._on_outbox)
        metrics.OUTBOX_AGE.observe(self._outbox_age_s)
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
        await self._lease.release()

    def missing(self) -> list[str]:
        """Says what keeps events from flowing; nothing of it keeps a service from answering."""
        problem = self._jetstream.missing()
        missing = [f"nats: {problem}"] if problem else []
        if self._leads:
            missing += filter(None, (loop.missing() for loop in self._projections))
        return missing

    async def redrive(self, reaction: str, key: str | None = None) -> int:
        """Applies the parked events of a reaction, of one key or of all; counts those applied.

        Raises `KeyError` if there is no such reaction.
        """
        return sum([await loop.redrive(key) for loop in self._reactions[reaction]])

    def _on_outbox(self) -> None:
        self._relay.wake()
        self._committed.set()

    def _outbox_age_s(self) -> float | None:
        since = self._relay.backlog_since_us
        return None if since is None else (now_us() - since) / 1_000_000

    async def _run(self) -> None:
        while True:
            async with _running([self._announce]):
                await self._lease.acquire()
            self._leads = True
            duties: list[Duty] = [self._relay.run, self._listen]
            duties += [loop.run for loop in self._projections]
            duties += [loop.run for loops in self._reactions.values() for loop in loops]
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
            await connection.subscribe(self._subject, lambda _: self._relay.wake())
            await connection.lost.wait()

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
