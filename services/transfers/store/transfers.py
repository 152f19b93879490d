"""Where transfers are kept, from their acceptance to their end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mesh.clock import now_us
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import FailedPrecondition, NotFound, PermissionDenied, Refused
from services.money import Money

from ..domain.transfers import (
    EXPIRED,
    REJECTED,
    Account,
    Refund,
    Status,
    Supplier,
    Transfer,
    refund_exceeds,
)
from . import copies, events, terms

# Stored.
MOVE_MONEY = "move_money"
EXPIRE_APPROVAL = "expire_approval"

KEEP = sql(
    "INSERT INTO transfers (id, requested_by, request_id, company_id, payer_account_id,"
    " payee_account_id, pix_key, minor_units, currency, description, created_at_us,"
    " scheduled_for_us, status, failure_reason, end_to_end_id, supplier_id, payee_name, fee,"
    " approval_expires_us, counted_at_us, refund_of, recurring_id, batch_id, version)"
    " VALUES (:id, :requested_by, :request_id, :company, :payer, :payee, :pix_key, :amount,"
    " :currency, :description, :created_at_us, :scheduled_for_us, :status, :reason, '', :supplier,"
    " :payee_name, :fee, :expires_us, :counted_at_us, :refund_of, :recurring, :batch, :version)"
    " ON CONFLICT (requested_by, request_id) DO NOTHING"
)
LOAD = sql("SELECT * FROM transfers WHERE id = :id")
REPEATED = sql("SELECT * FROM transfers WHERE requested_by = :user AND request_id = :request_id")
GET = sql(
    "SELECT transfers.*, may_pay, role FROM transfers JOIN memberships USING (company_id)"
    " WHERE transfers.id = :id AND user_id = :user AND may_pay IS NOT NULL"
)
# A refund is asked for by who was paid.
PAID = sql(
    "SELECT transfers.* FROM transfers JOIN accounts ON accounts.id = payee_account_id"
    " JOIN memberships ON memberships.company_id = accounts.company_id"
    " WHERE transfers.id = :id AND user_id = :user AND memberships.may_pay IS NOT NULL"
)
CHANGE = sql(
    "UPDATE transfers SET status = :status, failure_reason = :reason, decided_by = :decided_by,"
    " counted_at_us = :counted_at_us, version = version + 1"
    " WHERE id = :id AND status = :before RETURNING *"
)
SENT = sql("UPDATE transfers SET end_to_end_id = :end_to_end_id WHERE id = :id")
END = sql(
    "UPDATE transfers SET failure_reason = :reason, version = version + 1, status = CASE"
    " WHEN :status = 'completed' AND returned = minor_units THEN 'reversed' ELSE :status END"
    " WHERE id = :id RETURNING *"
)
REFUND = sql(
    "UPDATE transfers SET refunding = refunding + :amount"
    " WHERE id = :id AND refunding + :amount <= minor_units"
)
REFUND_FAILED = sql("UPDATE transfers SET refunding = refunding - :amount WHERE id = :id")
CAME_BACK = sql(
    "UPDATE transfers SET returned = returned + :amount, version = version + 1, status = CASE"
    " WHEN status = 'completed' AND returned + :amount = minor_units THEN 'reversed'"
    " ELSE status END WHERE id = :id RETURNING *"
)
RETURNED = sql(
    "UPDATE transfers SET returned = :returned, version = version + 1, status = CASE"
    " WHEN status = 'completed' AND :returned = minor_units THEN 'reversed' ELSE status END"
    " WHERE id = :id AND returned < :returned RETURNING *"
)


async def accept(
    work: UnitOfWork,
    asked: Transfer,
    learned: Iterable[Account] = (),
    supplier: Supplier | None = None,
    step_up: Refused | None = None,
) -> tuple[Transfer, bool]:
    """Keeps a transfer and starts it, or finds the one that was asked for before.

    `supplier` is given for a transfer to one; `step_up` is what to refuse a transfer with that
    needs a second factor, if the user has not just proven one. Tells the transfer, and whether it
    is new.
    """
    for account in learned:
        await copies.learn(work, account, asked.requested_by)
    accounts = await copies.accounts_of(work, asked.requested_by, asked.payer, asked.payee)
    refusal = asked.refusal(accounts, supplier)
    if refusal is None:
        company = accounts[asked.payer].company_id
        now = asked.created_at_us
        holding = await terms.terms_of(work, company, asked.requested_by, now)
        try:
            transfer = asked.on(holding, accounts, step_up)
        except Refused as refused:
            refusal = refused
        else:
            if await keep(work, transfer):
                await terms.use(work, company, transfer.uses(holding))
                return begun(work, transfer), True
    earlier = await repeated(work, asked)
    if earlier is None:
        raise refusal or LookupError("a transfer was known, and is gone")
    return earlier, False


async def repeated(work: UnitOfWork, asked: Transfer) -> Transfer | None:
    """Finds the transfer that was asked for before with the same request id, if any."""
    row = await work.fetch_one(REPEATED, user=asked.requested_by, request_id=asked.request_id)
    if row is None:
        return None
    earlier = to_transfer(row)
    asked.must_repeat(earlier)
    return earlier


async def keep(work: UnitOfWork, transfer: Transfer) -> bool:
    """Keeps a transfer, unless its request was kept before."""
    kept = await work.execute(
        KEEP,
        id=transfer.id,
        requested_by=transfer.requested_by,
        request_id=transfer.request_id,
        company=transfer.company,
        payer=transfer.payer,
        payee=transfer.payee,
        pix_key=transfer.pix_key,
        amount=transfer.amount.minor_units,
        currency=transfer.amount.currency,
        description=transfer.description,
        created_at_us=transfer.created_at_us,
        scheduled_for_us=transfer.scheduled_for_us,
        status=transfer.status,
        reason=transfer.failure_reason,
        supplier=transfer.supplier_id,
        payee_name=transfer.payee_name,
        fee=transfer.fee,
        expires_us=transfer.approval_expires_us,
        counted_at_us=transfer.counted_at_us,
        refund_of=transfer.refund_of,
        recurring=transfer.recurring,
        batch=transfer.batch,
        version=transfer.version,
    )
    return kept > 0


def begun(work: UnitOfWork, transfer: Transfer) -> Transfer:
    """Tells a kept transfer, and starts what is to become of it."""
    work.publish(events.created(transfer), version=transfer.version)
    if transfer.status is Status.AWAITING_APPROVAL:
        work.publish(events.awaiting(transfer), version=transfer.version)
        work.start(EXPIRE_APPROVAL, transfer.id, at_us=transfer.approval_expires_us or 0)
    else:
        start(work, transfer)
    return transfer


def start(work: UnitOfWork, transfer: Transfer) -> None:
    due_us = 0
    if transfer.status is Status.SCHEDULED:
        due_us = transfer.scheduled_for_us or 0
        work.publish(events.scheduled(transfer), version=transfer.version)
    work.start(MOVE_MONEY, transfer.id, at_us=due_us, entity=transfer)


async def refuse(work: UnitOfWork, asked: Transfer, refusal: Refused) -> None:
    """Keeps a transfer that nobody waits for as failed, so that its refusal is seen and told."""
    transfer = asked.failed(refusal.reason)
    if await keep(work, transfer):
        work.publish(events.created(transfer), version=transfer.version)
        work.publish(events.ended(transfer), version=transfer.version)


async def change(work: UnitOfWork, before: Transfer, after: Transfer) -> Transfer:
    """Keeps a change of state. Raises `FailedPrecondition` if another came first."""
    row = await work.fetch_one(
        CHANGE,
        id=after.id,
        before=before.status,
        status=after.status,
        reason=after.failure_reason,
        decided_by=after.decided_by,
        counted_at_us=after.counted_at_us,
    )
    if row is None:
        raise FailedPrecondition("TRANSFER_BEGUN", "The transfer has begun, or was cancelled.")
    return to_transfer(row)


async def begin(work: UnitOfWork, transfer: Transfer) -> None:
    """Lets a scheduled transfer begin; from here it cannot be cancelled."""
    kept = await load(work, transfer.id)
    if kept.status is Status.SCHEDULED:
        kept = await change(work, kept, replace(kept, status=Status.PENDING))
        work.publish(events.started(kept), version=kept.version)
    elif kept.status is Status.CANCELLED:
        raise FailedPrecondition("TRANSFER_CANCELLED", "The transfer was cancelled.")


async def cancel(work: UnitOfWork, transfer_id: str, user_id: str) -> Transfer:
    """Cancels a transfer that has not begun."""
    row = await seen(work, transfer_id, user_id)
    transfer = to_transfer(row)
    if not row["may_pay"]:
        raise PermissionDenied("ROLE_MAY_NOT_PAY", "Your role does not allow you to cancel.")
    if transfer.status is Status.CANCELLED:
        return transfer
    return await call_off(work, transfer, transfer.cancelled(), user_id)


async def call_off(work: UnitOfWork, before: Transfer, after: Transfer, by: str) -> Transfer:
    """Keeps that a transfer will not be, and tells it."""
    kept = await change(work, before, after)
    await terms.give_back(work, kept.company, kept.periods(), kept.amount.minor_units)
    work.publish(events.cancelled(kept, by), version=kept.version)
    return kept


async def approve(
    work: UnitOfWork, transfer_id: str, user_id: str, step_up: Refused | None
) -> Transfer:
    """Lets a transfer go ahead that waits for an approver. From here it counts."""
    row = await seen(work, transfer_id, user_id)
    before, now = to_transfer(row), now_us()
    before.must_be_decided_by(user_id, row["role"])
    if before.decided_by == user_id and before.failure_reason != REJECTED:
        return before
    holding = await terms.terms_of(work, before.company, user_id, now)
    after = before.approved(user_id, now, holding, step_up)
    kept = await change(work, before, after)
    await terms.use(work, kept.company, kept.uses(holding))
    work.publish(events.approved(kept), version=kept.version)
    start(work, kept)
    return kept


async def reject(work: UnitOfWork, transfer_id: str, user_id: str) -> Transfer:
    """Cancels a transfer that waits for an approver."""
    row = await seen(work, transfer_id, user_id)
    before = to_transfer(row)
    before.must_be_decided_by(user_id, row["role"])
    if (before.decided_by, before.failure_reason) == (user_id, REJECTED):
        return before
    if before.status is not Status.AWAITING_APPROVAL:
        raise FailedPrecondition("NOT_AWAITING_APPROVAL", "Nobody is to approve it any more.")
    after = replace(before.cancelled(), decided_by=user_id, failure_reason=REJECTED)
    return await call_off(work, before, after, user_id)


async def expire(work: UnitOfWork, transfer: Transfer) -> Transfer:
    """Cancels a transfer that nobody has approved in time."""
    before = await load(work, transfer.id)
    if before.status is not Status.AWAITING_APPROVAL:
        return before
    return await call_off(work, before, replace(before.cancelled(), failure_reason=EXPIRED), "")


async def refund(
    work: UnitOfWork, asked: Refund, learned: Iterable[Account] = ()
) -> tuple[Transfer, bool]:
    """Keeps and starts a transfer that gives money of another back, which has so much left."""
    for account in learned:
        await copies.learn(work, account, asked.requested_by)
    row = await work.fetch_one(REPEATED, user=asked.requested_by, request_id=asked.request_id)
    if row is not None:
        earlier = to_transfer(row)
        asked.must_repeat(earlier)
        return earlier, False
    paid = await work.fetch_one(PAID, id=asked.refund_of, user=asked.requested_by)
    original = must_exist(paid)
    transfer = original.refund(replace(asked, given_back=paid["refunding"] if paid else 0))
    kept, is_new = await accept(work, transfer)
    if is_new and not await work.execute(
        REFUND, id=original.id, amount=transfer.amount.minor_units
    ):
        raise refund_exceeds()
    return kept, is_new


async def note_sent(work: UnitOfWork, transfer_id: str, end_to_end_id: str) -> None:
    await work.execute(SENT, id=transfer_id, end_to_end_id=end_to_end_id)


async def load(work: UnitOfWork, transfer_id: str) -> Transfer:
    return must_exist(await work.fetch_one(LOAD, id=transfer_id))


async def finish(work: UnitOfWork, transfer: Transfer) -> Transfer:
    """Keeps how a transfer ended, and tells it. A cancelled one has ended before."""
    if transfer.status is Status.CANCELLED:
        return await load(work, transfer.id)
    row = await work.fetch_one(
        END, id=transfer.id, status=transfer.status, reason=transfer.failure_reason
    )
    kept = must_exist(row)
    work.publish(events.ended(kept), version=kept.version)
    amount = kept.amount.minor_units
    if kept.status is Status.FAILED:
        await terms.give_back(work, kept.company, kept.periods(), amount)
    if kept.refund_of and kept.status is Status.FAILED:
        await work.execute(REFUND_FAILED, id=kept.refund_of, amount=amount)
    elif kept.refund_of:
        original = await work.fetch_one(CAME_BACK, id=kept.refund_of, amount=amount)
        tell_reversed(work, must_exist(original), kept.id)
    return kept


async def came_back(work: UnitOfWork, transfer_id: str, returned: int, return_id: str) -> None:
    """Keeps how much of a payment the rail has brought back by now. A repeat changes nothing."""
    row = await work.fetch_one(RETURNED, id=transfer_id, returned=returned)
    if row is not None:
        tell_reversed(work, to_transfer(row), return_id)


def tell_reversed(work: UnitOfWork, transfer: Transfer, cause_id: str) -> None:
    work.publish(events.reversed_(transfer, cause_id), version=transfer.version)


async def get(work: UnitOfWork, transfer_id: str, user_id: str) -> Transfer:
    """Reads a transfer of one of the user's companies."""
    return to_transfer(await seen(work, transfer_id, user_id))


