"""What is given back, by us and to us, over real gRPC."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime

import pytest

from bank.money.v1.money_pb2 import Money
from bank.pix.v1 import pix_pb2, sandbox_pb2
from bank.pix.v1 import receipts_pb2 as pb
from bank.pix.v1.events_pb2 import (
    PixPaymentReturned,
    PixReceiptReturned,
    PixReceiptReturnFailed,
)
from bank.pix.v1.receipts_pb2_grpc import PixReceiptsServiceStub
from bank.pix.v1.sandbox_pb2_grpc import PixSandboxServiceStub
from mesh.clock import now_us
from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
)
from mesh.ids import new_id
from mesh.testing.waiting import eventually
from services.pix.domain.returns import RETURN_PERIOD_US, Asked
from services.pix.store import returns as returns_store

from .rig import OWNER, STRANGER, VIEWER, Rail, brl


def returning(
    end_to_end_id: str, minor_units: int = 0, *, request_id: str = ""
) -> pb.CreateReturnRequest:
    request = pb.CreateReturnRequest(request_id=request_id or new_id(), end_to_end_id=end_to_end_id)
    if minor_units:
        request.amount.CopyFrom(brl(minor_units))
    request.wait.seconds = 4
    return request


async def paid_out(rail: Rail, account_id: str, key: str = "ana@example.com") -> str:
    request = pix_pb2.SendPaymentRequest(
        payment_id=new_id(), pix_key=key, amount=brl(100), payer_account_id=account_id
    )
    await rail.sent(request)
    return request.payment_id


async def behave(rail: Rail, **shares: int) -> None:
    asked = sandbox_pb2.RailBehaviour(rejection_code="ED05", **shares)
    await rail.stub(PixSandboxServiceStub).SetRailBehaviour(
        sandbox_pb2.SetRailBehaviourRequest(behaviour=asked)
    )


async def test_a_receipt_is_given_back_in_parts_and_never_more_than_it_was(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    deposit = await rail.receive(account_id, 100)
    receipts = rail.stub(PixReceiptsServiceStub)

    with rail.service.signed_in(OWNER):
        first = (await receipts.CreateReturn(returning(deposit.end_to_end_id, 30))).pix_return
        rest = (await receipts.CreateReturn(returning(deposit.end_to_end_id))).pix_return
        with pytest.raises(FailedPrecondition) as caught:
            await receipts.CreateReturn(returning(deposit.end_to_end_id, 1))
        receipt = (
            await receipts.GetReceipt(pb.GetReceiptRequest(end_to_end_id=deposit.end_to_end_id))
        ).receipt
        listed = await receipts.ListReturns(
            pb.ListReturnsRequest(end_to_end_id=deposit.end_to_end_id)
        )

    assert (first.status, rest.status) == (pb.RETURN_STATUS_SETTLED, pb.RETURN_STATUS_SETTLED)
    assert (first.amount.minor_units, rest.amount.minor_units) == (30, 70)
    assert first.return_end_to_end_id.startswith("D90400888")
    assert first.reason == pb.RETURN_REASON_MD06
    assert caught.value.reason == "RETURN_EXCEEDS_PAYMENT"
    assert receipt.returned == brl(100)
    assert list(listed.returns) == [rest, first]
    assert rail.ledger.balances == {"pix-clearing": 0, account_id: 0}
    told = await rail.service.told(PixReceiptReturned)
    assert [event.data.amount.minor_units for event in told] == [30, 70]


async def test_many_who_give_back_at_once_give_back_no_more_than_came_in(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    deposit = await rail.receive(account_id, 100)
    await rail.receive(account_id, 1_000)
    receipts = rail.stub(PixReceiptsServiceStub)

    with rail.service.signed_in(OWNER):
        answers = await asyncio.gather(
            *(receipts.CreateReturn(returning(deposit.end_to_end_id, 30)) for _ in range(8)),
            return_exceptions=True,
        )

    refused = [answer for answer in answers if isinstance(answer, FailedPrecondition)]
    assert len(refused) == 5
    assert rail.ledger.balances[account_id] == 1_010


async def test_a_repeated_return_is_one_and_another_under_its_id_is_refused(rail: Rail) -> None:
    deposit = await rail.receive(await rail.open(OWNER), 100)
    receipts, once = rail.stub(PixReceiptsServiceStub), new_id()

    with rail.service.signed_in(OWNER):
        answers = await asyncio.gather(
            *(
                receipts.CreateReturn(returning(deposit.end_to_end_id, 40, request_id=once))
                for _ in range(10)
            )
        )
        with pytest.raises(AlreadyExists):
            await receipts.CreateReturn(returning(deposit.end_to_end_id, 41, request_id=once))

    assert len({answer.pix_return.return_id for answer in answers}) == 1
    assert len(rail.ledger.given) == 1


@pytest.mark.parametrize(
    ("shares", "lost"), [({"rejected": 1000}, 0), ({"lost_rejected": 1000}, 1)]
)
async def test_a_return_that_the_rail_rejects_moves_nothing(
    rail: Rail, shares: dict[str, int], lost: int
) -> None:
    account_id = await rail.open(OWNER)
    deposit = await rail.receive(account_id, 100)
    receipts = rail.stub(PixReceiptsServiceStub)
    await behave(rail, **shares)

    with rail.service.signed_in(OWNER):
        failed = (await receipts.CreateReturn(returning(deposit.end_to_end_id))).pix_return
        await behave(rail, lost_settled=1000)
        again = (await receipts.CreateReturn(returning(deposit.end_to_end_id))).pix_return

    assert (failed.status, failed.failure_reason) == (pb.RETURN_STATUS_FAILED, "ED05")
    assert again.status == pb.RETURN_STATUS_SETTLED
    assert rail.ledger.balances[account_id] == 0
    (told,) = await rail.service.told(PixReceiptReturnFailed)
    assert told.data.failure_reason == "ED05"


async def test_what_is_not_on_the_account_is_not_given_back(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    deposit = await rail.receive(account_id, 100)
    rail.ledger.balances[account_id] = 99

    with rail.service.signed_in(OWNER):
        given = await rail.stub(PixReceiptsServiceStub).CreateReturn(
            returning(deposit.end_to_end_id)
        )

    assert given.pix_return.failure_reason == "INSUFFICIENT_FUNDS"
    assert rail.ledger.balances[account_id] == 99


async def test_a_receipt_is_its_owners_alone(rail: Rail) -> None:
    deposit = await rail.receive(await rail.open(OWNER), 100)
    receipts = rail.stub(PixReceiptsServiceStub)

    with rail.service.signed_in(STRANGER), pytest.raises(NotFound):
        await receipts.CreateReturn(returning(deposit.end_to_end_id))
    with rail.service.signed_in(STRANGER):
        assert not (await receipts.ListReceipts(pb.ListReceiptsRequest())).receipts
    with rail.service.signed_in(VIEWER), pytest.raises(PermissionDenied):
        await receipts.CreateReturn(returning(deposit.end_to_end_id))


async def test_receipts_come_in_pages_and_can_be_looked_for(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    ids = [(await rail.receive(account_id, 100)).end_to_end_id for _ in range(3)]
    receipts = rail.stub(PixReceiptsServiceStub)

    with rail.service.signed_in(OWNER):
        first = await receipts.ListReceipts(pb.ListReceiptsRequest(page_size=2))
        rest = await receipts.ListReceipts(
            pb.ListReceiptsRequest(page_size=2, page_token=first.next_page_token)
        )
        none = await receipts.ListReceipts(pb.ListReceiptsRequest(txid="OTHER"))

    listed = [receipt.end_to_end_id for receipt in (*first.receipts, *rest.receipts)]
    assert listed == ids[::-1]
    assert (rest.next_page_token, list(none.receipts)) == ("", [])


async def test_after_ninety_days_nothing_is_given_back(rail: Rail) -> None:
    deposit = await rail.receive(await rail.open(OWNER), 100)
    late = Asked(
        id=new_id(),
        requested_by=OWNER,
        request_id="late",
        amount=None,
        reason="MD06",
        now_us=now_us() + RETURN_PERIOD_US + 1,
    )

    with pytest.raises(FailedPrecondition) as caught:
        await rail.service.database.transact(returns_store.keep_out, deposit.end_to_end_id, late)
    assert caught.value.reason == "RETURN_PERIOD_OVER"


async def test_what_another_bank_gives_back_is_on_the_account_that_paid(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    payment_id = await paid_out(rail, account_id)
    sandbox = rail.stub(PixSandboxServiceStub)

    async def give(amount: Money | None, request_id: str) -> str:
        request = sandbox_pb2.CreateOutsideReturnRequest(
            payment_id=payment_id, request_id=request_id, amount=amount
        )
        return (await sandbox.CreateOutsideReturn(request)).return_id

    first, again = await give(brl(40), "one"), await give(brl(40), "one")
    await give(None, "two")
    with pytest.raises(FailedPrecondition):
        await give(brl(1), "three")

    async def is_back() -> bool:
        return len(await rail.service.told(PixPaymentReturned)) == 2

    await eventually(is_back)
    told = [event.data for event in await rail.service.told(PixPaymentReturned)]
    assert first == again
    assert {event.payment_id for event in told} == {payment_id}
    assert {event.return_id: event.amount.minor_units for event in told}[first] == 40
    assert max(event.returned.minor_units for event in told) == 100
    assert rail.ledger.balances == {"pix-clearing": -100, account_id: 100}
    assert rail.ledger.entries[first].transfer_id == payment_id
    asked = pix_pb2.GetPaymentRequest(payment_id=payment_id)
    assert (await rail.transfers.GetPayment(asked)).payment.returned == brl(100)


async def test_a_key_can_say_that_the_payment_comes_back(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    payment_id = await paid_out(rail, account_id, "return-be08-25@sandbox.example")

    async def is_back() -> bool:
        return bool(await rail.service.told(PixPaymentReturned))

    await eventually(is_back)
    (told,) = await rail.service.told(PixPaymentReturned)
    assert (told.data.payment_id, told.data.amount) == (payment_id, brl(25))
    assert told.data.reason == pb.RETURN_REASON_BE08


async def test_a_payment_within_the_house_is_given_back_within_it(rail: Rail) -> None:
    payer, payee = await rail.open(OWNER), await rail.open(STRANGER)
    payment_id = await paid_out(rail, payer, payee)
    receipts = rail.stub(PixReceiptsServiceStub)

    with rail.service.signed_in(STRANGER):
        (receipt,) = (await receipts.ListReceipts(pb.ListReceiptsRequest())).receipts
        given = (await receipts.CreateReturn(returning(receipt.end_to_end_id))).pix_return

    assert given.status == pb.RETURN_STATUS_SETTLED
    assert rail.ledger.given[given.return_id].payee_account_id == payer
    (told,) = await rail.service.told(PixPaymentReturned)
    assert (told.data.payment_id, told.data.returned) == (payment_id, brl(100))


async def test_the_rail_accounts_for_all_that_moved(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    deposit = await rail.receive(account_id, 70)
    await paid_out(rail, account_id)
    await paid_out(rail, account_id, "reject-AC03@sandbox.example")
    with rail.service.signed_in(OWNER):
        await rail.stub(PixReceiptsServiceStub).CreateReturn(returning(deposit.end_to_end_id, 7))

    today = f"{datetime.now(UTC):%Y-%m-%d}"
    file = await rail.stub(PixSandboxServiceStub).GetSettlementFile(
        sandbox_pb2.GetSettlementFileRequest(day=today)
    )

    moved = [int(line["minor_units"]) for line in csv.DictReader(io.StringIO(file.csv))]
    assert sorted(moved) == [-100, -7, 70]
