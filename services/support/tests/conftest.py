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
from services.support import store
from services.support.app import build

from .driver import Support

__all__ = ["postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """The service's own database, migrated: each test runs on both kinds."""
    url = f"sqlite:///{tmp_path}/support.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    await asyncio.to_thread(migrate, url, Path(store.__file__).parent / "migrations")
    database = await open_database(url, seal=partial(seal, source="support"))
    yield database
    await database.close()


@pytest.fixture
async def support(tmp_path: Path) -> AsyncIterator[Support]:
    """The service, with Ana and her company's account, and Bia and hers."""
    async with running(build, tmp_path) as service:
        support = Support(service)
        for user_id, account_id in (("ana", support.bakery), ("bia", support.mill)):
            await support.open_account(user_id, account_id)
        yield support
