"""Payments to suppliers, over real gRPC, with stand-ins for who is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bank.money.v1.money_pb2 import Money
from bank.transfers.v1 import transfers_pb2 as pb
from bank.transfers.v1.events_pb2 import TransferCreated
from bank.transfers.v1.transfers_pb2_grpc import TransfersServiceStub
from mesh.clock import now_us
from mesh.errors import AlreadyExists, NotFound, Transient
from mesh.ids import new_id
from mesh.testing.harness import Running, running
from services import wire
from services.transfers.app import build

from .stand_ins import Accounts, Pix, Suppliers

if TYPE_CHECKING:
    from bank.transfers.v1.transfers_pb2_grpc import TransfersServiceAsyncStub

# As the stand-in of accounts names it.
COMPANY = "company of ana"


@dataclass
class Bank:
    """The service, its stand-ins, and Ana, whose company pays."""

    service: Running
    accounts: Accounts
    suppliers: Suppliers
    stub: TransfersServiceAsyncStub
    ana: str

    def request(self, supplier_id: str, amount: int = 60) -> pb.CreateTransferRequest:
        request = pb.CreateTransferRequest(
            request_id=new_id(),
            payer_account_id=self.ana,
            payee=pb.Payee(supplier_id=supplier_id),
            amount=Money(minor_units=amount, currency_code="BRL"),
        )
        request.wait.seconds = 4
        return request

    async def create(self, request: pb.CreateTransferRequest) -> pb.Transfer:
        with self.service.signed_in("ana"):
            return (await self.stub.CreateTransfer(request)).transfer


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Bank]:
    accounts, suppliers = Accounts(), Suppliers()
    peers: dict[str, list[object]] = {
        "accounts": [accounts],
        "pix": [Pix()],
        "suppliers": [suppliers],
    }
    async with running(build, tmp_path, peers=peers) as service:
        stub = service.stub(TransfersServiceStub)
        yield Bank(service, accounts, suppliers, stub, accounts.open("ana", 100))


async def test_a_supplier_is_paid_by_pix_and_called_by_its_name(bank: Bank) -> None:
    supplier_id = bank.suppliers.add(COMPANY)

    transfer = await bank.create(bank.request(supplier_id))

    assert transfer.status == pb.TRANSFER_STATUS_COMPLETED
    assert transfer.payee == pb.Payee(supplier_id=supplier_id)
    assert transfer.end_to_end_id
    (settled,) = bank.accounts.settled
    assert settled.counterparty == "Embalagens Lima"
    (created,) = await bank.service.told(TransferCreated)
    assert created.data.supplier_id == supplier_id
    assert b"lima@example.com" not in created.data.SerializeToString()


async def test_what_was_accepted_does_not_change_with_the_supplier(bank: Bank) -> None:
    supplier_id = bank.suppliers.add(COMPANY)
    request = bank.request(supplier_id)
    request.scheduled_for.CopyFrom(wire.timestamp(now_us() + 300_000))
    accepted = await bank.create(request)
    bank.suppliers.known[supplier_id].pix_key = "reject@example.com"

    assert await bank.create(request) == accepted
    del bank.suppliers.known[supplier_id]
    assert (await bank.create(request)).transfer_id == accepted.transfer_id
    await bank.service.peers["suppliers"].stop(None)
    assert (await bank.create(request)).transfer_id == accepted.transfer_id
    ended = await bank.service.chassis.wait_for("move_money", accepted.transfer_id, 4)
    assert (ended.status, ended.pix_key) == ("completed", "lima@example.com")


async def test_a_request_id_names_one_supplier(bank: Bank) -> None:
    request = bank.request(bank.suppliers.add(COMPANY), 10)
    await bank.create(request)
    request.payee.supplier_id = bank.suppliers.add(COMPANY)

    with pytest.raises(AlreadyExists):
        await bank.create(request)


@pytest.mark.parametrize("company_id", ["", "company of bia"])
async def test_a_supplier_that_is_not_the_payers_is_not_there(bank: Bank, company_id: str) -> None:
    supplier_id = bank.suppliers.add(company_id) if company_id else new_id()

    with pytest.raises(NotFound) as caught:
        await bank.create(bank.request(supplier_id))

    assert caught.value.reason == "PAYEE_NOT_FOUND"
    assert bank.accounts.balances[bank.ana] == 100


async def test_while_suppliers_is_away_one_is_asked_to_come_again(bank: Bank) -> None:
    supplier_id = bank.suppliers.add(COMPANY)
    await bank.service.peers["suppliers"].stop(None)

    with pytest.raises(Transient):
        await bank.create(bank.request(supplier_id))

    assert await bank.service.told(TransferCreated) == []
