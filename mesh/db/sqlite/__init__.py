"""SQLite: one writer with group commit, readers beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from mesh.db.database import Database, report_orphan
from mesh.db.outbox import Seal, Witness
from mesh.db.spans import UnitSpans
from mesh.db.unit import UnitOfWork

from .connection import connect
from .threads import Job, Reader, Writer

__all__ = ["SqliteDatabase"]

P = ParamSpec("P")
T = TypeVar("T")


class SqliteDatabase(Database):
    """A SQLite file. Other processes may have it open, too."""

    dialect: Literal["sqlite", "postgresql"] = "sqlite"

    def __init__(
        self,
        path: Path,
        seal: Seal,
        witness: Witness | None,
        *,
        readers: int,
        lock_timeout_s: float,
        max_waiting: int,
    ) -> None:
        super().__init__(max_waiting)
        self._path = path
        self._seal = seal
        self._witness = witness
        self._readers = readers
        self._lock_timeout_s = lock_timeout_s
        self._loop = asyncio.get_running_loop()
        self._writes: SimpleQueue[Job | None] = SimpleQueue()
        self._reads: SimpleQueue[Job | None] = SimpleQueue()
        self._workers: list[Reader | Writer] = []
        self.spans = UnitSpans("sqlite", path.name)

    async def open(self) -> None:
        """Opens the connections and starts their threads. Raises `Transient` if it cannot."""
        connections = []
        try:
            for n in range(1 + self._readers):
                connections.append(
                    await asyncio.to_thread(
                        connect, self._path, writes=n == 0, lock_timeout_s=self._lock_timeout_s
                    )
                )
        except BaseException:
            for connection in connections:
                connection.close()
            raise
        writing, *reading = connections
        name = self._path.stem
        self._workers = [
            Writer(f"{name}-writer", writing, self._writes, self._kept, self._seal, self._witness),
            *(
                Reader(f"{name}-reader", connection, self._reads, self._answered, self._seal)
                for connection in reading
            ),
        ]
        for worker in self._workers:
            worker.start()

    async def transact(
        self,
        unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        answer: T = await self._submit(self._writes, unit, args, kwargs)
        return answer

    async def read(
        self,
        unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        answer: T = await self._submit(self._reads, unit, args, kwargs)
        return answer

    async def close(self) -> None:
        await self._finish()
        if not self._closed:
            self._closed = True
            self._writes.put(None)
            for _ in range(self._readers):
                self._reads.put(None)
        # A caller that is cancelled here may come again.
        await asyncio.gather(*(asyncio.shield(worker.stopped) for worker in self._workers))
        for worker in self._workers:
            worker.join()

    def _submit(
        self,
        jobs: SimpleQueue[Job | None],
        unit: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> asyncio.Future[Any]:
        self._admit()
        future = self._loop.create_future()
        jobs.put(Job(unit, args, kwargs, future, self.spans.begin()))
        return future

    def _kept(self, batch: list[Job]) -> None:
        self._committed([job.work for job in batch if job.work and job.error is None])
        self._answered(batch)

    def _answered(self, batch: list[Job]) -> None:
        self._waiting -= len(batch)
        now = perf_counter()
        for job in batch:
            self.spans.count(now - job.began, job.work, job.error)
            if job.span is not None:
                self.spans.end(job.span, job.work, job.error)
            if job.future.done():
                if job.error is not None:
                    report_orphan(job.error)
            elif job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.answer)
