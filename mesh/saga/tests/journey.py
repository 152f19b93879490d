"""A journey: book it, pay for it; if either is refused, cancel it. The saga of these tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from mesh.db import Row, UnitOfWork, sql
from mesh.errors import Refused
from mesh.saga import Journal
from mesh.saga.runner import Saga

_KEEP = sql("INSERT INTO journeys (id, state, reason, ends) VALUES (:id, 'begun', '', 0)")
_FIND = sql("SELECT id, state, reason, ends FROM journeys WHERE id = :id")
_END = sql("UPDATE journeys SET state = :state, reason = :reason, ends = ends + 1 WHERE id = :id")

Step = Callable[[str, str], Awaitable[None]]


@dataclass(frozen=True)
class Journey:
    id: str
    state: str
    reason: str


@dataclass(frozen=True)
class Agency:
    """Does what it is asked by calling `do` with the name of the step and the journey."""

    do: Step

    async def book(self, journey: Journey) -> None:
        await self.do("book", journey.id)

    async def pay(self, journey: Journey) -> None:
        await self.do("pay", journey.id)

    async def cancel(self, journey: Journey) -> None:
        await self.do("cancel", journey.id)


async def travel(journey: Journey, journal: Journal, agency: Agency) -> Journey:
    """The rules."""
    try:
        await journal.step("book", agency.book, journey)
        await journal.step("pay", agency.pay, journey)
    except Refused as refusal:
        await journal.step("cancel", agency.cancel, journey)
        return replace(journey, state="cancelled", reason=refusal.reason)
    return replace(journey, state="paid")


def journeys(do: Step) -> Saga[Journey]:
    agency = Agency(do)

    async def run(journey: Journey, journal: Journal) -> Journey:
        return await travel(journey, journal, agency)

    return Saga(name="travel", run=run, load=load, finish=finish)


async def make_tables(work: UnitOfWork) -> None:
    await work.execute(
        sql(
            "CREATE TABLE IF NOT EXISTS journeys"
            " (id TEXT PRIMARY KEY, state TEXT, reason TEXT, ends BIGINT)"
        )
    )


async def begin(
    work: UnitOfWork, journey_id: str, at_us: int = 0, known: Journey | None = None
) -> None:
    await work.execute(_KEEP, id=journey_id)
    work.start("travel", journey_id, at_us=at_us, entity=known)


async def load(work: UnitOfWork, journey_id: str) -> Journey:
    row = await find(work, journey_id)
    assert row is not None
    return Journey(row["id"], row["state"], row["reason"])


async def finish(work: UnitOfWork, journey: Journey) -> Journey:
    await work.execute(_END, id=journey.id, state=journey.state, reason=journey.reason)
    return journey


async def find(work: UnitOfWork, journey_id: str) -> Row | None:
    return await work.fetch_one(_FIND, id=journey_id)
