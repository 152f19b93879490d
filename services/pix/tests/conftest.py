from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from mesh.db import Database, open_database
from mesh.db.migrate import migrate
from mesh.events.envelope import seal
from mesh.testing.postgres import postgres_url
from services.pix import tables

from .directory import Directory
from .rig import Rail, a_rail

__all__ = ["postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """The service's own database, migrated: each test runs on both kinds."""
    url = f"sqlite:///{tmp_path}/pix.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    await asyncio.to_thread(migrate, url, Path(tables.__file__).parent / "migrations")
    database = await open_database(url, seal=partial(seal, source="pix"))
    yield database
    await database.close()


@pytest.fixture
async def rail(tmp_path: Path) -> AsyncIterator[Rail]:
    """The service over real gRPC."""
    async with a_rail(tmp_path) as rail:
        yield rail


@pytest.fixture
def directory(rail: Rail) -> Directory:
    return Directory(rail)
