"""A shop that only tells what was scheduled, until it is killed.

Run as a module: the database's URL, the NATS server's URL.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from mesh.db import open_database
from mesh.events.envelope import seal
from mesh.events.jetstream import Jetstream
from mesh.events.loops import EventLoops

from .shop import GREETING, ORDERS


async def tick(url: str, nats_url: str) -> None:
    database = await open_database(url, seal=partial(seal, source="shop"))
    jetstream = Jetstream(nats_url, service="shop")
    loops = EventLoops(database, jetstream, "shop", [ORDERS], [GREETING], instance="only")
    await jetstream.start()
    await loops.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(tick(sys.argv[1], sys.argv[2]))
