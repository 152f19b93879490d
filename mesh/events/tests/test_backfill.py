from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh.db import Database, UnitOfWork, open_database, sql
from mesh.db.migrate import migrate
from mesh.events import Projection
from mesh.events.backfill import Fact, Facts
from mesh.events.envelope import seal
from mesh.events.jetstream import Jetstream
from mesh.testing.postgres import postgres_url
from mesh.testing.waiting import eventually
from meshapi.v1 import events_pb2 as pb

from .contract import OrderPaid, OrderPlaced
from .service import Shop, a_shop
from .test_rebuild import COUNTING, KEYS, count, make, totals

__all__ = ["postgres_url"]

# What the shop itself knows of its orders: how often each was placed.
BOOK = sql("CREATE TABLE book (order_id TEXT PRIMARY KEY, placed BIGINT NOT NULL)")
ENTER = sql(
    "INSERT INTO book (order_id, placed) VALUES (:order_id, 1)"
    " ON CONFLICT (order_id) DO UPDATE SET placed = book.placed + 1 RETURNING placed"
)
LOOK_UP = sql("SELECT order_id, placed FROM book WHERE order_id > :after ORDER BY order_id LIMIT 1")


async def open_book(work: UnitOfWork) -> None:
    await work.execute(BOOK)


async def order(work: UnitOfWork, order_id: str) -> None:
    row = await work.fetch_one(ENTER, order_id=order_id)
    assert row is not None
    event = OrderPlaced(order_id=order_id, number=row["placed"])
    work.publish(event, version=row["placed"])


async def page(work: UnitOfWork, mark: str, most: int) -> Sequence[Fact]:
    """A page is all that is known of one order."""
    row = await work.fetch_one(LOOK_UP, after=mark)
    if row is None:
        return ()
    return [
        Fact(
            event=OrderPlaced(order_id=row["order_id"], number=number),
            version=number,
            time_us=1,
            mark=row["order_id"],
        )
        for number in range(1, row["placed"] + 1)
    ]


PLACED = Facts(of=OrderPlaced, page=page)


async def drop_beginning(jetstream: Jetstream, keep: int) -> None:
    """Has the stream keep its last events alone, as its age does."""
    connection = await jetstream.connection()
    config = (await connection.api("STREAM.INFO.ORDERS"))["config"]
    await connection.api("STREAM.UPDATE.ORDERS", {**config, "max_msgs": keep, "discard": "old"})
    await connection.api("STREAM.UPDATE.ORDERS", {**config, "discard": "old"})
    assert (await connection.api("STREAM.INFO.ORDERS"))["state"]["messages"] == keep


async def rebuild(shop: Shop) -> list[pb.RebuildProjectionResponse]:
    request = pb.RebuildProjectionRequest(subscription="shop-totals")
    return [told async for told in shop.operator.RebuildProjection(request)]


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/counting.db"


async def a_database(url: str) -> Database:
    await asyncio.to_thread(migrate, url)
    database = await open_database(url, seal=partial(seal, source="shop"))
    await database.transact(make)
    await database.transact(open_book)
    return database


async def test_rows_are_built_anew_from_the_owner_where_the_stream_begins_later(
    url: str, jetstream: Jetstream
) -> None:
    """Orders go on all the while; each is counted once, by the owner's word or by the stream's."""
    database = await a_database(url)
    going_on = True

    async def go_on() -> None:
        number = 0
        while going_on:
            await database.transact(order, KEYS[number % 10])
            number += 1
            await asyncio.sleep(0.001)

    async with a_shop(database, jetstream, projections=[COUNTING], url=url, facts=[PLACED]) as shop:
        for number in range(100):
            await database.transact(order, KEYS[number % 10])

        async def is_counted() -> bool:
            return await totals(database) == dict.fromkeys(KEYS, 10)

        await eventually(is_counted)
        await drop_beginning(jetstream, 5)
        spoil = sql("UPDATE totals SET orders = 1000 WHERE order_id = 'order-1'")
        await database.transact(_run, spoil)
        ordering = asyncio.create_task(go_on())
        try:
            told = await rebuild(shop)
        finally:
            going_on = False
            await ordering
        assert told[-1].phase == pb.REBUILD_PHASE_DONE

        async def is_equal() -> bool:
            return await totals(database) == await book(database)

        await eventually(is_equal)
    await database.close()


async def test_a_projection_that_stands_before_what_was_dropped_goes_on_after_a_rebuild(
    tmp_path: Path, jetstream: Jetstream
) -> None:
    url = f"sqlite:///{tmp_path}/counting.db"
    database = await a_database(url)
    async with a_shop(database, jetstream, projections=[COUNTING], url=url) as shop:
        await database.transact(order, "a")

        async def is_counted() -> bool:
            return await totals(database) == {"a": 1}

        await eventually(is_counted)
    async with a_shop(database, jetstream, projections=[], url=url):
        for _ in range(20):
            await database.transact(order, "a")

        async def is_sent() -> bool:
            connection = await jetstream.connection()
            return bool((await connection.api("STREAM.INFO.ORDERS"))["state"]["last_seq"] == 21)

        await eventually(is_sent)
        await drop_beginning(jetstream, 3)
    async with a_shop(database, jetstream, projections=[COUNTING], url=url, facts=[PLACED]) as shop:

        async def stands() -> bool:
            return "rebuild" in (await shop.subscriptions())["shop-totals"].problem

        await eventually(stands)
        await rebuild(shop)
        await database.transact(order, "a")

        async def is_whole() -> bool:
            return await totals(database) == {"a": 22}

        await eventually(is_whole)
    await database.close()


async def test_what_an_owner_does_not_tell_again_is_refused(
    tmp_path: Path, jetstream: Jetstream
) -> None:
    url = f"sqlite:///{tmp_path}/counting.db"
    database = await a_database(url)
    both = Projection(name="totals", on={OrderPlaced: count, OrderPaid: count}, tables=("totals",))
    async with a_shop(database, jetstream, projections=[both], url=url, facts=[PLACED]) as shop:
        for _ in range(4):
            await database.transact(order, "a")

        async def is_counted() -> bool:
            return await totals(database) == {"a": 4}

        await eventually(is_counted)
        await drop_beginning(jetstream, 1)
        with pytest.raises(Exception, match="OrderPaid is not told again"):
            await rebuild(shop)
        assert await totals(database) == {"a": 4}
    await database.close()


async def book(database: Database) -> dict[str, int]:
    async def fetch(work: UnitOfWork) -> dict[str, int]:
        rows = await work.fetch_all(sql("SELECT order_id, placed FROM book ORDER BY order_id"))
        return {row["order_id"]: row["placed"] for row in rows}

    return await database.read(fetch)


async def _run(work: UnitOfWork, statement: Any) -> None:
    await work.execute(statement)
