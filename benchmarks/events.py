"""Events: the time from a commit to the reader, and a backlog that drains while customers pay.

    python -m benchmarks.events [--events 100000] [--rate 40] [--single 400]

First what the machine allows: synced publishes to its nats-server, and commits of SQLite. Then a
ledger and a reader, each a process, that do nothing else: one event at a time. Then the whole bank:
NATS is frozen while the ledger takes in a backlog, and thawed; customers pay at a steady rate
before, meanwhile and after.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sqlite3
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil
import uvloop

from bank.accounts.v1.events_pb2 import EntryPosted
from benchmarks.connection import Connection
from benchmarks.payments import Account, customers, pay, percentile
from benchmarks.seeding import post_many
from mesh.db import open_database
from mesh.events.envelope import describe, seal
from mesh.events.jetstream import Jetstream
from mesh.events.relay import Relay
from mesh.events.stream import StreamSettings, create_stream, put
from mesh.supervisor.embedded import Embedded
from mesh.supervisor.ports import Ports
from mesh.testing.nats import NatsServer
from mesh.testing.waiting import eventually
from services.__main__ import BANK
from tests.faults import books
from tests.faults.books import Part
from tests.faults.colony import count, end, spawn

CALLERS = 16
CALM_S = 8.0
UNSENT = "outbox WHERE sent_at_us IS NULL"


async def limits(folder: Path) -> None:
    """What the machine's own nats-server and SQLite do, each alone, everything synced."""
    nats = NatsServer(folder / "nats")
    nats.start()
    jetstream = Jetstream(nats.url, service="bench")
    await jetstream.start()
    connection = await jetstream.connection()
    await create_stream(connection, describe(EntryPosted.DESCRIPTOR), StreamSettings())
    for size, times in ((1, 500), (100, 100)):
        batches = [
            [seal(EntryPosted(account_id="a"), source="bench") for _ in range(size)]
            for _ in range(times)
        ]
        began = time.perf_counter()
        for batch in batches:
            await put(connection, batch)
        rate = size * times / (time.perf_counter() - began)
        print(f"nats-server alone, synced, {size:>3} at once: {rate:7.0f} events/s", flush=True)
    await jetstream.stop()
    nats.kill()
    with closing(sqlite3.connect(folder / "plain.db", isolation_level=None)) as plain:
        plain.execute("PRAGMA journal_mode = WAL")
        plain.execute("PRAGMA synchronous = FULL")
        plain.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, payload BLOB)")
        began = time.perf_counter()
        for number in range(2_000):
            plain.execute("INSERT INTO rows VALUES (?, ?)", (number, bytes(500)))
        print(f"SQLite alone, a commit each: {2_000 / (time.perf_counter() - began):7.0f} /s")


async def idle(folder: Path, events: int) -> None:
    """One event at a time, from the commit of the ledger to the commit of the reader."""
    nats = NatsServer(folder / "nats")
    nats.start()
    folders = {role: folder / role for role in ("ledger", "reader")}
    reader = Part(role="reader", instance="reader", folder=folders["reader"], nats_url=nats.url)
    ledger = Part(
        role="ledger",
        instance="ledger",
        folder=folders["ledger"],
        nats_url=nats.url,
        rate=20.0,
        limit=events,
    )
    for each in folders.values():
        books.prepare(each, 10)
    processes = [spawn(reader), spawn(ledger)]
    whole = ledger.limit // books.CALLERS * books.CALLERS
    await eventually(lambda: count(reader.database, "lines") == whole, 120)
    await eventually(lambda: count(reader.database, "effects") == whole, 10)
    for process in processes:
        end(process)
    nats.kill()
    for name in ("latencies", "line-latencies"):
        lines = (reader.folder / name).read_text().splitlines()[whole // 10 :]
        samples = [int(line.split()[2]) / 1e6 for line in lines]
        what = "reaction" if name == "latencies" else "projection"
        print(
            f"commit to applied by a {what}, both idle: p50 {percentile(samples, 50):.1f} ms,"
            f" p99 {percentile(samples, 99):.1f} ms",
            flush=True,
        )


async def relay_alone(folder: Path, events: int) -> None:
    """A backlog that only the relay works on, in a process that does nothing else."""
    books.prepare(folder, 100)
    url = f"sqlite:///{folder / 'ledger.db'}"
    database = await open_database(url, seal=partial(seal, source="ledger"))
    for _ in range(events // 500):
        await database.transact(books.post_some, 500)
    nats = NatsServer(folder / "nats")
    nats.start()
    jetstream = Jetstream(nats.url, service="ledger")
    await jetstream.start()
    relay = Relay(database, jetstream)
    sent = -(await relay.step())
    began, spent = time.perf_counter(), time.process_time()
    while some := await relay.step():
        sent += some
    took, cost = time.perf_counter() - began, time.process_time() - spent
    print(
        f"a backlog, the relay alone: {sent / took:6.0f} events/s,"
        f" {sent / cost:6.0f} per second of its processor time",
        flush=True,
    )
    await jetstream.stop()
    nats.kill()
    await database.close()


class Customers:
    """Payments at a steady rate, whatever the answers take."""

    def __init__(self, url: str, crowd: list[Account], rate: float) -> None:
        self._url = url
        self._crowd = crowd
        self._every_s = CALLERS / rate
        self.samples: list[tuple[float, float]] = []
        self.unanswered = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._caller(number) for number in range(CALLERS)))

    async def _caller(self, number: int) -> None:
        connection = await Connection.open(self._url)
        payer, payee = self._crowd[number], self._crowd[(number + 1) % len(self._crowd)]
        due = time.perf_counter() + number / CALLERS * self._every_s
        while True:
            await asyncio.sleep(due - time.perf_counter())
            try:
                await pay(connection, payer, payee)
            except AssertionError:
                self.unanswered += 1
            # From when it was due: a caller that waits counts the waiting.
            self.samples.append((due, time.perf_counter() - due))
            due += self._every_s

    def between(self, began: float, ended: float) -> list[float]:
        return [took for due, took in self.samples if began <= due < ended]


