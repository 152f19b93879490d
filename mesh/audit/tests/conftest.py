"""A database with its audit, on SQLite and on PostgreSQL, and calls that change something in it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from mesh.audit.witness import witness
from mesh.db import Database, Row, UnitOfWork, open_database, sql
from mesh.db.migrate import migrate
from mesh.rpc.context import Caller, Outgoing, User, outgoing
from mesh.rpc.policy import method_of, policy_of
from mesh.testing.postgres import postgres_server
from meshapi.v1.events_pb2 import PauseSubscriptionRequest

PAUSE = policy_of(method_of("/meshapi.v1.EventsService/PauseSubscription"))
NOTE = sql("INSERT INTO cursors (projection, stream, sequence) VALUES (:name, 's', 1)")
RECORDS = sql("SELECT * FROM audit ORDER BY id")
OWNER = Caller("bff", User(user_id="maria", session_id="s-1"))


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/bank.db" if is_sqlite else postgres_server().new_database()
    await asyncio.to_thread(migrate, url)
    return url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = await open_database(url, witness=witness)
    yield database
    await database.close()


async def note(work: UnitOfWork, name: str) -> None:
    """Changes something."""
    await work.execute(NOTE, name=name)


async def changed(database: Database, name: str, caller: Caller | None = OWNER) -> None:
    """Changes something in a call."""
    request = PauseSubscriptionRequest(subscription=name)
    with outgoing(Outgoing(caller=caller, policy=PAUSE, request=request)):
        await database.transact(note, name)


async def records(database: Database) -> list[Row]:
    async def read(work: UnitOfWork) -> list[Row]:
        return await work.fetch_all(RECORDS)

    return await database.read(read)


async def behind(url: str, statements: Sequence[str]) -> None:
    """Does something to the rows of the audit as somebody would who owns the database."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            for name in ("delete", "change", "reseal"):
                connection.execute(f"DROP TRIGGER audit_{name}")
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        return
    postgres = await asyncpg.connect(url)
    try:
        await postgres.execute("ALTER TABLE audit DISABLE TRIGGER USER")
        for statement in statements:
            await postgres.execute(statement.replace("x'", "'\\x"))
    finally:
        await postgres.close()
