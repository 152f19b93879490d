"""Where suppliers and their changes are kept, and the copy of who may act for a company."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bank.suppliers.v1 import events_pb2 as events
from mesh.db import Row, UnitOfWork, sql
from services.money import Money

from . import domain
from .domain import Change, Payment, PaymentStatus, Query, Saving, Status, Supplier

ADD = sql(
    "INSERT INTO suppliers (id, company_id, created_by, request_id, name, document, pix_key,"
    " favourite, status, version, created_at_us, updated_at_us, sought) VALUES (:id, :company,"
    " :created_by, :request_id, :name, :document, :pix_key, :favourite, :status, :version,"
    " :created_at, :updated_at, :sought) ON CONFLICT DO NOTHING"
)
ADD_SAVING = sql(
    "INSERT INTO savings (supplier_id, version, saved_by, saved_at_us, name, pix_key, favourite,"
    " status) VALUES (:supplier, :version, :saved_by, :saved_at, :name, :pix_key, :favourite,"
    " :status)"
)
REPEATED = sql("SELECT * FROM suppliers WHERE created_by = :user AND request_id = :request_id")
FIRST_SAVING = sql("SELECT * FROM savings WHERE supplier_id = :id AND version = 1")
SAVINGS = sql("SELECT * FROM savings WHERE supplier_id = :id ORDER BY version DESC LIMIT :size")
GET = sql(
    "SELECT suppliers.*, may_change FROM suppliers JOIN memberships USING (company_id)"
    " WHERE id = :id AND user_id = :user AND may_change IS NOT NULL"
)
LOCK = sql(f"{GET.text} FOR UPDATE")
SAVE = sql(
    "UPDATE suppliers SET name = :name, pix_key = :pix_key, favourite = :favourite,"
    " status = :status, version = :version, updated_at_us = :updated_at, sought = :sought"
    " WHERE id = :id"
)
PAGE = sql(
    "SELECT * FROM suppliers WHERE id < :before AND company_id IN"
    " (SELECT company_id FROM memberships WHERE user_id = :user AND may_change IS NOT NULL)"
    " AND CAST(:company AS text) IN ('', company_id)"
    " AND (favourite OR NOT CAST(:only_favourites AS boolean))"
    " AND (status = 'active' OR CAST(:with_removed AS boolean))"
    " AND sought LIKE :word_1 ESCAPE '!' AND sought LIKE :word_2 ESCAPE '!'"
    " AND sought LIKE :word_3 ESCAPE '!' AND sought LIKE :word_4 ESCAPE '!'"
    " AND sought LIKE :word_5 ESCAPE '!' ORDER BY id DESC LIMIT :size"
)
ACTIVE = sql("SELECT * FROM suppliers WHERE id = :id AND status = 'active'")
COMPANIES = sql(
    "SELECT company_id, may_change FROM memberships"
    " WHERE user_id = :user AND may_change IS NOT NULL"
)
SET_MEMBER = sql(
    "INSERT INTO memberships (user_id, company_id, may_change)"
    " VALUES (:user, :company, :may_change)"
    " ON CONFLICT (user_id, company_id) DO UPDATE SET may_change = excluded.may_change"
)

ADD_PAYMENT = sql(
    "INSERT INTO payments (transfer_id, supplier_id, payer_account_id, minor_units, currency,"
    " status, returned, created_at_us) VALUES (:transfer, :supplier, :payer, :minor_units,"
    " :currency, :status, 0, :created_at) ON CONFLICT (transfer_id) DO NOTHING"
)
END_PAYMENT = sql(
    "UPDATE payments SET status = :status, returned = :returned WHERE transfer_id = :transfer"
)
PAYMENTS = sql(
    "SELECT * FROM payments WHERE supplier_id = :supplier AND transfer_id < :before"
    " ORDER BY transfer_id DESC LIMIT :size"
)


async def add(work: UnitOfWork, asked: Supplier) -> tuple[Supplier, bool]:
    """Keeps a supplier, or finds the one that was asked for before; tells it and if it is new."""
    rows = await work.fetch_all(COMPANIES, user=asked.created_by)
    companies = {row["company_id"]: bool(row["may_change"]) for row in rows}
    company_id = domain.company_to_change(companies, asked.company_id)
    supplier = replace(asked, company_id=company_id)
    if await work.execute(ADD, **columns(supplier)):
        await note(work, supplier, supplier.created_by, key_changed=True)
        return supplier, True
    row = await work.fetch_one(REPEATED, user=asked.created_by, request_id=asked.request_id)
    if row is None:
        raise domain.supplier_exists()
    kept = to_supplier(row)
    first = await work.fetch_one(FIRST_SAVING, id=kept.id)
    assert first is not None, "a supplier is noted when it is added"
    saving = to_saving(first)
    asked.must_repeat(
        replace(kept, name=saving.name, pix_key=saving.pix_key, favourite=saving.favourite),
        asked.company_id,
    )
    return kept, False


async def change(work: UnitOfWork, supplier_id: str, user_id: str, change: Change) -> Supplier:
    """Changes a supplier of one of the user's companies."""
    before = await lock(work, supplier_id, user_id)
    return await save(work, before, before.changed(change), user_id)


