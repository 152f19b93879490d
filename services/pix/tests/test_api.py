"""The rail over real gRPC, with a stand-in for the ledger."""

from __future__ import annotations

import asyncio

import pytest

from bank.pix.v1 import pix_pb2 as pb
from bank.pix.v1.events_pb2 import PixPaymentRejected, PixPaymentSettled, PixReceived
from mesh.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from mesh.ids import new_id

from .rig import AMOUNT, Rail


def payment(key: str) -> pb.SendPaymentRequest:
    return pb.SendPaymentRequest(payment_id=new_id(), pix_key=key, amount=AMOUNT)


def deposit(
    account_id: str = "", *, key: str = "", request_id: str = ""
) -> pb.CreateDepositRequest:
    request = pb.CreateDepositRequest(request_id=request_id, amount=AMOUNT, description="rent")
    if account_id:
        request.account_id = account_id
    else:
        request.pix_key = key
    request.wait.seconds = 4
    return request


async def test_a_payment_goes_out_and_settles(rail: Rail) -> None:
    request = payment("+5511987654321")
    first = (await rail.transfers.SendPayment(request)).payment

    settled = await rail.sent(request)

    assert first.status == pb.PAYMENT_STATUS_PENDING
    assert settled.status == pb.PAYMENT_STATUS_SETTLED
    assert settled.end_to_end_id == first.end_to_end_id
    asked = pb.GetPaymentRequest(payment_id=request.payment_id)
    assert (await rail.transfers.GetPayment(asked)).payment == settled
    (told,) = await rail.service.told(PixPaymentSettled)
    assert told.data.end_to_end_id == settled.end_to_end_id
    assert rail.ledger.entries == {}


async def test_the_outside_refuses_a_payment_with_a_code(rail: Rail) -> None:
    rejected = await rail.sent(payment("reject-AC03@sandbox.example"))

    assert rejected.status == pb.PAYMENT_STATUS_REJECTED
    assert rejected.rejection_code == "AC03"
    (told,) = await rail.service.told(PixPaymentRejected)
    assert told.data.rejection_code == "AC03"


async def test_what_is_no_key_is_refused_at_the_door(rail: Rail) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rail.transfers.SendPayment(payment("12345678900"))
    assert caught.value.reason == "INVALID_PIX_KEY"
    assert caught.value.violations[0].field == "pix_key"


async def test_an_id_names_one_payment(rail: Rail) -> None:
    request = payment("ana@example.com")
    await rail.transfers.SendPayment(request)
    request.description = "other"

    with pytest.raises(AlreadyExists):
        await rail.transfers.SendPayment(request)
    with pytest.raises(NotFound):
        await rail.transfers.GetPayment(pb.GetPaymentRequest(payment_id=new_id()))
    with pytest.raises(PermissionDenied):
        await rail.outside.SendPayment(request)


async def test_a_payment_to_an_account_of_ours_comes_in_at_once(rail: Rail) -> None:
    account_id = rail.ledger.open()

    settled = await rail.sent(payment(account_id))

    assert settled.status == pb.PAYMENT_STATUS_SETTLED
    (entry,) = rail.ledger.entries.values()
    moved = {posting.account_id: posting.amount.minor_units for posting in entry.postings}
    assert moved == {"pix-clearing": -100, account_id: 100}
    (received,) = await rail.service.told(PixReceived)
    assert (received.data.account_id, received.data.deposit_id) == (account_id, entry.entry_id)


async def test_a_random_key_that_is_none_of_ours_goes_outside(rail: Rail) -> None:
    settled = await rail.sent(payment(new_id()))

    assert settled.status == pb.PAYMENT_STATUS_SETTLED
    assert rail.ledger.entries == {}


@pytest.mark.parametrize("by_key", [False, True])
async def test_a_deposit_is_credited_and_told(rail: Rail, by_key: bool) -> None:
    account_id = rail.ledger.open()
    request = deposit(key=account_id) if by_key else deposit(account_id)

    made = (await rail.outside.CreateDeposit(request)).deposit

    assert (made.status, made.account_id) == (pb.PAYMENT_STATUS_SETTLED, account_id)
    assert rail.ledger.entries[made.deposit_id].description == "rent"
    (received,) = await rail.service.told(PixReceived)
    assert received.data.end_to_end_id == made.end_to_end_id


async def test_a_repeated_deposit_is_one(rail: Rail) -> None:
    request = deposit(rail.ledger.open(), request_id="once")

    answers = await asyncio.gather(*(rail.outside.CreateDeposit(request) for _ in range(20)))

    assert len({answer.deposit.deposit_id for answer in answers}) == 1
    assert len(rail.ledger.entries) == 1
    request.amount.minor_units = 101
    with pytest.raises(AlreadyExists) as caught:
        await rail.outside.CreateDeposit(request)
    assert caught.value.reason == "REQUEST_ID_TAKEN"


async def test_a_deposit_to_nobody_is_refused_and_one_to_a_closed_account_sent_back(
    rail: Rail,
) -> None:
    closed = rail.ledger.open()
    rail.ledger.closed.add(closed)

    for request in (deposit(new_id()), deposit(key="ana@example.com")):
        with pytest.raises(NotFound) as caught:
            await rail.outside.CreateDeposit(request)
        assert caught.value.reason == "ACCOUNT_NOT_FOUND"
    made = (await rail.outside.CreateDeposit(deposit(closed))).deposit

    assert (made.status, made.rejection_code) == (pb.PAYMENT_STATUS_REJECTED, "ACCOUNT_CLOSED")
    assert await rail.service.told(PixReceived) == []


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        ("timeout-settled@sandbox.example", pb.PAYMENT_STATUS_SETTLED, ""),
        ("timeout-rejected-AB09@sandbox.example", pb.PAYMENT_STATUS_REJECTED, "AB09"),
        ("lost@sandbox.example", pb.PAYMENT_STATUS_SETTLED, ""),
        ("duplicate@sandbox.example", pb.PAYMENT_STATUS_SETTLED, ""),
        ("delay-1100@sandbox.example", pb.PAYMENT_STATUS_SETTLED, ""),
        ("unknown-1@sandbox.example", pb.PAYMENT_STATUS_REJECTED, "AC03"),
    ],
)
async def test_an_outcome_that_is_not_known_is_asked_for(
    rail: Rail, key: str, status: pb.PaymentStatus.ValueType, code: str
) -> None:
    ended = await rail.sent(payment(key))

    assert (ended.status, ended.rejection_code) == (status, code)


async def test_a_message_that_comes_twice_is_one_deposit(rail: Rail) -> None:
    request = deposit(rail.ledger.open())
    request.end_to_end_id = "E0000020820260304050600000000001"

    first, second = [(await rail.outside.CreateDeposit(request)).deposit for _ in range(2)]

    assert first == second
    assert first.end_to_end_id == request.end_to_end_id
    assert len(rail.ledger.entries) == 1


async def test_a_deposit_needs_an_amount(rail: Rail) -> None:
    request = deposit(rail.ledger.open())
    request.ClearField("amount")

    with pytest.raises(InvalidArgument) as caught:
        await rail.outside.CreateDeposit(request)
    assert caught.value.violations[0].field == "amount"
