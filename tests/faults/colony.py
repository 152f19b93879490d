"""A ledger and a reader of two processes each, a nats-server, and somebody who kills them."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from mesh.events.jetstream import Jetstream
from mesh.events.tests.reading import ids_in
from mesh.testing.nats import NatsServer
from mesh.testing.waiting import eventually

from . import books
from .books import STREAM, Part, Role

PAUSE_S = (0.15, 0.45)
ONE_OF_NATS = 6
ROLES: tuple[Role, ...] = ("ledger", "reader")
DEADLY: dict[Role, float] = {"ledger": 0.0004, "reader": 0.002}
SETTLE_S = 120.0


def spawn(part: Part) -> ForkServerProcess:
    """Starts a process; it is forked from a server that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.books"])
    process = context.Process(target=books.run, args=(part,), daemon=True)
    process.start()
    return process


def end(process: ForkServerProcess) -> None:
    """Kills a process."""
    process.kill()
    process.join()
    process.close()


@dataclass
class Tally:
    """What was killed: by the test, and at a commit or a publish, by chance of their own."""

    services: int = 0
    struck: int = 0
    nats: int = 0


@dataclass
class Colony:
    """The processes, each started again whenever it has died."""

    folder: Path
    nats: NatsServer
    parts: list[Part]
    seed: int
    tally: Tally = field(default_factory=Tally)
    alive: dict[str, ForkServerProcess] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def start(self, part: Part) -> None:
        self.alive[part.instance] = spawn(replace(part, seed=self.chance.randrange(2**32)))

    def tend(self) -> None:
        """Starts again what has died."""
        for part in self.parts:
            process = self.alive.get(part.instance)
            if process is None or not process.is_alive():
                self.tally.struck += process is not None
                self.start(part)

    def kill(self, instance: str) -> None:
        process = self.alive.pop(instance)
        self.tally.services += process.is_alive()
        end(process)

    def kill_all(self) -> None:
        for instance in tuple(self.alive):
            self.kill(instance)

    async def storm(self, kills: int) -> None:
        """Kills so many processes of the services, at random, and a nats-server now and then."""
        until = self.tally.services + kills
        strikes = 0
        while self.tally.services < until:
            self.tend()
            await asyncio.sleep(self.chance.uniform(*PAUSE_S))
            strikes += 1
            if strikes % ONE_OF_NATS == 0:
                self.nats.kill()
                self.tally.nats += 1
                await asyncio.sleep(self.chance.uniform(0, 0.2))
                await asyncio.to_thread(self.nats.start)
            else:
                self.tend()
                self.kill(self.chance.choice(list(self.alive)))

    async def settle(self) -> float:
        """Lets everything that was told arrive, without load and faults; gives the seconds."""
        began_at = time.monotonic()
        self.kill_all()
        calm = [replace(part, rate=0, deadly=0) for part in self.parts]
        for part in calm:
            self.start(part)
        jetstream = Jetstream(self.nats.url, service="test")
        await jetstream.start()
        try:
            connection = await jetstream.connection()

            async def is_quiet() -> bool:
                if count(self.folder / "ledger.db", "outbox WHERE sent_at_us IS NULL"):
                    return False
                last = (await connection.api(f"STREAM.INFO.{STREAM}"))["state"]["last_seq"]
                found = await connection.api(f"CONSUMER.INFO.{STREAM}.reader-effects")
                waits = found["num_pending"] + found["num_ack_pending"]
                return waits == 0 and [last] == column(
                    self.folder / "reader.db", "SELECT sequence FROM cursors"
                )

            await eventually(is_quiet, SETTLE_S)
        finally:
            await jetstream.stop()
            self.kill_all()
        return time.monotonic() - began_at

    async def violations(self) -> list[str]:
        """Says what does not hold: lost, doubled, out of order, or not gap-free."""
        jetstream = Jetstream(self.nats.url, service="test")
        await jetstream.start()
        try:
            told = await ids_in(await jetstream.connection(), STREAM)
        finally:
            await jetstream.stop()
        posted = versions(self.folder / "ledger.db", "postings")
        streamed: dict[str, list[int]] = {}
        for _, key, version in told:
            streamed.setdefault(key, []).append(version)
        ids = [event_id for event_id, _, _ in told]
        kept = set(column(self.folder / "ledger.db", "SELECT entry_id FROM postings"))
        acked = set(self.parts[0].acked.read_text().split())
        balances = dict(rows(self.folder / "ledger.db", "SELECT id, balance FROM accounts"))
        found = [f"{len(acked - kept)} entries that were acked are gone"] if acked - kept else []
        if len(set(ids)) != len(ids):
            found.append("an event is in the stream twice")
        lines = versions(self.folder / "reader.db", "lines")
        effects = versions(self.folder / "reader.db", "effects")
        for key in sorted(posted):
            right = list(range(1, len(posted[key]) + 1))
            for where, got in (
                ("ledger", posted[key]),
                ("stream", streamed.get(key, [])),
                ("lines", lines.get(key, [])),
                ("effects", effects.get(key, [])),
            ):
                if got != right:
                    found.append(f"{where} {key}: {difference(right, got)}")
        for table in ("lines", "effects"):
            sums = rows(
                self.folder / "reader.db",
                f"SELECT account_id, SUM(amount) FROM {table} GROUP BY account_id",
            )
            if any(balances[key] != total for key, total in sums):
                found.append(f"{table}: a balance is not the ledger's")
        return found

    @property
    def pids(self) -> list[int | None]:
        return [process.pid for process in self.alive.values() if process.is_alive()]

    @property
    def acked(self) -> int:
        """How many entries callers were told are posted."""
        file = self.parts[0].acked
        return len(file.read_text().split()) if file.exists() else 0

    @property
    def events(self) -> int:
        return count(self.folder / "ledger.db", "postings")


