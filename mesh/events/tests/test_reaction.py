from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from mesh.db import Database, Row, UnitOfWork, sql
from mesh.errors import FailedPrecondition, Transient
from mesh.events import Event
from mesh.events.envelope import describe, seal
from mesh.events.jetstream import ApiError, Jetstream
from mesh.events.reaction import MAX_TRIES, ReactionLoop
from mesh.events.relay import Relay
from mesh.events.routes import routes_by_stream
from mesh.events.stream import StreamSettings, create_stream, put
from mesh.testing.waiting import eventually

from .contract import OrderPaid, OrderPlaced
from .shop import note, noted, place, react

PARKED = sql("SELECT key, event_id, error, attempts FROM dead_letters ORDER BY sequence")

Handle = Callable[[UnitOfWork, Event[Any]], Awaitable[None]]


def reaction(database: Database, jetstream: Jetstream, handle: Handle) -> ReactionLoop:
    routes = routes_by_stream({OrderPlaced: handle})["ORDERS"]
    return ReactionLoop(
        database,
        jetstream,
        service="shop",
        name="greeting",
        stream="ORDERS",
        routes=routes,
        retry_s=0.002,
    )


async def applied_by(loop: ReactionLoop, key: str = "") -> int:
    """Redrives, and counts what was applied."""
    return sum([not each.error async for each in loop.redrive(key)])


@asynccontextmanager
async def running(loop: ReactionLoop) -> AsyncIterator[None]:
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def tell(database: Database, jetstream: Jetstream) -> None:
    relay = Relay(database, jetstream)
    while await relay.step():
        pass


async def parked(database: Database) -> list[Row]:
    return await database.read(lambda work: work.fetch_all(PARKED))


async def acked(jetstream: Jetstream) -> int:
    """How far the server knows that everything was dealt with."""
    try:
        info = await (await jetstream.connection()).api("CONSUMER.INFO.ORDERS.shop-greeting")
    except ApiError:
        return 0
    sequence: int = info["ack_floor"]["stream_seq"]
    return sequence


async def test_each_of_a_hundred_keys_keeps_its_order_while_events_fail_now_and_then(
    database: Database, jetstream: Jetstream
) -> None:
    chance = random.Random(7)

    async def stumble(work: UnitOfWork, event: Event[Any]) -> None:
        if chance.random() < 0.02:
            raise Transient("BUSY", "Not now.")
        await react(work, event)

    keys = [f"order-{n}" for n in range(100)]
    for number in range(1, 11):
        for key in keys:
            await database.transact(place, key, number)
    async with running(reaction(database, jetstream, stumble)):
        await tell(database, jetstream)
        await eventually(lambda: _is_noted(database, 1_000))
    applied = await noted(database, "reaction")
    assert len(applied) == 1_000
    for key in keys:
        assert [number for of, number in applied if of == key] == list(range(1, 11))


async def test_a_poisonous_event_is_parked_with_the_later_ones_of_its_key_and_others_flow(
    database: Database, jetstream: Jetstream
) -> None:
    tries = 0

    async def choke(work: UnitOfWork, event: Event[Any]) -> None:
        nonlocal tries
        if (event.key, event.version) == ("bad", 2):
            tries += 1
            raise ZeroDivisionError("account of Maria")
        await react(work, event)

    await database.transact(place, "bad", 1, 2, 3)
    await database.transact(place, "good", 1, 2, 3)
    async with running(reaction(database, jetstream, choke)):
        await tell(database, jetstream)
        await eventually(lambda: _is_noted(database, 4))
        await eventually(lambda: _is_acked(jetstream, 6))
        await database.transact(place, "bad", 4)
        await tell(database, jetstream)
        await eventually(lambda: _is_acked(jetstream, 7))
    applied = await noted(database, "reaction")
    assert sorted(applied) == [("bad", 1), ("good", 1), ("good", 2), ("good", 3)]
    rows = await parked(database)
    assert [(row["key"], row["attempts"]) for row in rows] == [("bad", 10), ("bad", 0), ("bad", 0)]
    assert rows[0]["error"] == "ZeroDivisionError"
    assert "behind" in rows[1]["error"]
    assert tries == MAX_TRIES + 1  # once more in the batch with the others


