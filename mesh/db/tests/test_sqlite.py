"""What is SQLite's own: the group, the lock, the file."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from mesh.db import Database, UniqueViolated, UnitOfWork, open_database, sql
from mesh.errors import FailedPrecondition, Overloaded, Transient

from .ledger import ADD, add_one, balance_of, deposit, events, open_account, seal, transfer

PROMISE = sql("INSERT INTO promises (id, account_id) VALUES (:id, :account_id)")
DEADLINE_S = 20


class Gate:
    """Holds the writer inside a unit, so that others queue up behind it."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()

    async def unit(self, work: UnitOfWork, id: str, amount: int) -> None:
        await work.execute(ADD, id=id, amount=amount)
        self._entered.set()
        assert self._opened.wait(DEADLINE_S)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, DEADLINE_S)

    def open(self) -> None:
        self._opened.set()


async def test_a_refusal_in_a_group_takes_back_only_its_own(sqlite: Database) -> None:
    gate = Gate()
    for id, balance in (("a", 0), ("payer", 2)):
        await sqlite.transact(open_account, id, balance)
    first = asyncio.create_task(sqlite.transact(gate.unit, "a", 1))
    await gate.entered()
    others = [asyncio.create_task(sqlite.transact(transfer, "payer", "a", 1)) for _ in range(5)]
    violating = asyncio.create_task(sqlite.transact(open_account, "a"))
    await asyncio.sleep(0)
    gate.open()
    answers = await asyncio.gather(first, *others, violating, return_exceptions=True)
    assert [type(answer) for answer in answers] == [
        type(None),
        type(None),
        type(None),
        *[FailedPrecondition] * 3,
        UniqueViolated,
    ]
    assert await sqlite.read(balance_of, "a") == 3
    assert await sqlite.read(events) == 2


async def test_a_commit_that_fails_rejects_every_unit_of_its_group(sqlite: Database) -> None:
    gate = Gate()
    kept: list[str] = []
    await sqlite.transact(open_account, "a")

    async def promise(work: UnitOfWork) -> None:
        await work.execute(PROMISE, id="p", account_id="nobody")

    async def hope(work: UnitOfWork) -> None:
        work.on_commit(lambda: kept.append("a callback"))
        await deposit(work, "a", 1)

    first = asyncio.create_task(sqlite.transact(gate.unit, "a", 1))
    await gate.entered()
    others = [asyncio.create_task(sqlite.transact(unit)) for unit in (hope, promise, hope)]
    await asyncio.sleep(0)
    gate.open()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Transient] * 4
    assert await sqlite.read(balance_of, "a") == 0
    assert kept == []
    await sqlite.transact(deposit, "a", 1)
    assert await sqlite.read(balance_of, "a") == 1


async def test_a_read_never_sees_what_is_not_committed(sqlite: Database) -> None:
    gate = Gate()
    await sqlite.transact(open_account, "a")
    writing = asyncio.create_task(sqlite.transact(gate.unit, "a", 1))
    await gate.entered()
    assert await sqlite.read(balance_of, "a") == 0
    gate.open()
    await writing
    assert await sqlite.read(balance_of, "a") == 1


async def test_a_unit_whose_caller_has_gone_before_it_began_is_not_begun(sqlite: Database) -> None:
    gate = Gate()
    await sqlite.transact(open_account, "a")
    first = asyncio.create_task(sqlite.transact(gate.unit, "a", 1))
    await gate.entered()
    waiting = asyncio.create_task(sqlite.transact(deposit, "a", 10))
    await asyncio.sleep(0)
    waiting.cancel()
    first.cancel()
    await asyncio.gather(first, waiting, return_exceptions=True)
    gate.open()
    await sqlite.transact(deposit, "a", 100)
    assert await sqlite.read(balance_of, "a") == 101


async def test_a_full_disk_is_told_as_overload_and_reads_go_on(sqlite: Database) -> None:
    await sqlite.transact(open_account, "a", 1)

    async def limit(work: UnitOfWork) -> None:
        await work.fetch_one(sql("PRAGMA max_page_count = 1"))

    async def fill(work: UnitOfWork) -> None:
        await work.execute(sql("UPDATE accounts SET tag = :text"), text="x" * 1_000_000)

    await sqlite.transact(limit)
    with pytest.raises(Overloaded):
        await sqlite.transact(fill)
    assert await sqlite.read(balance_of, "a") == 1
    await sqlite.transact(deposit, "a", 1)
    assert await sqlite.read(balance_of, "a") == 2


