"""A ledger for tests: the rules on a real database, in few words."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from mesh.chassis import Chassis
from mesh.db import Database, Together, UnitOfWork, sql
from mesh.errors import Refused
from mesh.ids import new_id
from services.accounts import checks, handlers, store
from services.accounts.domain.books import Entry, Hold, Posting
from services.accounts.domain.chart import Account
from services.accounts.domain.orders import Capture, Close, Place, Post, Release, Reverse
from services.accounts.domain.reading import BalanceThen
from services.money import Money

VERSIONS = Path(store.__file__).parent / "migrations"


def brl(minor_units: int) -> Money:
    return Money(minor_units, "BRL")


def an_entry(payer: str, payee: str, amount: int, entry_id: str = "") -> Entry:
    sides = [Posting(payer, brl(-amount)), Posting(payee, brl(amount))]
    return Entry(id=entry_id or new_id(), postings=sides)


def a_hold(account: str, amount: int, hold_id: str = "") -> Hold:
    return Hold(id=hold_id or new_id(), account=account, amount=brl(amount))


async def refused(answer: Awaitable[object]) -> str:
    """Tells what an order was refused for."""
    with pytest.raises(Refused) as caught:
        await answer
    return caught.value.reason


class Ledger:
    """The ledger of one test, and its clock, which stands still."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now_us = 1
        # Of what a chassis gives, the handlers need what the database has too.
        self.chassis = cast(Chassis, database)
        settle = partial(store.settle, clock=lambda: self.now_us)
        self.counter = store.Counter(Together(database, settle))
        self.take = self.counter.take

    async def open(self, balance: int = 0) -> str:
        account = Account(id=new_id(), company_id=new_id())
        await self.database.transact(store.open_account, account, "owner", 1)
        if balance:
            await self.post("pix-clearing", account.id, balance)
        return account.id

    async def post(self, payer: str, payee: str, amount: int, entry_id: str = "") -> int:
        return await self.post_entry(an_entry(payer, payee, amount, entry_id))

    async def post_entry(self, entry: Entry) -> int:
        return await self.take(Post(entry))

    async def hold(self, hold: Hold) -> None:
        await self.take(Place(hold))

    async def capture(self, hold_id: str, credits: dict[str, int] | None = None) -> int:
        """Moves parts of a hold; all of it to the outside, if nothing else is said."""
        parts = [Posting(account, brl(amount)) for account, amount in (credits or {}).items()]
        payee = "" if parts else "pix-clearing"
        return await self.take(Capture(hold_id=hold_id, payee=payee, postings=parts))

    async def capture_all(self, hold_id: str, payee: str) -> int:
        return await self.take(Capture(hold_id=hold_id, payee=payee))

    async def reverse(self, entry_id: str, reversal_id: str = "") -> int:
        return await self.take(Reverse(id=reversal_id or new_id(), original=entry_id))

    async def expire(self) -> int:
        return await handlers.expire_holds(self.chassis, self.counter, self.now_us)

    async def release(self, hold_id: str) -> None:
        await self.take(Release(hold_id=hold_id))

    async def close(self, account_id: str) -> Account:
        return await self.take(Close(account_id))

    async def balance_at(self, account_id: str, at_us: int) -> BalanceThen:
        return await self.database.read(store.balance_at, account_id, at_us)

    async def account(self, account_id: str) -> Account:
        account, _ = await self.database.read(store.describe, account_id, "nobody")
        return account

    async def balance(self, account_id: str) -> int:
        return (await self.account(account_id)).balance

    async def faults(self) -> list[str]:
        report = await self.database.read(checks.verify)
        assert report.total_minor_units == 0
        return list(report.faults)

    async def run(self, text: str, **parameters: object) -> int:
        """Does to the rows what no rule would."""

        async def unit(work: UnitOfWork) -> int:
            return await work.execute(sql(text), **parameters)

        return await self.database.transact(unit)

    async def count(self, text: str) -> int:
        async def unit(work: UnitOfWork) -> int:
            row = await work.fetch_one(sql(text))
            assert row is not None
            return int(row["n"])

        return await self.database.read(unit)

    async def told(self, event: str) -> int:
        return await self.count(f"SELECT COUNT(*) AS n FROM outbox WHERE type LIKE '%.{event}'")
