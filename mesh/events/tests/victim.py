"""A shop that places orders until it has placed as many as it is told to, or is killed.

Run as a module: the database's URL, the NATS server's URL, how many orders, their keys.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from mesh.db import UnitOfWork, open_database, sql
from mesh.events.envelope import seal
from mesh.events.jetstream import Jetstream
from mesh.events.loops import EventLoops
from mesh.testing.waiting import eventually

from .shop import GREETING, ORDERS, noted, place, unsent

_COUNT = sql("SELECT COUNT(*) AS count FROM outbox")


async def place_next(work: UnitOfWork, keys: int) -> int:
    row = await work.fetch_one(_COUNT)
    assert row is not None
    placed: int = row["count"]
    await place(work, f"order-{placed % keys}", placed + 1)
    return placed + 1


async def sell(url: str, nats_url: str, orders: int, keys: int) -> None:
    database = await open_database(url, seal=partial(seal, source="shop"))
    jetstream = Jetstream(nats_url, service="shop")
    loops = EventLoops(database, jetstream, "shop", [ORDERS], [GREETING], instance="only")
    await jetstream.start()
    await loops.start()
    while await database.transact(place_next, keys) < orders:  # noqa: ASYNC110
        await asyncio.sleep(0.002)

    async def is_done() -> bool:
        counts = [len(await noted(database, listener)) for listener in ("projection", "reaction")]
        return await unsent(database) == 0 and min(counts) >= orders

    await eventually(is_done)
    await loops.stop()
    await jetstream.stop()
    await database.close()


if __name__ == "__main__":
    asyncio.run(sell(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
