"""Payments and deposits in the databases that keep them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mesh.db import Database, UnitOfWork, sql
from mesh.errors import AlreadyExists, NotFound
from mesh.ids import new_id
from services.pix.domain.payments import Status
from services.pix.store import payments as store

from .fakes import a_deposit, a_payment


async def rows(database: Database, table: str) -> int:
    async def unit(work: UnitOfWork) -> int:
        return len(await work.fetch_all(sql(f"SELECT * FROM {table}")))

    return await database.read(unit)


async def told(database: Database) -> list[str]:
    async def unit(work: UnitOfWork) -> list[str]:
        found = await work.fetch_all(sql("SELECT type FROM outbox ORDER BY id"))
        return [row["type"].rpartition(".")[2] for row in found]

    return await database.read(unit)


async def test_a_payment_is_kept_and_started_once(database: Database) -> None:
    payment = a_payment()

    kept = await asyncio.gather(
        *(database.transact(store.keep_payment, payment) for _ in range(10))
    )

    assert kept == [payment] * 10
    assert await rows(database, "sagas") == 1


async def test_the_end_of_a_payment_is_kept_and_told(database: Database) -> None:
    good, bad = a_payment(), a_payment()
    for payment in (good, bad):
        await database.transact(store.keep_payment, payment)

    await database.transact(store.finish_payment, good.settled())
    await database.transact(store.finish_payment, bad.rejected("AC03"))

    assert (await database.read(store.get_payment, good.id)).status is Status.SETTLED
    assert (await database.read(store.get_payment, bad.id)).rejection_code == "AC03"
    assert await told(database) == ["PixPaymentSettled", "PixPaymentRejected"]


async def test_a_payment_within_the_house_is_a_deposit_at_its_other_end(
    database: Database,
) -> None:
    payment = a_payment(account="account")
    await database.transact(store.keep_payment, payment)

    await database.transact(store.finish_payment, payment.settled())

    deposit = await database.read(store.get_deposit, payment.as_deposit().id)
    assert (deposit.status, deposit.account) == (Status.SETTLED, "account")
    assert await told(database) == ["PixPaymentSettled", "PixReceived"]


async def test_a_deposit_request_is_one_deposit(database: Database) -> None:
    asked = a_deposit("key")

    first, first_is_new = await database.transact(store.keep_deposit, asked)
    again, again_is_new = await database.transact(store.keep_deposit, replace(asked, id=new_id()))

    assert (first, first_is_new, again, again_is_new) == (asked, True, asked, False)
    with pytest.raises(AlreadyExists, match="another deposit"):
        await database.transact(store.keep_deposit, replace(asked, id=new_id(), account="other"))


async def test_deposits_without_a_request_id_are_each_their_own(database: Database) -> None:
    for _ in range(2):
        _, is_new = await database.transact(store.keep_deposit, a_deposit())
        assert is_new
    assert await rows(database, "sagas") == 2


async def test_only_a_deposit_that_arrived_is_told(database: Database) -> None:
    good, bad = a_deposit(), a_deposit()
    for deposit in (good, bad):
        await database.transact(store.keep_deposit, deposit)

    await database.transact(store.finish_deposit, good.settled())
    await database.transact(store.finish_deposit, bad.rejected("ACCOUNT_CLOSED"))

    assert (await database.read(store.get_deposit, bad.id)).rejection_code == "ACCOUNT_CLOSED"
    assert await told(database) == ["PixReceived"]


async def test_what_is_not_there_is_not_found(database: Database) -> None:
    for unit in (store.get_payment, store.get_deposit):
        with pytest.raises(NotFound):
            await database.read(unit, new_id())
