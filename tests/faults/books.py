"""A ledger that tells its postings, and a reader that keeps lines of them: small, real services.

Each is one process of two, with its share of the database of its service. They are forked from a
server that has imported everything, so that one that was killed is back in a few milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

from bank.accounts.v1.events_pb2 import EntryPosted
from bank.money.v1.money_pb2 import Money
from mesh.clock import now_us
from mesh.db import Database, UnitOfWork, open_database, sql
from mesh.db.migrate import migrate
from mesh.errors import FailedPrecondition, Transient
from mesh.events import Event, Projection, Reaction, relay
from mesh.events.envelope import seal
from mesh.events.jetstream import Jetstream
from mesh.events.loops import EventLoops
from mesh.ids import new_id

from . import mutants

STREAM = "ACCOUNTS"
LEDGER = (
    "CREATE TABLE accounts (id TEXT PRIMARY KEY, balance BIGINT, version BIGINT)",
    "CREATE TABLE postings (id INTEGER PRIMARY KEY AUTOINCREMENT, account_id TEXT, entry_id TEXT,"
    " amount BIGINT, version BIGINT)",
)
# Nothing here is unique: what is applied twice is seen twice.
READER = tuple(
    f"CREATE TABLE {table} (id INTEGER PRIMARY KEY AUTOINCREMENT, account_id TEXT, entry_id TEXT,"
    " amount BIGINT, version BIGINT)"
    for table in ("lines", "effects")
)
REFUSED = 0.05
CALLERS = 8

_MOVE = sql(
    "UPDATE accounts SET balance = balance + :amount, version = version + 1 WHERE id = :account_id"
)
_READ = sql("SELECT balance, version FROM accounts WHERE id = :account_id")
_POST = sql(
    "INSERT INTO postings (account_id, entry_id, amount, version)"
    " VALUES (:account_id, :entry_id, :amount, :version)"
)
_LINE = sql(
    "INSERT INTO lines (account_id, entry_id, amount, version)"
    " VALUES (:account_id, :entry_id, :amount, :version)"
)
_EFFECT = sql(
    "INSERT INTO effects (account_id, entry_id, amount, version)"
    " VALUES (:account_id, :entry_id, :amount, :version)"
)


Role = Literal["ledger", "reader"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a process is: one of a service, where its things are, and what is wrong with it.

    `rate` is how many entries a second it posts; `deadly` how likely it dies at a commit, or
    between sending and marking. `poison` is the account and the version of an event that its
    reaction cannot apply, and `limit` how many entries it posts at most.
    """

    role: Role
    instance: str
    folder: Path
    nats_url: str
    rate: float = 0
    deadly: float = 0
    mutant: str = ""
    seed: int = 0
    service: str = ""
    poison: tuple[str, int] | None = None
    limit: int = 0

    @property
    def database(self) -> Path:
        return self.folder / f"{self.role}.db"

    @property
    def acked(self) -> Path:
        """The entries that a caller was told are posted; beside the folder, which may be lost."""
        return self.folder.parent / f"{self.folder.name}.acked"


def prepare(folder: Path, accounts: int) -> None:
    """Makes the databases of both services."""
    folder.mkdir(exist_ok=True)
    for role, tables in (("ledger", LEDGER), ("reader", READER)):
        migrate(f"sqlite:///{folder}/{role}.db")
        with sqlite3.connect(folder / f"{role}.db") as database:
            for table in tables:
                database.execute(table)
            if role == "ledger":
                rows = [(f"account-{number}",) for number in range(accounts)]
                database.executemany("INSERT INTO accounts VALUES (?, 0, 0)", rows)
        database.close()


async def post(
    work: UnitOfWork, account_id: str, entry_id: str, amount: int, refuse: bool = False
) -> None:
    """Posts an entry and tells it; one that is refused leaves nothing, not even its event."""
    await work.execute(_MOVE, account_id=account_id, amount=amount)
    row = await work.fetch_one(_READ, account_id=account_id)
    assert row is not None
    version = row["version"]
    await work.execute(
        _POST, account_id=account_id, entry_id=entry_id, amount=amount, version=version
    )
    work.publish(
        EntryPosted(
            account_id=account_id,
            entry_id=entry_id,
            version=version,
            amount=Money(minor_units=amount, currency_code="BRL"),
            balance_after=Money(minor_units=row["balance"], currency_code="BRL"),
        ),
        version=version,
    )
    if refuse:
        raise FailedPrecondition("REFUSED", "This one was to be refused.")


