from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from mesh.db import Database, open_database
from mesh.db.migrate import migrate
from mesh.events.envelope import seal
from mesh.testing.postgres import postgres_server

from .journey import make_tables


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/journeys.db"
    else:
        url = postgres_server().new_database()
    await asyncio.to_thread(migrate, url)
    return url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = await open_database(url, seal=partial(seal, source="journeys"))
    await database.transact(make_tables)
    yield database
    await database.close()


@pytest.fixture
async def beside(url: str, database: Database) -> AsyncIterator[Database]:
    """The same database, as another process sees it."""
    beside = await open_database(url, seal=partial(seal, source="journeys"))
    yield beside
    await beside.close()
