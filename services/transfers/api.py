"""Speaks `bank.transfers.v1`, and decides nothing."""

from __future__ import annotations

from uuid import UUID

from bank.transfers.v1 import transfers_pb2 as pb
from bank.transfers.v1.transfers_pb2_grpc import TransfersServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.errors import InvalidArgument, NotFound
from mesh.ids import new_id
from mesh.rpc import Context, caller, mark_replayed
from services import wire

from . import store
from .clients import AccountsLedger, Suppliers
from .domain import Status, Supplier, Transfer

PAGE_SIZE = 50
# Comes after every other id.
NEWEST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class TransfersApi(TransfersServiceServicer):
    """The door of transfers."""

    def __init__(self, chassis: Chassis, ledger: AccountsLedger, suppliers: Suppliers) -> None:
        self.chassis = chassis
        self.ledger = ledger
        self.suppliers = suppliers

    async def CreateTransfer(
        self, request: pb.CreateTransferRequest, context: Context
    ) -> pb.CreateTransferResponse:
        self.chassis.admit()
        transfer, is_new = await self.accept(to_transfer(request, user_id()))
        if not is_new:
            mark_replayed(context)
        if transfer.status is Status.PENDING and request.HasField("wait"):
            seconds = request.wait.ToTimedelta().total_seconds()
            ended = await self.chassis.wait_for(store.MOVE_MONEY, transfer.id, seconds)
            transfer = ended or transfer
        return pb.CreateTransferResponse(transfer=to_wire(transfer))

    async def GetTransfer(
        self, request: pb.GetTransferRequest, context: Context
    ) -> pb.GetTransferResponse:
        transfer = await self.chassis.read(store.get, request.transfer_id, user_id())
        return pb.GetTransferResponse(transfer=to_wire(transfer))

    async def ListTransfers(
        self, request: pb.ListTransfersRequest, context: Context
    ) -> pb.ListTransfersResponse:
        before, size = to_id(request.page_token), request.page_size or PAGE_SIZE
        found = await self.chassis.read(store.page, user_id(), before, size + 1)
        page, more = found[:size], found[size:]
        return pb.ListTransfersResponse(
            transfers=map(to_wire, page), next_page_token=page[-1].id if more else ""
        )

    async def CancelTransfer(
        self, request: pb.CancelTransferRequest, context: Context
    ) -> pb.CancelTransferResponse:
        transfer = await self.chassis.transact(store.cancel, request.transfer_id, user_id())
        return pb.CancelTransferResponse(transfer=to_wire(transfer))

    async def accept(self, asked: Transfer) -> tuple[Transfer, bool]:
        supplier = None
        if asked.supplier_id:
            # What was accepted before is answered as it was, whatever has become of the supplier.
            if earlier := await self.chassis.read(store.repeated, asked):
                return earlier, False
            supplier = await self.suppliers.find(asked.supplier_id)
            asked = asked.to(supplier)
        return await self.keep(asked, supplier)

    async def keep(self, asked: Transfer, supplier: Supplier | None) -> tuple[Transfer, bool]:
        try:
            return await self.chassis.transact(store.accept, asked, supplier=supplier)
        except NotFound:
            # Our copies may be late: the owner knows.
            named = filter(None, (asked.payer, asked.payee))
            described = [await self.ledger.describe(id, asked.requested_by) for id in named]
            learned = [account for account in described if account]
            return await self.chassis.transact(store.accept, asked, learned, supplier)


def user_id() -> str:
    return caller().must_be_user().user_id


def to_id(page_token: str) -> str:
    try:
        return str(UUID(page_token)) if page_token else NEWEST
    except ValueError:
        raise InvalidArgument("PAGE_TOKEN_INVALID", "This is no page token.") from None


def to_transfer(request: pb.CreateTransferRequest, user_id: str) -> Transfer:
    is_scheduled = request.HasField("scheduled_for")
    return Transfer(
        id=new_id(),
        requested_by=user_id,
        request_id=request.request_id,
        payer=request.payer_account_id,
        payee=request.payee.account_id,
        pix_key=request.payee.pix_key,
        supplier_id=request.payee.supplier_id,
        amount=wire.from_wire(request.amount),
        description=request.description,
        created_at_us=now_us(),
        scheduled_for_us=request.scheduled_for.ToMicroseconds() if is_scheduled else None,
        status=Status.SCHEDULED if is_scheduled else Status.PENDING,
    )


def to_wire(transfer: Transfer) -> pb.Transfer:
    when = transfer.scheduled_for_us
    return pb.Transfer(
        transfer_id=transfer.id,
        payer_account_id=transfer.payer,
        payee=to_payee(transfer),
        amount=wire.to_wire(transfer.amount),
        status=pb.TransferStatus.Value(f"TRANSFER_STATUS_{transfer.status.name}"),
        failure_reason=transfer.failure_reason,
        description=transfer.description,
        created_at=wire.timestamp(transfer.created_at_us),
        scheduled_for=None if when is None else wire.timestamp(when),
        end_to_end_id=transfer.end_to_end_id,
    )


def to_payee(transfer: Transfer) -> pb.Payee:
    if transfer.supplier_id:
        return pb.Payee(supplier_id=transfer.supplier_id)
    if transfer.pix_key:
        return pb.Payee(pix_key=transfer.pix_key)
    return pb.Payee(account_id=transfer.payee)
