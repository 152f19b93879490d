"""Money that comes back: refunds by who was paid, and returns by the rail."""

from __future__ import annotations

import asyncio

import pytest

from bank.money.v1.money_pb2 import Money
from bank.pix.v1.events_pb2 import PixPaymentReturned
from bank.transfers.v1 import transfers_pb2 as pb
from bank.transfers.v1.events_pb2 import TransferReversed
from mesh.errors import AlreadyExists, FailedPrecondition, NotFound, Refused
from mesh.ids import new_id
from mesh.testing.waiting import eventually

from .driver import Bank, brl


async def refund(
    bank: Bank, transfer_id: str, amount: int = 0, user_id: str = "bia", request_id: str = ""
) -> pb.Transfer:
    request = pb.RefundTransferRequest(
        request_id=request_id or new_id(), transfer_id=transfer_id, description="back"
    )
    if amount:
        request.amount.CopyFrom(brl(amount))
    request.wait.seconds = 4
    with bank.service.signed_in(user_id):
        return (await bank.stub.RefundTransfer(request)).transfer


async def test_a_refund_in_parts_reverses_the_whole(bank: Bank) -> None:
    paid = await bank.create(bank.request(60))

    part = await refund(bank, paid.transfer_id, 20)
    between = await bank.get(paid.transfer_id)
    rest = await refund(bank, paid.transfer_id)

    assert (part.status, part.refund_of) == (pb.TRANSFER_STATUS_COMPLETED, paid.transfer_id)
    assert (between.status, between.returned) == (pb.TRANSFER_STATUS_COMPLETED, brl(20))
    assert rest.amount == brl(40)
    whole = await bank.get(paid.transfer_id)
    assert (whole.status, whole.returned) == (pb.TRANSFER_STATUS_REVERSED, brl(60))
    assert bank.accounts.balances == {bank.ana: 100, bank.bia: 0}
    told = await bank.service.told(TransferReversed)
    assert [event.data.returned.minor_units for event in told] == [20, 60]
    assert [event.data.cause_id for event in told] == [part.transfer_id, rest.transfer_id]
    assert [event.version for event in told] == [3, 4]


async def test_at_once_no_more_is_given_back_than_was_paid(bank: Bank) -> None:
    paid = await bank.create(bank.request(60))

    async def attempt() -> str:
        try:
            await refund(bank, paid.transfer_id, 25)
        except Refused as refusal:
            return refusal.reason
        return ""

    reasons = await asyncio.gather(*(attempt() for _ in range(6)))

    assert sorted(reasons) == ["", ""] + ["REFUND_EXCEEDS_TRANSFER"] * 4
    assert bank.accounts.balances == {bank.ana: 90, bank.bia: 10}


async def test_a_refund_is_asked_for_once(bank: Bank) -> None:
    paid = await bank.create(bank.request(60))
    request_id = new_id()

    answers = [await refund(bank, paid.transfer_id, request_id=request_id) for _ in range(3)]

    assert len({answer.transfer_id for answer in answers}) == 1
    assert bank.accounts.balances == {bank.ana: 100, bank.bia: 0}
    with pytest.raises(AlreadyExists):
        await refund(bank, paid.transfer_id, 1, request_id=request_id)


async def test_a_refund_that_fails_may_be_asked_for_again(bank: Bank) -> None:
    paid = await bank.create(bank.request(60))
    bank.accounts.balances[bank.bia] = 0

    failed = await refund(bank, paid.transfer_id)
    bank.accounts.balances[bank.bia] = 60
    again = await refund(bank, paid.transfer_id)

    assert (failed.status, failed.failure_reason) == (
        pb.TRANSFER_STATUS_FAILED,
        "INSUFFICIENT_FUNDS",
    )
    assert again.status == pb.TRANSFER_STATUS_COMPLETED


async def test_only_who_was_paid_gives_back_and_only_what_has_moved(bank: Bank) -> None:
    paid = await bank.create(bank.request(60))
    failed = await bank.create(bank.request(1_000))
    by_pix = await bank.create(bank.request(1, payee=pb.Payee(pix_key="x@example.com")))

    for transfer, user_id in ((paid, "ana"), (paid, "eve"), (by_pix, "bia"), (by_pix, "ana")):
        with pytest.raises(NotFound):
            await refund(bank, transfer.transfer_id, user_id=user_id)
    with pytest.raises(FailedPrecondition, match="moved"):
        await refund(bank, failed.transfer_id)
    given = await refund(bank, paid.transfer_id, 1)
    with pytest.raises(FailedPrecondition, match="refunded"):
        await refund(bank, given.transfer_id, user_id="ana")


async def test_what_the_rail_brings_back_is_shown_and_the_whole_reverses(bank: Bank) -> None:
    paid = await bank.create(bank.request(60, payee=pb.Payee(pix_key="bia@example.com")))

    for returned in (20, 20, 60):
        event = PixPaymentReturned(
            payment_id=paid.transfer_id,
            return_id=new_id(),
            returned=Money(minor_units=returned, currency_code="BRL"),
        )
        await bank.service.tell(event)

    back = await bank.get(paid.transfer_id)
    assert (back.status, back.returned) == (pb.TRANSFER_STATUS_REVERSED, brl(60))
    told = await bank.service.told(TransferReversed)
    assert [each.data.returned.minor_units for each in told] == [20, 60]


async def test_a_payment_that_the_rail_took_in_silence_is_asked_about(bank: Bank) -> None:
    paid = await bank.create(bank.request(60, payee=pb.Payee(pix_key="doubt@example.com")))

    async def is_completed() -> bool:
        return (await bank.get(paid.transfer_id)).status == pb.TRANSFER_STATUS_COMPLETED

    await eventually(is_completed)
    assert bank.accounts.balances[bank.ana] == 40
