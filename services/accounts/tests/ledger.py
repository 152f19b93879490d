"""A ledger for tests: the rules on a real database, in few words."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from mesh.chassis import Chassis
from mesh.db import Database, UnitOfWork, sql
from mesh.ids import new_id
from services.accounts import api, handlers, store
from services.accounts.domain import Account, Entry, Hold, HoldPosting, Posting, Reversal
from services.money import Money

VERSIONS = Path(store.__file__).parent / "migrations"


def brl(minor_units: int) -> Money:
    return Money(minor_units, "BRL")


def an_entry(payer: str, payee: str, amount: int, entry_id: str = "") -> Entry:
    return Entry(
        id=entry_id or new_id(),
        postings=[Posting(payer, brl(-amount)), Posting(payee, brl(amount))],
        transfer="",
        description="",
        counterparty="",
        posted_at_us=1,
    )


def a_hold(account: str, amount: int) -> Hold:
    return Hold(id=new_id(), account=account, amount=brl(amount))


class Ledger:
    """The ledger of one test."""

    def __init__(self, database: Database) -> None:
        self.database = database
        # Of what a chassis gives, the door needs the two that the database has too.
        self.api = api.AccountsApi(cast(Chassis, database))

    async def open(self, balance: int = 0) -> str:
        account = Account.new(new_id(), new_id())
        await self.database.transact(store.open_account, account, "owner", 1)
        if balance:
            await self.post("pix-clearing", account.id, balance)
        return account.id

    async def post(self, payer: str, payee: str, amount: int, entry_id: str = "") -> int:
        return await self.post_entry(an_entry(payer, payee, amount, entry_id))

    async def post_entry(self, entry: Entry) -> int:
        return await self.api.post(entry)

    async def hold(self, hold: Hold) -> None:
        await self.database.transact(api.PLACE_HOLD, hold, 2)

    async def post_hold(self, hold_id: str, payee: str = "pix-clearing", at_us: int = 2) -> int:
        order = HoldPosting(
            hold_id=hold_id, payee=payee, description="", counterparty="", posted_at_us=at_us
        )
        return await self.database.transact(api.POST_HOLD, order)

    async def capture(self, hold_id: str, credits: dict[str, int]) -> int:
        """Posts parts of a hold."""
        order = HoldPosting(
            hold_id=hold_id,
            payee="",
            postings=[Posting(account, brl(amount)) for account, amount in credits.items()],
            description="",
            counterparty="",
            posted_at_us=2,
        )
        return await self.database.transact(api.POST_HOLD, order)

    async def reverse(self, entry_id: str, reversal_id: str = "") -> int:
        order = Reversal(
            id=reversal_id or new_id(),
            reverses=entry_id,
            transfer="",
            description="",
            counterparty="",
            posted_at_us=3,
        )
        return await self.api.post(await self.database.read(api.REVERSAL, order))

    async def expire(self, at_us: int) -> int:
        return await self.database.transact(handlers.EXPIRE_HOLDS, at_us, 100)

    async def release(self, hold_id: str) -> None:
        await self.database.transact(api.RELEASE_HOLD, hold_id)

    async def close(self, account_id: str) -> Account:
        return await self.database.transact(api.CLOSE_ACCOUNT, account_id)

    async def account(self, account_id: str) -> Account:
        account, _ = await self.database.read(store.describe, account_id, "nobody")
        return account

    async def balance(self, account_id: str) -> int:
        return (await self.account(account_id)).balance

    async def faults(self) -> list[str]:
        report = await self.database.read(store.verify)
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