async def backlog(folder: Path, events: int, rate: float) -> None:
    """A backlog in the whole bank: how fast it drains, and what payments notice of it."""
    embedded = Embedded(BANK, folder, Ports.free())
    await embedded.up()
    try:
        url = embedded.endpoints.rest
        crowd = await customers(url)
        paying = Customers(url, crowd, rate)
        task = asyncio.create_task(paying.run())
        ledger = folder / "accounts" / "accounts.db"
        nats, accounts = _process("nats-server"), _process("services.accounts")
        await asyncio.sleep(CALM_S)
        calm = time.perf_counter()
        await asyncio.sleep(CALM_S)
        calm_ends = time.perf_counter()
        nats.send_signal(signal.SIGSTOP)
        try:
            await post_many(ledger, [each.account_id for each in crowd], events // 2)
            await asyncio.sleep(3)
        finally:
            nats.send_signal(signal.SIGCONT)
        found = size = count(ledger, UNSENT)
        began = time.perf_counter()
        while size and size >= found - 100:
            await asyncio.sleep(0.05)
            size = count(ledger, UNSENT)
        first, at_first, spent = time.perf_counter(), size, sum(accounts.cpu_times()[:2])
        while size > 200:
            await asyncio.sleep(0.05)
            size = count(ledger, UNSENT)
        drained, spent = time.perf_counter(), sum(accounts.cpu_times()[:2]) - spent
        await asyncio.sleep(2 * CALM_S)
        after, after_ends = time.perf_counter() - CALM_S, time.perf_counter()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()
        during = paying.between(first, drained)
        normal = paying.between(calm, calm_ends) + paying.between(after, after_ends)
        print(
            f"backlog of {found} events in the whole bank:"
            f" {(at_first - size) / (drained - first):.0f} events/s,"
            f" {(at_first - size) / spent:.0f} per second of the ledger's processor time;"
            f" it began {first - began:.1f} s after NATS was back\n"
            f"payments, {rate:.0f}/s: p50 {percentile(normal, 50):.1f}, p99"
            f" {percentile(normal, 99):.1f} ms normally; p50 {percentile(during, 50):.1f}, p99"
            f" {percentile(during, 99):.1f} ms meanwhile ({len(during)}); ratio of p99"
            f" {percentile(during, 99) / percentile(normal, 99):.2f};"
            f" {paying.unanswered} not completed within 4 s, while NATS was frozen too"
        )
    finally:
        await embedded.down()


def _process(needle: str) -> psutil.Process:
    for child in psutil.Process().children(recursive=True):
        if any(needle in word for word in child.cmdline()):
            return child
    raise RuntimeError(f"{needle} does not run")


async def main(events: int, rate: float, single: int) -> None:
    with tempfile.TemporaryDirectory(prefix="events-bench-") as name:
        folder = Path(name)
        for part in ("limits", "idle", "relay", "bank"):
            (folder / part).mkdir()
        await limits(folder / "limits")
        await idle(folder / "idle", single)
        await relay_alone(folder / "relay", 20_000)
        await backlog(folder / "bank", events, rate)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=40)
    parser.add_argument("--single", type=int, default=400)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.events, arguments.rate, arguments.single))
