"""What is PostgreSQL's own: conflicts, lost connections, locks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from mesh.db import Database, UnitOfWork, open_database, sql
from mesh.db.migrate import migrate
from mesh.errors import Transient
from mesh.testing.postgres import PostgresServer, postgres_server

from .ledger import ADD, FIND, VERSIONS, balance_of, deposit, open_account, seal


@pytest.fixture
async def postgres_database() -> AsyncIterator[tuple[str, Database]]:
    url = postgres_server().new_database()
    await asyncio.to_thread(migrate, url, VERSIONS)
    database = await open_database(url, seal=seal, lock_timeout_s=2)
    yield url, database
    await database.close()


async def test_units_that_deadlock_are_tried_again(
    postgres_database: tuple[str, Database],
) -> None:
    _, database = postgres_database
    tries: list[str] = []

    async def crossing(work: UnitOfWork, first: str, second: str) -> None:
        tries.append(first)
        await work.execute(ADD, id=first, amount=1)
        await work.fetch_one(sql("SELECT pg_sleep(0.1)"))
        await work.execute(ADD, id=second, amount=1)

    await database.transact(open_account, "a")
    await database.transact(open_account, "b")
    await asyncio.gather(
        database.transact(crossing, "a", "b"), database.transact(crossing, "b", "a")
    )
    assert len(tries) == 3
    assert await database.read(balance_of, "a") == 2
    assert await database.read(balance_of, "b") == 2


async def test_a_conflict_is_tried_again_three_times_at_most(
    postgres_database: tuple[str, Database],
) -> None:
    _, database = postgres_database
    tries: list[int] = []

    async def conflict(work: UnitOfWork) -> None:
        tries.append(len(tries))
        await work.execute(
            sql("DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$")
        )

    with pytest.raises(Transient):
        await database.transact(conflict)
    assert len(tries) == 4


async def test_a_migration_beside_a_running_unit_is_no_error(
    postgres_database: tuple[str, Database],
) -> None:
    url, database = postgres_database
    await database.transact(open_account, "a")

    async def all_columns(work: UnitOfWork) -> list[str]:
        row = await work.fetch_one(sql("SELECT * FROM accounts"))
        assert row is not None
        return list(row.keys())

    await asyncio.gather(*(database.transact(all_columns) for _ in range(5)))
    other = await asyncpg.connect(url)
    await other.execute("ALTER TABLE accounts ADD COLUMN more text")
    await other.close()
    for _ in range(5):
        assert "more" in await database.transact(all_columns)


async def test_a_row_that_is_locked_for_too_long_is_transient(
    postgres_database: tuple[str, Database],
) -> None:
    url, _ = postgres_database
    database = await open_database(url, lock_timeout_s=0.2)
    await database.transact(open_account, "a")
    other = await asyncpg.connect(url)
    async with other.transaction():
        await other.execute("UPDATE accounts SET balance = 5 WHERE id = 'a'")
        with pytest.raises(Transient):
            await database.transact(deposit, "a", 1)
    await other.close()
    await database.transact(deposit, "a", 1)
    assert await database.read(balance_of, "a") == 6
    await database.close()


async def test_connections_that_were_lost_are_made_again() -> None:
    server = PostgresServer()
    await asyncio.to_thread(server.start)
    try:
        url = server.new_database()
        await asyncio.to_thread(migrate, url, VERSIONS)
        database = await open_database(url, seal=seal)
        await database.transact(open_account, "a")
        await asyncio.gather(*(database.read(balance_of, "a") for _ in range(10)))
        await asyncio.to_thread(server.restart)
        await asyncio.gather(*(database.transact(deposit, "a", 1) for _ in range(20)))
        assert await database.read(balance_of, "a") == 20
        await database.close()
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_connection_in_an_unknown_state_is_replaced(
    postgres_database: tuple[str, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, database = postgres_database
    await database.transact(open_account, "a")
    execute = asyncpg.Connection.execute
    refused: list[asyncpg.Connection[asyncpg.Record]] = []

    async def no_idea(self: Any, query: str, *args: Any, **options: Any) -> str:
        if not refused or self in refused:
            refused.append(self)
            raise asyncpg.InternalClientError("cannot switch to state 11")
        return str(await execute(self, query, *args, **options))

    monkeypatch.setattr(asyncpg.Connection, "execute", no_idea)
    await database.transact(deposit, "a", 1)

    assert await database.read(balance_of, "a") == 1
    assert refused[0].is_closed()


async def test_a_connection_that_breaks_within_a_unit_leaves_nothing_of_it(
    postgres_database: tuple[str, Database],
) -> None:
    url, database = postgres_database
    await database.transact(open_account, "a")
    other = await asyncpg.connect(url)
    tries: list[int] = []

    async def interrupted(work: UnitOfWork) -> None:
        await deposit(work, "a", 1)
        row = await work.fetch_one(sql("SELECT pg_backend_pid() AS pid"))
        assert row is not None
        tries.append(row["pid"])
        if len(tries) == 1:
            await work.fetch_one(sql("SELECT pg_terminate_backend(pg_backend_pid())"))

    await database.transact(interrupted)
    assert len(set(tries)) == 2
    assert await database.read(balance_of, "a") == 1
    await other.close()


async def test_a_server_that_is_not_there_is_transient() -> None:
    with pytest.raises(Transient):
        await open_database("postgresql://postgres@127.0.0.1:1/bank")


async def test_a_read_is_one_snapshot(postgres_database: tuple[str, Database]) -> None:
    url, database = postgres_database
    await database.transact(open_account, "a")
    other = await asyncpg.connect(url)
    started = asyncio.Event()

    async def look_twice(work: UnitOfWork) -> list[int]:
        seen = []
        for _ in range(2):
            row = await work.fetch_one(
                sql("SELECT balance, pg_sleep(0.1) FROM accounts WHERE id = 'a'")
            )
            assert row is not None
            seen.append(row["balance"])
            asyncio.get_running_loop().call_soon(started.set)
        return seen

    looking = asyncio.create_task(database.read(look_twice))
    await started.wait()
    await other.execute("UPDATE accounts SET balance = 5")
    assert await looking == [0, 0]
    await other.close()


async def test_rows_are_locked_by_a_unit_that_says_so(
    postgres_database: tuple[str, Database],
) -> None:
    url, database = postgres_database
    await database.transact(open_account, "a")
    other = await asyncpg.connect(url)
    locked: list[bool] = []

    async def hold(work: UnitOfWork) -> None:
        await work.fetch_one(FIND, id="a")
        row = await work.fetch_one(
            sql("SELECT COUNT(*) AS n FROM pg_locks WHERE mode = 'RowShareLock' AND granted")
        )
        locked.append(row is not None and row["n"] > 0)

    await database.transact(hold)
    assert locked == [True]
    await other.close()