async def test_parked_events_are_applied_in_order_when_they_are_redriven(
    database: Database, jetstream: Jetstream
) -> None:
    is_broken = True

    async def fix_later(work: UnitOfWork, event: Event[Any]) -> None:
        if is_broken and event.key != "good":
            raise FailedPrecondition("BROKEN", "It is broken.")
        await react(work, event)

    await database.transact(place, "bad", 1, 2, 3)
    await database.transact(place, "worse", 1)
    loop = reaction(database, jetstream, fix_later)
    async with running(loop):
        await tell(database, jetstream)
        await eventually(lambda: _is_acked(jetstream, 4))
        assert (await parked(database))[0]["error"] == "BROKEN: It is broken."
        assert await applied_by(loop, "bad") == 0
        is_broken = False
        assert await applied_by(loop, "bad") == 3
        assert await applied_by(loop) == 1
        assert await parked(database) == []
        await database.transact(place, "bad", 4)
        await tell(database, jetstream)
        await eventually(lambda: _is_noted(database, 5))
    applied = await noted(database, "reaction")
    assert [number for key, number in applied if key == "bad"] == [1, 2, 3, 4]


async def test_what_is_not_what_its_headers_say_is_parked(
    database: Database, jetstream: Jetstream
) -> None:
    connection = await jetstream.connection()
    await create_stream(connection, describe(OrderPlaced.DESCRIPTOR), StreamSettings())
    event = seal(OrderPlaced(order_id="a", number=1), source="shop")
    await connection.request(event.subject, b"\xff\xff", headers=dict(event.headers))
    async with running(reaction(database, jetstream, react)):
        await eventually(lambda: _is_acked(jetstream, 1))
    rows = await parked(database)
    assert [(row["event_id"], row["error"]) for row in rows] == [(event.event_id, "Undecodable")]


async def test_an_event_that_comes_again_is_acked_and_not_applied_again(
    database: Database, jetstream: Jetstream
) -> None:
    await database.transact(place, "a", 1, 2)
    async with running(reaction(database, jetstream, react)):
        await tell(database, jetstream)
        await eventually(lambda: _is_acked(jetstream, 2))
    connection = await jetstream.connection()
    await connection.api("CONSUMER.DELETE.ORDERS.shop-greeting")
    await database.transact(place, "a", 3)
    async with running(reaction(database, jetstream, react)):
        await tell(database, jetstream)
        await eventually(lambda: _is_acked(jetstream, 3))
    assert await noted(database, "reaction") == [("a", 1), ("a", 2), ("a", 3)]


async def test_an_older_version_that_comes_late_is_left_out(
    database: Database, jetstream: Jetstream
) -> None:
    connection = await jetstream.connection()
    await create_stream(connection, describe(OrderPlaced.DESCRIPTOR), StreamSettings())
    events = [seal(OrderPlaced(order_id="a", number=n), n, source="shop") for n in (1, 3, 2, 4)]
    await put(connection, events)
    async with running(reaction(database, jetstream, react)):
        await eventually(lambda: _is_acked(jetstream, 4))
    assert await noted(database, "reaction") == [("a", 1), ("a", 3), ("a", 4)]


async def test_after_a_crash_what_was_not_acked_comes_again_before_what_is_younger(
    database: Database, jetstream: Jetstream
) -> None:
    """The server's ack wait is 30 seconds: order would be lost, and time."""
    first = asyncio.Event()

    async def stick(work: UnitOfWork, event: Event[Any]) -> None:
        first.set()
        raise Transient("BUSY", "Not now.")

    await database.transact(place, "a", 1, 2)
    async with running(reaction(database, jetstream, stick)):
        await tell(database, jetstream)
        await first.wait()
    await database.transact(place, "a", 3)
    await tell(database, jetstream)
    async with running(reaction(database, jetstream, react)):
        await eventually(lambda: _is_acked(jetstream, 3))
    assert await noted(database, "reaction") == [("a", 1), ("a", 2), ("a", 3)]


async def test_events_that_a_reaction_tells_are_kept_with_its_rows(
    database: Database, jetstream: Jetstream
) -> None:
    async def answer(work: UnitOfWork, event: Event[Any]) -> None:
        await note(work, "reaction", event)
        work.publish(OrderPaid(order_id=event.key, number=event.version))

    await database.transact(place, "a", 1)
    async with running(reaction(database, jetstream, answer)):
        await tell(database, jetstream)
        await eventually(lambda: _is_noted(database, 1))
    types = sql("SELECT type FROM outbox ORDER BY id")
    rows = await database.read(lambda work: work.fetch_all(types))
    assert [row["type"].rpartition(".")[2] for row in rows] == ["OrderPlaced", "OrderPaid"]


async def _is_noted(database: Database, count: int) -> bool:
    return len(await noted(database, "reaction")) >= count


async def _is_acked(jetstream: Jetstream, sequence: int) -> bool:
    return await acked(jetstream) >= sequence
