from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from mesh.db import Database, open_database
from mesh.db.migrate import migrate
from mesh.events.envelope import seal
from mesh.events.jetstream import Jetstream
from mesh.testing.nats import NatsServer, nats_server

from .shop import make_tables

__all__ = ["nats_server"]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path}/shop.db"
    await asyncio.to_thread(migrate, url)
    database = await open_database(url, seal=partial(seal, source="shop"))
    await database.transact(make_tables)
    yield database
    await database.close()


@pytest.fixture
async def jetstream(nats_server: NatsServer) -> AsyncIterator[Jetstream]:
    jetstream = Jetstream(nats_server.url, service="shop")
    await jetstream.start()
    yield jetstream
    await jetstream.stop()
