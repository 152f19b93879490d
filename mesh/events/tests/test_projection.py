from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from mesh.db import Database, UnitOfWork, sql
from mesh.events import Event
from mesh.events.envelope import describe, seal
from mesh.events.jetstream import Jetstream
from mesh.events.projection import ProjectionLoop
from mesh.events.relay import Relay
from mesh.events.routes import routes_by_stream
from mesh.events.stream import StreamSettings, create_stream, put
from mesh.testing.waiting import eventually

from .contract import OrderPlaced
from .shop import noted, pay, place, project

CURSOR = sql("SELECT sequence FROM cursors WHERE projection = 'orders' AND stream = 'ORDERS'")

Handle = Callable[[UnitOfWork, Event[Any]], Awaitable[None]]


@asynccontextmanager
async def running(
    database: Database, jetstream: Jetstream, handle: Handle = project
) -> AsyncIterator[ProjectionLoop]:
    routes = routes_by_stream({OrderPlaced: handle})["ORDERS"]
    loop = ProjectionLoop(
        database,
        jetstream,
        service="shop",
        name="orders",
        stream="ORDERS",
        routes=routes,
        retry_s=0.002,
    )
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def tell(database: Database, jetstream: Jetstream) -> None:
    relay = Relay(database, jetstream)
    while await relay.step():
        pass


async def cursor(database: Database) -> int:
    row = await database.read(lambda work: work.fetch_one(CURSOR))
    return 0 if row is None else row["sequence"]


async def _has(database: Database, count: int) -> bool:
    return len(await noted(database, "projection")) >= count


async def test_a_projection_goes_on_where_it_stopped(
    database: Database, jetstream: Jetstream
) -> None:
    await database.transact(place, "a", *range(1, 301))
    await tell(database, jetstream)
    async with running(database, jetstream):
        await eventually(lambda: _has(database, 300))
    assert await cursor(database) == 300
    await database.transact(place, "a", *range(301, 311))
    await tell(database, jetstream)
    async with running(database, jetstream):
        await eventually(lambda: _has(database, 310))
    assert await noted(database, "projection") == [("a", number) for number in range(1, 311)]


async def test_two_processes_that_project_at_once_apply_each_event_once(
    database: Database, jetstream: Jetstream
) -> None:
    async with running(database, jetstream), running(database, jetstream):
        for number in range(1, 101):
            await database.transact(place, "a", number)
            await tell(database, jetstream)
        await eventually(lambda: _has(database, 100))
    assert await noted(database, "projection") == [("a", number) for number in range(1, 101)]


async def test_an_event_that_cannot_be_applied_stops_the_projection_which_says_so(
    database: Database, jetstream: Jetstream
) -> None:
    is_broken = True

    async def choke(work: UnitOfWork, event: Event[Any]) -> None:
        if is_broken and event.version == 3:
            raise ZeroDivisionError
        await project(work, event)

    await database.transact(place, "a", 1, 2, 3, 4)
    await tell(database, jetstream)
    async with running(database, jetstream, choke) as loop:
        await eventually(lambda: loop.missing() is not None)
        assert loop.missing() == "projection orders: ORDERS 3: ZeroDivisionError"
        assert await noted(database, "projection") == [("a", 1), ("a", 2)]
        is_broken = False
        await eventually(lambda: _has(database, 4))
        await eventually(lambda: loop.missing() is None)
    assert await noted(database, "projection") == [("a", number) for number in range(1, 5)]


async def test_events_of_other_types_are_passed_over(
    database: Database, jetstream: Jetstream
) -> None:
    await database.transact(pay, "a", 1)
    await database.transact(place, "a", 2)
    await tell(database, jetstream)
    async with running(database, jetstream):
        await eventually(lambda: _has(database, 1))
    assert await noted(database, "projection") == [("a", 2)]
    assert await cursor(database) == 2


async def test_a_stream_that_was_replaced_is_not_read(
    database: Database, jetstream: Jetstream
) -> None:
    await database.transact(place, "a", 1, 2, 3)
    await tell(database, jetstream)
    async with running(database, jetstream):
        await eventually(lambda: _has(database, 3))
    connection = await jetstream.connection()
    await connection.api("STREAM.DELETE.ORDERS")
    await create_stream(connection, describe(OrderPlaced.DESCRIPTOR), StreamSettings())
    await put(connection, [seal(OrderPlaced(order_id="b", number=1), source="shop")])
    async with running(database, jetstream) as loop:
        await eventually(lambda: loop.missing() is not None)
        assert "rebuild the projection" in (loop.missing() or "")
    assert len(await noted(database, "projection")) == 3
