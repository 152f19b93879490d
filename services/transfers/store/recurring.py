"""Where transfers that repeat are kept. Each occurrence is started by the end of the one before."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.clock import now_us
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import NotFound, PermissionDenied, Refused
from mesh.ids import new_id
from services.money import Money

from ..domain.recurrence import (
    Frequency,
    MonthEnd,
    Occurrence,
    Recurrence,
    Recurring,
    RecurringStatus,
    occurrence_id,
    read_occurrence_id,
)
from ..domain.terms import Limit
from ..domain.transfers import Account, Status, Supplier, Transfer
from . import copies, terms, transfers

# Stored.
OCCUR = "occur"

KEEP = sql(
    "INSERT INTO recurring (id, requested_by, request_id, company_id, payer_account_id,"
    " payee_account_id, pix_key, supplier_id, payee_name, minor_units, currency, description,"
    " created_at_us, frequency, month_end, starts_at_us, ends_at_us, count, status, slot,"
    " next_at_us, occurred) VALUES (:id, :requested_by, :request_id, :company, :payer, :payee,"
    " :pix_key, :supplier, :payee_name, :amount, :currency, :description, :created_at_us,"
    " :frequency, :month_end, :starts_at_us, :ends_at_us, :count, 'active', 0, :starts_at_us, 0)"
    " ON CONFLICT (requested_by, request_id) DO NOTHING"
)
LOAD = sql("SELECT * FROM recurring WHERE id = :id")
REPEATED = sql("SELECT * FROM recurring WHERE requested_by = :user AND request_id = :request_id")
GET = sql(
    "SELECT recurring.*, may_pay FROM recurring JOIN memberships USING (company_id)"
    " WHERE recurring.id = :id AND user_id = :user AND may_pay IS NOT NULL"
)
PAGE = sql(
    "SELECT * FROM recurring WHERE id < :before AND company_id IN"
    " (SELECT company_id FROM memberships WHERE user_id = :user AND may_pay IS NOT NULL)"
    " ORDER BY id DESC LIMIT :size"
)
CANCEL = sql(
    "UPDATE recurring SET status = 'cancelled', next_at_us = NULL"
    " WHERE id = :id AND status = 'active'"
)
# An occurrence counts in the transaction that makes its transfer; not after a cancellation.
COUNT = sql(
    "UPDATE recurring SET occurred = :number"
    " WHERE id = :id AND status = 'active' AND occurred = :number - 1"
)
NEXT = sql(
    "UPDATE recurring SET slot = :slot, next_at_us = :at_us, status = :status"
    " WHERE id = :id AND status = 'active'"
)


async def accept(
    work: UnitOfWork,
    asked: Recurring,
    learned: Iterable[Account] = (),
    supplier: Supplier | None = None,
    step_up: Refused | None = None,
) -> tuple[Recurring, bool]:
    """Keeps a recurring transfer and starts it, or finds the one that was asked for before."""
    model = asked.model
    for account in learned:
        await copies.learn(work, account, model.requested_by)
    accounts = await copies.accounts_of(work, model.requested_by, model.payer, model.payee)
    refusal = model.refusal(accounts, supplier)
    if refusal is None:
        company = accounts[model.payer].company_id
        holding = await terms.terms_of(work, company, model.requested_by, model.created_at_us)
        if model.amount.minor_units > holding.most(Limit.WITHOUT_STEP_UP):
            refusal = step_up
    if refusal is None and await keep(work, asked, company):
        at_us = asked.recurrence.starts_at_us
        work.start(OCCUR, occurrence_id(asked.id, 1), at_us=at_us)
        return asked, True
    earlier = await repeated(work, asked)
    if earlier is None:
        raise refusal or LookupError("a recurring transfer was known, and is gone")
    return earlier, False


async def repeated(work: UnitOfWork, asked: Recurring) -> Recurring | None:
    """Finds the recurring transfer that was asked for before with the same request id, if any."""
    row = await work.fetch_one(
        REPEATED, user=asked.model.requested_by, request_id=asked.model.request_id
    )
    if row is None:
        return None
    earlier = to_recurring(row)
    asked.must_repeat(earlier)
    return earlier


async def keep(work: UnitOfWork, asked: Recurring, company: str) -> bool:
    model, rule = asked.model, asked.recurrence
    return (
        await work.execute(
            KEEP,
            id=asked.id,
            requested_by=model.requested_by,
            request_id=model.request_id,
            company=company,
            payer=model.payer,
            payee=model.payee,
            pix_key=model.pix_key,
            supplier=model.supplier_id,
            payee_name=model.payee_name,
            amount=model.amount.minor_units,
            currency=model.amount.currency,
            description=model.description,
            created_at_us=model.created_at_us,
            frequency=rule.frequency,
            month_end=rule.month_end,
            starts_at_us=rule.starts_at_us,
            ends_at_us=rule.ends_at_us,
            count=rule.count,
        )
        > 0
    )


async def make(
    work: UnitOfWork,
    occurrence: Occurrence,
    learned: Iterable[Account] = (),
    supplier: Supplier | None = None,
) -> None:
    """Makes the transfer of an occurrence, once, unless it was cancelled. Raises its refusal."""
    if await count(work, occurrence):
        await transfers.accept(work, asked_for(occurrence, supplier), learned, supplier)


async def refuse(work: UnitOfWork, occurrence: Occurrence, refusal: Refused) -> None:
    """Keeps the transfer of an occurrence as failed, so that its refusal is seen and told."""
    if await count(work, occurrence):
        await transfers.refuse(work, asked_for(occurrence), refusal)


async def count(work: UnitOfWork, occurrence: Occurrence) -> bool:
    return await work.execute(COUNT, id=occurrence.recurring.id, number=occurrence.number) > 0


def asked_for(occurrence: Occurrence, supplier: Supplier | None = None) -> Transfer:
    asked = occurrence.recurring.occurrence(occurrence.number, new_id(), now_us())
    return asked.to(supplier) if supplier else asked


async def load(work: UnitOfWork, entity_id: str) -> Occurrence:
    recurring_id, number = read_occurrence_id(entity_id)
    row = await work.fetch_one(LOAD, id=recurring_id)
    return Occurrence(must_exist(row), number)


async def finish(work: UnitOfWork, occurrence: Occurrence) -> Occurrence:
    """Starts what comes after an occurrence, if anything does."""
    recurring = must_exist(await work.fetch_one(LOAD, id=occurrence.recurring.id))
    if recurring.status is not RecurringStatus.ACTIVE:
        return occurrence
    following = recurring.recurrence.after(recurring.slot, occurrence.number)
    slot, at_us = following or (recurring.slot, None)
    status = RecurringStatus.ACTIVE if following else RecurringStatus.ENDED
    await work.execute(NEXT, id=recurring.id, slot=slot, at_us=at_us, status=status)
    if at_us is not None:
        following_id = occurrence_id(recurring.id, occurrence.number + 1)
        work.start(OCCUR, following_id, at_us=at_us)
    return occurrence


async def cancel(work: UnitOfWork, recurring_id: str, user_id: str) -> Recurring:
    """Lets a recurring transfer occur no more."""
    row = await seen(work, recurring_id, user_id)
    if not row["may_pay"]:
        raise PermissionDenied("ROLE_MAY_NOT_PAY", "Your role does not allow you to cancel.")
    cancelled = to_recurring(row).cancelled()
    await work.execute(CANCEL, id=recurring_id)
    return cancelled


async def get(work: UnitOfWork, recurring_id: str, user_id: str) -> Recurring:
    """Reads a recurring transfer of one of the user's companies."""
    return to_recurring(await seen(work, recurring_id, user_id))


