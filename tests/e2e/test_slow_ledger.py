"""A ledger that answers after two seconds, and callers who wait for one: nothing happens twice, and
whatever happened has an answer.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from uuid import uuid4

import httpx2 as httpx
import pytest

from .bank import Bank, Customer, brl
from .test_faults import books_agree, crowd, pay_until_answered

__all__ = ["crowd"]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(280)]

CALLS = 1_000
AT_ONCE = 64
BUDGET_S = 1.0
SLOW_S = 2.0
AWAKE_S = 0.1


async def slowed(pid: int) -> None:
    """Keeps a process from answering for two seconds, again and again."""
    try:
        while True:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(SLOW_S)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(AWAKE_S)
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_thousand_impatient_payments_against_a_slow_ledger_are_each_made_once(
    bank: Bank,
    crowd: list[Customer],
) -> None:
    keys = [uuid4().hex for _ in range(CALLS)]
    pairs = [
        (crowd[number % len(crowd)], crowd[(number + 1) % len(crowd)]) for number in range(CALLS)
    ]
    limit = asyncio.Semaphore(AT_ONCE)
    seen: dict[str, str] = {}
    ends: Counter[str] = Counter()

    async def impatient(number: int) -> None:
        payer, payee = pairs[number]
        async with limit:
            try:
                async with asyncio.timeout(BUDGET_S):
                    whom = {"accountId": payee.account_id}
                    answer = await payer.pay(whom, brl("3"), keys[number])
            except (TimeoutError, httpx.TransportError):
                ends["no answer"] += 1
                return
        ends[str(answer.status_code)] += 1
        if answer.status_code == 201:
            seen[keys[number]] = answer.json()["transfer"]["transferId"]

    slow = asyncio.create_task(slowed(bank.pids("accounts")[0]))
    try:
        await asyncio.gather(*(impatient(number) for number in range(CALLS)))
    finally:
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
    print(ends)

    async def patient(number: int) -> str:
        payer, payee = pairs[number]
        async with limit:
            return await pay_until_answered(payer, payee, [], keys[number])

    transfers = await asyncio.gather(*(patient(number) for number in range(CALLS)))
    told = dict(zip(keys, transfers, strict=True))

    assert all(told[key] == transfer for key, transfer in seen.items())
    await books_agree(bank, crowd, list(transfers))
