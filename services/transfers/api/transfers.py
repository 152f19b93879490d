"""The door of transfers."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from bank.money.v1 import money_pb2
from bank.transfers.v1 import transfers_pb2 as pb
from bank.transfers.v1.transfers_pb2_grpc import TransfersServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.ids import new_id
from mesh.rpc import Context, mark_replayed
from services import wire
from services.money import Money

from ..domain.transfers import Refund, Status, Transfer
from ..store import pages, transfers
from .intake import PAGE_SIZE, Intake, user_id, why_not_proven


class TransfersApi(TransfersServiceServicer):
    """The door of transfers."""

    def __init__(self, chassis: Chassis, intake: Intake) -> None:
        self.chassis = chassis
        self.intake = intake

    async def CreateTransfer(
        self, request: pb.CreateTransferRequest, context: Context
    ) -> pb.CreateTransferResponse:
        self.chassis.admit()
        transfer, is_new = await self.intake.transfer(to_transfer(request, user_id()))
        if not is_new:
            mark_replayed(context)
        if request.HasField("wait"):
            transfer = await self.waited(transfer, request.wait)
        return pb.CreateTransferResponse(transfer=to_wire(transfer))

    async def GetTransfer(
        self, request: pb.GetTransferRequest, context: Context
    ) -> pb.GetTransferResponse:
        transfer = await self.chassis.read(transfers.get, request.transfer_id, user_id())
        return pb.GetTransferResponse(transfer=to_wire(transfer))

    async def ListTransfers(
        self, request: pb.ListTransfersRequest, context: Context
    ) -> pb.ListTransfersResponse:
        size = request.page_size or PAGE_SIZE
        found = await self.chassis.read(pages.transfers, to_page(request, user_id(), size + 1))
        page, next_page = wire.part_page(found, size)
        return pb.ListTransfersResponse(transfers=map(to_wire, page), next_page_token=next_page)

    async def CancelTransfer(
        self, request: pb.CancelTransferRequest, context: Context
    ) -> pb.CancelTransferResponse:
        transfer = await self.chassis.transact(transfers.cancel, request.transfer_id, user_id())
        return pb.CancelTransferResponse(transfer=to_wire(transfer))

    async def ApproveTransfer(
        self, request: pb.ApproveTransferRequest, context: Context
    ) -> pb.ApproveTransferResponse:
        transfer = await self.chassis.transact(
            transfers.approve, request.transfer_id, user_id(), why_not_proven()
        )
        return pb.ApproveTransferResponse(transfer=to_wire(transfer))

    async def RejectTransfer(
        self, request: pb.RejectTransferRequest, context: Context
    ) -> pb.RejectTransferResponse:
        transfer = await self.chassis.transact(transfers.reject, request.transfer_id, user_id())
        return pb.RejectTransferResponse(transfer=to_wire(transfer))

    async def RefundTransfer(
        self, request: pb.RefundTransferRequest, context: Context
    ) -> pb.RefundTransferResponse:
        self.chassis.admit()
        transfer, is_new = await self.intake.refund(to_refund(request, user_id()))
        if not is_new:
            mark_replayed(context)
        if request.HasField("wait"):
            transfer = await self.waited(transfer, request.wait)
        return pb.RefundTransferResponse(transfer=to_wire(transfer))

    async def waited(self, transfer: Transfer, wait: Duration) -> Transfer:
        if transfer.status is not Status.PENDING:
            return transfer
        seconds = wait.ToTimedelta().total_seconds()
        ended = await self.chassis.wait_for(transfers.MOVE_MONEY, transfer.id, seconds)
        return ended or transfer


def to_page(request: pb.ListTransfersRequest, user_id: str, size: int) -> pages.Page:
    since, until = getattr(request, "from"), request.to
    status = ""
    if request.status:
        name = pb.TransferStatus.Name(request.status).removeprefix("TRANSFER_STATUS_")
        status = Status[name]
    return pages.Page(
        user=user_id,
        size=size,
        before=wire.page_start(request.page_token),
        status=status,
        account=request.account_id,
        from_us=since.ToMicroseconds() if request.HasField("from") else 0,
        to_us=until.ToMicroseconds() if request.HasField("to") else pages.LATEST_US,
    )


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


def to_refund(request: pb.RefundTransferRequest, user_id: str) -> Refund:
    return Refund(
        id=new_id(),
        requested_by=user_id,
        request_id=request.request_id,
        refund_of=request.transfer_id,
        amount=wire.from_wire(request.amount) if request.HasField("amount") else None,
        description=request.description,
        created_at_us=now_us(),
    )


def to_wire(transfer: Transfer) -> pb.Transfer:
    when = transfer.scheduled_for_us
    expires_us = transfer.approval_expires_us
    waits = transfer.status is Status.AWAITING_APPROVAL and expires_us is not None
    return pb.Transfer(
        transfer_id=transfer.id,
        payer_account_id=transfer.payer,
        payee=to_payee(transfer),
        amount=wire.to_wire(transfer.amount),
        status=to_status(transfer.status),
        failure_reason=transfer.failure_reason,
        description=transfer.description,
        created_at=wire.timestamp(transfer.created_at_us),
        scheduled_for=None if when is None else wire.timestamp(when),
        end_to_end_id=transfer.end_to_end_id,
        fee=to_part(transfer, transfer.fee),
        returned=to_part(transfer, transfer.returned),
        requested_by=transfer.requested_by,
        decided_by=transfer.decided_by,
        approval_expires_at=wire.timestamp(expires_us or 0) if waits else None,
        refund_of=transfer.refund_of,
        recurring_transfer_id=transfer.recurring,
        batch_id=transfer.batch,
        version=transfer.version,
    )


def to_status(status: Status) -> pb.TransferStatus.ValueType:
    return pb.TransferStatus.Value(f"TRANSFER_STATUS_{status.name}")


def to_part(transfer: Transfer, minor_units: int) -> money_pb2.Money | None:
    return wire.to_wire(Money(minor_units, transfer.amount.currency)) if minor_units else None


def to_payee(transfer: Transfer) -> pb.Payee:
    if transfer.supplier_id:
        return pb.Payee(supplier_id=transfer.supplier_id)
    if transfer.pix_key:
        return pb.Payee(pix_key=transfer.pix_key)
    return pb.Payee(account_id=transfer.payee)
