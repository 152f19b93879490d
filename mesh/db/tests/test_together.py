"""Orders that come at once are carried out by one unit of work, and each has its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from mesh.db import Asked, Database, Together, UniqueViolated, UnitOfWork, open_database
from mesh.errors import FailedPrecondition, Overloaded, Transient

from .ledger import ADD, OPEN, balance_of, events, open_account, seal

trace: ContextVar[str] = ContextVar("trace", default="nobody's")


class Shop:
    """Opens accounts and adds to them; tells how many orders each unit of work had."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.noted: list[tuple[str, int]] = []
        self.groups: list[int] = []
        self.take: Together[tuple[str, int], str] = Together(database, self.unit, self.note)

    def note(self, told: Sequence[tuple[Any, ...]]) -> None:
        self.noted.append((trace.get(), len(told)))

    async def unit(
        self, work: UnitOfWork, asked: Sequence[Asked[tuple[str, int]]]
    ) -> list[str | Exception]:
        self.groups.append(len(asked))
        answers: list[str | Exception] = []
        for each in asked:
            name, amount = each.order
            if amount < 0:
                answers.append(FailedPrecondition("TOO_LITTLE", "It is too little."))
                continue
            if amount == 0:
                await work.execute(OPEN, id=name, owner=name, balance=0)
            else:
                await work.execute(ADD, id=name, amount=amount)
            answers.append(each.run(self.told, work, name))
        return answers

    def told(self, work: UnitOfWork, name: str) -> str:
        work.publish(StringValue(value=name))
        return f"{name} in {trace.get()}"


async def test_orders_that_come_at_once_are_done_together(database: Database) -> None:
    await database.transact(open_account, "a")
    shop = Shop(database)

    async def order(number: int) -> str:
        trace.set(f"trace {number}")
        return await shop.take(("a", 1))

    answers = await asyncio.gather(*map(order, range(100)))

    assert answers == [f"a in trace {number}" for number in range(100)]
    assert sorted(shop.noted) == sorted((f"trace {number}", 1) for number in range(100))
    assert await database.read(balance_of, "a") == 100
    assert await database.read(events) == 100
    assert sum(shop.groups) == 100
    assert max(shop.groups) > 30


async def test_a_refusal_is_one_callers_answer(database: Database) -> None:
    await database.transact(open_account, "a")
    shop = Shop(database)

    answers = await asyncio.gather(
        shop.take(("a", 5)), shop.take(("a", -1)), shop.take(("a", 7)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [str, FailedPrecondition, str]
    assert await database.read(balance_of, "a") == 12


async def test_what_breaks_a_group_is_found_by_trying_one_by_one(database: Database) -> None:
    await database.transact(open_account, "a")
    shop = Shop(database)

    answers = await asyncio.gather(
        shop.take(("a", 5)), shop.take(("a", 0)), shop.take(("b", 0)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [str, UniqueViolated, str]
    assert await database.read(balance_of, "a") == 5
    assert await database.read(events) == 2


async def test_a_caller_that_leaves_before_its_turn_is_not_served(database: Database) -> None:
    await database.transact(open_account, "a")
    shop = Shop(database)
    first = asyncio.create_task(shop.take(("a", 1)))
    await asyncio.sleep(0)
    late = asyncio.create_task(shop.take(("a", 10)))
    await asyncio.sleep(0)
    late.cancel()

    await first
    await asyncio.gather(late, return_exceptions=True)
    await shop.take(("a", 100))

    assert await database.read(balance_of, "a") == 101


async def test_too_many_orders_are_refused_at_once(url: str) -> None:
    database = await open_database(url, seal=seal, max_waiting=3)
    await database.transact(open_account, "a")
    shop = Shop(database)

    answers = await asyncio.gather(*(shop.take(("a", 1)) for _ in range(5)), return_exceptions=True)

    assert sum(isinstance(answer, Overloaded) for answer in answers) == 2
    await database.close()
    with pytest.raises(Transient):
        await shop.take(("a", 1))