def difference(right: list[int], got: list[int]) -> str:
    lost, foreign = set(right) - set(got), set(got) - set(right)
    doubled = len(got) - len(set(got))
    order = "in order" if got == sorted(got) else "out of order"
    return f"{len(lost)} lost, {doubled} doubled, {len(foreign)} foreign, {order}"


@asynccontextmanager
async def a_colony(
    folder: Path,
    *,
    mutant: str = "",
    seed: int = 7,
    accounts: int = 40,
    rate: float = 300,
    deadly: bool = True,
    nats: NatsServer | None = None,
) -> AsyncIterator[Colony]:
    """Runs a ledger and a reader. The fault `mutant`, if any, is in all processes.

    With `deadly` they die at a commit now and then, whatever the test does.
    """
    await asyncio.to_thread(books.prepare, folder, accounts)
    nats = nats or NatsServer(folder / "nats")
    nats.start()
    parts = [
        Part(
            role=role,
            instance=f"{role}-{n}",
            folder=folder,
            nats_url=nats.url,
            rate=rate if role == "ledger" else 0,
            deadly=DEADLY[role] if deadly else 0,
            mutant=mutant,
        )
        for role in ROLES
        for n in (1, 2)
    ]
    colony = Colony(folder, nats, parts, seed)
    try:
        yield colony
    finally:
        colony.kill_all()
        nats.kill()


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def column(database: Path, query: str) -> list[Any]:
    return [row[0] for row in rows(database, query)]


def count(database: Path, what: str) -> int:
    return int(column(database, f"SELECT COUNT(*) FROM {what}")[0])


def versions(database: Path, table: str) -> dict[str, list[int]]:
    """The versions of each account in a table, in the order in which they were kept."""
    found: dict[str, list[int]] = {}
    for key, version in rows(database, f"SELECT account_id, version FROM {table} ORDER BY id"):
        found.setdefault(key, []).append(version)
    return found
