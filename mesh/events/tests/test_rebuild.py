from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from mesh.db import Database, UnitOfWork, open_database, sql
from mesh.db.migrate import migrate
from mesh.events import Event, Projection
from mesh.events.envelope import seal
from mesh.events.jetstream import Jetstream
from mesh.testing.postgres import postgres_url
from mesh.testing.waiting import eventually
from meshapi.v1 import events_pb2 as pb

from .contract import OrderPlaced
from .service import Shop, a_shop
from .shop import place

__all__ = ["postgres_url"]

MAKE = sql("CREATE TABLE totals (order_id TEXT PRIMARY KEY, orders BIGINT NOT NULL)")
ADD = sql(
    "INSERT INTO totals (order_id, orders) VALUES (:order_id, 1)"
    " ON CONFLICT (order_id) DO UPDATE SET orders = totals.orders + 1"
)
TOTALS = sql("SELECT order_id, orders FROM totals ORDER BY order_id")
SPOIL = (
    sql("UPDATE totals SET orders = 99 WHERE order_id = 'order-1'"),
    sql("DELETE FROM totals WHERE order_id = 'order-2'"),
    sql("INSERT INTO totals (order_id, orders) VALUES ('nobody', 1)"),
)
KEYS = [f"order-{number}" for number in range(10)]


async def count(work: UnitOfWork, event: Event[Any]) -> None:
    await work.execute(ADD, order_id=event.data.order_id)


COUNTING = Projection(name="totals", on={OrderPlaced: count}, tables=("totals",))


async def make(work: UnitOfWork) -> None:
    await work.execute(MAKE)


async def spoil(work: UnitOfWork) -> None:
    for statement in SPOIL:
        await work.execute(statement)


async def totals(database: Database) -> dict[str, int]:
    async def fetch(work: UnitOfWork) -> dict[str, int]:
        return {row["order_id"]: row["orders"] for row in await work.fetch_all(TOTALS)}

    return await database.read(fetch)


async def rebuild(shop: Shop, name: str = "totals") -> list[pb.RebuildProjectionResponse]:
    request = pb.RebuildProjectionRequest(subscription=f"shop-{name}")
    return [told async for told in shop.operator.RebuildProjection(request)]


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/counting.db"


async def test_rows_are_built_anew_while_events_come_and_nobody_reads_less_than_before(
    url: str, jetstream: Jetstream
) -> None:
    await asyncio.to_thread(migrate, url)
    database = await open_database(url, seal=partial(seal, source="shop"))
    await database.transact(make)
    told = 0

    async def tell(rounds: int) -> None:
        nonlocal told
        for _ in range(rounds):
            told += 1
            await asyncio.gather(*(database.transact(place, key, told) for key in KEYS))

    async def is_level() -> bool:
        return (await totals(database)).get(KEYS[5]) == told

    seen: list[int] = []

    async def read_on() -> None:
        while True:
            seen.append((await totals(database))[KEYS[5]])
            await asyncio.sleep(0.002)

    async with a_shop(database, jetstream, projections=[COUNTING], url=url) as shop:
        await tell(30)
        await eventually(is_level)
        await database.transact(spoil)
        reading = asyncio.create_task(read_on())
        rebuilding = asyncio.create_task(rebuild(shop))
        while not rebuilding.done():
            await tell(1)
            await asyncio.sleep(0.002)
        done = rebuilding.result()[-1]
        await tell(5)
        await eventually(is_level)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        assert done.phase == pb.REBUILD_PHASE_DONE
        # Changed, missing, and too much; beside what came while it was built.
        assert (done.removed, done.added) >= (2, 2)
        assert await totals(database) == dict.fromkeys(KEYS, told)
        assert seen == sorted(seen)
        assert [each.removed + each.added for each in await rebuild(shop)][-1] == 0
    await database.close()


async def test_a_rebuild_that_cannot_be_is_refused_and_changes_nothing(
    tmp_path: Path, jetstream: Jetstream
) -> None:
    url = f"sqlite:///{tmp_path}/counting.db"
    await asyncio.to_thread(migrate, url)
    database = await open_database(url, seal=partial(seal, source="shop"))
    await database.transact(make)

    async def breaks_the_rule(work: UnitOfWork, event: Event[Any]) -> None:
        await work.fetch_all(sql("SELECT * FROM sagas"))
        await count(work, event)

    projections = [
        COUNTING,
        Projection(name="silent", on={OrderPlaced: count}),
        Projection(name="unknown", on={OrderPlaced: count}, tables=("nothing",)),
        Projection(name="curious", on={OrderPlaced: breaks_the_rule}, tables=("totals",)),
    ]

    async def is_counted() -> bool:
        return await totals(database) == {"a": 4}

    async with a_shop(database, jetstream, projections=projections, url=url) as shop:
        await database.transact(place, "a", 1)
        await eventually(is_counted)
        for name, why in (("silent", "does not declare"), ("unknown", "no table nothing")):
            with pytest.raises(Exception, match=why):
                await rebuild(shop, name)
        with pytest.raises(Exception, match=r"The rebuild stands: .*ORDERS 1"):
            await rebuild(shop, "curious")
        assert await totals(database) == {"a": 4}
        assert not [name for name in os.listdir(tmp_path) if "rebuild" in name]
    await database.close()


async def test_a_rebuild_that_nobody_waits_for_any_more_leaves_nothing_behind(
    tmp_path: Path, jetstream: Jetstream
) -> None:
    url = f"sqlite:///{tmp_path}/counting.db"
    await asyncio.to_thread(migrate, url)
    database = await open_database(url, seal=partial(seal, source="shop"))
    await database.transact(make)
    request = pb.RebuildProjectionRequest(subscription="shop-totals")

    def is_left() -> bool:
        return not [name for name in os.listdir(tmp_path) if "rebuild" in name]

    async def is_counted() -> bool:
        return await totals(database) == {"a": 1}

    async with a_shop(database, jetstream, projections=[COUNTING], url=url) as shop:
        await database.transact(place, "a", 1)
        await eventually(is_counted)
        call = shop.operator.RebuildProjection(request)
        assert (await call.read()).phase == pb.REBUILD_PHASE_READING
        call.cancel()
        await eventually(is_left)

        async def is_free() -> bool:
            try:
                told = await rebuild(shop)
            except grpc.RpcError as error:
                if "Another rebuild" not in str(error):
                    raise
                return False
            return told[-1].phase == pb.REBUILD_PHASE_DONE

        await eventually(is_free)
        assert await is_counted()
    await database.close()
