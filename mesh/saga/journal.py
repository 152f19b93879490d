"""The journal of one run of a saga, kept in the service's database.

An answer is written before the next step begins, and the last one in the transaction that ends the
saga: of a saga that dies, at most the step it was at is taken again. Whoever has lost the lease on
a saga can write nothing more to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from mesh.clock import now_us
from mesh.db import Database, UnitOfWork, sql
from mesh.errors import Refused, Transient
from mesh.events.backoff import Backoff
from observability import metrics, semconv, tracing

__all__ = ["LEASE_S", "Answer", "LeaseLost", "RunJournal"]

T = TypeVar("T")

LEASE_S: Final = 3.0
_LATE_S: Final = 60.0

_KEEP_LEASE = sql(
    "UPDATE sagas SET owner = :owner, lease_until_us = :until_us"
    " WHERE saga = :saga AND entity_id = :entity_id AND status = 'running'"
    " AND owner IN ('', :owner)"
)
_END = sql(
    "UPDATE sagas SET status = 'done', owner = :owner, lease_until_us = 0, ended_at_us = :now_us"
    " WHERE saga = :saga AND entity_id = :entity_id AND status = 'running'"
    " AND owner IN ('', :owner)"
)
_KEEP_STEP = sql(
    "INSERT INTO saga_steps (saga, entity_id, step, outcome, reason, message)"
    " VALUES (:saga, :entity_id, :step, :outcome, :reason, :message)"
)

logger = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another process runs this saga by now, or has ended it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a step was answered, for good."""

    outcome: Literal["done", "refused"]
    reason: str = ""
    message: str = ""


class RunJournal:
    """The `Journal` that a saga is run with. One for each run."""

    def __init__(
        self,
        database: Database,
        owner: str,
        saga: str,
        entity_id: str,
        answers: Mapping[str, Answer],
        permits: asyncio.Semaphore,
    ) -> None:
        self._database = database
        self._owner = owner
        self._saga = saga
        self._entity_id = entity_id
        self._answers = dict(answers)
        self._permits = permits
        self._passed: set[str] = set()
        self._unwritten: dict[str, Answer] = {}

    async def step(self, name: str, action: Callable[[T], Awaitable[None]], argument: T, /) -> None:
        """Takes a step, unless the journal has its answer. See `mesh.saga.Journal`.

        Raises `RuntimeError` if a run takes two steps of one name: the second would be mistaken for
        the first.
        """
        if name in self._passed:
            raise RuntimeError(f"saga {self._saga} takes two steps named {name!r}")
        self._passed.add(name)
        answer = self._answers.get(name)
        if answer is None:
            if self._unwritten:
                await self._database.transact(self._write)
                self._unwritten.clear()
            answer = await self._ask(name, action, argument)
            self._answers[name] = self._unwritten[name] = answer
        if answer.outcome == "refused":
            raise Refused(answer.reason, answer.message)

    async def end(self, work: UnitOfWork) -> None:
        """Closes the saga, with the answers that are not written yet.

        Raises `LeaseLost` if it is not this process's to close.
        """
        ended = await work.execute(
            _END,
            owner=self._owner,
            saga=self._saga,
            entity_id=self._entity_id,
            now_us=now_us(),
        )
        if not ended:
            raise LeaseLost
        await self._write_steps(work)

    async def _write(self, work: UnitOfWork) -> None:
        held = await work.execute(
            _KEEP_LEASE,
            owner=self._owner,
            saga=self._saga,
            entity_id=self._entity_id,
            until_us=now_us() + round(LEASE_S * 1_000_000),
        )
        if not held:
            raise LeaseLost
        await self._write_steps(work)

    async def _write_steps(self, work: UnitOfWork) -> None:
        for name, answer in self._unwritten.items():
            await work.execute(
                _KEEP_STEP,
                saga=self._saga,
                entity_id=self._entity_id,
                step=name,
                outcome=answer.outcome,
                reason=answer.reason,
                message=answer.message,
            )

    async def _ask(self, name: str, action: Callable[[T], Awaitable[None]], argument: T) -> Answer:
        """Asks until there is an answer."""
        backoff = Backoff(first_s=0.025, cap_s=2.0)
        started_at = time.monotonic()
        is_late = False
        attributes = {semconv.SAGA_NAME: self._saga, semconv.SAGA_STEP: name}
        with tracing.span(f"step {self._saga} {name}", attributes=attributes) as span:
            attempt = 0
            while True:
                attempt += 1
                if attempt > 1:
                    span.set_attribute(semconv.SAGA_ATTEMPT, attempt)
                try:
                    async with self._permits:
                        return await self._attempt(name, action, argument)
                except Transient as error:
                    if not is_late and time.monotonic() - started_at > _LATE_S:
                        is_late = True
                        logger.warning(
                            "saga %s of %s waits for %s: %s",
                            self._saga,
                            self._entity_id,
                            name,
                            error.reason,
                        )
                await asyncio.sleep(backoff.next())

    async def _attempt(
        self, name: str, action: Callable[[T], Awaitable[None]], argument: T
    ) -> Answer:
        began_at = time.perf_counter()
        outcome = "failed"
        try:
            await action(argument)
            outcome = "done"
            return Answer("done")
        except Refused as refusal:
            outcome = "refused"
            return Answer("refused", refusal.reason, refusal.message)
        except Transient:
            outcome = "transient"
            raise
        finally:
            duration = time.perf_counter() - began_at
            metrics.SAGA_STEP_DURATION.record(duration, self._saga, name, outcome)
