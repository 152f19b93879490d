from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from mesh.db import Database, open_database
from mesh.db.migrate import migrate
from mesh.events.envelope import seal
from mesh.testing.harness import running
from mesh.testing.postgres import postgres_url
from services.suppliers import store
from services.suppliers.app import build

from .driver import Suppliers

__all__ = ["postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """The service's own database, migrated: each test runs on both kinds."""
    url = f"sqlite:///{tmp_path}/suppliers.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    await asyncio.to_thread(migrate, url, Path(store.__file__).parent / "migrations")
    database = await open_database(url, seal=partial(seal, source="suppliers"))
    yield database
    await database.close()


@pytest.fixture
async def suppliers(tmp_path: Path) -> AsyncIterator[Suppliers]:
    """The service, with Ana's company and Bia's."""
    async with running(build, tmp_path) as service:
        suppliers = Suppliers(service)
        for user_id, company_id in (("ana", suppliers.bakery), ("bia", suppliers.mill)):
            await suppliers.give_role(user_id, company_id, "OWNER")
        yield suppliers
