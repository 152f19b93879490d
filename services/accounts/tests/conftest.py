from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from mesh.db import open_database
from mesh.db.migrate import migrate
from mesh.events.envelope import seal
from mesh.testing.postgres import postgres_url

from .ledger import VERSIONS, Ledger

__all__ = ["postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    """The ledger's own database, migrated: each test runs on both kinds."""
    url = f"sqlite:///{tmp_path}/accounts.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    await asyncio.to_thread(migrate, url, VERSIONS)
    database = await open_database(url, seal=partial(seal, source="accounts"))
    yield Ledger(database)
    await database.close()
