"""Batches, as apps meet them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bank.transfers.v1 import batches_pb2 as pb
from bank.transfers.v1 import terms_pb2
from bank.transfers.v1.batches_pb2_grpc import TransferBatchesServiceStub
from bank.transfers.v1.transfers_pb2 import TRANSFER_STATUS_COMPLETED, TRANSFER_STATUS_FAILED
from bank.users.v1.events_pb2 import MembershipChanged
from bank.users.v1.users_pb2 import Role
from mesh.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StepUpRequired,
)
from mesh.ids import new_id
from mesh.testing.harness import Running, running
from mesh.testing.waiting import eventually
from services.transfers.app import build

from .driver import Bank, brl
from .stand_ins import Accounts, Pix, Suppliers


def a_request(bank: Bank, *lines: str) -> pb.CreateTransferBatchRequest:
    text = "payee;amount;description;kind\n" + "\n".join(lines)
    return pb.CreateTransferBatchRequest(request_id=new_id(), payer_account_id=bank.ana, csv=text)


async def create(bank: Bank, request: pb.CreateTransferBatchRequest) -> pb.TransferBatch:
    with bank.service.signed_in("ana"):
        return (await bank.batches.CreateTransferBatch(request)).batch


async def get(bank: Bank, batch_id: str, user_id: str = "ana") -> pb.GetTransferBatchResponse:
    with bank.service.signed_in(user_id):
        return await bank.batches.GetTransferBatch(pb.GetTransferBatchRequest(batch_id=batch_id))


async def done(bank: Bank, batch: pb.TransferBatch) -> list[pb.BatchLine]:
    """Waits until every line has its answer and every transfer its end."""
    found: list[pb.BatchLine] = []

    async def is_done() -> bool:
        answer = await get(bank, batch.batch_id)
        found[:] = answer.lines
        ends = (0, TRANSFER_STATUS_COMPLETED, TRANSFER_STATUS_FAILED)
        return answer.batch.done and all(line.transfer_status in ends for line in found)

    await eventually(is_done)
    return found


async def test_every_line_is_answered_and_the_good_ones_are_paid(bank: Bank) -> None:
    supplier = bank.suppliers.add("company of ana")
    request = a_request(
        bank,
        f"{bank.bia};0,10;rent;",
        f"{supplier};0,20;boxes;supplier",
        "bia@example.com;0,05;lunch;pix",
        f"{bank.bia};1.234;rent;",
        f"{new_id()};0,01;nobody;",
        f"{new_id()};0,01;nobody;supplier",
        f"{bank.bia};9,99;too much;",
        f"{bank.ana};0,01;to oneself;",
    )

    batch = await create(bank, request)
    lines = await done(bank, batch)

    assert (batch.lines, batch.done) == (8, False)
    assert [line.line for line in lines] == list(range(2, 10))
    assert [line.reason for line in lines] == [
        "", "", "", "AMOUNT_AMBIGUOUS", "PAYEE_NOT_FOUND", "PAYEE_NOT_FOUND", "", "SAME_ACCOUNT",
    ]  # fmt: skip
    assert lines[6].failure_reason == "INSUFFICIENT_FUNDS"
    assert lines[0].amount == brl(10)
    counts = (await get(bank, batch.batch_id)).batch
    assert (counts.pending, counts.accepted, counts.refused) == (0, 4, 4)
    assert bank.accounts.balances[bank.ana] == 100 - 10 - 20 - 5
    paid = await bank.get(lines[0].transfer_id)
    assert (paid.batch_id, paid.description) == (batch.batch_id, "rent")


async def test_a_batch_is_asked_for_once_and_seen_by_its_company_only(bank: Bank) -> None:
    request = a_request(bank, f"{bank.bia};0,10;rent;")

    made = [await create(bank, request) for _ in range(3)]
    await done(bank, made[0])

    assert len({batch.batch_id for batch in made}) == 1
    assert bank.accounts.balances[bank.bia] == 10
    with pytest.raises(NotFound):
        await get(bank, made[0].batch_id, "eve")
    with bank.service.signed_in("ana"):
        page = await bank.batches.ListTransferBatches(pb.ListTransferBatchesRequest())
    assert [batch.batch_id for batch in page.batches] == [made[0].batch_id]
    request.csv += "\n"
    with pytest.raises(AlreadyExists):
        await create(bank, request)


async def test_what_is_no_such_file_is_refused_whole(bank: Bank) -> None:
    request = a_request(bank, f"{bank.bia};0,10;rent;")
    request.csv = "who;what\nx;y\n"

    with pytest.raises(InvalidArgument) as caught:
        await create(bank, request)
    assert caught.value.reason == "CSV_HEADER_INVALID"


async def test_a_limit_holds_for_the_lines_together(bank: Bank) -> None:
    changed = MembershipChanged(company_id="company of ana", user_id="ana", role=Role.ROLE_OWNER)
    await bank.service.tell(changed)
    limits = [
        terms_pb2.NewLimit(kind=terms_pb2.LIMIT_KIND_PER_DAY, amount=brl(25)),
        terms_pb2.NewLimit(kind=terms_pb2.LIMIT_KIND_WITHOUT_STEP_UP, amount=brl(60)),
    ]
    with bank.service.signed_in("ana"):
        await bank.terms.UpdateLimits(terms_pb2.UpdateLimitsRequest(limits=limits))

    lines = await done(bank, await create(bank, a_request(bank, *[f"{bank.bia};0,10;;"] * 5)))

    reasons = sorted(line.reason for line in lines)
    assert reasons == ["", "", "LIMIT_PER_DAY", "LIMIT_PER_DAY", "LIMIT_PER_DAY"]
    assert bank.accounts.balances[bank.bia] == 20
    with pytest.raises(StepUpRequired):
        await create(bank, a_request(bank, *[f"{bank.bia};0,10;;"] * 7))
    changed.role = Role.ROLE_VIEWER
    await bank.service.tell(changed)
    with pytest.raises(PermissionDenied):
        await create(bank, a_request(bank, f"{bank.bia};0,10;;"))


async def test_what_was_left_when_the_bank_went_down_is_done_when_it_is_back(
    tmp_path: Path,
) -> None:
    accounts, suppliers = Accounts(), Suppliers()
    ana, bia = accounts.open("ana", 10_000), accounts.open("bia")
    peers: dict[str, list[object]] = {
        "accounts": [accounts], "pix": [Pix()], "suppliers": [suppliers],
    }  # fmt: skip
    text = "payee,amount\n" + f"{bia},0.10\n" * 40
    request = pb.CreateTransferBatchRequest(request_id=new_id(), payer_account_id=ana, csv=text)
    async with running(build, tmp_path, peers=peers) as service:
        with service.signed_in("ana"):
            stub = service.stub(TransferBatchesServiceStub)
            await stub.CreateTransferBatch(request)
    assert accounts.balances[bia] < 400
    async with running(build, tmp_path, peers=peers) as service:
        await eventually(lambda: accounts.balances[bia] == 400)
        await eventually(lambda: is_worked_through(service))
    assert accounts.balances == {ana: 9_600, bia: 400}


async def is_worked_through(service: Running) -> bool:
    with service.signed_in("ana"):
        stub = service.stub(TransferBatchesServiceStub)
        [batch] = (await stub.ListTransferBatches(pb.ListTransferBatchesRequest())).batches
    return batch.done and batch.accepted == 40


async def test_a_line_waits_for_the_suppliers_that_are_away(bank: Bank) -> None:
    supplier = bank.suppliers.add("company of ana")
    bank.suppliers.faults = 2
    batch = await create(bank, a_request(bank, f"{supplier};0,10;;supplier"))
    [line] = await done(bank, batch)

    assert line.transfer_status == TRANSFER_STATUS_COMPLETED