async def page(work: UnitOfWork, user_id: str, before: str, size: int) -> list[Recurring]:
    """Reads recurring transfers of the user's companies, the newest first."""
    rows = await work.fetch_all(PAGE, user=user_id, before=before, size=size)
    return [to_recurring(row) for row in rows]


async def seen(work: UnitOfWork, recurring_id: str, user_id: str) -> Row:
    row = await work.fetch_one(GET, id=recurring_id, user=user_id)
    if row is None:
        raise no_such_recurring()
    return row


def must_exist(row: Row | None) -> Recurring:
    if row is None:
        raise no_such_recurring()
    return to_recurring(row)


def no_such_recurring() -> NotFound:
    return NotFound("RECURRING_TRANSFER_NOT_FOUND", "There is no such recurring transfer.")


def to_recurring(row: Row) -> Recurring:
    return Recurring(
        id=row["id"],
        model=Transfer(
            id=row["id"],
            requested_by=row["requested_by"],
            request_id=row["request_id"],
            payer=row["payer_account_id"],
            payee=row["payee_account_id"],
            pix_key=row["pix_key"],
            amount=Money(row["minor_units"], row["currency"]),
            description=row["description"],
            created_at_us=row["created_at_us"],
            scheduled_for_us=None,
            status=Status.PENDING,
            supplier_id=row["supplier_id"],
            payee_name=row["payee_name"],
            company=row["company_id"],
        ),
        recurrence=Recurrence(
            frequency=Frequency(row["frequency"]),
            starts_at_us=row["starts_at_us"],
            ends_at_us=row["ends_at_us"],
            count=row["count"],
            month_end=MonthEnd(row["month_end"]),
        ),
        status=RecurringStatus(row["status"]),
        slot=row["slot"],
        next_at_us=row["next_at_us"],
        occurred=row["occurred"],
    )
