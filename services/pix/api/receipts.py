"""Speaks `bank.pix.v1.PixReceiptsService`, and decides nothing."""

from __future__ import annotations

from bank.pix.v1 import receipts_pb2 as pb
from bank.pix.v1.receipts_pb2_grpc import PixReceiptsServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.ids import new_id
from mesh.rpc import Context, mark_replayed
from services import wire
from services.money import Money

from ..domain.payments import Deposit
from ..domain.returns import Asked, Return, Status
from ..store import returns as returns_store
from ..store.returns import Query
from .payments import PAGE_SIZE, user_id


class ReceiptsApi(PixReceiptsServiceServicer):
    """What came in, and what of it is given back."""

    def __init__(self, chassis: Chassis) -> None:
        self.chassis = chassis

    async def ListReceipts(
        self, request: pb.ListReceiptsRequest, context: Context
    ) -> pb.ListReceiptsResponse:
        size = request.page_size or PAGE_SIZE
        query = Query(
            user_id=user_id(),
            account_id=request.account_id,
            txid=request.txid,
            before=wire.page_start(request.page_token),
            size=size + 1,
        )
        found = await self.chassis.read(returns_store.receipts, query)
        page, next_page = wire.part_page(found, size)
        return pb.ListReceiptsResponse(
            receipts=map(receipt_to_wire, page), next_page_token=next_page
        )

    async def GetReceipt(
        self, request: pb.GetReceiptRequest, context: Context
    ) -> pb.GetReceiptResponse:
        found = await self.chassis.read(returns_store.receipt, request.end_to_end_id, user_id())
        return pb.GetReceiptResponse(receipt=receipt_to_wire(found))

    async def CreateReturn(
        self, request: pb.CreateReturnRequest, context: Context
    ) -> pb.CreateReturnResponse:
        self.chassis.admit()
        given, is_new = await self.chassis.transact(
            returns_store.keep_out, request.end_to_end_id, to_asked(request)
        )
        if not is_new:
            mark_replayed(context)
        if given.status is Status.PENDING and request.HasField("wait"):
            seconds = request.wait.ToTimedelta().total_seconds()
            ended = await self.chassis.wait_for(returns_store.GIVE_BACK, given.id, seconds)
            given = ended or given
        return pb.CreateReturnResponse(pix_return=return_to_wire(given))

    async def ListReturns(
        self, request: pb.ListReturnsRequest, context: Context
    ) -> pb.ListReturnsResponse:
        found = await self.chassis.read(returns_store.of_receipt, request.end_to_end_id, user_id())
        return pb.ListReturnsResponse(returns=map(return_to_wire, found))


def to_asked(request: pb.CreateReturnRequest) -> Asked:
    return Asked(
        id=new_id(),
        requested_by=user_id(),
        request_id=request.request_id,
        amount=wire.from_wire(request.amount) if request.HasField("amount") else None,
        reason=reason_of(request.reason),
        description=request.description,
        now_us=now_us(),
    )


def reason_of(reason: pb.ReturnReason.ValueType) -> str:
    """Gives the code of a reason; empty if none is said."""
    return pb.ReturnReason.Name(reason).removeprefix("RETURN_REASON_") if reason else ""


def receipt_to_wire(deposit: Deposit) -> pb.Receipt:
    return pb.Receipt(
        end_to_end_id=deposit.end_to_end_id,
        deposit_id=deposit.id,
        account_id=deposit.account,
        amount=wire.to_wire(deposit.amount),
        returned=wire.to_wire(Money(deposit.returned, deposit.amount.currency)),
        txid=deposit.txid,
        description=deposit.description,
        received_at=wire.timestamp(deposit.created_at_us),
    )


def return_to_wire(given: Return) -> pb.Return:
    return pb.Return(
        return_id=given.id,
        end_to_end_id=given.end_to_end_id,
        return_end_to_end_id=given.return_end_to_end_id,
        amount=wire.to_wire(given.amount),
        reason=returns_store.reason_to_wire(given.reason),
        status=pb.ReturnStatus.Value(f"RETURN_STATUS_{given.status.name}"),
        failure_reason=given.failure_reason,
        description=given.description,
        created_at=wire.timestamp(given.created_at_us),
    )