async def remove(work: UnitOfWork, supplier_id: str, user_id: str, at_us: int) -> Supplier:
    """Removes a supplier of one of the user's companies."""
    before = await lock(work, supplier_id, user_id)
    return await save(work, before, before.removed(at_us), user_id)


async def lock(work: UnitOfWork, supplier_id: str, user_id: str) -> Supplier:
    """Reads a supplier that the user may change, and keeps others from changing it meanwhile."""
    row = await work.fetch_one(LOCK, id=supplier_id, user=user_id)
    if row is None:
        raise domain.no_such_supplier()
    domain.must_be_allowed(bool(row["may_change"]))
    return to_supplier(row)


async def save(work: UnitOfWork, before: Supplier, after: Supplier, user_id: str) -> Supplier:
    if after != before:
        await work.execute(
            SAVE,
            id=after.id,
            name=after.name,
            pix_key=after.pix_key,
            favourite=after.favourite,
            status=after.status.value,
            version=after.version,
            updated_at=after.updated_at_us,
            sought=after.sought,
        )
        await note(work, after, user_id, key_changed=after.pix_key != before.pix_key)
    return after


async def note(work: UnitOfWork, supplier: Supplier, user_id: str, *, key_changed: bool) -> None:
    """Keeps what a supplier is from now on, and tells that it was saved."""
    await work.execute(
        ADD_SAVING,
        supplier=supplier.id,
        version=supplier.version,
        saved_by=user_id,
        saved_at=supplier.updated_at_us,
        name=supplier.name,
        pix_key=supplier.pix_key,
        favourite=supplier.favourite,
        status=supplier.status.value,
    )
    work.publish(told(supplier, user_id, key_changed=key_changed), version=supplier.version)


async def get(work: UnitOfWork, supplier_id: str, user_id: str) -> Supplier:
    """Reads a supplier of one of the user's companies."""
    row = await work.fetch_one(GET, id=supplier_id, user=user_id)
    if row is None:
        raise domain.no_such_supplier()
    return to_supplier(row)


async def get_active(work: UnitOfWork, supplier_id: str) -> Supplier:
    """Reads a supplier that may be paid, whosever it is."""
    row = await work.fetch_one(ACTIVE, id=supplier_id)
    if row is None:
        raise domain.no_such_supplier()
    return to_supplier(row)


async def page(work: UnitOfWork, query: Query) -> list[Supplier]:
    """Reads suppliers of the user's companies, the newest first."""
    rows = await work.fetch_all(
        PAGE,
        user=query.user_id,
        company=query.company_id,
        only_favourites=query.only_favourites,
        with_removed=query.with_removed,
        before=query.before,
        size=query.size,
        **patterns(query.words),
    )
    return [to_supplier(row) for row in rows]


def patterns(words: Sequence[str]) -> dict[str, str]:
    """Makes a pattern of each word; what is not looked for is found everywhere."""
    padded = [*words, *[""] * (domain.MOST_WORDS - len(words))]
    return {f"word_{number}": f"%{escaped(word)}%" for number, word in enumerate(padded, 1)}


