"""PostgreSQL: a pool of connections; units run side by side, each a transaction.

The isolation is READ COMMITTED: a unit that reads what it will overwrite says `FOR UPDATE`, and
locks rows in the order of their ids.
"""

from __future__ import annotations

import asyncio
import random
import types
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar

import asyncpg

from mesh.errors import Transient

from .database import Database, report_orphan
from .errors import CheckViolated, ConstraintViolated, UniqueViolated, unavailable
from .outbox import KEEP_EVENT, KEEP_RECORD, KEEP_SCHEDULED, START_SAGA, Seal, Witness
from .spans import UnitSpans
from .statement import Statement
from .unit import Row, UnitOfWork, refuse_foreign_await
from .url import PostgresUrl

__all__ = ["PostgresDatabase"]

P = ParamSpec("P")
T = TypeVar("T")

Connection: TypeAlias = Any
"""An `asyncpg.Connection`, or the pool's proxy of one."""

_RETRIES = 3
_PAUSE_S = 0.02
_CLOSE_S = 20.0

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    # Of its own state, while a server shuts down: nobody knows what the connection is good for.
    asyncpg.InternalClientError,
    OSError,
)
_CONFLICT = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    # A migration has changed a table under a prepared statement.
    asyncpg.InvalidCachedStatementError,
)
_BUSY = (
    asyncpg.TooManyConnectionsError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    TimeoutError,
)


class _Question:
    """What a unit asks of its connection. It is answered by whoever drives the unit."""

    __slots__ = ("ask",)

    def __init__(self, ask: Callable[[Connection], Awaitable[Any]]) -> None:
        self.ask = ask


class PostgresUnit(UnitOfWork):
    """A unit whose awaits are questions: anything else that it awaits is found out."""

    __slots__ = ()

    async def execute(self, statement: Statement, /, **parameters: object) -> int:
        arguments = statement.bind(parameters)
        status = await self._ask(
            statement, lambda connection: connection.execute(statement.postgresql, *arguments)
        )
        word = status.rpartition(" ")[2]
        count = int(word) if word.isdecimal() else 0
        if statement.writes and count:
            self.changed = True
        return count

    async def execute_many(
        self, statement: Statement, rows: Sequence[Mapping[str, object]], /
    ) -> None:
        arguments = [statement.bind(row) for row in rows]
        await self._ask(
            statement, lambda connection: connection.executemany(statement.postgresql, arguments)
        )
        self.changed = True

    async def fetch_one(self, statement: Statement, /, **parameters: object) -> Row | None:
        arguments = statement.bind(parameters)
        row: Row | None = await self._ask(
            statement, lambda connection: connection.fetchrow(statement.postgresql, *arguments)
        )
        if statement.writes and row is not None:
            self.changed = True
        return row

    async def fetch_all(self, statement: Statement, /, **parameters: object) -> list[Row]:
        arguments = statement.bind(parameters)
        rows: list[Row] = await self._ask(
            statement, lambda connection: connection.fetch(statement.postgresql, *arguments)
        )
        if statement.writes and rows:
            self.changed = True
        return rows

    @types.coroutine
    def _ask(
        self, statement: Statement, ask: Callable[[Connection], Awaitable[Any]]
    ) -> Generator[_Question, Any, Any]:
        if self.failure is not None:
            raise self.failure
        self.statements.append(statement)
        return (yield _Question(ask))

    async def answer(self, unit: Awaitable[T], connection: Connection) -> T:
        """Runs the unit on a connection, within a transaction that is begun."""
        steps = unit.__await__()
        answer: Any = None
        while True:
            try:
                question: Any = (
                    steps.send(answer) if self.failure is None else steps.throw(self.failure)
                )
            except StopIteration as done:
                if self.failure is not None:
                    raise self.failure from None
                result: T = done.value
                return result
            if not isinstance(question, _Question):
                refuse_foreign_await(steps)
            try:
                answer = await question.ask(connection)
            except Exception as error:
                self.failure = explain(error, writes=self.writes)


