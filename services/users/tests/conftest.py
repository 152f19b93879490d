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
from services.users.api import api_keys, companies, people, staff, tokens
from services.users.api import users as door

from .driver import VERSIONS, Clock, Users

__all__ = ["postgres_url"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (api_keys, companies, people, staff, tokens, door):
        monkeypatch.setattr(module, "now_us", clock)
    return clock


@pytest.fixture(params=["sqlite", "postgresql"])
async def users(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Users]:
    """The service on its own database, migrated: each test runs on both kinds."""
    url = f"sqlite:///{tmp_path}/users.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    await asyncio.to_thread(migrate, url, VERSIONS)
    database = await open_database(url, seal=partial(seal, source="users"))
    yield Users(database, clock)
    await database.close()
