"""The door of transfers that repeat."""

from __future__ import annotations

from bank.transfers.v1 import recurring_pb2 as pb
from bank.transfers.v1.recurring_pb2_grpc import RecurringTransfersServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.ids import new_id
from mesh.rpc import Context, mark_replayed
from services import wire

from ..domain.recurrence import Frequency, MonthEnd, Recurrence, Recurring
from ..domain.transfers import Status, Transfer
from ..store import recurring
from .intake import PAGE_SIZE, Intake, user_id
from .transfers import to_payee

MONTH_ENDS = {
    pb.MONTH_END_UNSPECIFIED: MonthEnd.CLIP,
    pb.MONTH_END_CLIP: MonthEnd.CLIP,
    pb.MONTH_END_SKIP: MonthEnd.SKIP,
}


class RecurringApi(RecurringTransfersServiceServicer):
    """The door of transfers that repeat."""

    def __init__(self, chassis: Chassis, intake: Intake) -> None:
        self.chassis = chassis
        self.intake = intake

    async def CreateRecurringTransfer(
        self, request: pb.CreateRecurringTransferRequest, context: Context
    ) -> pb.CreateRecurringTransferResponse:
        asked = to_recurring(request, user_id(), now_us())
        asked.must_start_ahead(asked.model.created_at_us)
        kept, is_new = await self.intake.recurring(asked)
        if not is_new:
            mark_replayed(context)
        return pb.CreateRecurringTransferResponse(recurring_transfer=to_wire(kept))

    async def GetRecurringTransfer(
        self, request: pb.GetRecurringTransferRequest, context: Context
    ) -> pb.GetRecurringTransferResponse:
        found = await self.chassis.read(recurring.get, request.recurring_transfer_id, user_id())
        return pb.GetRecurringTransferResponse(recurring_transfer=to_wire(found))

    async def ListRecurringTransfers(
        self, request: pb.ListRecurringTransfersRequest, context: Context
    ) -> pb.ListRecurringTransfersResponse:
        before, size = wire.page_start(request.page_token), request.page_size or PAGE_SIZE
        found = await self.chassis.read(recurring.page, user_id(), before, size + 1)
        page, next_page = wire.part_page(found, size)
        return pb.ListRecurringTransfersResponse(
            recurring_transfers=map(to_wire, page), next_page_token=next_page
        )

    async def CancelRecurringTransfer(
        self, request: pb.CancelRecurringTransferRequest, context: Context
    ) -> pb.CancelRecurringTransferResponse:
        kept = await self.chassis.transact(
            recurring.cancel, request.recurring_transfer_id, user_id()
        )
        return pb.CancelRecurringTransferResponse(recurring_transfer=to_wire(kept))


def to_recurring(
    request: pb.CreateRecurringTransferRequest, user_id: str, now_us: int
) -> Recurring:
    rule = request.recurrence
    starts_at_us = rule.starts_at.ToMicroseconds()
    recurring_id = new_id()
    return Recurring(
        id=recurring_id,
        model=Transfer(
            id=recurring_id,
            requested_by=user_id,
            request_id=request.request_id,
            payer=request.payer_account_id,
            payee=request.payee.account_id,
            pix_key=request.payee.pix_key,
            supplier_id=request.payee.supplier_id,
            amount=wire.from_wire(request.amount),
            description=request.description,
            created_at_us=now_us,
            scheduled_for_us=None,
            status=Status.PENDING,
        ),
        recurrence=Recurrence(
            frequency=Frequency[pb.Frequency.Name(rule.frequency).removeprefix("FREQUENCY_")],
            starts_at_us=starts_at_us,
            ends_at_us=rule.ends_at.ToMicroseconds() if rule.HasField("ends_at") else None,
            count=rule.count,
            month_end=MONTH_ENDS[rule.month_end],
        ),
        next_at_us=starts_at_us,
    )


def to_wire(recurring: Recurring) -> pb.RecurringTransfer:
    rule, model, next_at_us = recurring.recurrence, recurring.model, recurring.next_at_us
    ends_at_us = rule.ends_at_us
    status = f"RECURRING_TRANSFER_STATUS_{recurring.status.name}"
    return pb.RecurringTransfer(
        recurring_transfer_id=recurring.id,
        payer_account_id=model.payer,
        payee=to_payee(model),
        amount=wire.to_wire(model.amount),
        description=model.description,
        recurrence=pb.Recurrence(
            frequency=pb.Frequency.Value(f"FREQUENCY_{rule.frequency.name}"),
            starts_at=wire.timestamp(rule.starts_at_us),
            ends_at=None if ends_at_us is None else wire.timestamp(ends_at_us),
            count=rule.count,
            month_end=pb.MonthEnd.Value(f"MONTH_END_{rule.month_end.name}"),
        ),
        status=pb.RecurringTransferStatus.Value(status),
        occurrences=recurring.occurred,
        next_at=None if next_at_us is None else wire.timestamp(next_at_us),
        requested_by=model.requested_by,
        created_at=wire.timestamp(model.created_at_us),
    )
