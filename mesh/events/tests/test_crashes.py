from __future__ import annotations

import asyncio
import os
import random
import sys
from functools import partial
from pathlib import Path

import pytest

from mesh.db import Database, sql
from mesh.testing.nats import NatsServer
from mesh.testing.waiting import eventually

from .shop import noted

COUNT = sql("SELECT COUNT(*) AS count FROM outbox")
ORDERS, KEYS, KILLS = 400, 7, 6


@pytest.mark.timeout(120)
async def test_killing_the_service_now_and_then_loses_nothing_and_doubles_nothing(
    database: Database, nats_server: NatsServer, tmp_path: Path
) -> None:
    chance = random.Random(11)
    url = f"sqlite:///{tmp_path}/shop.db"
    command = ["-m", "mesh.events.tests.victim", url, nats_server.url, str(ORDERS), str(KEYS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for kill in range(1, KILLS + 1):
        process = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment)
        enough = ORDERS * kill // (KILLS + 1) - chance.randrange(20)
        await eventually(partial(_has_placed, database, enough))
        process.kill()
        await process.wait()
    process = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment)
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    for listener in ("projection", "reaction"):
        applied = await noted(database, listener)
        assert sorted(number for _, number in applied) == list(range(1, ORDERS + 1))
        for key in range(KEYS):
            numbers = [number for order_id, number in applied if order_id == f"order-{key}"]
            assert numbers == sorted(numbers)


async def _has_placed(database: Database, count: int) -> bool:
    row = await database.read(lambda work: work.fetch_one(COUNT))
    assert row is not None
    placed: int = row["count"]
    return placed >= count
