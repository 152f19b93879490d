"""Transfers that repeat, as apps meet them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from bank.transfers.v1 import recurring_pb2 as pb
from bank.transfers.v1 import transfers_pb2
from bank.transfers.v1.events_pb2 import TransferCompleted, TransferCreated, TransferFailed
from bank.transfers.v1.recurring_pb2_grpc import RecurringTransfersServiceStub
from bank.users.v1.events_pb2 import MembershipChanged
from bank.users.v1.users_pb2 import Role
from mesh.clock import now_us
from mesh.db import Database, UnitOfWork, sql
from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from mesh.ids import new_id
from mesh.testing.clock import travelling
from mesh.testing.harness import Running, running
from mesh.testing.waiting import eventually
from services import wire
from services.money import Money
from services.transfers.app import build
from services.transfers.domain.recurrence import (
    Frequency,
    Occurrence,
    Recurrence,
    Recurring,
    occurrence_id,
)
from services.transfers.store import copies, recurring

from .driver import DAY_US, HOUR_US, Bank, brl
from .fakes import COMPANY, PAYEE, PAYER, a_transfer, an_account
from .stand_ins import Accounts

MADE = sql("SELECT COUNT(*) AS n FROM transfers WHERE recurring_id = :id")


def a_request(
    payer: str, payee: transfers_pb2.Payee, starts_at_us: int, count: int = 0
) -> pb.CreateRecurringTransferRequest:
    return pb.CreateRecurringTransferRequest(
        request_id=new_id(),
        payer_account_id=payer,
        payee=payee,
        amount=brl(10),
        description="rent",
        recurrence=pb.Recurrence(
            frequency=pb.FREQUENCY_DAILY, starts_at=wire.timestamp(starts_at_us), count=count
        ),
    )


def to(account_id: str) -> transfers_pb2.Payee:
    return transfers_pb2.Payee(account_id=account_id)


async def create(bank: Bank, request: pb.CreateRecurringTransferRequest) -> pb.RecurringTransfer:
    with bank.service.signed_in("ana"):
        return (await bank.recurring.CreateRecurringTransfer(request)).recurring_transfer


async def get(bank: Bank, recurring_id: str, user_id: str = "ana") -> pb.RecurringTransfer:
    with bank.service.signed_in(user_id):
        request = pb.GetRecurringTransferRequest(recurring_transfer_id=recurring_id)
        return (await bank.recurring.GetRecurringTransfer(request)).recurring_transfer


async def cancel(bank: Bank, recurring_id: str) -> pb.RecurringTransfer:
    with bank.service.signed_in("ana"):
        request = pb.CancelRecurringTransferRequest(recurring_transfer_id=recurring_id)
        return (await bank.recurring.CancelRecurringTransfer(request)).recurring_transfer


def has_occurred(bank: Bank, recurring_id: str, times: int) -> Callable[[], Awaitable[bool]]:
    async def occurred() -> bool:
        told = await bank.service.told(TransferCompleted)
        return (await get(bank, recurring_id)).occurrences >= times and len(told) >= times

    return occurred


async def test_it_occurs_each_day_once_and_ends(bank: Bank) -> None:
    with travelling() as time:
        made = await create(bank, a_request(bank.ana, to(bank.bia), now_us() + HOUR_US, count=3))
        assert (made.status, made.occurrences) == (pb.RECURRING_TRANSFER_STATUS_ACTIVE, 0)
        for day in range(1, 4):
            time.by(HOUR_US if day == 1 else DAY_US)
            await eventually(has_occurred(bank, made.recurring_transfer_id, day))

        async def is_over() -> bool:
            found = await get(bank, made.recurring_transfer_id)
            return found.status == pb.RECURRING_TRANSFER_STATUS_ENDED

        await eventually(is_over)
    assert not (await get(bank, made.recurring_transfer_id)).HasField("next_at")
    assert bank.accounts.balances == {bank.ana: 70, bank.bia: 30}
    created = [event.data for event in await bank.service.told(TransferCreated)]
    assert {each.recurring_transfer_id for each in created} == {made.recurring_transfer_id}
    assert len({each.transfer_id for each in created}) == 3


async def test_what_fell_due_while_the_bank_was_down_is_made_up_for_once(tmp_path: Path) -> None:
    accounts = Accounts()
    ana, bia = accounts.open("ana", 100), accounts.open("bia")
    peers: dict[str, list[object]] = {"accounts": [accounts]}
    with travelling() as time:
        async with running(build, tmp_path, peers=peers) as service:
            with service.signed_in("ana"):
                asked = a_request(ana, to(bia), now_us() + HOUR_US)
                await service.stub(RecurringTransfersServiceStub).CreateRecurringTransfer(asked)
        time.by(3 * DAY_US)
        for _ in range(2):
            async with running(build, tmp_path, peers=peers) as service:
                await eventually(partial(is_ahead, service))
                await eventually(lambda: accounts.balances[bia] >= 30)
    assert accounts.balances == {ana: 70, bia: 30}


async def is_ahead(service: Running) -> bool:
    with service.signed_in("ana"):
        stub = service.stub(RecurringTransfersServiceStub)
        [found] = (
            await stub.ListRecurringTransfers(pb.ListRecurringTransfersRequest())
        ).recurring_transfers
    return bool(found.next_at.ToMicroseconds() > now_us())


async def test_a_cancelled_one_occurs_no_more(bank: Bank) -> None:
    with travelling() as time:
        made = await create(bank, a_request(bank.ana, to(bank.bia), now_us() + HOUR_US))
        time.by(HOUR_US)
        await eventually(has_occurred(bank, made.recurring_transfer_id, 1))
        for _ in range(2):
            cancelled = await cancel(bank, made.recurring_transfer_id)
        assert cancelled.status == pb.RECURRING_TRANSFER_STATUS_CANCELLED
        time.by(DAY_US)
        other = await create(bank, a_request(bank.ana, to(bank.bia), now_us() + HOUR_US, count=1))
        time.by(HOUR_US)
        await eventually(has_occurred(bank, other.recurring_transfer_id, 1))

        async def is_over() -> bool:
            found = await get(bank, other.recurring_transfer_id)
            return found.status == pb.RECURRING_TRANSFER_STATUS_ENDED

        await eventually(is_over)
        with pytest.raises(FailedPrecondition):
            await cancel(bank, other.recurring_transfer_id)
    assert bank.accounts.balances[bank.bia] == 20


async def test_a_refused_occurrence_is_seen_and_told_and_the_next_one_comes(bank: Bank) -> None:
    with travelling() as time:
        made = await create(bank, a_request(bank.ana, to(bank.bia), now_us() + HOUR_US))
        for role in (Role.ROLE_ACCOUNTANT, Role.ROLE_OWNER):
            changed = MembershipChanged(company_id="company of ana", user_id="ana", role=role)
            if role == Role.ROLE_OWNER:
                await eventually(has_failed(bank))
            await bank.service.tell(changed)
            time.by(DAY_US)
        await eventually(has_occurred(bank, made.recurring_transfer_id, 1))
    [failed] = await bank.service.told(TransferFailed)
    assert failed.data.failure_reason == "ROLE_MAY_NOT_PAY"
    kept = await bank.get(failed.data.transfer_id)
    assert kept.recurring_transfer_id == made.recurring_transfer_id


def has_failed(bank: Bank) -> Callable[[], Awaitable[bool]]:
    async def failed() -> bool:
        return bool(await bank.service.told(TransferFailed))

    return failed


async def test_a_supplier_is_paid_at_the_key_it_has_then(bank: Bank) -> None:
    supplier = bank.suppliers.add("company of ana")
    payee = transfers_pb2.Payee(supplier_id=supplier)
    with travelling() as time:
        made = await create(bank, a_request(bank.ana, payee, now_us() + HOUR_US))
        bank.suppliers.known[supplier].pix_key = "new@example.com"
        time.by(HOUR_US)
        await eventually(has_occurred(bank, made.recurring_transfer_id, 1))
        del bank.suppliers.known[supplier]
        time.by(DAY_US)
        await eventually(has_failed(bank))
    [settled] = bank.accounts.settled
    assert settled.counterparty == "Embalagens Lima"
    [failed] = await bank.service.told(TransferFailed)
    assert failed.data.failure_reason == "PAYEE_NOT_FOUND"


async def test_it_is_asked_for_once_listed_and_seen_by_its_company_only(bank: Bank) -> None:
    request = a_request(bank.ana, to(bank.bia), now_us() + HOUR_US)

    made = [await create(bank, request) for _ in range(2)]

    assert made[0] == made[1]
    with pytest.raises(NotFound):
        await get(bank, made[0].recurring_transfer_id, "eve")
    with bank.service.signed_in("ana"):
        page = await bank.recurring.ListRecurringTransfers(pb.ListRecurringTransfersRequest())
    assert list(page.recurring_transfers) == [made[0]]
    request.amount.minor_units += 1
    with pytest.raises(AlreadyExists):
        await create(bank, request)


async def test_what_makes_no_sense_is_refused(bank: Bank) -> None:
    late = a_request(bank.ana, to(bank.bia), now_us() + 400 * DAY_US)
    past = a_request(bank.ana, to(bank.bia), now_us() - HOUR_US)
    ends = a_request(bank.ana, to(bank.bia), now_us() + DAY_US)
    ends.recurrence.ends_at.CopyFrom(wire.timestamp(now_us()))
    never = a_request(bank.ana, to(bank.bia), now_us() + DAY_US)
    never.recurrence.ClearField("frequency")

    for request in (late, past, ends, never):
        with pytest.raises(InvalidArgument):
            await create(bank, request)


async def test_an_occurrence_that_is_made_again_after_a_crash_is_one_transfer(
    database: Database,
) -> None:
    for account_id in (PAYER, PAYEE):
        await database.transact(copies.open_account, an_account(account_id))
    await database.transact(copies.set_member, "ana", COMPANY, True)
    rule = Recurrence(frequency=Frequency.DAILY, starts_at_us=DAY_US)
    asked = Recurring(id=new_id(), model=a_transfer(10), recurrence=rule, next_at_us=DAY_US)
    await database.transact(recurring.accept, asked)
    first = await database.read(recurring.load, occurrence_id(asked.id, 1))

    for _ in range(2):
        await database.transact(recurring.make, first)
    await database.transact(recurring.finish, first)
    following = await database.read(recurring.load, occurrence_id(asked.id, 2))

    assert await database.read(made_of, asked) == 1
    assert (following.recurring.occurred, following.recurring.slot) == (1, 1)
    assert following.recurring.model.amount == Money(10, "BRL")
    await database.transact(recurring.cancel, asked.id, "ana")
    await database.transact(recurring.make, Occurrence(following.recurring, 2))
    assert await database.read(made_of, asked) == 1


async def made_of(work: UnitOfWork, asked: Recurring) -> int:
    row = await work.fetch_one(MADE, id=asked.id)
    assert row is not None
    return int(row["n"])