async def post_some(work: UnitOfWork, entries: int) -> None:
    """Posts many entries at once, over a hundred accounts."""
    for number in range(entries):
        await post(work, f"account-{number % 100}", new_id(), 1)


def _row(event: Event[EntryPosted]) -> dict[str, Any]:
    return {
        "account_id": event.data.account_id,
        "entry_id": event.data.entry_id,
        "amount": event.data.amount.minor_units,
        "version": event.data.version,
    }


class Poisoned(Exception):
    """A bug that one event brings out."""


async def take_effect(work: UnitOfWork, event: Event[EntryPosted]) -> None:
    await work.execute(_EFFECT, **_row(event))


EFFECTS = Reaction(name="effects", on={EntryPosted: take_effect})


def lines_of(part: Part) -> Projection:
    """The projection of a process; the file `line-latencies` is as with `effects_of`."""
    keep_time = _timed(part.folder / "line-latencies")

    async def keep_line(work: UnitOfWork, event: Event[EntryPosted]) -> None:
        await work.execute(_LINE, **_row(event))
        work.on_commit(partial(keep_time, event))

    return Projection(name="lines", on={EntryPosted: keep_line}, tables=("lines",))


def effects_of(part: Part) -> Reaction:
    """The reaction of a process that knows an event it cannot apply, and times the others.

    The file `latencies` has a line for each: account, version, microseconds from when it was told
    until its effect was committed.
    """
    keep_time = _timed(part.folder / "latencies")

    async def take_or_fail(work: UnitOfWork, event: Event[EntryPosted]) -> None:
        if part.poison == (event.data.account_id, event.data.version):
            raise Poisoned
        await take_effect(work, event)
        work.on_commit(partial(keep_time, event))

    return Reaction(name="effects", on={EntryPosted: take_or_fail})


def _timed(path: Path) -> Callable[[Event[EntryPosted]], None]:
    file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def keep_time(event: Event[EntryPosted]) -> None:
        line = f"{event.key} {event.version} {now_us() - event.time_us}\n"
        os.write(file, line.encode())

    return keep_time


def run(part: Part) -> None:
    """The life of a process: it runs until it is killed."""
    log = os.open(part.folder / f"{part.instance}.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    asyncio.run(_serve(part))


async def _serve(part: Part) -> None:
    jetstream = Jetstream(part.nats_url, service=part.role)
    mutants.plant(part.mutant, jetstream)
    database = await open_database(
        f"sqlite:///{part.database}", seal=partial(seal, source=part.role)
    )
    await jetstream.start()
    if part.deadly:
        _arm(database, random.Random(part.seed), part.deadly)
    reads = part.role == "reader"
    loops = EventLoops(
        database,
        jetstream,
        part.service or part.role,
        [lines_of(part)] if reads else [],
        [effects_of(part)] if reads else [],
        publishes=[] if reads else [EntryPosted],
        instance=part.instance,
    )
    await loops.start()
    if part.rate:
        await asyncio.gather(
            *(_call(database, part, part.rate / CALLERS, caller) for caller in range(CALLERS))
        )
    await asyncio.Event().wait()


async def _call(database: Database, part: Part, rate: float, caller: int) -> None:
    chance = random.Random(f"{part.seed}-{caller}")
    acked = os.open(part.acked, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    with sqlite3.connect(f"file:{part.database}?mode=ro", uri=True) as reading:
        accounts = [row[0] for row in reading.execute("SELECT id FROM accounts")]
    reading.close()
    for _ in range(part.limit // CALLERS) if part.limit else count():
        entry_id = new_id()
        try:
            await database.transact(
                post,
                chance.choice(accounts),
                entry_id,
                chance.randint(-100, 100),
                not part.limit and chance.random() < REFUSED,
            )
            os.write(acked, f"{entry_id}\n".encode())
        except (FailedPrecondition, Transient):
            pass
        await asyncio.sleep(chance.expovariate(rate))


def _arm(database: Database, chance: random.Random, deadly: float) -> None:
    """Has the process die by chance, right before or after a commit, or sending."""

    def dying(action: Any) -> Any:
        async def acted(*arguments: Any, **options: Any) -> Any:
            if chance.random() < deadly:
                # What was sent before has left by then.
                await asyncio.sleep(0.002)
                os.kill(os.getpid(), signal.SIGKILL)
            answer = await action(*arguments, **options)
            if chance.random() < deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return acted

    points: Sequence[tuple[Any, str]] = ((database, "transact"), (relay, "put"))
    for target, name in points:
        setattr(target, name, dying(getattr(target, name)))
