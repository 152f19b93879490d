"""What is told of a transfer, as it is kept."""

from __future__ import annotations

from bank.money.v1 import money_pb2
from bank.transfers.v1 import events_pb2 as pb
from services import wire
from services.money import Money

from ..domain.transfers import Status, Transfer


def created(transfer: Transfer) -> pb.TransferCreated:
    when = transfer.scheduled_for_us
    return pb.TransferCreated(
        transfer_id=transfer.id,
        payer_account_id=transfer.payer,
        payee_account_id=transfer.payee,
        amount=wire.to_wire(transfer.amount),
        requested_by=transfer.requested_by,
        scheduled_for=None if when is None else wire.timestamp(when),
        supplier_id=transfer.supplier_id,
        refund_of=transfer.refund_of,
        recurring_transfer_id=transfer.recurring,
        batch_id=transfer.batch,
    )


def scheduled(transfer: Transfer) -> pb.TransferScheduled:
    return pb.TransferScheduled(
        transfer_id=transfer.id,
        requested_by=transfer.requested_by,
        scheduled_for=wire.timestamp(transfer.scheduled_for_us or 0),
    )


def started(transfer: Transfer) -> pb.TransferStarted:
    return pb.TransferStarted(transfer_id=transfer.id, requested_by=transfer.requested_by)


def awaiting(transfer: Transfer) -> pb.TransferAwaitingApproval:
    return pb.TransferAwaitingApproval(
        transfer_id=transfer.id,
        company_id=transfer.company,
        amount=wire.to_wire(transfer.amount),
        requested_by=transfer.requested_by,
        expires_at=wire.timestamp(transfer.approval_expires_us or 0),
    )


def approved(transfer: Transfer) -> pb.TransferApproved:
    when = transfer.scheduled_for_us if transfer.status is Status.SCHEDULED else None
    return pb.TransferApproved(
        transfer_id=transfer.id,
        requested_by=transfer.requested_by,
        approved_by=transfer.decided_by,
        payer_account_id=transfer.payer,
        scheduled_for=None if when is None else wire.timestamp(when),
    )


def cancelled(transfer: Transfer, by: str) -> pb.TransferCancelled:
    return pb.TransferCancelled(
        transfer_id=transfer.id,
        requested_by=transfer.requested_by,
        cancelled_by=by,
        reason=transfer.failure_reason,
    )


def ended(transfer: Transfer) -> pb.TransferCompleted | pb.TransferFailed:
    if transfer.status is Status.FAILED:
        return pb.TransferFailed(
            transfer_id=transfer.id,
            payer_account_id=transfer.payer,
            amount=wire.to_wire(transfer.amount),
            requested_by=transfer.requested_by,
            failure_reason=transfer.failure_reason,
        )
    return pb.TransferCompleted(
        transfer_id=transfer.id,
        payer_account_id=transfer.payer,
        payee_account_id=transfer.payee,
        amount=wire.to_wire(transfer.amount),
        requested_by=transfer.requested_by,
        end_to_end_id=transfer.end_to_end_id,
        fee=part(transfer, transfer.fee),
        refund_of=transfer.refund_of,
    )


def reversed_(transfer: Transfer, cause_id: str) -> pb.TransferReversed:
    return pb.TransferReversed(
        transfer_id=transfer.id,
        payer_account_id=transfer.payer,
        amount=wire.to_wire(transfer.amount),
        returned=part(transfer, transfer.returned),
        requested_by=transfer.requested_by,
        cause_id=cause_id,
    )


def part(transfer: Transfer, minor_units: int) -> money_pb2.Money | None:
    """Writes an amount in the transfer's currency; nothing as nothing at all."""
    return wire.to_wire(Money(minor_units, transfer.amount.currency)) if minor_units else None