async def seen(work: UnitOfWork, transfer_id: str, user_id: str) -> Row:
    row = await work.fetch_one(GET, id=transfer_id, user=user_id)
    if row is None:
        raise no_such_transfer()
    return row


def must_exist(row: Row | None) -> Transfer:
    if row is None:
        raise no_such_transfer()
    return to_transfer(row)


def no_such_transfer() -> NotFound:
    return NotFound("TRANSFER_NOT_FOUND", "There is no such transfer.")


def to_transfer(row: Row) -> Transfer:
    return Transfer(
        id=row["id"],
        requested_by=row["requested_by"],
        request_id=row["request_id"],
        payer=row["payer_account_id"],
        payee=row["payee_account_id"],
        pix_key=row["pix_key"],
        amount=Money(row["minor_units"], row["currency"]),
        description=row["description"],
        created_at_us=row["created_at_us"],
        scheduled_for_us=row["scheduled_for_us"],
        status=Status(row["status"]),
        failure_reason=row["failure_reason"],
        end_to_end_id=row["end_to_end_id"],
        supplier_id=row["supplier_id"],
        payee_name=row["payee_name"],
        company=row["company_id"],
        fee=row["fee"],
        returned=row["returned"],
        decided_by=row["decided_by"],
        approval_expires_us=row["approval_expires_us"],
        counted_at_us=row["counted_at_us"],
        refund_of=row["refund_of"],
        recurring=row["recurring_id"],
        batch=row["batch_id"],
        version=row["version"],
    )
