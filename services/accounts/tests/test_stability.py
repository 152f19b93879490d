"""What is read of the past stays as it is while a hundred payments a second arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from mesh.clock import now_us
from mesh.db import Together
from services.accounts import store

from .ledger import Ledger, an_entry

RATE_S = 0.01


@asynccontextmanager
async def payments(ledger: Ledger, accounts: list[str]) -> AsyncIterator[list[int]]:
    """Posts an entry every ten milliseconds, whether or not those before it are answered."""
    tasks: set[asyncio.Task[int]] = set()
    posted: list[int] = []

    async def arrive() -> None:
        turn = 0
        while True:
            pair = accounts[turn % 3], accounts[(turn + 1) % 3]
            task = asyncio.create_task(ledger.post_entry(an_entry(*pair, 1)))
            task.add_done_callback(lambda task: posted.append(task.result()))
            tasks.add(task)
            turn += 1
            await asyncio.sleep(RATE_S)

    arriving = asyncio.create_task(arrive())
    try:
        yield posted
    finally:
        arriving.cancel()
        await asyncio.gather(arriving, return_exceptions=True)
        await asyncio.gather(*tasks)


async def test_a_balance_of_the_past_never_changes_while_payments_arrive(ledger: Ledger) -> None:
    settle = partial(store.settle, clock=now_us)
    ledger.take = store.Counter(Together(ledger.database, settle)).take
    accounts = [await ledger.open(100) for _ in range(3)]
    asked: dict[tuple[str, int], tuple[int, int]] = {}

    async with payments(ledger, accounts) as posted:
        while len(posted) < 100:
            for account in accounts:
                # Just now: what is under way must not turn up before it afterwards.
                at_us = now_us()
                then = await ledger.database.transact(store.balance_at, account, at_us)
                asked[account, at_us] = then.balance.minor_units, then.version

    assert len(asked) > 10
    for (account, at_us), told in asked.items():
        then = await ledger.balance_at(account, at_us)
        assert (then.balance.minor_units, then.version) == told
    assert len(set(asked.values())) > 10
    assert await ledger.faults() == []
