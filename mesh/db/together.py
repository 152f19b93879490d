"""Units of work that are done together: what many callers ask for at once costs one transaction.

Theory of operation. Callers that want the same rows take turns at their locks, and each turn lasts
as long as a commit. So what is asked while one transaction is under way waits, and the next takes
all of it: it locks each row once, decides every order in memory, writes what changed in bulk, and
commits once. It is what `mesh.db.sqlite` does with commits, done with locks and statements too, on
both databases (group commit: DeWitt et al., 1984; batching of orders: TigerBeetle).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeAlias, TypeVar

from mesh.errors import Overloaded, Transient
from observability.tracing import Span

from .spans import UnitSpans
from .unit import UnitOfWork

if TYPE_CHECKING:
    from .database import Database

__all__ = ["Asked", "GroupUnit", "Together"]

A = TypeVar("A")
O = TypeVar("O")  # noqa: E741
P = ParamSpec("P")
T = TypeVar("T")

MOST: Final = 64
"""The most orders of one transaction."""


class Asked(Generic[O]):
    """An order that waits for its answer."""

    __slots__ = ("_context", "_future", "_span", "events", "order", "work")

    def __init__(self, order: O, future: asyncio.Future[Any], span: Span | None) -> None:
        self.order = order
        self._context: Context = copy_context()
        self._future = future
        self._span = span
        self.work: UnitOfWork | None = None
        self.events: list[tuple[Any, ...]] = []

    @property
    def is_given_up(self) -> bool:
        """Whether its caller has gone."""
        return self._future.done()

    def run(self, rule: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a rule as its caller would: what it publishes belongs to the caller's trace."""
        assert self.work is not None, "an order is carried out by a unit of work"
        before, told = len(self.work.events), len(self.work.told)
        try:
            answer = self._context.run(rule, *args, **kwargs)
        finally:
            self.events = self.work.events[before:]
        if len(self.work.told) > told:
            self._context.run(self.work.testify, told)
        return answer

    def settle(self, answer: object, spans: UnitSpans) -> None:
        """Answers the caller; an exception is raised there."""
        error = answer if isinstance(answer, Exception) else None
        if self._span is not None:
            spans.end(self._span, self.work, error)
        if self._future.done():
            return
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(answer)


GroupUnit: TypeAlias = Callable[
    [UnitOfWork, Sequence[Asked[O]]], Awaitable[Sequence[A | Exception]]
]
"""Answers each order, in their order; an exception is one caller's answer. What it raises undoes
the whole group, whose orders are then tried once more, one by one."""


class Together(Generic[O, A]):
    """Carries out orders, many in one unit of work.

    `note` is told, in each caller's context, which events its order has left in the outbox.
    A caller that is cancelled leaves, and its order is carried out, or, if it had not begun, not at
    all.
    """

    def __init__(
        self,
        database: Database,
        unit: GroupUnit[O, A],
        note: Callable[[Sequence[tuple[Any, ...]]], None] | None = None,
    ) -> None:
        self._database = database
        self._unit = unit
        self._note = note
        self._waiting: deque[Asked[O]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, order: O, /) -> A:
        """Has an order carried out, and answers once it is committed.

        Raises what the unit answers for it, `Transient` if there is no answer from the database,
        `Overloaded` if too many orders wait.
        """
        if len(self._waiting) >= self._database.max_waiting:
            raise Overloaded("DATABASE_BUSY", "Too many orders wait for the database.")
        future = asyncio.get_running_loop().create_future()
        asked = Asked(order, future, self._database.spans.begin())
        self._waiting.append(asked)
        if self._task is None:
            # Of nobody's trace: it works for all of them.
            self._task = asyncio.create_task(self._run(), context=Context())
            self._database.finishes(self._task)
        answer: A = await future
        if self._note is not None:
            self._note(asked.events)
        return answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                group: list[Asked[O]] = []
                while self._waiting and len(group) < MOST:
                    asked = self._waiting.popleft()
                    if asked.is_given_up:
                        asked.settle(None, self._database.spans)
                    else:
                        group.append(asked)
                if group:
                    await self._carry_out(group)
        finally:
            self._task = None

    async def _carry_out(self, group: Sequence[Asked[O]], *, is_alone: bool = False) -> None:
        async def unit(work: UnitOfWork) -> Sequence[A | Exception]:
            for asked in group:
                asked.work = work
            return await self._unit(work, group)

        answers: Sequence[A | Exception]
        try:
            answers = await self._database.transact(unit)
        except Exception as error:
            if not is_alone and not isinstance(error, Transient):
                for asked in group:
                    await self._carry_out([asked], is_alone=True)
                return
            answers = [error] * len(group)
        for asked, answer in zip(group, answers, strict=True):
            asked.settle(answer, self._database.spans)
