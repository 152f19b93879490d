"""Transfers over real gRPC, with stand-ins for the ledger and the rail."""

from __future__ import annotations

import asyncio

import pytest

from bank.transfers.v1 import transfers_pb2 as pb
from bank.transfers.v1.events_pb2 import (
    TransferCancelled,
    TransferCompleted,
    TransferCreated,
    TransferFailed,
)
from mesh.clock import now_us
from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Refused,
    Transient,
    Unauthenticated,
)
from mesh.ids import new_id
from mesh.testing.waiting import eventually
from services import wire

from .driver import DAY_US, Bank


async def test_a_transfer_is_carried_out_and_told(bank: Bank) -> None:
    transfer = await bank.create(bank.request(60))

    assert transfer.status == pb.TRANSFER_STATUS_COMPLETED
    assert bank.accounts.balances == {bank.ana: 40, bank.bia: 60}
    assert await bank.get(transfer.transfer_id) == transfer
    (created,) = await bank.service.told(TransferCreated)
    (completed,) = await bank.service.told(TransferCompleted)
    assert created.data.transfer_id == completed.data.transfer_id == transfer.transfer_id
    assert (created.data.requested_by, completed.data.payee_account_id) == ("ana", bank.bia)


async def test_without_a_wait_it_is_pending_and_carried_out_all_the_same(bank: Bank) -> None:
    request = bank.request()
    request.ClearField("wait")

    transfer = await bank.create(request)

    async def is_completed() -> bool:
        got = await bank.get(transfer.transfer_id)
        return got.status == pb.TRANSFER_STATUS_COMPLETED

    assert transfer.status == pb.TRANSFER_STATUS_PENDING
    await eventually(is_completed)


async def test_a_transfer_that_the_ledger_refuses_fails_with_its_reason(bank: Bank) -> None:
    transfer = await bank.create(bank.request(101))

    assert transfer.status == pb.TRANSFER_STATUS_FAILED
    assert transfer.failure_reason == "INSUFFICIENT_FUNDS"
    (failed,) = await bank.service.told(TransferFailed)
    assert failed.data.failure_reason == "INSUFFICIENT_FUNDS"


async def test_fifty_equal_requests_move_the_money_once(bank: Bank) -> None:
    request = bank.request(60)

    with bank.service.signed_in("ana") as carried:
        answers = await asyncio.gather(*(bank.stub.CreateTransfer(request) for _ in range(50)))

    assert len({answer.transfer.transfer_id for answer in answers}) == 1
    assert carried.replayed
    assert bank.accounts.balances == {bank.ana: 40, bank.bia: 60}


async def test_a_request_id_names_one_transfer(bank: Bank) -> None:
    request = bank.request(10)
    await bank.create(request)
    request.amount.minor_units = 11

    with pytest.raises(AlreadyExists) as caught:
        await bank.create(request)
    assert caught.value.reason == "REQUEST_ID_TAKEN"


async def test_a_payment_by_pix_is_held_sent_and_settled(bank: Bank) -> None:
    transfer = await bank.create(bank.request(payee=pb.Payee(pix_key="bia@example.com")))

    assert transfer.status == pb.TRANSFER_STATUS_COMPLETED
    assert transfer.payee.pix_key == "bia@example.com"
    assert transfer.end_to_end_id.startswith("E")
    (settled,) = bank.accounts.settled
    assert (settled.postings[0].account_id, settled.counterparty) == (
        "pix-clearing",
        "bi***@example.com",
    )
    (completed,) = await bank.service.told(TransferCompleted)
    assert completed.data.end_to_end_id == transfer.end_to_end_id


@pytest.mark.parametrize(
    ("key", "reason"), [("reject-AC03@sandbox.example", "AC03"), ("nonsense", "INVALID_PIX_KEY")]
)
async def test_a_payment_that_the_rail_refuses_gives_the_money_back(
    bank: Bank, key: str, reason: str
) -> None:
    transfer = await bank.create(bank.request(payee=pb.Payee(pix_key=key)))

    assert (transfer.status, transfer.failure_reason) == (pb.TRANSFER_STATUS_FAILED, reason)
    assert bank.accounts.balances[bank.ana] == 100


