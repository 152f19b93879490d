"""Entries a second out of one hot account against entries spread over many, in interleaved pairs.

On SQLite, and on a PostgreSQL of its own that syncs its commits. No payment may overdraw the hot
account: it has too little for the last round, whose surplus must be refused.

    PYTHONPATH=.:protos/gen python -m benchmarks.hot [--pairs 5] [--entries 2000] [--callers 64]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter as Tally
from functools import partial
from pathlib import Path
from statistics import median

import uvloop

from mesh.db import Database, Together, open_database
from mesh.db.migrate import migrate
from mesh.errors import FailedPrecondition
from mesh.events.envelope import seal
from mesh.ids import new_id
from mesh.testing.postgres import PostgresServer
from services.accounts import checks, store
from services.accounts.domain.books import Entry, Posting
from services.accounts.domain.chart import Account
from services.accounts.domain.orders import Post
from services.money import Money

VERSIONS = Path(store.__file__).parent / "migrations"
ACCOUNTS = 128
PLENTY = 10**12


class Bench:
    """A ledger with many accounts and one hot one, on a database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.counter = store.Counter(Together(database, store.settle))
        self.spread: list[str] = []
        self.hot = ""

    async def open(self, balance: int) -> str:
        account = Account(id=new_id(), company_id=new_id())
        await self.database.transact(store.open_account, account, "owner", 1)
        await self.pay("pix-clearing", account.id, balance)
        return account.id

    async def prepare(self) -> None:
        self.spread = [await self.open(PLENTY) for _ in range(ACCOUNTS)]
        self.hot = await self.open(PLENTY)

    async def pay(self, payer: str, payee: str, amount: int) -> None:
        sides = Posting(payer, Money(-amount, "BRL")), Posting(payee, Money(amount, "BRL"))
        await self.counter.take(Post(Entry(id=new_id(), postings=sides)))

    async def rate(self, entries: int, callers: int, *, hot: bool) -> tuple[float, float]:
        """Entries in a second, and microseconds of this process's CPU for each."""

        async def caller(number: int) -> None:
            for turn in range(entries // callers):
                payer = self.hot if hot else self.spread[number % ACCOUNTS]
                payee = self.spread[(number + turn + 1) % ACCOUNTS]
                await self.pay(payer, payee if payee != payer else self.spread[number - 1], 1)

        began, burnt = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(caller, range(callers)))
        done = entries // callers * callers
        cpu_us = (time.process_time() - burnt) * 1e6 / done
        return done / (time.perf_counter() - began), cpu_us

    async def overdraw(self, callers: int) -> Tally[str]:
        """Empties an account with half of what is asked of it."""
        poor = await self.open(callers // 2)

        async def caller() -> str:
            try:
                await self.pay(poor, self.hot, 1)
            except FailedPrecondition as refused:
                return refused.reason
            return "posted"

        return Tally(await asyncio.gather(*(caller() for _ in range(callers))))


async def run(url: str, pairs: int, entries: int, callers: int) -> None:
    await asyncio.to_thread(migrate, url, VERSIONS)
    database = await open_database(url, seal=partial(seal, source="accounts"))
    bench = Bench(database)
    await bench.prepare()
    await bench.rate(entries // 4, callers, hot=False)
    ratios = []
    for _ in range(pairs):
        spread, spread_us = await bench.rate(entries, callers, hot=False)
        hot, hot_us = await bench.rate(entries, callers, hot=True)
        ratios.append(hot / spread)
        print(
            f"{database.dialect:<10} spread {spread:6.0f}/s {spread_us:4.0f} µs CPU"
            f"   hot {hot:6.0f}/s {hot_us:4.0f} µs CPU   ratio {ratios[-1]:.2f}",
            flush=True,
        )
    told = dict(await bench.overdraw(callers))
    report = await database.read(checks.verify)
    assert not report.faults, report.faults
    await database.close()
    print(f"{database.dialect:<10} median ratio {median(ratios):.2f} at {callers} callers; {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--entries", type=int, default=2000)
    parser.add_argument("--callers", type=int, default=64)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db"
        uvloop.run(run(url, given.pairs, given.entries, given.callers))
    server = PostgresServer(sync=True)
    server.start()
    try:
        url = server.new_database()
        uvloop.run(run(url, given.pairs, given.entries, given.callers))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
