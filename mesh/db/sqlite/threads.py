"""The threads of a SQLite database: one that writes, some that read.

Theory of operation. A commit costs a sync of the disk, and the sync costs far more than the rows.
So units of work queue up while one commit is under way, and the next commit takes all of them: each
in its own savepoint, so that a refusal takes back only its own rows, and none is answered before
the commit. Under load a unit pays for a fraction of a sync, and alone it pays for one, as ever.
A commit that fails fails them all: have no deferred constraints, they speak only then.

The loop is woken once for each group.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any

from mesh.db.errors import unavailable
from mesh.db.outbox import KEEP_EVENT, KEEP_RECORD, KEEP_SCHEDULED, START_SAGA, Seal, Witness
from mesh.db.unit import drive
from mesh.errors import Transient
from observability.tracing import Span

from .refusals import explain
from .unit import SqliteUnit

__all__ = ["Job", "Reader", "Writer"]

_GROUP = 256
_BATCH = 16
# A statement gives the interpreter up for microseconds. With the default of 5 ms, a busy event loop
# would keep it that long each time, and a unit of ten statements would take 100 ms.
_SWITCH_INTERVAL_S = 0.000_05


class Job:
    """A unit of work that waits for its thread, and then for its caller."""

    __slots__ = (
        "answer",
        "args",
        "began",
        "context",
        "error",
        "future",
        "kwargs",
        "span",
        "unit",
        "work",
    )

    def __init__(
        self,
        unit: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        future: asyncio.Future[Any],
        span: Span | None,
    ) -> None:
        self.unit = unit
        self.args = args
        self.kwargs = kwargs
        self.context: Context = copy_context()
        self.future = future
        self.span = span
        self.began = perf_counter()
        self.work: SqliteUnit | None = None
        self.answer: Any = None
        self.error: BaseException | None = None

    def run(
        self, cursor: sqlite3.Cursor, seal: Seal, witness: Witness | None, *, writes: bool
    ) -> None:
        """Runs the unit, unless its caller has gone. Its end is in `answer` or `error`."""
        if self.future.cancelled():
            return
        work = self.work = SqliteUnit(cursor, seal, witness, writes=writes)
        try:
            self.answer = self.context.run(self._drive)
            if work.failure is not None:
                raise work.failure
            work.keep()
        except BaseException as error:
            self.error = error
            work.undo()

    def _drive(self) -> Any:
        work = self.work
        assert work is not None, "it was made before"
        answer = drive(self.unit(work, *self.args, **self.kwargs))
        work.testify()
        return answer


class _Worker(threading.Thread):
    """A thread that owns a connection, takes jobs in order and hands them back in batches."""

    def __init__(
        self,
        name: str,
        connection: sqlite3.Connection,
        jobs: SimpleQueue[Job | None],
        settle: Callable[[list[Job]], None],
        seal: Seal,
        witness: Witness | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._connection = connection
        self._cursor = connection.cursor()
        self._jobs = jobs
        self._settle = settle
        self._seal = seal
        self._witness = witness
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self.stopped: asyncio.Future[None] = self._loop.create_future()

    def run(self) -> None:
        while not self._stopping and (job := self._jobs.get()) is not None:
            batch = [job]
            try:
                self._work(batch)
            except BaseException as error:
                self._lose(batch, error)
            self._loop.call_soon_threadsafe(self._settle, batch)
        self._connection.close()
        self._loop.call_soon_threadsafe(self.stopped.set_result, None)

    def _work(self, batch: list[Job]) -> None:
        """Does the first job of the batch, and adds those that wait."""
        raise NotImplementedError

    def _another(self) -> Job | None:
        """The next job, if one waits."""
        if self._stopping:
            return None
        try:
            job = self._jobs.get_nowait()
        except Empty:
            return None
        self._stopping = job is None
        return job

    def _lose(self, batch: list[Job], error: BaseException) -> None:
        """Takes the whole transaction back: nobody is told that his unit was kept."""
        try:
            if self._connection.in_transaction:
                self._cursor.execute("ROLLBACK")
        except sqlite3.Error as worse:
            error = worse
        for job in batch:
            if job.error is None:
                job.error = self._no_answer(error)

    def _no_answer(self, error: BaseException) -> Exception:
        if isinstance(error, sqlite3.Error):
            meaning = explain(self._connection, error, writes=True)
            if isinstance(meaning, Transient):
                return meaning
        return unavailable(f"the commit has failed ({error})")


class Writer(_Worker):
    """The only thread of the process that writes."""

    def run(self) -> None:
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
        super().run()

    def _work(self, batch: list[Job]) -> None:
        try:
            self._cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            # Whoever waits has waited as long: nobody is kept for another turn.
            while waiting := self._another():
                batch.append(waiting)
            raise
        for job in batch:
            job.run(self._cursor, self._seal, self._witness, writes=True)
            if job.error is not None and not self._connection.in_transaction:
                raise job.error
            if job is batch[-1] and len(batch) < _GROUP and (late := self._another()):
                batch.append(late)
        kept = [job.work for job in batch if job.work is not None and job.error is None]
        if events := [event for work in kept for event in work.events]:
            self._cursor.executemany(KEEP_EVENT.sqlite, events)
        if scheduled := [event for work in kept for event in work.scheduled]:
            self._cursor.executemany(KEEP_SCHEDULED.sqlite, scheduled)
        if sagas := [saga for work in kept for saga in work.sagas]:
            self._cursor.executemany(START_SAGA.sqlite, [saga.row() for saga in sagas])
            if self._cursor.rowcount != len(sagas):
                # One of them was there before, and which is not told.
                for saga in sagas:
                    saga.entity = None
        if records := [record for work in kept for record in work.records]:
            self._cursor.executemany(KEEP_RECORD.sqlite, records)
        self._cursor.execute("COMMIT")


class Reader(_Worker):
    """A thread that reads. What it takes together, it answers from one snapshot."""

    def _work(self, batch: list[Job]) -> None:
        while len(batch) < _BATCH and (job := self._another()) is not None:
            batch.append(job)
        self._cursor.execute("BEGIN")
        for job in batch:
            job.run(self._cursor, self._seal, self._witness, writes=False)
        if self._connection.in_transaction:
            self._cursor.execute("COMMIT")
