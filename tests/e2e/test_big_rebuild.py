"""Statements of 200,000 lines are rebuilt while customers pay and read: no answer is wrong."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import time
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest

from benchmarks.seeding import post_many

from .bank import ROOT, Bank, Customer, command, environment, eventually
from .test_events import listed
from .test_faults import crowd, pay_until_answered

__all__ = ["crowd"]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(590)]

LINES = 200_000
SAME = "account_id, version, entry_id, minor_units, balance_after"


async def test_statements_of_200_000_lines_are_rebuilt_while_customers_pay_and_read(
    bank: Bank, crowd: list[Customer]
) -> None:
    accounts = [each.account_id for each in crowd]
    began_at = time.monotonic()
    await post_many(bank.data / "accounts" / "accounts.db", accounts, LINES // 2)
    seeded_s = time.monotonic() - began_at
    await eventually(lambda: is_through(bank), "every line to be told", 200)
    told_s = time.monotonic() - began_at

    stop = asyncio.Event()
    transfers: list[str] = []
    answers: list[int] = []
    people = [pay(crowd, number, transfers, stop) for number in range(len(crowd))]
    people += [read(customer, answers, stop) for customer in crowd]
    living = asyncio.gather(*people)
    began_at = time.monotonic()
    rebuilt = await asyncio.to_thread(
        subprocess.run,
        command("events", "rebuild", "statements"),
        env=environment(bank.data),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    rebuilt_s = time.monotonic() - began_at
    stop.set()
    await living
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
    await eventually(lambda: is_through(bank), "the last payments to be told", 60)
    missing, wrong = await asyncio.to_thread(differences, bank)
    print(
        f"\n{LINES} lines seeded in {seeded_s:.0f} s, on the statements after {told_s:.0f} s;"
        f" rebuilt in {rebuilt_s:.0f} s with {len(transfers)} payments and {len(answers)} reads"
        f" meanwhile; {missing} lines missing, {wrong} wrong\n{rebuilt.stdout.splitlines()[-1]}"
    )
    assert (missing, wrong) == (0, 0)
    assert min(len(transfers), len(answers)) > 0


async def is_through(bank: Bank) -> bool:
    found = await listed(bank)
    lags = [each["lag"] for each in found["subscriptions"]]
    return not any(lags) and not any(each["unsent"] for each in found["outboxes"])


async def pay(
    crowd: list[Customer], number: int, transfers: list[str], stop: asyncio.Event
) -> None:
    payer, payee = crowd[number], crowd[(number + 1) % len(crowd)]
    while not stop.is_set():
        transfers.append(await pay_until_answered(payer, payee, []))


async def read(customer: Customer, answers: list[int], stop: asyncio.Event) -> None:
    """Reads the newest lines again and again; each answer must be whole and not older."""
    reached = 0
    while not stop.is_set():
        page = await customer.statement(pageSize=50)
        entries: list[Any] = page["entries"]
        version = int(page["asOfVersion"])
        assert version >= reached
        reached = version
        assert [int(each["version"]) for each in entries] == list(range(version, version - 50, -1))
        for later, earlier in pairwise(entries):
            before = int(later["balanceAfter"]["minorUnits"]) - int(later["amount"]["minorUnits"])
            assert before == int(earlier["balanceAfter"]["minorUnits"])
        answers.append(version)


def differences(bank: Bank) -> tuple[int, int]:
    """How many postings of customers have no line, and how many lines are no posting."""
    file = bank.data / "statements" / "statements.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        database.execute("ATTACH ? AS ledger", (str(bank.data / "accounts" / "accounts.db"),))
        postings = f"SELECT {SAME} FROM ledger.postings"
        lines = f"SELECT {SAME} FROM main.lines"
        found = [
            database.execute(f"SELECT COUNT(*) FROM ({one} EXCEPT {other})").fetchone()[0]
            for one, other in ((postings, lines), (lines, postings))
        ]
    return found[0], found[1]
