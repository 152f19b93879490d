"""The service over real gRPC, with stand-ins for the ledger and the rail, and people who use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bank.money.v1.money_pb2 import Money
from bank.transfers.v1 import transfers_pb2 as pb
from mesh.ids import new_id
from mesh.testing.harness import Running

from .stand_ins import Accounts, Pix, Suppliers

if TYPE_CHECKING:
    from bank.transfers.v1.batches_pb2_grpc import TransferBatchesServiceAsyncStub
    from bank.transfers.v1.recurring_pb2_grpc import RecurringTransfersServiceAsyncStub
    from bank.transfers.v1.terms_pb2_grpc import TermsServiceAsyncStub
    from bank.transfers.v1.transfers_pb2_grpc import TransfersServiceAsyncStub

HOUR_US = 3600 * 1_000_000
DAY_US = 24 * HOUR_US


def brl(minor_units: int) -> Money:
    return Money(minor_units=minor_units, currency_code="BRL")


@dataclass
class Bank:
    """The service, its stand-ins, and Ana and Bia with an account each."""

    service: Running
    accounts: Accounts
    pix: Pix
    suppliers: Suppliers
    stub: TransfersServiceAsyncStub
    recurring: RecurringTransfersServiceAsyncStub
    batches: TransferBatchesServiceAsyncStub
    terms: TermsServiceAsyncStub
    operator: TermsServiceAsyncStub
    ana: str
    bia: str

    def request(
        self, amount: int = 60, *, payee: pb.Payee | None = None, currency: str = "BRL"
    ) -> pb.CreateTransferRequest:
        request = pb.CreateTransferRequest(
            request_id=new_id(),
            payer_account_id=self.ana,
            payee=payee or pb.Payee(account_id=self.bia),
            amount=Money(minor_units=amount, currency_code=currency),
            description="rent",
        )
        request.wait.seconds = 4
        return request

    async def create(self, request: pb.CreateTransferRequest, user_id: str = "ana") -> pb.Transfer:
        with self.service.signed_in(user_id):
            return (await self.stub.CreateTransfer(request)).transfer

    async def get(self, transfer_id: str, user_id: str = "ana") -> pb.Transfer:
        with self.service.signed_in(user_id):
            request = pb.GetTransferRequest(transfer_id=transfer_id)
            return (await self.stub.GetTransfer(request)).transfer

    async def cancel(self, transfer_id: str) -> pb.Transfer:
        with self.service.signed_in("ana"):
            request = pb.CancelTransferRequest(transfer_id=transfer_id)
            return (await self.stub.CancelTransfer(request)).transfer
