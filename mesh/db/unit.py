"""The unit of work: one transaction, and all that is to happen with it or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

from google.protobuf.message import Message

from mesh.clock import now_us
from observability import tracing

from .outbox import NewSaga, Seal, Witness, event_row
from .statement import Statement

__all__ = ["Row", "UnitOfWork", "drive", "refuse_foreign_await"]

T = TypeVar("T")


class Row(Protocol):
    """A row of an answer: `row["name"]`, or `dict(row)` for all of it."""

    def __getitem__(self, name: str, /) -> Any: ...

    def keys(self) -> Any: ...


class UnitOfWork(ABC):
    """One transaction. Rows, events and sagas are kept together, or none of them is.

    A unit of work is a plain function, `async def keep(work, transfer) -> Transfer`, given to
    `Database.transact`. It awaits nothing but its `work`; what it returns is the answer, and if it
    raises, nothing of it is kept. It may run on another thread, and more than once before it is
    kept, so it changes nothing but the database.

    A statement that is refused by the database ends the unit: its later statements raise the same
    error, and so does `transact`, even if the unit has caught it.
    """

    __slots__ = (
        "callbacks",
        "changed",
        "company_id",
        "events",
        "failure",
        "outcome",
        "records",
        "sagas",
        "scheduled",
        "seal",
        "statements",
        "told",
        "witness",
        "writes",
    )

    def __init__(self, seal: Seal, witness: Witness | None, *, writes: bool) -> None:
        self.seal = seal
        self.witness = witness
        self.writes = writes
        self.outcome = ""
        self.company_id = ""
        self.changed = False
        self.failure: BaseException | None = None
        self.events: list[tuple[object, ...]] = []
        self.scheduled: list[tuple[object, ...]] = []
        self.sagas: list[NewSaga] = []
        self.callbacks: list[Callable[[], None]] = []
        self.statements: list[Statement] = []
        self.told: list[Message] = []
        self.records: list[tuple[object, ...]] = []

    @abstractmethod
    async def execute(self, statement: Statement, /, **parameters: object) -> int:
        """Runs a statement, and counts the rows it touched."""

    @abstractmethod
    async def execute_many(
        self, statement: Statement, rows: Sequence[Mapping[str, object]], /
    ) -> None:
        """Runs a statement once for each of the rows of parameters."""

    @abstractmethod
    async def fetch_one(self, statement: Statement, /, **parameters: object) -> Row | None:
        """Runs a query, and gives the first row of the answer, if there is any."""

    @abstractmethod
    async def fetch_all(self, statement: Statement, /, **parameters: object) -> list[Row]:
        """Runs a query, and gives all rows of the answer."""

    def publish(
        self,
        event: Message,
        /,
        *,
        version: int = 0,
        at_us: int = 0,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Tells an event, if the unit is kept: now, or `at_us`, which may be months away.

        `version` is that of the thing it is about. `attributes` go beside it, for those who filter:
        names in small letters and digits, nothing personal.
        """
        self._must_write("publish an event")
        row = event_row(self.seal(event, version, attributes or {}))
        self.told.append(event)
        if at_us > now_us():
            self.scheduled.append((*row, at_us))
        else:
            self.events.append(row)

    def start(self, saga: str, entity_id: str, /, *, at_us: int = 0, entity: Any = None) -> None:
        """Starts a saga, if the unit is kept and it was not started before; due now, or `at_us`.

        `entity` is what the saga would load: it is not read again then, if the saga begins at once.
        """
        self._must_write("start a saga")
        now, trace = now_us(), tracing.traceparent() or ""
        self.sagas.append(NewSaga(saga, entity_id, at_us or now, trace, now, entity))

    def on_commit(self, callback: Callable[[], None], /) -> None:
        """Has `callback` called on the event loop once the unit is kept. It must not raise."""
        self._must_write("wait for a commit")
        self.callbacks.append(callback)

    def testify(self, since: int = 0) -> None:
        """Puts on record who has changed something here, after so many events; called at the end of
        a unit, in its caller's context.

        A unit that keeps a refusal says so before, `work.outcome = "refused"`, and one that knows
        better than request and events which company it is about: `work.company_id`.
        """
        if self.witness is None or not (self.changed or self.told or self.sagas):
            return
        record = self.witness(self, self.told[since:])
        if record is not None:
            self.records.append(record)

    def _must_write(self, what: str) -> None:
        if self.failure is not None:
            raise self.failure
        if not self.writes:
            raise RuntimeError(f"a read cannot {what}")


def drive(unit: Awaitable[T]) -> T:
    """Runs a unit whose every await answers at once, without an event loop.

    Raises `RuntimeError`, from the line of the unit that is to blame, if it awaits anything else.
    """
    steps = unit.__await__()
    try:
        steps.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    refuse_foreign_await(steps)


def refuse_foreign_await(steps: Generator[Any, Any, Any]) -> NoReturn:
    """Ends a unit that awaits something else than its work."""
    try:
        steps.throw(RuntimeError("a unit of work awaits nothing but its work"))
    except StopIteration:
        pass
    else:
        steps.close()
    raise RuntimeError("a unit of work awaits nothing but its work, and hides that it did")
