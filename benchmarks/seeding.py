"""A ledger with much in it: entries by the owner's own rules and store, without a call for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mesh.db import UnitOfWork, open_database
from mesh.events.envelope import seal
from mesh.ids import new_id
from services.accounts import store
from services.accounts.domain.books import Entry, Posting
from services.accounts.domain.orders import Post
from services.money import Money

__all__ = ["post_many"]

# The ledger has the database too, and waits for each.
_UNIT = 50
_AT_ONCE = 2


async def post_many(database: Path, accounts: Sequence[str], entries: int) -> None:
    """Posts entries of one cent from account to account in the ledger of a running bank.

    Each has two postings, and so two events. The accounts must have the money.
    """
    opened = await open_database(f"sqlite:///{database}", seal=partial(seal, source="accounts"))

    async def post_some(work: UnitOfWork, first: int, most: int) -> None:
        orders = [order(number) for number in range(first, first + most)]
        books = await store.load(work, orders)
        for each in orders:
            store.carry_out(work, books, each)
        await store.keep(work, books)

    def order(number: int) -> Post:
        payer, payee = (accounts[(number + n) % len(accounts)] for n in (0, 1))
        sides = [Posting(payer, Money(-1, "BRL")), Posting(payee, Money(1, "BRL"))]
        return Post(Entry(id=new_id(), postings=sides))

    starts = iter(range(0, entries, _UNIT))

    async def caller() -> None:
        for first in starts:
            await opened.transact(post_some, first, min(_UNIT, entries - first))

    try:
        await asyncio.gather(*(caller() for _ in range(_AT_ONCE)))
    finally:
        await opened.close()
