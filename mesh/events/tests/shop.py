"""A shop that tells events, and the rows that its listeners make of them."""

from __future__ import annotations

from typing import Any

from mesh.db import Database, Row, UnitOfWork, sql
from mesh.events import Event, Projection, Reaction

from .contract import OrderPaid, OrderPlaced

_NOTE = sql(
    "INSERT INTO noted (listener, order_id, number, sequence)"
    " VALUES (:listener, :order_id, :number, :sequence)"
)
_NOTED = sql("SELECT order_id, number, sequence FROM noted WHERE listener = :listener ORDER BY id")
_SENT = sql("SELECT COUNT(*) AS count FROM outbox WHERE sent_at_us IS NULL")


async def make_tables(work: UnitOfWork) -> None:
    await work.execute(
        sql(
            "CREATE TABLE noted (id INTEGER PRIMARY KEY, listener TEXT, order_id TEXT,"
            " number BIGINT, sequence BIGINT)"
        )
    )


async def place(work: UnitOfWork, order_id: str, *numbers: int) -> None:
    """Tells events of an order, in one transaction; their versions are their numbers."""
    for number in numbers:
        work.publish(OrderPlaced(order_id=order_id, number=number), version=number)


async def pay(work: UnitOfWork, order_id: str, number: int) -> None:
    work.publish(OrderPaid(order_id=order_id, number=number))


async def note(work: UnitOfWork, listener: str, event: Event[Any]) -> None:
    """Keeps a row for each time that an event is applied: nothing hides a second time."""
    await work.execute(
        _NOTE,
        listener=listener,
        order_id=event.data.order_id,
        number=event.data.number,
        sequence=event.sequence,
    )


async def project(work: UnitOfWork, event: Event[Any]) -> None:
    await note(work, "projection", event)


async def react(work: UnitOfWork, event: Event[Any]) -> None:
    await note(work, "reaction", event)


ORDERS = Projection(name="orders", on={OrderPlaced: project})
GREETING = Reaction(name="greeting", on={OrderPlaced: react})


async def noted(database: Database, listener: str) -> list[tuple[str, int]]:
    """What a listener has applied, in the order in which it did."""
    rows = await database.read(_fetch_noted, listener)
    return [(row["order_id"], row["number"]) for row in rows]


async def unsent(database: Database) -> int:
    return await database.read(_count_unsent)


async def _fetch_noted(work: UnitOfWork, listener: str) -> list[Row]:
    return await work.fetch_all(_NOTED, listener=listener)


async def _count_unsent(work: UnitOfWork) -> int:
    row = await work.fetch_one(_SENT)
    assert row is not None
    count: int = row["count"]
    return count