async def test_what_makes_no_sense_is_refused_and_nothing_is_kept(bank: Bank) -> None:
    nobody, too_early, too_late = bank.request(), bank.request(), bank.request()
    nobody.ClearField("payee")
    too_early.scheduled_for.CopyFrom(wire.timestamp(now_us() - DAY_US))
    too_late.scheduled_for.CopyFrom(wire.timestamp(now_us() + 400 * DAY_US))
    requests = [
        nobody,
        too_early,
        too_late,
        bank.request(0),
        bank.request(-1),
        bank.request(currency="brl"),
        bank.request(payee=pb.Payee(account_id=bank.ana)),
        bank.request(payee=pb.Payee(account_id="no uuid")),
    ]

    for request in requests:
        with pytest.raises(InvalidArgument):
            await bank.create(request)
    assert await bank.service.told(TransferCreated) == []


async def test_only_whose_account_it_is_pays_from_it(bank: Bank) -> None:
    with pytest.raises(NotFound) as foreign:
        await bank.create(bank.request(), user_id="eve")
    with pytest.raises(Unauthenticated):
        await bank.stub.CreateTransfer(bank.request())

    assert foreign.value.reason == "ACCOUNT_NOT_FOUND"
    assert bank.accounts.balances[bank.ana] == 100


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ("payer", NotFound, "ACCOUNT_NOT_FOUND"),
        ("payee", NotFound, "PAYEE_NOT_FOUND"),
        ("currency", FailedPrecondition, "CURRENCY_MISMATCH"),
    ],
)
async def test_accounts_that_do_not_fit_are_refused(
    bank: Bank, change: str, kind: type[Refused], reason: str
) -> None:
    request = bank.request(currency="EUR" if change == "currency" else "BRL")
    if change == "payer":
        request.payer_account_id = new_id()
    if change == "payee":
        request.payee.account_id = new_id()

    with pytest.raises(kind) as caught:
        await bank.create(request)
    assert caught.value.reason == reason


async def test_another_customers_transfer_is_not_there(bank: Bank) -> None:
    transfer = await bank.create(bank.request())

    with pytest.raises(NotFound):
        await bank.get(transfer.transfer_id, "eve")


async def test_a_scheduled_transfer_waits_and_may_be_cancelled(bank: Bank) -> None:
    request = bank.request()
    request.scheduled_for.CopyFrom(wire.timestamp(now_us() + DAY_US))

    transfer = await bank.create(request)
    cancelled = [await bank.cancel(transfer.transfer_id) for _ in range(2)]

    assert transfer.status == pb.TRANSFER_STATUS_SCHEDULED
    assert transfer.scheduled_for == request.scheduled_for
    assert {each.status for each in cancelled} == {pb.TRANSFER_STATUS_CANCELLED}
    assert len(await bank.service.told(TransferCancelled)) == 1
    assert bank.accounts.balances[bank.ana] == 100


async def test_a_scheduled_transfer_is_carried_out_at_its_time(bank: Bank) -> None:
    request = bank.request()
    request.scheduled_for.CopyFrom(wire.timestamp(now_us() + 300_000))
    transfer = await bank.create(request)

    async def is_completed() -> bool:
        got = await bank.get(transfer.transfer_id)
        return got.status == pb.TRANSFER_STATUS_COMPLETED

    await eventually(is_completed)
    with pytest.raises(FailedPrecondition, match="has begun"):
        await bank.cancel(transfer.transfer_id)
    # Who has not heard the answer asks again, though the time has come.
    assert (await bank.create(request)).transfer_id == transfer.transfer_id


async def test_transfers_are_listed_page_by_page(bank: Bank) -> None:
    made = [(await bank.create(bank.request(1))).transfer_id for _ in range(5)]

    listed, token = list[str](), ""
    with bank.service.signed_in("ana"):
        while True:
            request = pb.ListTransfersRequest(page_size=2, page_token=token)
            page = await bank.stub.ListTransfers(request)
            listed += [transfer.transfer_id for transfer in page.transfers]
            if not (token := page.next_page_token):
                break
        with pytest.raises(InvalidArgument):
            await bank.stub.ListTransfers(pb.ListTransfersRequest(page_token="nonsense"))

    assert listed == made[::-1]


async def test_while_accounts_is_away_a_known_transfer_waits_and_a_new_payer_is_asked_to(
    bank: Bank,
) -> None:
    await bank.create(bank.request(1))
    await bank.service.peers["accounts"].stop(None)
    request = bank.request(1)
    request.wait.seconds = 0

    transfer = await bank.create(request)

    assert transfer.status == pb.TRANSFER_STATUS_PENDING
    request.request_id, request.payer_account_id = new_id(), new_id()
    with pytest.raises(Transient):
        await bank.create(request)
