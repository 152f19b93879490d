"""The same database twice: on SQLite, and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.db import Database, open_database
from mesh.db.migrate import migrate
from mesh.testing.postgres import postgres_server

from .ledger import VERSIONS, seal


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/bank.db"
    return postgres_server().new_database()


@pytest.fixture
async def url(empty_url: str) -> str:
    await asyncio.to_thread(migrate, empty_url, VERSIONS)
    return empty_url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = await open_database(url, seal=seal)
    yield database
    await database.close()


@pytest.fixture
async def sqlite_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/bank.db"
    await asyncio.to_thread(migrate, url, VERSIONS)
    return url


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    database = await open_database(sqlite_url, seal=seal)
    yield database
    await database.close()
