"""Units of work on SQLite against the same statements with a commit each, in interleaved pairs.

A unit is a transfer: two guarded balance updates, two postings, one outbox row. The plain loop is
`sqlite3` with the same settings, in one thread, one transfer after the other. A third figure is
taken with an event loop that is kept busy, as a service's is.

    PYTHONPATH=.:protos/gen python -m benchmarks.db [--pairs 5] [--units 4000] [--callers 64]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import tempfile
import time
from itertools import count
from pathlib import Path
from statistics import median

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from mesh.clock import now_us
from mesh.db import Database, Envelope, UnitOfWork, open_database, sql
from mesh.db.migrate import migrate
from mesh.errors import FailedPrecondition
from mesh.ids import new_id

ACCOUNTS = 1000
SCHEMA = (
    "CREATE TABLE accounts (id TEXT PRIMARY KEY, balance BIGINT NOT NULL, version BIGINT NOT NULL,"
    " CHECK (balance >= 0)) WITHOUT ROWID",
    "CREATE TABLE postings (entry_id TEXT, account_id TEXT, amount BIGINT NOT NULL,"
    " PRIMARY KEY (entry_id, account_id)) WITHOUT ROWID",
)
TAKE = sql(
    "UPDATE accounts SET balance = balance - :amount, version = version + 1"
    " WHERE id = :id AND balance >= :amount"
)
ADD = sql("UPDATE accounts SET balance = balance + :amount, version = version + 1 WHERE id = :id")
POST = sql(
    "INSERT INTO postings (entry_id, account_id, amount) VALUES (:entry_id, :account_id, :amount)"
)
OUTBOX = (
    "INSERT INTO outbox (event_id, subject, type, key, version, headers, payload, created_at_us)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
turns = count()


def seal(event: Message, version: int) -> Envelope:
    event_id = new_id()
    return Envelope(
        event_id=event_id,
        subject="bank.accounts.v1.EntryPosted.a",
        type="bank.accounts.v1.EntryPosted",
        key="a",
        version=version,
        headers={"ce-id": event_id, "ce-type": "bank.accounts.v1.EntryPosted"},
        payload=event.SerializeToString(),
        created_at_us=now_us(),
    )


async def transfer(work: UnitOfWork, payer: str, payee: str, amount: int) -> None:
    entry_id = new_id()
    if not await work.execute(TAKE, id=payer, amount=amount):
        raise FailedPrecondition("INSUFFICIENT_FUNDS", "The balance is too low.")
    await work.execute(ADD, id=payee, amount=amount)
    await work.execute(POST, entry_id=entry_id, account_id=payer, amount=-amount)
    await work.execute(POST, entry_id=entry_id, account_id=payee, amount=amount)
    work.publish(StringValue(value=entry_id), version=1)


def pair() -> tuple[str, str]:
    turn = next(turns)
    return f"account-{turn % ACCOUNTS}", f"account-{(turn * 7 + 1) % ACCOUNTS}"


def plain(connection: sqlite3.Connection, units: int) -> float:
    """Transfers in a second, a commit each."""
    cursor = connection.cursor()
    started = time.perf_counter()
    for _ in range(units):
        payer, payee = pair()
        entry_id = new_id()
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute(TAKE.sqlite, TAKE.bind({"amount": 1, "id": payer}))
        assert cursor.rowcount == 1
        cursor.execute(ADD.sqlite, ADD.bind({"amount": 1, "id": payee}))
        cursor.execute(POST.sqlite, (entry_id, payer, -1))
        cursor.execute(POST.sqlite, (entry_id, payee, 1))
        event = seal(StringValue(value=entry_id), 1)
        cursor.execute(
            OUTBOX,
            (
                event.event_id,
                event.subject,
                event.type,
                event.key,
                event.version,
                json.dumps(event.headers),
                event.payload,
                event.created_at_us,
            ),
        )
        cursor.execute("COMMIT")
    return units / (time.perf_counter() - started)


async def grouped(database: Database, units: int, callers: int) -> float:
    """Transfers in a second, from callers that each wait for their answer."""

    async def caller() -> None:
        for _ in range(units // callers):
            payer, payee = pair()
            await database.transact(transfer, payer, payee, 1)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return units // callers * callers / (time.perf_counter() - started)


async def kept_busy() -> None:
    """Uses the event loop's thread up, in slices of about 0.1 ms."""
    while True:
        ends = time.perf_counter() + 0.0001
        while time.perf_counter() < ends:
            pass
        await asyncio.sleep(0)


async def run(folder: Path, pairs: int, units: int, callers: int) -> None:
    paths = [folder / "plain.db", folder / "grouped.db"]
    for path in paths:
        await asyncio.to_thread(migrate, f"sqlite:///{path}")
        with sqlite3.connect(path) as connection:
            for statement in SCHEMA:
                connection.execute(statement)
            rows = [(f"account-{n}", 10**9, 0) for n in range(ACCOUNTS)]
            connection.executemany("INSERT INTO accounts VALUES (?, ?, ?)", rows)
        connection.close()
    raw = sqlite3.connect(paths[0], isolation_level=None)
    raw.execute("PRAGMA synchronous = FULL")
    database = await open_database(f"sqlite:///{paths[1]}", seal=seal)
    measured = []
    for _ in range(pairs):
        one_each = plain(raw, units)
        together = await grouped(database, units, callers)
        load = asyncio.create_task(kept_busy())
        beside = await grouped(database, units // 4, callers)
        load.cancel()
        measured.append(together / one_each)
        print(
            f"plain {one_each:6.0f}/s   grouped {together:6.0f}/s   busy loop {beside:6.0f}/s"
            f"   ratio {measured[-1]:.2f}"
        )
    for path in paths:
        with sqlite3.connect(path) as connection:
            [(events,)] = connection.execute("SELECT COUNT(*) FROM outbox")
            assert connection.execute("SELECT COUNT(*) FROM postings").fetchone() == (2 * events,)
        connection.close()
    print(f"median ratio {median(measured):.2f} at {callers} callers")
    await database.close()
    raw.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--units", type=int, default=4000)
    parser.add_argument("--callers", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), arguments.pairs, arguments.units, arguments.callers))


if __name__ == "__main__":
    main()