def escaped(word: str) -> str:
    return "".join(f"!{letter}" if letter in "!%_" else letter for letter in word)


async def savings(work: UnitOfWork, supplier_id: str, user_id: str, size: int) -> list[Saving]:
    """Reads what a supplier of one of the user's companies has been, the newest first."""
    await get(work, supplier_id, user_id)
    return [to_saving(row) for row in await work.fetch_all(SAVINGS, id=supplier_id, size=size)]


async def payments(
    work: UnitOfWork, supplier_id: str, user_id: str, before: str, size: int
) -> list[Payment]:
    """Reads what a supplier of one of the user's companies was paid, the newest first."""
    await get(work, supplier_id, user_id)
    rows = await work.fetch_all(PAYMENTS, supplier=supplier_id, before=before, size=size)
    return [to_payment(row) for row in rows]


async def add_payment(work: UnitOfWork, payment: Payment) -> None:
    await work.execute(
        ADD_PAYMENT,
        transfer=payment.transfer_id,
        supplier=payment.supplier_id,
        payer=payment.payer,
        minor_units=payment.amount.minor_units,
        currency=payment.amount.currency,
        status=payment.status,
        created_at=payment.created_at_us,
    )


async def end_payment(
    work: UnitOfWork, transfer_id: str, status: PaymentStatus, returned: int = 0
) -> None:
    """Notes how far a payment has come, if it is one to a supplier."""
    await work.execute(END_PAYMENT, transfer=transfer_id, status=status, returned=returned)


async def set_member(
    work: UnitOfWork, user_id: str, company_id: str, may_change: bool | None
) -> None:
    await work.execute(SET_MEMBER, user=user_id, company=company_id, may_change=may_change)


def columns(supplier: Supplier) -> dict[str, object]:
    return {
        "id": supplier.id,
        "company": supplier.company_id,
        "created_by": supplier.created_by,
        "request_id": supplier.request_id,
        "name": supplier.name,
        "document": supplier.document,
        "pix_key": supplier.pix_key,
        "favourite": supplier.favourite,
        "status": supplier.status.value,
        "version": supplier.version,
        "created_at": supplier.created_at_us,
        "updated_at": supplier.updated_at_us,
        "sought": supplier.sought,
    }


def to_supplier(row: Row) -> Supplier:
    return Supplier(
        id=row["id"],
        company_id=row["company_id"],
        created_by=row["created_by"],
        request_id=row["request_id"],
        name=row["name"],
        document=row["document"],
        pix_key=row["pix_key"],
        favourite=bool(row["favourite"]),
        created_at_us=row["created_at_us"],
        updated_at_us=row["updated_at_us"],
        status=Status(row["status"]),
        version=row["version"],
    )


def to_payment(row: Row) -> Payment:
    return Payment(
        transfer_id=row["transfer_id"],
        supplier_id=row["supplier_id"],
        payer=row["payer_account_id"],
        amount=Money(row["minor_units"], row["currency"]),
        created_at_us=row["created_at_us"],
        status=PaymentStatus(row["status"]),
        returned=row["returned"],
    )


def to_saving(row: Row) -> Saving:
    return Saving(
        version=row["version"],
        saved_by=row["saved_by"],
        saved_at_us=row["saved_at_us"],
        name=row["name"],
        pix_key=row["pix_key"],
        favourite=bool(row["favourite"]),
        status=Status(row["status"]),
    )


def told(
    supplier: Supplier, user_id: str, *, key_changed: bool
) -> events.SupplierSaved | events.SupplierRemoved:
    if supplier.status is Status.REMOVED:
        return events.SupplierRemoved(
            supplier_id=supplier.id,
            company_id=supplier.company_id,
            version=supplier.version,
            removed_by=user_id,
        )
    return events.SupplierSaved(
        supplier_id=supplier.id,
        company_id=supplier.company_id,
        version=supplier.version,
        changed_by=user_id,
        key_changed=key_changed,
    )
