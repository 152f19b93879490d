"""The rail's word held against ours and the ledger's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bank.pix.v1 import pix_pb2
from bank.pix.v1 import receipts_pb2 as receipts
from bank.pix.v1 import settlement_pb2 as pb
from bank.pix.v1.receipts_pb2_grpc import PixReceiptsServiceStub
from bank.pix.v1.settlement_pb2_grpc import PixSettlementServiceStub
from mesh.db import UnitOfWork, sql
from mesh.ids import new_id
from services.pix import checks

from .rig import OWNER, Rail, brl


@pytest.fixture(autouse=True)
def without_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just settled is looked at, too."""
    monkeypatch.setattr(checks, "GRACE_US", -1_000_000)


async def reconciled(rail: Rail) -> tuple[int, dict[str, str]]:
    request = pb.ReconcileDayRequest(day=f"{datetime.now(UTC):%Y-%m-%d}")
    stub = rail.service.stub(PixSettlementServiceStub, workload="operator")
    answer = await stub.ReconcileDay(request)
    return answer.matched, {each.end_to_end_id: each.kind for each in answer.differences}


async def a_day(rail: Rail) -> list[str]:
    """Moves money in every way that the rail knows, and one that it does not."""
    account_id = await rail.open(OWNER)
    deposit = await rail.receive(account_id, 500)
    ids = [deposit.end_to_end_id]
    for key in ("ana@example.com", "reject-AC03@sandbox.example", account_id):
        request = pix_pb2.SendPaymentRequest(
            payment_id=new_id(), pix_key=key, amount=brl(100), payer_account_id=account_id
        )
        payment = await rail.sent(request)
        if key == "ana@example.com":
            # As transfers does once the rail has settled.
            rail.ledger.post("pix-clearing", request.payment_id, 100)
            ids.append(payment.end_to_end_id)
    given = receipts.CreateReturnRequest(
        request_id=new_id(), end_to_end_id=deposit.end_to_end_id, amount=brl(7)
    )
    given.wait.seconds = 4
    with rail.service.signed_in(OWNER):
        made = (await rail.stub(PixReceiptsServiceStub).CreateReturn(given)).pix_return
    return [*ids, made.return_end_to_end_id]


async def change(rail: Rail, statement: str, end_to_end_id: str) -> None:
    async def unit(work: UnitOfWork) -> None:
        await work.execute(sql(statement), id=end_to_end_id)

    await rail.service.database.transact(unit)


async def test_a_day_on_which_all_agree_has_no_difference(rail: Rail) -> None:
    moved = await a_day(rail)

    assert await reconciled(rail) == (len(moved), {})
    assert await reconciled(rail) == (len(moved), {})


async def test_what_differs_is_told_by_its_id(rail: Rail) -> None:
    deposit, payment, given = await a_day(rail)
    await change(rail, "UPDATE deposits SET minor_units = 499 WHERE end_to_end_id = :id", deposit)
    await change(rail, "DELETE FROM returns WHERE return_end_to_end_id = :id", given)
    for table in ("rail_messages", "settlement_lines"):
        await change(rail, f"DELETE FROM {table} WHERE end_to_end_id = :id", payment)

    matched, differences = await reconciled(rail)

    assert matched == 0
    assert differences == {
        deposit: "AMOUNT",
        given: "MISSING_HERE",
        payment: "MISSING_AT_RAIL",
    }


async def test_what_the_ledger_lacks_is_found_by_the_check(rail: Rail) -> None:
    deposit, *_ = await a_day(rail)
    check, _ = rail.service.service.checks
    await reconciled(rail)
    paid = "SELECT id FROM deposits WHERE end_to_end_id = :id"
    await change(rail, f"DELETE FROM clearing WHERE entry_id IN ({paid})", deposit)

    yesterday = await check.sweep("")
    today = await check.sweep(yesterday.after)

    assert (list(yesterday.findings), today.after) == ([], "")
    (found,) = today.findings
    assert (found.subject, found.drift) == (deposit, 500)
    assert "clearing account" in found.sentence


async def test_what_has_moved_the_clearing_account_and_is_no_payment_is_found(rail: Rail) -> None:
    deposit, payment, given = await a_day(rail)
    _, check = rail.service.service.checks
    assert not (await check.sweep("")).findings
    stranger = new_id()
    rail.ledger.post("pix-clearing", stranger, 9)
    await change(rail, "UPDATE deposits SET minor_units = 499 WHERE end_to_end_id = :id", deposit)
    refused = "UPDATE payments SET status = 'rejected' WHERE end_to_end_id = :id"
    await change(rail, refused, payment)
    await change(rail, "DELETE FROM returns WHERE return_end_to_end_id = :id", given)

    part = await check.sweep("")

    assert part.after == ""
    assert sorted(each.drift for each in part.findings) == [1, 7, 9, 100]
    (strange,) = [each for each in part.findings if each.subject == stranger]
    assert "is no payment" in strange.sentence
