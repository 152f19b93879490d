"""Units of work that the tests share: a small ledger."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from mesh.db import Envelope, UnitOfWork, sql
from mesh.errors import FailedPrecondition

VERSIONS = Path(__file__).parent / "versions"

OPEN = sql("INSERT INTO accounts (id, owner, balance) VALUES (:id, :owner, :balance)")
FIND = sql("SELECT id, owner, tag, balance FROM accounts WHERE id = :id FOR UPDATE")
PEEK = sql("SELECT balance FROM accounts WHERE id = :id")
LIST = sql("SELECT id, balance FROM accounts ORDER BY id")
SET = sql("UPDATE accounts SET balance = :balance WHERE id = :id")
ADD = sql("UPDATE accounts SET balance = balance + :amount WHERE id = :id")
TAKE = sql("UPDATE accounts SET balance = balance - :amount WHERE id = :id AND balance >= :amount")
MOVE = sql("INSERT INTO movements (id, account_id, amount) VALUES (:id, :account_id, :amount)")
COUNT_EVENTS = sql("SELECT COUNT(*) AS n FROM outbox")
COUNT_SAGAS = sql("SELECT COUNT(*) AS n FROM sagas")

_ids = count(1)


def seal(event: Message, version: int, attributes: Mapping[str, str]) -> Envelope:
    return Envelope(
        event_id=f"event-{next(_ids)}",
        subject="bank.test.v1.Moved.a",
        type=event.DESCRIPTOR.full_name,
        key="a",
        version=version,
        headers={"ce-id": "1"},
        payload=event.SerializeToString(),
        created_at_us=1,
    )


async def open_account(work: UnitOfWork, id: str, balance: int = 0) -> None:
    await work.execute(OPEN, id=id, owner=id, balance=balance)


async def balance_of(work: UnitOfWork, id: str) -> int | None:
    row = await work.fetch_one(PEEK, id=id)
    return None if row is None else int(row["balance"])


async def deposit(work: UnitOfWork, id: str, amount: int) -> None:
    if not await work.execute(ADD, id=id, amount=amount):
        raise FailedPrecondition("NO_ACCOUNT", "There is no such account.")


async def add_one(work: UnitOfWork, id: str) -> None:
    """Reads, modifies and writes: the update that is lost where a transaction begins too late."""
    row = await work.fetch_one(FIND, id=id)
    assert row is not None
    await work.execute(SET, id=id, balance=row["balance"] + 1)


async def transfer(work: UnitOfWork, payer: str, payee: str, amount: int) -> None:
    """Adds before it takes, so that a refusal has something to undo."""
    await work.execute(ADD, id=payee, amount=amount)
    work.publish(StringValue(value=payee), version=1)
    if not await work.execute(TAKE, id=payer, amount=amount):
        raise FailedPrecondition("INSUFFICIENT_FUNDS", "The balance is too low.")


async def events(work: UnitOfWork) -> int:
    row = await work.fetch_one(COUNT_EVENTS)
    assert row is not None
    return int(row["n"])


async def sagas(work: UnitOfWork) -> int:
    row = await work.fetch_one(COUNT_SAGAS)
    assert row is not None
    return int(row["n"])
