from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.db import open_database
from mesh.db.migrate import migrate
from mesh.testing.postgres import postgres_url

from .driver import VERSIONS, Statements

__all__ = ["postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def statements(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Statements]:
    """The service on its own database, migrated, with one account: each test runs on both kinds."""
    url = f"sqlite:///{tmp_path}/statements.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    await asyncio.to_thread(migrate, url, VERSIONS)
    database = await open_database(url)
    statements = Statements(database)
    await statements.open()
    yield statements
    await database.close()
