"""Transfers and the copies of others' facts, in the databases that keep them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mesh.db import Database, UnitOfWork, sql
from mesh.errors import AlreadyExists, FailedPrecondition, NotFound
from mesh.ids import new_id
from services.transfers.domain.transfers import Status, Transfer
from services.transfers.store import copies, pages, transfers

from .fakes import COMPANY, PAYEE, PAYER, a_transfer, an_account


@pytest.fixture
async def known(database: Database) -> Database:
    """A database that knows the payer, the payee, and that Ana may pay."""
    for account_id in (PAYER, PAYEE):
        await database.transact(copies.open_account, an_account(account_id))
    await database.transact(copies.set_member, "ana", COMPANY, True)
    return database


async def count(database: Database, text: str) -> int:
    async def unit(work: UnitOfWork) -> int:
        row = await work.fetch_one(sql(text))
        assert row is not None
        return int(row["n"])

    return await database.read(unit)


async def page(known: Database, user: str, before: str, size: int) -> list[Transfer]:
    wanted = pages.Page(user=user, before=before, size=size)
    return await known.read(pages.transfers, wanted)


async def sagas(database: Database) -> int:
    return await count(database, "SELECT COUNT(*) AS n FROM sagas")


async def told(database: Database, event: str) -> int:
    found = f"SELECT COUNT(*) AS n FROM outbox WHERE type LIKE '%.{event}'"
    return await count(database, found)


async def test_a_transfer_is_kept_started_and_told_once(known: Database) -> None:
    asked = a_transfer()

    first, first_is_new = await known.transact(transfers.accept, asked)
    again, again_is_new = await known.transact(transfers.accept, replace(asked, id=new_id()))

    assert (first, first_is_new) == (replace(asked, company=COMPANY), True)
    assert (again, again_is_new) == (first, False)
    assert await sagas(known) == await told(known, "TransferCreated") == 1


async def test_a_request_id_is_its_users_own(known: Database) -> None:
    asked = a_transfer()
    await known.transact(copies.set_member, "bia", COMPANY, True)
    await known.transact(transfers.accept, asked)

    _, is_new = await known.transact(
        transfers.accept, replace(asked, id=new_id(), requested_by="bia")
    )

    assert is_new
    with pytest.raises(AlreadyExists, match="another transfer"):
        await known.transact(transfers.accept, replace(asked, id=new_id(), description="other"))


async def test_fifty_equal_requests_at_once_are_one_transfer(known: Database) -> None:
    asked = a_transfer()

    answers = await asyncio.gather(
        *(known.transact(transfers.accept, replace(asked, id=new_id())) for _ in range(50))
    )

    assert len({transfer.id for transfer, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    assert await sagas(known) == 1


async def test_a_repeated_request_is_answered_after_the_account_has_closed(known: Database) -> None:
    asked = a_transfer()
    await known.transact(transfers.accept, asked)
    await known.transact(copies.close_account, PAYEE)

    assert await known.transact(transfers.accept, asked) == (replace(asked, company=COMPANY), False)
    with pytest.raises(FailedPrecondition, match="closed"):
        await known.transact(transfers.accept, a_transfer())


async def test_what_was_learned_by_asking_is_kept_and_the_refusal_keeps_nothing(
    database: Database,
) -> None:
    with pytest.raises(NotFound):
        await database.transact(transfers.accept, a_transfer())
    assert await sagas(database) == 0

    learned = [an_account(PAYER), an_account(PAYEE, may_pay=None)]
    await database.transact(transfers.accept, a_transfer(), learned)

    _, is_new = await database.transact(transfers.accept, a_transfer())
    assert is_new


async def test_what_an_event_has_said_is_not_overwritten_by_asking(known: Database) -> None:
    await known.transact(copies.close_account, PAYEE)

    with pytest.raises(FailedPrecondition, match="closed"):
        await known.transact(transfers.accept, a_transfer(), [an_account(PAYEE)])


async def test_an_end_is_kept_and_told(known: Database) -> None:
    good, bad = a_transfer(pix_key="ana@example.com"), a_transfer()
    for transfer in (good, bad):
        await known.transact(transfers.accept, transfer)
    await known.transact(transfers.note_sent, good.id, "E123")

    await known.transact(transfers.finish, good.completed())
    await known.transact(transfers.finish, bad.failed("INSUFFICIENT_FUNDS"))

    kept = await known.read(transfers.get, good.id, "ana")
    assert (kept.status, kept.end_to_end_id) == (Status.COMPLETED, "E123")
    kept = await known.read(transfers.load, bad.id)
    assert (kept.status, kept.failure_reason) == (Status.FAILED, "INSUFFICIENT_FUNDS")
    assert await told(known, "TransferCompleted") == await told(known, "TransferFailed") == 1


async def test_a_scheduled_transfer_is_cancelled_until_it_begins(known: Database) -> None:
    one, two = a_transfer(scheduled_for_us=1), a_transfer(scheduled_for_us=1)
    for transfer in (one, two):
        await known.transact(transfers.accept, transfer)

    for _ in range(2):
        cancelled = await known.transact(transfers.cancel, one.id, "ana")
        assert cancelled.status is Status.CANCELLED
    await known.transact(transfers.begin, two)
    await known.transact(transfers.begin, two)

    with pytest.raises(FailedPrecondition, match="has begun"):
        await known.transact(transfers.cancel, two.id, "ana")
    with pytest.raises(FailedPrecondition, match="cancelled"):
        await known.transact(transfers.begin, one)
    await known.transact(transfers.finish, cancelled)
    assert await told(known, "TransferCancelled") == 1


async def test_another_companys_transfer_is_not_there(known: Database) -> None:
    transfer = a_transfer(scheduled_for_us=1)
    await known.transact(transfers.accept, transfer)

    for unit in (transfers.get, transfers.cancel):
        with pytest.raises(NotFound):
            await known.transact(unit, transfer.id, "eve")
    assert await page(known, "eve", "~", 10) == []


async def test_pages_go_from_the_newest_to_the_oldest(known: Database) -> None:
    made = [a_transfer() for _ in range(5)]
    for transfer in made:
        await known.transact(transfers.accept, transfer)

    first = await page(known, "ana", "~", 3)
    await known.transact(transfers.accept, a_transfer())
    second = await page(known, "ana", first[-1].id, 3)

    ids = [transfer.id for transfer in made]
    assert [transfer.id for transfer in first + second] == sorted(ids, reverse=True)


async def test_a_former_member_sees_and_does_nothing_any_more(known: Database) -> None:
    transfer = a_transfer()
    await known.transact(transfers.accept, transfer)
    await known.transact(copies.set_member, "ana", COMPANY, None)

    # What accounts answers may be older than what this service has heard.
    with pytest.raises(NotFound):
        await known.transact(transfers.accept, a_transfer(), [an_account(PAYER)])
    with pytest.raises(NotFound):
        await known.read(transfers.get, transfer.id, "ana")
    assert await page(known, "ana", "~", 10) == []
