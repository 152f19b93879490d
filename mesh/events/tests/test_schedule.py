from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from mesh.clock import now_us
from mesh.db import Database, UnitOfWork, sql
from mesh.events.jetstream import Jetstream
from mesh.events.schedule import Scheduler
from mesh.testing.nats import NatsServer
from mesh.testing.waiting import eventually

from .contract import OrderPlaced
from .reading import ids_in
from .shop import noted

OUTBOX = sql("SELECT event_id, headers, created_at_us FROM outbox ORDER BY id")
LEFT = sql("SELECT COUNT(*) AS count FROM scheduled_events")
ORDERS, KEYS, KILLS = 240, 6, 4


async def schedule(work: UnitOfWork, orders: int, first_us: int, every_us: int) -> None:
    for number in range(1, orders + 1):
        event = OrderPlaced(order_id=f"order-{number % KEYS}", number=number)
        work.publish(event, version=number, at_us=first_us + number * every_us)


async def left(database: Database) -> int:
    row = await database.read(lambda work: work.fetch_one(LEFT))
    assert row is not None
    count: int = row["count"]
    return count


async def test_what_is_for_later_is_not_in_the_outbox_and_moves_once(database: Database) -> None:
    began = now_us()
    await database.transact(schedule, 3, began + 3_600_000_000, 1)
    await database.transact(schedule, 2, began - 1_000_000, 1)
    rows = await database.read(lambda work: work.fetch_all(OUTBOX))
    assert len(rows) == 2
    scheduler = Scheduler(database)
    assert 0 < await scheduler.step() <= 1
    assert await left(database) == 3

    async def make_due(work: UnitOfWork) -> None:
        await work.execute(sql("UPDATE scheduled_events SET due_at_us = 1"))

    await database.transact(make_due)
    await asyncio.gather(scheduler.step(), Scheduler(database).step())
    rows = await database.read(lambda work: work.fetch_all(OUTBOX))
    assert len(rows) == 5
    assert len({row["event_id"] for row in rows}) == 5
    assert all(row["created_at_us"] >= began for row in rows[2:])
    assert all('"scheduled-as"' in row["headers"] for row in rows[2:])


@pytest.mark.timeout(90)
async def test_scheduled_events_survive_kill_9_and_are_told_once_in_order(
    database: Database, jetstream: Jetstream, nats_server: NatsServer, tmp_path: Path
) -> None:
    await database.transact(schedule, ORDERS, now_us() + 1_000_000, 10_000)
    url = f"sqlite:///{tmp_path}/shop.db"
    command = ["-m", "mesh.events.tests.clockwork", url, nats_server.url]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    async def has_left_at_most(count: int) -> bool:
        return await left(database) <= count

    async def is_heard(listener: str) -> bool:
        return len(await noted(database, listener)) >= ORDERS

    for kill in range(1, KILLS + 2):
        process = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment)
        try:
            await eventually(partial(has_left_at_most, ORDERS - ORDERS * kill // (KILLS + 1)))
            if kill > KILLS:
                await eventually(partial(is_heard, "projection"))
                await eventually(partial(is_heard, "reaction"))
        finally:
            process.kill()
            await process.wait()
    told = await ids_in(await jetstream.connection())
    assert len({event_id for event_id, _, _ in told}) == ORDERS
    for listener in ("projection", "reaction"):
        applied = await noted(database, listener)
        assert sorted(number for _, number in applied) == list(range(1, ORDERS + 1))
        for key in range(KEYS):
            numbers = [number for order_id, number in applied if order_id == f"order-{key}"]
            assert numbers == sorted(numbers)
