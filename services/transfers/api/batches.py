"""The door of batches."""

from __future__ import annotations

from hashlib import sha256

from bank.transfers.v1 import batches_pb2 as pb
from bank.transfers.v1 import transfers_pb2 as pb_transfers
from bank.transfers.v1.batches_pb2_grpc import TransferBatchesServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.ids import new_id
from mesh.rpc import Context, mark_replayed
from services import wire

from ..domain.batches import Batch, Result, read
from ..store import batches
from .intake import PAGE_SIZE, Intake, user_id
from .transfers import to_status


class BatchesApi(TransferBatchesServiceServicer):
    """The door of batches."""

    def __init__(self, chassis: Chassis, intake: Intake) -> None:
        self.chassis = chassis
        self.intake = intake

    async def CreateTransferBatch(
        self, request: pb.CreateTransferBatchRequest, context: Context
    ) -> pb.CreateTransferBatchResponse:
        lines = read(request.csv)
        asked = Batch(
            id=new_id(),
            requested_by=user_id(),
            request_id=request.request_id,
            payer=request.payer_account_id,
            created_at_us=now_us(),
            digest=sha256(request.csv.encode()).hexdigest(),
            lines=len(lines),
        )
        batch, is_new = await self.intake.batch(asked, lines)
        if not is_new:
            mark_replayed(context)
        return pb.CreateTransferBatchResponse(batch=to_wire(batch))

    async def GetTransferBatch(
        self, request: pb.GetTransferBatchRequest, context: Context
    ) -> pb.GetTransferBatchResponse:
        batch, results = await self.chassis.read(batches.get, request.batch_id, user_id())
        return pb.GetTransferBatchResponse(batch=to_wire(batch), lines=map(to_line, results))

    async def ListTransferBatches(
        self, request: pb.ListTransferBatchesRequest, context: Context
    ) -> pb.ListTransferBatchesResponse:
        before, size = wire.page_start(request.page_token), request.page_size or PAGE_SIZE
        found = await self.chassis.read(batches.page, user_id(), before, size + 1)
        page, next_page = wire.part_page(found, size)
        return pb.ListTransferBatchesResponse(batches=map(to_wire, page), next_page_token=next_page)


def to_wire(batch: Batch) -> pb.TransferBatch:
    return pb.TransferBatch(
        batch_id=batch.id,
        payer_account_id=batch.payer,
        requested_by=batch.requested_by,
        created_at=wire.timestamp(batch.created_at_us),
        done=not batch.pending,
        lines=batch.lines,
        pending=batch.pending,
        accepted=batch.accepted,
        refused=batch.refused,
    )


def to_line(result: Result) -> pb.BatchLine:
    status = result.transfer_status
    return pb.BatchLine(
        line=result.number,
        status=pb.BatchLineStatus.Value(f"BATCH_LINE_STATUS_{result.status.upper()}"),
        reason=result.reason,
        message=result.message,
        transfer_id=result.transfer_id,
        transfer_status=to_status(status) if status else pb_transfers.TRANSFER_STATUS_UNSPECIFIED,
        failure_reason=result.failure_reason,
        amount=wire.to_wire(result.amount) if result.amount.minor_units else None,
    )
