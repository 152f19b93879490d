"""A shop that only posts to webhooks, until it is killed. Run as a module: the database's URL."""

from __future__ import annotations

import asyncio
import sys

from mesh.db import open_database
from mesh.events.webhooks import Webhooks


async def post(url: str) -> None:
    await Webhooks(await open_database(url), is_open=True).run()


if __name__ == "__main__":
    asyncio.run(post(sys.argv[1]))
