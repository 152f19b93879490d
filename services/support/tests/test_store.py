"""Tickets and the copies of others' facts, in the databases that keep them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mesh.db import Database, UnitOfWork, sql
from mesh.errors import NotFound
from mesh.ids import new_id
from services.support import store
from services.support.domain import (
    HAPPENINGS_KEPT,
    HAPPENINGS_TOLD,
    MINUTE_US,
    Answer,
    Happening,
    Priority,
    Ticket,
    UnderWay,
)

NOW = 10**15


@pytest.fixture
async def known(database: Database) -> Database:
    """A database that knows Ana and her account."""
    await database.transact(store.set_member, "ana", "company", True)
    await database.transact(store.add_account, "account", "company")
    return database


def a_ticket(**more: Any) -> Ticket:
    usual: dict[str, Any] = {
        "id": new_id(),
        "request_id": new_id(),
        "opened_by": "ana",
        "subject": "Dúvida",
        "description": "Como?",
        "trace_id": "",
        "app_version": "",
        "account_id": "",
        "transfer_id": "",
        "created_at_us": NOW,
        "waits_since_us": NOW,
    }
    return Ticket(**(usual | more))


def an_answer(ticket: Ticket, at_us: int = NOW + 5) -> Answer:
    return Answer(
        id=new_id(), ticket_id=ticket.id, request_id=new_id(), text="Vimos.", created_at_us=at_us
    )


def happened(at_us: int, account_id: str = "account") -> Happening:
    return Happening(id=new_id(), kind="ENTRY_POSTED", account_id=account_id, at_us=at_us)


async def count(database: Database, table: str) -> int:
    async def unit(work: UnitOfWork) -> int:
        row = await work.fetch_one(sql(f"SELECT COUNT(*) AS n FROM {table}"))
        return int(row["n"]) if row else 0

    return await database.read(unit)


async def test_equal_requests_at_once_are_one_ticket(known: Database) -> None:
    asked = a_ticket()

    answers = await asyncio.gather(
        *(known.transact(store.open_ticket, replace(asked, id=new_id())) for _ in range(20))
    )

    assert len({ticket.id for ticket, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    assert await count(known, "outbox") == 1


async def test_answers_at_once_are_all_kept_and_one_is_the_first(known: Database) -> None:
    ticket, _ = await known.transact(store.open_ticket, a_ticket())

    answers = await asyncio.gather(
        *(
            known.transact(store.answer, an_answer(ticket, NOW + n), resolve=False)
            for n in range(1, 9)
        )
    )

    kept, all_answers = await known.read(store.get_own, ticket.id, "ana")
    assert (len(all_answers), kept.version) == (8, 9)
    assert len({each.first_answered_at_us for each, _, _ in answers}) == 1


async def test_a_ticket_that_is_missed_twice_at_once_is_escalated_once(known: Database) -> None:
    ticket, _ = await known.transact(store.open_ticket, a_ticket())
    watch = f"{ticket.id}/{ticket.escalates_at_us}"

    await asyncio.gather(*(known.transact(store.end_watch, watch) for _ in range(5)))

    after, _ = await known.read(store.get_own, ticket.id, "ana")
    assert (after.priority, after.version) == (Priority.HIGH, 2)
    assert await count(known, "outbox") == 2
    assert await count(known, "sagas") == 2


async def test_only_so_much_is_kept_of_an_account(known: Database) -> None:
    for at_us in range(HAPPENINGS_KEPT + 5):
        await known.transact(store.note, happened(at_us))
        await known.transact(store.note, happened(at_us, "other"))

    ticket, _ = await known.transact(store.open_ticket, a_ticket())

    assert await count(known, "happenings") == 2 * HAPPENINGS_KEPT
    _, _, told = await known.read(store.inspect, ticket.id)
    assert [each.at_us for each in told] == [
        HAPPENINGS_KEPT + 4 - n for n in range(HAPPENINGS_TOLD)
    ]


async def test_what_is_heard_again_is_kept_once(known: Database) -> None:
    happening = happened(1)
    for _ in range(2):
        await known.transact(store.note, happening)

    assert await count(known, "happenings") == 1


async def test_money_under_way_counts_until_it_has_ended(known: Database) -> None:
    under_way = UnderWay(transfer_id="transfer", account_id="account", since_us=NOW - 2 * MINUTE_US)
    await known.transact(store.begin, under_way)
    await known.transact(store.begin, under_way)
    stuck, _ = await known.transact(store.open_ticket, a_ticket())
    foreign, _ = await known.transact(store.open_ticket, a_ticket(opened_by="eve"))
    await known.transact(store.end, "transfer")
    over, _ = await known.transact(store.open_ticket, a_ticket())

    assert stuck.priority is Priority.URGENT
    assert foreign.priority is over.priority is Priority.NORMAL


async def test_the_queue_counts_what_waits_and_what_is_overdue(known: Database) -> None:
    tickets = [
        (await known.transact(store.open_ticket, a_ticket(trace_id=trace)))[0]
        for trace in ("", "a" * 32, "")
    ]
    due = tickets[1].answer_due_us

    all_of_them = await known.read(store.queue, 0, 2, due + 1)
    normal = await known.read(store.queue, int(Priority.NORMAL), 9, due + 1)

    assert all_of_them.tickets == [tickets[1], tickets[0]]
    assert (all_of_them.waiting, all_of_them.overdue) == (3, 1)
    assert normal.tickets == [tickets[0], tickets[2]]
    assert (normal.waiting, normal.overdue) == (2, 0)


async def test_a_former_member_has_no_account_any_more(known: Database) -> None:
    await known.transact(store.open_ticket, a_ticket(account_id="account"))
    await known.transact(store.set_member, "ana", "company", False)

    with pytest.raises(NotFound):
        await known.transact(store.open_ticket, a_ticket(account_id="account"))