class PostgresDatabase(Database):
    """A database of a PostgreSQL server."""

    dialect: Literal["sqlite", "postgresql"] = "postgresql"

    def __init__(
        self,
        url: PostgresUrl,
        seal: Seal,
        witness: Witness | None,
        *,
        pool: int,
        lock_timeout_s: float,
        max_waiting: int,
    ) -> None:
        super().__init__(max_waiting)
        self._url = url
        self._seal = seal
        self._witness = witness
        self._pool_size = pool
        self._lock_timeout_s = lock_timeout_s
        self._tasks: set[asyncio.Task[Any]] = set()
        self.spans = UnitSpans("postgresql", url.database)
        self._pool: asyncpg.Pool[Any]

    async def open(self) -> None:
        """Connects. Raises `Transient` if there is no answer."""
        try:
            self._pool = await asyncpg.create_pool(
                self._url.dsn,
                min_size=1,
                max_size=self._pool_size,
                timeout=self._lock_timeout_s,
                command_timeout=4 * self._lock_timeout_s,
                statement_cache_size=512,
                # A unit leaves nothing behind that would have to be reset.
                reset=_leave_as_it_is,
                server_settings={
                    "lock_timeout": f"{round(self._lock_timeout_s * 1000)}ms",
                    "jit": "off",
                },
            )
        except (*_LOST, *_BUSY, asyncpg.InvalidCatalogNameError) as error:
            raise unavailable(type(error).__name__) from error

    async def transact(
        self,
        unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._shielded(True, unit, args, kwargs)

    async def read(
        self,
        unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._shielded(False, unit, args, kwargs)

    async def close(self) -> None:
        await self._finish()
        self._closed = True
        while self._tasks:
            await asyncio.wait(self._tasks)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    def connections(self) -> tuple[int, int]:
        idle = self._pool.get_idle_size()
        return self._pool.get_size() - idle, idle

    async def _shielded(
        self,
        writes: bool,
        unit: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> T:
        self._admit()
        task = asyncio.create_task(self._traced(writes, lambda work: unit(work, *args, **kwargs)))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_report)
            raise

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._waiting -= 1

    async def _traced(self, writes: bool, unit: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        span, began = self.spans.begin(), perf_counter()
        work: PostgresUnit | None = None
        failure: BaseException | None = None
        try:
            for attempt in range(_RETRIES + 1):
                work = PostgresUnit(self._seal, self._witness, writes=writes)
                try:
                    return await self._attempt(work, unit)
                except Transient as error:
                    if not _may_be_tried_again(error, attempt):
                        raise
                await asyncio.sleep(random.uniform(0, _PAUSE_S * 2**attempt))  # noqa: S311
            raise AssertionError("the last attempt returns or raises")
        except BaseException as error:
            failure = error
            raise
        finally:
            self.spans.count(perf_counter() - began, work, failure)
            if span is not None:
                self.spans.end(span, work, failure)

    async def _attempt(self, work: PostgresUnit, unit: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        try:
            connection = await self._pool.acquire(timeout=self._lock_timeout_s)
        except (*_LOST, *_BUSY) as error:
            raise explain(error, writes=work.writes) from error
        try:
            answer = await self._transaction(connection, work, unit)
        finally:
            await self._pool.release(connection)
        self._committed([work])
        return answer

    async def _transaction(
        self,
        connection: Connection,
        work: PostgresUnit,
        unit: Callable[[UnitOfWork], Awaitable[T]],
    ) -> T:
        begin = "BEGIN" if work.writes else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        try:
            await _run(connection.execute(begin), work)
            answer = await work.answer(unit(work), connection)
            work.testify()
            if work.events:
                await _run(connection.executemany(KEEP_EVENT.postgresql, work.events), work)
            if work.scheduled:
                await _run(connection.executemany(KEEP_SCHEDULED.postgresql, work.scheduled), work)
            if work.records:
                await _run(connection.executemany(KEEP_RECORD.postgresql, work.records), work)
            for saga in work.sagas:
                status = await _run(connection.execute(START_SAGA.postgresql, *saga.row()), work)
                if status == "INSERT 0 0":
                    saga.entity = None
            work.failure = RuntimeError("the unit of work is over")
        except BaseException:
            await _roll_back(connection)
            raise
        try:
            await connection.execute("COMMIT")
        except Exception as error:
            meaning = explain(error, writes=work.writes)
            if isinstance(meaning, Transient) and not isinstance(error, _CONFLICT):
                # Whether it is kept is not known: it is not tried again here.
                _terminate(connection)
                meaning.__cause__ = None
            raise meaning from meaning.__cause__
        return answer


def explain(error: Exception, *, writes: bool) -> Exception:
    """Says what an error is: a refusal, no answer (its cause is the error), or (itself) a bug."""
    meaning: Exception = error
    if isinstance(error, asyncpg.UniqueViolationError):
        meaning = UniqueViolated(error.constraint_name or "")
    elif isinstance(error, asyncpg.CheckViolationError):
        meaning = CheckViolated(error.constraint_name or str(error))
    elif isinstance(error, asyncpg.RaiseError):
        meaning = CheckViolated(str(error))
    elif isinstance(error, asyncpg.IntegrityConstraintViolationError):
        meaning = ConstraintViolated(error.constraint_name or str(error))
    elif isinstance(error, asyncpg.ReadOnlySQLTransactionError) and not writes:
        meaning = RuntimeError("a read cannot write")
    elif isinstance(error, (*_LOST, *_CONFLICT, *_BUSY)) or _is_closed(error):
        meaning = unavailable(type(error).__name__)
    if meaning is not error:
        meaning.__cause__ = error
    return meaning


def _is_closed(error: Exception) -> bool:
    return isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)


def _may_be_tried_again(error: Transient, attempt: int) -> bool:
    """A conflict is tried again three times; a connection lost before the commit, once."""
    if isinstance(error.__cause__, _CONFLICT):
        return attempt < _RETRIES
    cause = error.__cause__
    lost = isinstance(cause, _LOST) or (isinstance(cause, Exception) and _is_closed(cause))
    return lost and attempt == 0


async def _run(answer: Awaitable[T], work: UnitOfWork) -> T:
    try:
        return await answer
    except Exception as error:
        meaning = explain(error, writes=work.writes)
        raise meaning from meaning.__cause__


async def _roll_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except Exception:
        _terminate(connection)
    except BaseException:
        _terminate(connection)
        raise


def _terminate(connection: Connection) -> None:
    """Has the pool replace a connection of which nobody knows the state."""
    with suppress(asyncpg.InterfaceError):  # it is lost, and has left the pool already
        connection.terminate()


async def _leave_as_it_is(connection: Connection) -> None:
    """Does what the pool does between two users of a connection."""


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        report_orphan(error)
