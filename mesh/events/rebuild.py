"""Builds the rows of a projection anew while those in use are read and written.

Theory of operation. The handlers of the projection are run again, from the first event of their
streams on, into a shadow: a second set of the projection's tables that nobody reads. Once it is as
far as the rows in use, the cursors are locked, the shadow reads the last events that it lacks, and
in one transaction what differs is exchanged. The rows in use are never empty and never half new;
whoever reads sees what was before, or what is after.

Where a stream has dropped its oldest events, its owner tells the facts again (`backfill`), and the
shadow reads on from where the stream ended before that, without what it was told already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mesh.db import Database, UnitOfWork, sql
from mesh.errors import FailedPrecondition, Transient
from mesh.ids import new_id

from . import Event, Projection
from .backfill import Owners, facts_of
from .jetstream import Connection, Jetstream
from .lease import Lease
from .projection import ProjectionLoop
from .routes import Route, routes_by_stream, wait_for_stream
from .shadow import Difference, shadow_of
from .survey import count_after

__all__ = ["Progress", "Rebuild"]

_LOOK_EVERY_S: Final = 0.05
_TELL_EVERY_S: Final = 0.5
# How long the rows in use may stand still while the shadow reads the last events.
_CATCH_UP_S: Final = 2.0
_SWAPS: Final = 10
_STREAM_S: Final = 5.0
# How far behind the rows in use the shadow may be when they are made to wait for it: while they
# move on it may never be level.
_NEAR: Final = 200

_CURSORS = sql("SELECT stream, sequence FROM cursors WHERE projection = :projection")

_BEGIN_AT = sql(
    "INSERT INTO cursors (projection, stream, sequence) VALUES (:projection, :stream, :sequence)"
    " ON CONFLICT (projection, stream) DO UPDATE SET sequence = excluded.sequence"
)

Cursors = dict[str, int]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild is: how many places of its streams it is through with, of how many.

    `difference` is there at the end.
    """

    read: int
    total: int
    difference: Difference | None = None


