"""A service's database, whichever it is."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Concatenate, Literal, ParamSpec, Protocol, TypeVar

from mesh.errors import Error, Overloaded, Transient

from .errors import ConstraintViolated, unavailable
from .outbox import NewSaga
from .spans import UnitSpans
from .unit import UnitOfWork

__all__ = ["Database", "Units"]

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)


class Units(Protocol):
    """Whatever runs units of work: a database, or a chassis on one."""

    async def transact(
        self,
        unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...

    async def read(
        self,
        unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...


class Database(ABC):
    """Runs units of work.

    `on_outbox` is called on the event loop after each commit that kept events, `on_record` after
    each that kept records, and `on_saga`, for each saga that was started. They must not raise.
    `max_waiting` units may wait, `spans` are theirs.
    """

    dialect: Literal["sqlite", "postgresql"]
    spans: UnitSpans

    def __init__(self, max_waiting: int) -> None:
        self.on_outbox: list[Callable[[], None]] = []
        self.on_record: list[Callable[[], None]] = []
        self.on_saga: list[Callable[[NewSaga], None]] = []
        self.max_waiting = max_waiting
        self._waiting = 0
        self._closed = False
        self._users: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def transact(
        self,
        unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Runs a unit of work, and answers once it is committed.

        A caller that is cancelled leaves, and its unit goes on: it is kept as a whole, or, if it
        had not begun, not at all.

        Raises what the unit raises; `UniqueViolated` or `CheckViolated` for a constraint;
        `Transient` if there is no answer from the database, in which case the unit may have been
        kept; `Overloaded` if too many units wait.
        """

    @abstractmethod
    async def read(
        self,
        unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Runs a unit that only reads, from one snapshot of what is committed.

        Raises as `transact` does, and `RuntimeError` if the unit writes.
        """

    @abstractmethod
    async def close(self) -> None:
        """Takes no more units, finishes those it has, and lets the database go."""

    @property
    def units(self) -> int:
        """How many units of work wait or run."""
        return self._waiting

    def connections(self) -> tuple[int, int] | None:
        """Counts the connections that are used and those that are idle; None without a pool."""
        return None

    def finishes(self, task: asyncio.Task[None]) -> None:
        """Has `close` wait for a task that uses the database."""
        self._users.add(task)
        task.add_done_callback(self._users.discard)

    async def _finish(self) -> None:
        while self._users:
            await asyncio.wait(self._users)

    def _admit(self) -> None:
        """Counts one more unit in, if there is room for it."""
        if self._closed:
            raise unavailable("it is closed")
        if self._waiting >= self.max_waiting:
            raise Overloaded("DATABASE_BUSY", "Too many units of work wait for the database.")
        self._waiting += 1

    def _committed(self, works: list[UnitOfWork]) -> None:
        """Tells those who wait for a commit, on the event loop."""
        for work in works:
            for callback in work.callbacks:
                _call(callback)
        if any(work.events or work.scheduled for work in works):
            for wake in self.on_outbox:
                _call(wake)
        if any(work.records for work in works):
            for wake in self.on_record:
                _call(wake)
        for work in works:
            for saga in work.sagas:
                for begin in self.on_saga:
                    _call(begin, saga)


def _call(callback: Callable[..., None], *args: object) -> None:
    try:
        callback(*args)
    except Exception:
        logger.exception("a callback after a commit has failed")


def report_orphan(error: BaseException) -> None:
    """Logs the end of a unit whose caller has gone, unless it is one that callers expect."""
    if not isinstance(error, Error | ConstraintViolated | Transient):
        logger.error("a unit of work has failed after its caller had gone", exc_info=error)
