"""Runs sagas: the flows that a unit of work has started, to their end, whatever dies in between.

A saga's rules are plain code over a journal. After a crash they are run again from the top, and the
steps that the journal has an answer for are not taken again. Several processes of a service share
the table: a saga is run by the process that started it, or by the one that finds its lease run out.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from mesh.clock import now_us
from mesh.db import Database, Row, UnitOfWork, sql
from mesh.db.outbox import NewSaga
from mesh.errors import Overloaded, Transient
from mesh.events.backoff import Backoff
from mesh.ids import new_id
from mesh.noting import noting
from mesh.rpc.context import Outgoing, current, outgoing
from observability import metrics, semconv, tracing

from . import Journal
from .journal import LEASE_S, Answer, LeaseLost, RunJournal

__all__ = ["Saga", "SagaRunner"]

T = TypeVar("T")

_SWEEP_S: Final = 1.0
_STARTER_S: Final = 2.0
_POLL_S: Final = 0.05
_ATTEMPTS_AT_ONCE: Final = 256

_SAGA = sql(
    "SELECT status, due_at_us, started_at_us, traceparent FROM sagas"
    " WHERE saga = :saga AND entity_id = :entity_id"
)
_STEPS = sql(
    "SELECT step, outcome, reason, message FROM saga_steps"
    " WHERE saga = :saga AND entity_id = :entity_id"
)
# One that was never leased is left to the process that started it, for a moment. One that is leased
# to this instance and does not run here is of its former life.
_CLAIMABLE = sql(
    "SELECT saga, entity_id FROM sagas"
    " WHERE status = 'running' AND due_at_us <= :now_us"
    " AND (lease_until_us < :now_us OR owner = :owner)"
    " AND (owner <> '' OR due_at_us > started_at_us OR due_at_us < :left_alone_us)"
    " ORDER BY due_at_us LIMIT :most"
)
_CLAIM = sql(
    "UPDATE sagas SET owner = :owner, lease_until_us = :until_us, attempts = attempts + 1"
    " WHERE saga = :saga AND entity_id = :entity_id AND status = 'running'"
    " AND (lease_until_us < :now_us OR owner = :owner)"
)
_RENEW = sql(
    "UPDATE sagas SET owner = :owner, lease_until_us = :until_us"
    " WHERE saga = :saga AND entity_id = :entity_id AND status = 'running'"
    " AND owner IN ('', :owner)"
)
_RELEASE = sql(
    "UPDATE sagas SET lease_until_us = 0"
    " WHERE saga = :saga AND entity_id = :entity_id AND status = 'running' AND owner = :owner"
)
_UNFINISHED = sql(
    "SELECT COUNT(*) AS count, MIN(due_at_us) AS oldest_us FROM sagas"
    " WHERE status = 'running' AND due_at_us <= :now_us"
)
_NEXT_DUE = sql(
    "SELECT MIN(due_at_us) AS due_at_us FROM sagas WHERE status = 'running' AND due_at_us > :now_us"
)

logger = logging.getLogger(__name__)

Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Saga(Generic[T]):
    """A flow over one entity: how it is loaded, run, and how its end is kept.

    `name` is stored: never change it. `run` is replayed from the top after a crash, so it decides
    by nothing but the entity and the answers to its steps. `finish` saves the end and publishes, in
    the transaction that closes the saga, and gives the entity as it is kept.
    """

    name: str
    run: Callable[[T, Journal], Awaitable[T]]
    load: Callable[[UnitOfWork, str], Awaitable[T]]
    finish: Callable[[UnitOfWork, T], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Record:
    """A saga as it is kept, with its entity."""

    due_at_us: int
    started_at_us: int
    traceparent: str
    answers: dict[str, Answer]
    entity: Any


class SagaRunner:
    """Runs the sagas of a service. `max_unfinished` bounds those that are due and not done."""

    def __init__(
        self,
        database: Database,
        sagas: Sequence[Saga[Any]],
        *,
        max_unfinished: int = 2_000,
        instance: str = "",
    ) -> None:
        self._database = database
        self._sagas = {saga.name: saga for saga in sagas}
        self._max_unfinished = max_unfinished
        self._owner = instance or new_id()
        self._running: dict[Key, asyncio.Task[Any]] = {}
        self._elsewhere = 0
        self._permits = asyncio.Semaphore(_ATTEMPTS_AT_ONCE)
        self._news = asyncio.Event()
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to run what is started from now on, and what an earlier process left behind."""
        self._database.on_saga.append(self._begin_new)
        self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="sagas")
        for name in self._sagas:
            metrics.SAGA_UNFINISHED.observe(partial(self._count, name), name)

    async def stop(self, grace_s: float = 0.0) -> None:
        """Lets running sagas end for `grace_s` seconds; the rest is left for the next process."""
        if self._sweeper is None:
            return
        self._database.on_saga.remove(self._begin_new)
        if self._running and grace_s:
            await asyncio.wait(self._running.values(), timeout=grace_s)
        left = dict(self._running)
        tasks = [self._sweeper, *left.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sweeper = None
        for name in self._sagas:
            metrics.SAGA_UNFINISHED.observe(None, name)
        if left:
            with contextlib.suppress(Transient):
                await self._database.transact(_release, self._owner, list(left))

    def admit(self) -> None:
        """Raises `Overloaded` if too many sagas are unfinished to start another."""
        if len(self._running) + self._elsewhere >= self._max_unfinished:
            raise Overloaded("TOO_MUCH_UNFINISHED", "Too much is unfinished; try again later.")

    async def wait(self, saga: str, entity_id: str, seconds: float) -> Any:
        """Waits until a saga has ended, for at most `seconds`; gives its entity, or None."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    running = self._running.get((saga, entity_id))
                    if running is not None:
                        await asyncio.wait((running,))
                        if not running.cancelled() and running.result() is not None:
                            return _noted(running.result())
                    ended = await self._database.read(_ended, self._sagas[saga], entity_id)
                    if ended is not None:
                        return ended
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            return None

    def _count(self, name: str) -> int:
        return sum(1 for saga, _ in self._running if saga == name)

    def _begin_new(self, new: NewSaga) -> None:
        """Runs a saga that was started just now. Most know what they would read."""
        known = None
        if new.entity is not None:
            known = Record(new.due_at_us, new.started_at_us, new.traceparent, {}, new.entity)
        self._begin(new.saga, new.entity_id, known)

    def _begin(self, name: str, entity_id: str, known: Record | None = None) -> None:
        """Runs a saga here, unless it runs already. What there is no room for waits for a sweep.

        It gets a context of its own: nothing of the call that started it, neither its deadline nor
        its user, holds for the saga.
        """
        key = (name, entity_id)
        saga = self._sagas.get(name)
        if saga is None or key in self._running or len(self._running) >= self._max_unfinished:
            return
        task = asyncio.get_running_loop().create_task(
            self._carry(saga, entity_id, known), context=contextvars.Context()
        )
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def _carry(
        self, saga: Saga[Any], entity_id: str, known: Record | None
    ) -> tuple[Any, Outgoing] | None:
        """Carries a saga to its end; what goes wrong with it is tried again, with a pause.

        Gives the entity as it ended, and what its steps have told; None if it was not this process
        that ended it.
        """
        backoff = Backoff(first_s=0.025, cap_s=2.0)
        bugs = Backoff(first_s=1.0, cap_s=60.0)
        while True:
            try:
                record = known or await self._database.read(_load, saga, entity_id)
                known = None
                return None if record is None else await self._run_once(saga, entity_id, record)
            except LeaseLost:
                logger.info("saga %s of %s is run elsewhere", saga.name, entity_id)
                return None
            except Transient as error:
                logger.info("saga %s of %s begins again: %s", saga.name, entity_id, error)
                await asyncio.sleep(backoff.next())
            except Exception:
                logger.exception("saga %s of %s has failed", saga.name, entity_id)
                await asyncio.sleep(bugs.next())

    async def _run_once(
        self, saga: Saga[Any], entity_id: str, record: Record
    ) -> tuple[Any, Outgoing] | None:
        if record.due_at_us > now_us():
            self._news.set()
            return None
        starter = tracing.parse(record.traceparent)
        # What was scheduled for later is no part of the request that scheduled it.
        is_scheduled = record.due_at_us > record.started_at_us
        with tracing.span(
            f"saga {saga.name}",
            attributes={semconv.SAGA_NAME: saga.name},
            parent=None if is_scheduled else starter,
            links=(starter,) if is_scheduled and starter else (),
        ):
            journal = RunJournal(
                self._database, self._owner, saga.name, entity_id, record.answers, self._permits
            )
            with outgoing(Outgoing()) as out:
                ended = await saga.run(record.entity, journal)
                return await noting(self._database, _end, saga, journal, ended), out

    async def _sweep_for_ever(self) -> None:
        while True:
            self._news.clear()
            pause_s = _SWEEP_S
            try:
                pause_s = await self._sweep()
            except Transient as error:
                logger.info("sagas were not looked for: %s", error)
            except Exception:
                logger.exception("sagas were not looked for")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()

    async def _sweep(self) -> float:
        """Renews leases, takes over what nobody runs, and tells when to look again, in seconds."""
        now = now_us()
        if self._running:
            await self._database.transact(_renew, self._owner, list(self._running))
        rows = await self._database.read(_find_claimable, self._owner, now, self._max_unfinished)
        room = self._max_unfinished - len(self._running)
        found = [
            (row["saga"], row["entity_id"])
            for row in rows
            if row["saga"] in self._sagas and (row["saga"], row["entity_id"]) not in self._running
        ][:room]
        if found:
            for name, entity_id in await self._database.transact(_claim, self._owner, found):
                self._begin(name, entity_id)
        count, oldest_us, next_due_us = await self._database.read(_survey, now)
        self._elsewhere = max(0, count - len(self._running))
        metrics.SAGA_OLDEST_AGE.set((now - (oldest_us or now)) / 1_000_000, "")
        if next_due_us is None:
            return _SWEEP_S
        return min(_SWEEP_S, max(0.0, (next_due_us - now_us()) / 1_000_000))


def _noted(ended: tuple[Any, Outgoing]) -> Any:
    """Gives the entity, and notes what its saga has told in the call that waits for it."""
    entity, out = ended
    waiting = current.get()
    if waiting is not None:
        waiting.told |= out.told
    return entity


async def _load(work: UnitOfWork, saga: Saga[Any], entity_id: str) -> Record | None:
    row = await work.fetch_one(_SAGA, saga=saga.name, entity_id=entity_id)
    if row is None or row["status"] != "running":
        return None
    steps = await work.fetch_all(_STEPS, saga=saga.name, entity_id=entity_id)
    answers = {
        step["step"]: Answer(step["outcome"], step["reason"], step["message"]) for step in steps
    }
    entity = await saga.load(work, entity_id)
    return Record(row["due_at_us"], row["started_at_us"], row["traceparent"], answers, entity)


async def _end(work: UnitOfWork, saga: Saga[T], journal: RunJournal, entity: T) -> T:
    await journal.end(work)
    return await saga.finish(work, entity)


async def _ended(work: UnitOfWork, saga: Saga[T], entity_id: str) -> T | None:
    row = await work.fetch_one(_SAGA, saga=saga.name, entity_id=entity_id)
    if row is None or row["status"] != "done":
        return None
    return await saga.load(work, entity_id)


async def _find_claimable(work: UnitOfWork, owner: str, now: int, most: int) -> list[Row]:
    left_alone = now - round(_STARTER_S * 1_000_000)
    return await work.fetch_all(
        _CLAIMABLE, owner=owner, now_us=now, left_alone_us=left_alone, most=most
    )


async def _claim(work: UnitOfWork, owner: str, found: Sequence[Key]) -> list[Key]:
    now = now_us()
    until = now + round(LEASE_S * 1_000_000)
    return [
        (saga, entity_id)
        for saga, entity_id in found
        if await work.execute(
            _CLAIM, owner=owner, until_us=until, saga=saga, entity_id=entity_id, now_us=now
        )
    ]


async def _renew(work: UnitOfWork, owner: str, running: Sequence[Key]) -> None:
    until = now_us() + round(LEASE_S * 1_000_000)
    rows: list[dict[str, object]] = [
        {"owner": owner, "until_us": until, "saga": saga, "entity_id": entity_id}
        for saga, entity_id in running
    ]
    await work.execute_many(_RENEW, rows)


async def _release(work: UnitOfWork, owner: str, left: Sequence[Key]) -> None:
    rows: list[dict[str, object]] = [
        {"owner": owner, "saga": saga, "entity_id": entity_id} for saga, entity_id in left
    ]
    await work.execute_many(_RELEASE, rows)


async def _survey(work: UnitOfWork, now: int) -> tuple[int, int | None, int | None]:
    """Counts what is due and not done, and gives the oldest of it and what is due next."""
    unfinished = await work.fetch_one(_UNFINISHED, now_us=now)
    upcoming = await work.fetch_one(_NEXT_DUE, now_us=now)
    assert unfinished is not None
    assert upcoming is not None
    return unfinished["count"], unfinished["oldest_us"], upcoming["due_at_us"]