class Rebuild:
    """One rebuild of one projection, on the database of a URL."""

    def __init__(
        self,
        database: Database,
        jetstream: Jetstream,
        projection: Projection,
        *,
        service: str,
        url: str,
        owners: Owners | None = None,
    ) -> None:
        self._database = database
        self._jetstream = jetstream
        self._projection = projection
        self._service = service
        self._routes = routes_by_stream(projection.on)
        self._shadow = shadow_of(url, projection.tables, projection.name)
        self._loops: list[ProjectionLoop] = []
        self._began_at: Cursors = {}
        self._replaced: set[str] = set()
        self._owners = owners
        self._cut: set[str] = set()
        self._known: dict[tuple[str, str], int] = {}
        self._through: Cursors = {}
        self._connection: Connection

    async def run(self, connection: Connection) -> AsyncIterator[Progress]:
        """Rebuilds, and tells how far it is now and then.

        Raises `FailedPrecondition` if a stream does not begin at its first event and its owner does
        not tell what was before, if another rebuild of the projection runs, or if a handler fails;
        `Transient` if it cannot catch up. Nothing has changed then.
        """
        self._connection = connection
        cursors = self._began_at = await self._cursors(self._database)
        ends: Cursors = {}
        for stream in self._routes:
            state = await self._state_of(connection, stream)
            end = ends[stream] = state["last_seq"]
            place = cursors.get(stream, 0)
            if state["first_seq"] > 1:
                self._cut.add(stream)
            # The rows in use stand: at another stream, or before what was dropped.
            if place > end or 0 < place < state["first_seq"] - 1:
                self._replaced.add(stream)
        lease = Lease(self._database, f"rebuild {self._projection.name}", new_id())
        if not await lease.hold():
            raise FailedPrecondition("REBUILD_RUNS", "Another rebuild of the projection runs.")
        keeping = asyncio.create_task(lease.keep())
        try:
            await self._shadow.open()
            for stream in self._cut:
                await self._fill(stream, ends[stream])
            async for progress in self._build(ends, keeping):
                yield progress
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await self._shadow.drop()
            await lease.release()

    async def _state_of(self, connection: Connection, stream: str) -> Cursors:
        try:
            async with asyncio.timeout(_STREAM_S):
                state: Cursors = await wait_for_stream(connection, stream)
        except TimeoutError:
            raise Transient("NO_STREAM", f"There is no stream {stream} yet.") from None
        if state["first_seq"] > 1 and self._owners is None:
            raise FailedPrecondition(
                "STREAM_TRUNCATED",
                f"{stream} begins at {state['first_seq']}: what was before cannot be built again.",
            )
        return state

    async def _fill(self, stream: str, end: int) -> None:
        """Fills the shadow with what the owner of a stream tells, up to the end of the stream."""
        assert self._owners is not None
        async for page, through in facts_of(self._owners, stream, self._routes[stream]):
            await self._shadow.database.transact(_apply, page)
            for _, event in page:
                self._known[event.type, event.key] = event.version
            if through is not None:
                self._through[stream] = max(through, end)
        if stream not in self._through:
            raise Transient("BACKFILL_CUT_OFF", f"The owner of {stream} did not come to an end.")
        await self._shadow.database.transact(_begin_at, self._projection.name, stream, end)

    def _unknown(self, route: Route) -> Route:
        """Has a route leave out what the owner has told already."""

        async def handle(work: UnitOfWork, event: Event[Any]) -> None:
            if not 0 < event.version <= self._known.get((event.type, event.key), 0):
                await route.handle(work, event)

        return replace(route, handle=handle)

    async def _build(self, ends: Cursors, keeping: asyncio.Task[None]) -> AsyncIterator[Progress]:
        total, told_at = sum(ends.values()), 0.0
        for _ in range(_SWAPS):
            tasks = self._start()
            try:
                while not await self._is_level(within=_NEAR):
                    if keeping.done():
                        raise Transient("LEASE_LOST", "Another rebuild has taken over.")
                    self._must_go_well()
                    if time.monotonic() >= told_at:
                        told_at = time.monotonic() + _TELL_EVERY_S
                        yield Progress(await self._read_of(ends), total)
                    await asyncio.sleep(_LOOK_EVERY_S)
                difference = await self._swap(tasks)
            finally:
                await _end(tasks)
            if difference is not None:
                yield Progress(total, total, difference)
                return
        raise Transient("TOO_BUSY", "The rebuild could not catch up; try again later.")

    def _start(self) -> list[asyncio.Task[None]]:
        self._loops = [
            ProjectionLoop(
                self._shadow.database,
                self._jetstream,
                service=self._service,
                name=self._projection.name,
                stream=stream,
                routes={name: self._unknown(route) for name, route in routes.items()},
                is_observed=False,
            )
            for stream, routes in self._routes.items()
        ]
        return [asyncio.create_task(loop.run()) for loop in self._loops]

    def _must_go_well(self) -> None:
        for loop in self._loops:
            if problem := loop.missing():
                raise FailedPrecondition("REBUILD_FAILED", f"The rebuild stands: {problem}.")

    async def _is_level(self, within: int = 0) -> bool:
        """Whether the shadow is as far as the rows in use, or within so many places of it.

        Where those had read more than there is, the stream is another than it was, and they stand:
        then the end of the stream is far enough.
        """
        live, shadow = await self._cursors(self._database), await self._of_shadow()
        for stream, place in live.items():
            reached = shadow.get(stream, 0)
            if stream in self._replaced:
                is_level = not await self._has_more(stream, reached)
            else:
                least = max(place - within, self._began_at.get(stream, 0))
                is_level = reached >= least and await self._is_past(stream, min(place, reached))
            if not is_level:
                return False
        return True

    async def _is_past(self, stream: str, reached: int) -> bool:
        """Whether what the owner has told will not come again to whoever has reached a place."""
        return reached >= self._through.get(stream, 0) or not await self._has_more(stream, reached)

    async def _has_more(self, stream: str, reached: int) -> bool:
        subjects = [route.kind.subjects for route in self._routes[stream].values()]
        return await count_after(self._connection, stream, reached, subjects) > 0

    async def _read_of(self, ends: Cursors) -> int:
        shadow = await self._of_shadow()
        return sum(min(shadow.get(stream, 0), end) for stream, end in ends.items())

    async def _swap(self, tasks: list[asyncio.Task[None]]) -> Difference | None:
        """Puts the shadow in place; None if it could not catch up in time."""
        async with self._shadow.swap() as swap:
            until = time.monotonic() + _CATCH_UP_S
            while not await self._is_level():
                self._must_go_well()
                if time.monotonic() > until:
                    return None
                await asyncio.sleep(_LOOK_EVERY_S / 10)
            await _end(tasks)
            # A transaction outlives the loop that began it; none may commit once the rows are read.
            await self._shadow.close()
            difference: Difference = await swap.replace(self._projection.name)
        return difference

    async def _of_shadow(self) -> Cursors:
        return await self._cursors(self._shadow.database)

    async def _cursors(self, database: Database) -> Cursors:
        return await database.read(_fetch_cursors, self._projection.name)


async def _fetch_cursors(work: UnitOfWork, projection: str) -> Cursors:
    rows = await work.fetch_all(_CURSORS, projection=projection)
    return {row["stream"]: row["sequence"] for row in rows}


async def _apply(work: UnitOfWork, page: Sequence[tuple[Route, Event[Any]]]) -> None:
    for route, event in page:
        await route.handle(work, event)


async def _begin_at(work: UnitOfWork, projection: str, stream: str, sequence: int) -> None:
    await work.execute(_BEGIN_AT, projection=projection, stream=stream, sequence=sequence)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