async def test_a_locked_database_is_transient(sqlite_url: str) -> None:
    database = await open_database(sqlite_url, lock_timeout_s=0.05)
    await database.transact(open_account, "a")
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN IMMEDIATE")
        units = [database.transact(deposit, "a", 1) for _ in range(10)]
        answers = await asyncio.gather(*units, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Transient] * 10
        assert await database.read(balance_of, "a") == 0
        other.execute("ROLLBACK")
    await database.transact(deposit, "a", 1)
    assert await database.read(balance_of, "a") == 1
    await database.close()


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Transient):
        await open_database(f"sqlite:///{tmp_path}/none.db")
    assert os.listdir(tmp_path) == []


_ADD_100 = """
import asyncio, sys
from mesh.db import open_database
from mesh.db.tests.ledger import add_one

async def main(url):
    database = await open_database(url)
    await asyncio.gather(*(database.transact(add_one, "a") for _ in range(50)))
    for _ in range(50):
        await database.transact(add_one, "a")
    await database.close()

asyncio.run(main(sys.argv[1]))
"""


async def test_two_processes_lose_no_update_on_one_file(sqlite: Database, sqlite_url: str) -> None:
    await sqlite.transact(open_account, "a")
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", _ADD_100, sqlite_url)
        for _ in range(2)
    ]
    for _ in range(50):
        await sqlite.transact(add_one, "a")
    assert [await process.wait() for process in processes] == [0, 0]
    assert await sqlite.read(balance_of, "a") == 250


_TRANSFERS = """
import asyncio, sys
from itertools import count
from mesh.db import open_database
from mesh.db.tests.ledger import MOVE, seal, transfer

turns = count(int(sys.argv[2]) + 1)

async def pay(work, turn):
    await transfer(work, "payer", "payee", 1)
    await work.execute(MOVE, id=str(turn), account_id="payee", amount=turn)

async def caller(database):
    while True:
        turn = next(turns)
        await database.transact(pay, turn)
        print(turn, flush=True)

async def main(url):
    database = await open_database(url, seal=seal)
    await asyncio.gather(*(caller(database) for _ in range(8)))

asyncio.run(main(sys.argv[1]))
"""


async def test_a_kill_leaves_whole_units_and_all_that_were_answered(sqlite_url: str) -> None:
    database = await open_database(sqlite_url)
    await database.transact(open_account, "payer", 1_000_000)
    await database.transact(open_account, "payee")
    await database.close()
    last = 0
    for lines in (1, 17, 40, 90, 163):
        answered = await asyncio.to_thread(_kill_after, sqlite_url, last, lines)
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
            balances = dict(connection.execute("SELECT id, balance FROM accounts"))
            [(moved,)] = connection.execute("SELECT COUNT(*) FROM movements")
            [(told,)] = connection.execute("SELECT COUNT(*) FROM outbox")
            kept = {int(id) for (id,) in connection.execute("SELECT id FROM movements")}
        assert sum(balances.values()) == 1_000_000
        assert balances["payee"] == moved == told
        assert answered <= kept
        last = max(kept)


def _kill_after(url: str, last: int, lines: int) -> set[int]:
    """Kills a process in the middle of its transfers, and gives those it was told are kept."""
    process = subprocess.Popen(
        [sys.executable, "-c", _TRANSFERS, url, str(last)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    answered = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    answered += process.stdout.readlines()
    process.stdout.close()
    assert process.wait(DEADLINE_S) == -signal.SIGKILL
    return {int(line) for line in answered if line.endswith("\n")}


async def test_a_connection_that_reads_is_read_only_to_sqlite_itself(sqlite: Database) -> None:
    async def insist(work: UnitOfWork) -> None:
        await work.fetch_all(sql("PRAGMA query_only = OFF"))
        await work.fetch_all(sql("INSERT INTO accounts (id, owner, balance) VALUES ('a', 'a', 0)"))

    with pytest.raises(RuntimeError, match="a read cannot write"):
        await sqlite.read(insist)


async def test_a_database_that_cannot_open_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "bank.db"
    path.write_bytes(b"this is not a database, and never was one" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        await open_database(f"sqlite:///{path}", seal=seal)
